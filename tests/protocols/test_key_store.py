"""Key given out once, one-time pads, and AES where the key is short."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.key_store import KeyExhaustedError, KeyStore
from qfl_sec.protocols.one_time_pad import AES_KEY_BITS, Ciphertext, DecryptionError, decrypt, encrypt, one_time_pad


def draw(count: int, seed: int = 0) -> Bits:
    return np.random.default_rng(seed).integers(0, 2, count, dtype=np.uint8)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50)), max_size=30))
def test_every_bit_is_given_out_once_and_in_order(steps: list[tuple[bool, int]]) -> None:
    stream = draw(2000)
    store, added, taken = KeyStore(stream[:0]), 0, 0
    for adds, count in steps:
        if adds:
            store.add(stream[added : added + count])
            added += count
        elif count <= added - taken:
            assert np.array_equal(store.take(count), stream[taken : taken + count])
            taken += count
        else:
            with pytest.raises(KeyExhaustedError, match=f"{count - added + taken} are missing"):
                store.take(count)
        assert (store.remaining, store.consumed) == (added - taken, taken)


def test_given_bits_are_the_takers_own() -> None:
    key = draw(10)
    store = KeyStore(key)
    expected = key.copy()
    key ^= 1
    first = store.take(4)
    assert np.array_equal(first, expected[:4])
    first ^= 1
    assert np.array_equal(store.take(6), expected[4:])


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="count=-1"):
        KeyStore(draw(3)).take(-1)
    with pytest.raises(ValueError, match="found 7"):
        KeyStore(np.array([7], np.uint8))
    with pytest.raises(ValueError, match="pad of 7 bits to have 8 x 1 bytes"):
        one_time_pad(b"a", draw(7))


def test_a_one_time_pad_fits_every_message_equally() -> None:
    seen = {one_time_pad(b"x", np.unpackbits(np.array([pad], np.uint8))) for pad in range(256)}
    assert len(seen) == 256


def test_a_pad_used_twice_gives_the_sum_of_the_messages_away() -> None:
    pad = draw(48)
    first, second = one_time_pad(b"secret", pad), one_time_pad(b"update", pad)
    known = bytes(a ^ b for a, b in zip(b"secret", b"update", strict=True))
    assert bytes(a ^ b for a, b in zip(first, second, strict=True)) == known


def test_messages_use_pads_while_they_last_and_then_aes() -> None:
    key = draw(8 * 100 + AES_KEY_BITS + 10)
    alice, bob = KeyStore(key), KeyStore(key)
    messages = [bytes(range(100)), bytes(1000)]
    sealed = [encrypt(message, alice) for message in messages]
    assert [one.method for one in sealed] == ["one_time_pad", "aes_256_gcm"]
    assert [one.security for one in sealed] == ["information-theoretic", "computational"]
    assert len(sealed[0].data) == 100
    assert [decrypt(one, bob) for one in sealed] == messages
    assert (alice.remaining, alice.consumed) == (bob.remaining, bob.consumed) == (10, 8 * 100 + AES_KEY_BITS)
    with pytest.raises(KeyExhaustedError, match="246 are missing"):
        encrypt(bytes(1000), alice)
    assert alice.remaining == 10


def test_an_altered_ciphertext_is_found_by_aes_and_not_by_a_pad() -> None:
    key = draw(AES_KEY_BITS)
    sealed = encrypt(bytes(1000), KeyStore(key))
    altered = bytes([sealed.data[0] ^ 1]) + sealed.data[1:]
    with pytest.raises(DecryptionError, match="altered"):
        decrypt(Ciphertext(data=altered, method=sealed.method), KeyStore(key))
    padded = encrypt(bytes(2), KeyStore(key))
    altered = bytes([padded.data[0] ^ 1]) + padded.data[1:]
    assert decrypt(Ciphertext(data=altered, method=padded.method), KeyStore(key)) == bytes([1, 0])
