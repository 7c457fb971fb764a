"""Tags and verification hashes: the field's laws, the bound of forgeries by enumeration, and keys used twice."""

import itertools
from collections import Counter

import numpy as np
import pytest

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.authentication import (
    TAG_LENGTHS,
    Authenticator,
    collision_bound,
    cost_bits,
    polynomial_hash,
    verification_hash,
)
from qfl_sec.protocols.binary_field import MODULI, BinaryField
from qfl_sec.protocols.key_store import KeyExhaustedError

T = 4
KEYS = [np.array(bits, dtype=np.uint8) for bits in itertools.product((0, 1), repeat=T)]


def draw(count: int, seed: int = 0) -> Bits:
    return np.random.default_rng(seed).integers(0, 2, count, dtype=np.uint8)


def number(bits: Bits) -> int:
    return int("".join(map(str, bits.tolist())), 2)


def bits_of(value: int, count: int) -> Bits:
    return np.array([value >> place & 1 for place in reversed(range(count))], dtype=np.uint8)


def remainder(dividend: int, divisor: int) -> int:
    """Long division of polynomials over bits."""
    while dividend.bit_length() >= divisor.bit_length():
        dividend ^= divisor << (dividend.bit_length() - divisor.bit_length())
    return dividend


def common_divisor(first: int, second: int) -> int:
    while second:
        first, second = second, remainder(first, second)
    return first


def product(first: int, second: int) -> int:
    """Carry-less product by the definition."""
    places = range(second.bit_length())
    return sum_bits([first << place for place in places if second >> place & 1])


def sum_bits(values: list[int]) -> int:
    total = 0
    for value in values:
        total ^= value
    return total


@pytest.mark.parametrize("degree", MODULI)
def test_moduli_do_not_factor(degree: int) -> None:
    """Rabin's test: x^(2^t) = x, and x^(2^(t/2)) - x shares no factor with the modulus; 2 is the one prime of t."""
    modulus = MODULI[degree]
    assert modulus.bit_length() == degree + 1
    powers = [2]
    for _ in range(degree):
        powers.append(remainder(product(powers[-1], powers[-1]), modulus))
    assert powers[degree] == 2
    assert common_divisor(modulus, powers[degree // 2] ^ 2) == 1


def test_rabins_test_sees_a_polynomial_that_factors() -> None:
    modulus = product(0b111, 0b111)  # (x^2 + x + 1)^2
    fourth = remainder(product(4, 4), modulus)
    assert common_divisor(modulus, fourth ^ 2) == 0b111


@pytest.mark.parametrize("degree", MODULI)
def test_multiplication_is_that_of_polynomials(degree: int) -> None:
    field, rng = BinaryField(degree=degree), np.random.default_rng(degree)
    for _ in range(20):
        first, second, point = (number(rng.integers(0, 2, degree, dtype=np.uint8)) for _ in range(3))
        expected = remainder(product(first, second), MODULI[degree])
        assert field.multiply(first, second) == expected
        at_point = field.multiply(field.multiply(first, point) ^ second, point)
        assert field.evaluate([first, second], point) == at_point


def test_galois_counter_modes_field_has_its_published_product() -> None:
    """Test case 2 of McGrew and Viega's specification of GCM: X1 = C H; its bits are reflected."""

    def reflected(value: int) -> int:
        return int(f"{value:0128b}"[::-1], 2)

    cipher, key = 0x0388DACE60B6A392F328C2B971B2FE78, 0x66E94BD4EF8A2C3B884CFA59CA342B2E
    found = BinaryField(degree=128).multiply(reflected(cipher), reflected(key))
    assert reflected(found) == 0x5E2EC746917062882C85B0685353DEB7


def test_the_hash_is_the_polynomial() -> None:
    """13 bits in blocks of 8: b1 r^3 + b2 r^2 + 13 r, b2 filled with zeros."""
    message, key, field = draw(13), draw(8, seed=1), BinaryField(degree=8)
    r = number(key)
    blocks = number(message[:8]), number(message[8:]) << 3, 13
    cubed = field.multiply(r, field.multiply(r, r))
    terms = field.multiply(blocks[0], cubed), field.multiply(blocks[1], field.multiply(r, r)), field.multiply(13, r)
    assert number(polynomial_hash(message, key)) == terms[0] ^ terms[1] ^ terms[2]


def test_no_two_messages_differ_by_one_value_under_more_keys_than_the_bound() -> None:
    """Every pair of messages of up to 8 bits, every difference of tags, every key of a field of 16 elements."""
    messages = [bits for m in range(9) for bits in itertools.product((0, 1), repeat=m)]
    hashes = np.array([[number(polynomial_hash(np.array(bits, np.uint8), key)) for key in KEYS] for bits in messages])
    reached = 0
    for index, mine in enumerate(hashes):
        differences = mine ^ np.delete(hashes, index, axis=0)  # (messages - 1, keys)
        counts = np.stack([(differences == value).sum(1) for value in range(2**T)])
        blocks = -(-np.maximum(len(messages[index]), np.delete([len(bits) for bits in messages], index)) // T)
        assert (counts <= blocks + 1).all()
        reached = max(reached, int(counts.max()))
    assert reached == 3 == collision_bound(8, T) * 2**T


def test_the_pad_hides_the_hash_key() -> None:
    """Over all pads every tag is equally likely, whatever the hash key."""
    message = draw(7)
    for key in KEYS:
        tags = Counter(number(polynomial_hash(message, key) ^ pad) for pad in KEYS)
        assert tags == dict.fromkeys(range(2**T), 1)


@pytest.mark.parametrize("tag_bits", TAG_LENGTHS)
def test_tags_are_accepted_in_step_and_only_unaltered(tag_bits: int) -> None:
    key = draw(tag_bits * 6)
    alice, bob = Authenticator(key, tag_bits), Authenticator(key, tag_bits)
    tags = [alice.tag(message) for message in (b"", b"sift", b"sift")]
    assert not np.array_equal(tags[1], tags[2])
    assert bob.verify(b"", tags[0])
    assert bob.verify(b"sift", tags[1])
    assert not bob.verify(b"sift", tags[1])  # replayed
    assert alice.consumed_bits == bob.consumed_bits == 3 * tag_bits
    forged = alice.tag(b"swift")
    forged[0] ^= 1
    assert not bob.verify(b"swift", forged)
    assert not bob.verify(b"swift", alice.tag(b"swift")[:-1])


def test_an_exhausted_key_tags_nothing() -> None:
    authenticator = Authenticator(draw(96), 32)
    authenticator.tag(b"one")
    authenticator.verify(b"two", draw(32))
    with pytest.raises(KeyExhaustedError, match="32 are missing"):
        authenticator.tag(b"three")
    with pytest.raises(KeyExhaustedError, match="1 are missing"):
        Authenticator(draw(31), 32)


def test_a_pad_used_twice_gives_the_hash_key_away() -> None:
    """Two tags under one pad: their sum is (b + b') r^2, which has one root; with it any message gets a valid tag."""
    field, key = BinaryField(degree=32), draw(64)
    first, second, wanted = b"pay1", b"pay2", b"robs"
    tags = [Authenticator(key, 32).tag(message) for message in (first, second)]
    blocks = int.from_bytes(first, "big") ^ int.from_bytes(second, "big")
    power, inverse = blocks, 1
    for _ in range(31):  # b^(2^32 - 2) is the inverse
        power = field.multiply(power, power)
        inverse = field.multiply(inverse, power)
    root = field.multiply(number(tags[0] ^ tags[1]), inverse)
    for _ in range(31):  # r^2 to the power 2^31 is r
        root = field.multiply(root, root)
    assert np.array_equal(bits_of(root, 32), key[:32])
    stolen = bits_of(root, 32)
    difference = [polynomial_hash(np.unpackbits(np.frombuffer(text, np.uint8)), stolen) for text in (first, wanted)]
    assert Authenticator(key, 32).verify(wanted, tags[0] ^ difference[0] ^ difference[1])

    fresh = Authenticator(draw(96, seed=1), 32)
    tags = [fresh.tag(first), fresh.tag(second)]
    guess = field.multiply(number(tags[0] ^ tags[1]), inverse)
    for _ in range(31):
        guess = field.multiply(guess, guess)
    assert not np.array_equal(bits_of(guess, 32), draw(96, seed=1)[:32])


@pytest.mark.parametrize("length", TAG_LENGTHS)
def test_a_verification_hash_tells_strings_apart(length: int) -> None:
    bits, seed = draw(1000), draw(length, seed=1)
    assert np.array_equal(verification_hash(bits, seed, length), verification_hash(bits.copy(), seed, length))
    for place in (0, 500, 999):
        other = bits.copy()
        other[place] ^= 1
        assert not np.array_equal(verification_hash(bits, seed, length), verification_hash(other, seed, length))


def test_a_hash_seed_used_twice_lets_a_difference_pass() -> None:
    """Who knows the seed r adds (a, a r): a r^3 + a r r^2 = 0."""
    length = 64
    bits, seed, fresh = draw(128), draw(length, seed=1), draw(length, seed=2)
    a = 0xC0FFEE
    pattern = np.concatenate(
        [bits_of(a, length), bits_of(BinaryField(degree=length).multiply(a, number(seed)), length)]
    )
    assert pattern.any()
    assert np.array_equal(verification_hash(bits ^ pattern, seed, length), verification_hash(bits, seed, length))
    assert not np.array_equal(verification_hash(bits ^ pattern, fresh, length), verification_hash(bits, fresh, length))


def test_costs_and_bounds() -> None:
    assert cost_bits(0, 32) == (32, 2**-32)
    assert cost_bits(64, 64) == (64, 2 / 2**64)
    assert cost_bits(65, 64) == (64, 3 / 2**64)
    assert collision_bound(10**9, 128) == pytest.approx((7812500 + 1) / 2**128)
    assert collision_bound(15, 4) == 5 / 16


@pytest.mark.parametrize(("message_bits", "tag_bits"), [(-1, 64), (8, 16), (8, 0), (2**32, 32)])
def test_costs_that_make_no_sense_are_refused(message_bits: int, tag_bits: int) -> None:
    with pytest.raises(ValueError, match="Expected"):
        cost_bits(message_bits, tag_bits)


def test_unknown_tag_lengths_and_short_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="tag_bits=8 to be one of 32, 64, 128"):
        Authenticator(draw(64), 8)
    with pytest.raises(ValueError, match="seed of 63 bits to have length=64"):
        verification_hash(draw(100), draw(63), 64)
    with pytest.raises(ValueError, match="degree=5"):
        polynomial_hash(draw(3), draw(5))
    with pytest.raises(ValueError, match="message_bits=16 < 2\\^4"):
        polynomial_hash(draw(16), draw(4))
