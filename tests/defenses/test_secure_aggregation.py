"""Secure aggregation: masks against the primitives themselves, sums against integers, uploads against chance."""

import hashlib
import hmac
from dataclasses import replace
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
import torch
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.contracts import AggregateView, GlobalModelsView, MechanismEvidence, ReleasedModelView, Setup, UpdatesView
from qfl_sec.defenses import SecureAggregation
from qfl_sec.defenses.fixed_point import FixedPoint
from qfl_sec.defenses.pairwise_masks import agree, agreed_seeds, expand, pairwise_masks
from qfl_sec.federation import TrainingConfig, train
from qfl_sec.plugins import get
from qfl_sec.views import project

CLIENTS, PARAMETERS = 5, 400
SETUP = Setup(
    schedule=((0, 2, 3, 5, 7), (1, 2, 4, 6, 7)),
    expected_sizes=(10.0,) * 8,
    local_steps=(1,) * 8,
    batch_size=4,
    sampling="fixed",
    optimizer="sgd",
    learning_rate=1.0,
    average="plain",
    n_parameters=PARAMETERS,
)
DEFENSE = SecureAggregation().prepare(SETUP)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def updates(seed: int = 1, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(CLIENTS, PARAMETERS, generator=generator(seed), dtype=torch.float64)


EQUAL = torch.full((CLIENTS,), 1 / CLIENTS, dtype=torch.float64)
UNEQUAL = torch.tensor([0.5, 0.25, 0.15, 0.1, 0.0], dtype=torch.float64)


def test_seeds_follow_the_standards() -> None:
    """RFC 7748, section 6.1 for the agreement; HKDF of RFC 5869 written out with the standard library."""
    alice, bob = (
        X25519PrivateKey.from_private_bytes(bytes.fromhex(key))
        for key in (
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        )
    )
    shared = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
    extracted = hmac.digest(bytes(32), shared, hashlib.sha256)
    expected = hmac.digest(extracted, b"purpose\x01", hashlib.sha256)
    assert agree(alice, bob.public_key(), info=b"purpose") == expected
    assert agree(bob, alice.public_key(), info=b"purpose") == expected
    assert agree(bob, alice.public_key(), info=b"another") != expected


def test_streams_follow_the_standard() -> None:
    """RFC 8439, appendix A.1, test vector 1: an all-zero key."""
    known = "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    assert expand(bytes(32), 4).astype("<u8").tobytes().hex() == known
    assert np.array_equal(expand(bytes(32), 9)[:4], expand(bytes(32), 4))


def test_masks_equal_the_formula_and_cancel_only_all_together() -> None:
    secrets = [bytes([client + 1]) * 32 for client in range(4)]
    found = pairwise_masks(agreed_seeds(secrets, context=b"sum 3"), clients=4, length=7)
    modulus = 2**64
    expected = [[0] * 7 for _ in secrets]
    for first, second in combinations(range(4), 2):
        public = X25519PrivateKey.from_private_bytes(secrets[second]).public_key()
        seed = agree(
            X25519PrivateKey.from_private_bytes(secrets[first]),
            X25519PublicKey.from_public_bytes(public.public_bytes_raw()),
            info=f"sum 3, clients {first} and {second}".encode(),
        )
        for index, number in enumerate(expand(seed, 7).tolist()):
            expected[first][index] = (expected[first][index] + number) % modulus
            expected[second][index] = (expected[second][index] - number) % modulus
    assert found.tolist() == expected
    assert not found.sum(axis=0, dtype=np.uint64).any()
    for left_out in range(4):
        assert np.delete(found, left_out, axis=0).sum(axis=0, dtype=np.uint64).all()


@settings(max_examples=200, deadline=None)
@given(
    bits=st.integers(16, 52),
    fraction_bits=st.integers(0, 12),
    values=st.lists(st.floats(-1.0, 1.0), min_size=1, max_size=6),
)
def test_sums_of_encoded_numbers_are_exact(bits: int, fraction_bits: int, values: list[float]) -> None:
    """Against rational arithmetic: the decoded sum is the sum of the rounded numbers."""
    code = FixedPoint(bits=bits, fraction_bits=fraction_bits)
    numbers = torch.tensor(values, dtype=torch.float64)
    assert code.sum_fits(float(len(values)), len(values))
    encoded = code.encode(numbers)
    assert encoded.max() < 2**bits
    found = float(code.decode(encoded.sum(keepdims=True, dtype=np.uint64), torch.float64))
    assert Fraction(found) == sum(round(Fraction(value) * 2**fraction_bits) for value in values) / Fraction(
        2**fraction_bits
    )
    assert abs(Fraction(found) - sum(map(Fraction, values))) <= Fraction(len(values), 2 ** (fraction_bits + 1))


def test_the_largest_sum_that_fits_does_and_the_next_wraps() -> None:
    code = FixedPoint(bits=8, fraction_bits=0)
    assert code.sum_fits(126.0, 2) and not code.sum_fits(127.0, 2)
    for sign in (1, -1):
        halves = code.encode(torch.tensor([63.0, 63.0]) * sign)
        assert float(code.decode(halves.sum(keepdims=True, dtype=np.uint64), torch.float64)) == sign * 126
    over = code.encode(torch.tensor([64.0, 64.0])).sum(keepdims=True, dtype=np.uint64)
    assert float(code.decode(over, torch.float64)) == -128


@pytest.mark.parametrize("value", [128.0, -128.0, float("inf"), float("nan")])
def test_numbers_that_overflow_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="bits"):
        FixedPoint(bits=8, fraction_bits=0).encode(torch.tensor([value]))


@pytest.mark.parametrize("weights", [EQUAL, UNEQUAL], ids=["plain", "weighted"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_aggregate_is_the_weighted_mean_to_the_resolution(weights: Tensor, dtype: torch.dtype) -> None:
    sent = updates().to(dtype)
    found = DEFENSE.aggregate(sent, weights.to(dtype), round=1, generator=generator())
    assert found.dtype == dtype
    bound = CLIENTS * 2.0**-25 + (1e-6 if dtype == torch.float32 else 0)
    assert float((found - weights.to(dtype) @ sent).abs().max()) <= bound
    # exactly the sum of the encoded updates, in Python's integers
    scaled = (sent.double() * weights.to(dtype).double().unsqueeze(1)).tolist()
    exact = [sum(round(Fraction(row[place]) * 2**24) for row in scaled) / 2**24 for place in range(PARAMETERS)]
    assert found.tolist() == torch.tensor(exact, dtype=torch.float64).to(dtype).tolist()


def test_the_server_sums_what_the_clients_upload() -> None:
    sent = updates()
    uploads = DEFENSE.uploads(sent, UNEQUAL, round=0, generator=generator())
    total = [sum(column) % 2**32 for column in uploads.T.tolist()]
    signed = [number - 2**32 if number >= 2**31 else number for number in total]
    found = DEFENSE.aggregate(sent, UNEQUAL, round=0, generator=generator())
    assert found.tolist() == [number / 2**24 for number in signed]


def test_coordinates_are_clipped_to_the_limit() -> None:
    defense = replace(DEFENSE, limit=0.5).prepare(SETUP)
    found = defense.aggregate(updates(scale=4.0), EQUAL, round=0, generator=generator())
    expected = EQUAL @ updates(scale=4.0).clamp(-0.5, 0.5)
    assert torch.allclose(found, expected, atol=CLIENTS * 2.0**-25, rtol=0)
    with pytest.raises(ValueError, match="finite"):
        defense.aggregate(updates() * torch.inf, EQUAL, round=0, generator=generator())


@pytest.mark.parametrize("client", [0, CLIENTS - 1])
def test_each_upload_alone_looks_uniform(client: int) -> None:
    """Of updates that are all equal: chi-square over the upper byte, Kolmogorov-Smirnov over the whole range."""
    constant = torch.full((CLIENTS, PARAMETERS), 0.125, dtype=torch.float64)
    numbers = np.concatenate(
        [DEFENSE.uploads(constant, EQUAL, round=0, generator=generator(seed))[client] for seed in range(25)]
    )
    assert numbers.max() < 2**32
    upper = np.bincount((numbers >> np.uint64(24)).astype(np.int64), minlength=256)
    lower = np.bincount((numbers & np.uint64(255)).astype(np.int64), minlength=256)
    assert scipy.stats.chisquare(upper).pvalue > 1e-3
    assert scipy.stats.chisquare(lower).pvalue > 1e-3
    assert scipy.stats.kstest(numbers / 2**32, "uniform").pvalue > 1e-3
    encoded = np.full(len(numbers), 0.025)  # what would be sent without masks fails the same test
    assert scipy.stats.kstest(encoded, "uniform").pvalue < 1e-12


def test_an_upload_does_not_follow_the_update() -> None:
    """Correlation of update and upload over 10 000 coordinates: four standard errors."""
    sent = [updates(seed) for seed in range(25)]
    pairs = [
        (one[2].numpy(), DEFENSE.uploads(one, EQUAL, round=0, generator=generator(seed))[2] / 2**32)
        for seed, one in enumerate(sent)
    ]
    both = np.concatenate(pairs, axis=1)
    assert abs(np.corrcoef(both)[0, 1]) < 4 / np.sqrt(both.shape[1])


def test_keys_are_fresh_each_round_and_follow_the_seed() -> None:
    first = DEFENSE.uploads(updates(), EQUAL, round=0, generator=generator(5))
    assert np.array_equal(first, DEFENSE.uploads(updates(), EQUAL, round=0, generator=generator(5)))
    for other in (
        DEFENSE.uploads(updates(), EQUAL, round=1, generator=generator(5)),
        DEFENSE.uploads(updates(), EQUAL, round=0, generator=generator(6)),
    ):
        assert np.mean(first == other) < 0.01


def test_nothing_is_drawn_from_the_generator() -> None:
    source = generator(3)
    before = source.get_state()
    DEFENSE.aggregate(updates(), EQUAL, round=0, generator=source)
    assert torch.equal(source.get_state(), before)


def test_it_narrows_the_servers_view_alone_and_proves_nothing() -> None:
    assert DEFENSE.view_for("server", UpdatesView) is AggregateView
    assert DEFENSE.view_for("client", GlobalModelsView) is GlobalModelsView
    assert DEFENSE.view_for("recipient", ReleasedModelView) is ReleasedModelView
    assert DEFENSE.guarantees(SETUP) == ()
    seen = MechanismEvidence(largest_contribution=1.0, noise_std=0.0, noise_draws=1, sampling="fixed")
    assert {check.status for check in DEFENSE.premises(seen)} == {"assumed"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"limit": 0.0}, "limit=0.0 > 0"),
        ({"limit": float("nan")}, "limit=nan"),
        ({"limit": 128.0}, "overflow"),
        ({"bits": 53}, "bits=53 <= 52"),
        ({"fraction_bits": 32}, "fraction_bits=32 < bits=32"),
        ({"fraction_bits": 29}, "Set more bits"),
    ],
)
def test_impossible_parameters_are_refused(wrong: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SecureAggregation(**wrong)  # type: ignore[arg-type]


def test_what_cannot_be_summed_is_refused() -> None:
    alone = replace(SETUP, schedule=((0,), (1,)))
    with pytest.raises(InputError, match="clients_per_round"):
        SecureAggregation().prepare(alone)
    tight = SecureAggregation(bits=8, fraction_bits=0, limit=126.0)
    with pytest.raises(ValueError, match="a sum of 5 would overflow"):
        tight.prepare(SETUP)
    with pytest.raises(ValueError, match="prepare"):
        SecureAggregation().aggregate(updates(), EQUAL, round=0, generator=generator())
    with pytest.raises(ValueError, match="prepared for 3 clients"):
        DEFENSE.aggregate(updates()[:3], EQUAL[:3], round=0, generator=generator())


@pytest.mark.parametrize("average", ["plain", "weighted"])
def test_a_training_is_the_undefended_one_to_the_resolution(small_training: TrainingConfig, average: str) -> None:
    config = replace(small_training, federation=replace(small_training.federation, average=average))
    open_ = train(config)
    hidden = train(replace(config, defense=get("defense", "secure_aggregation")()))
    assert torch.equal(hidden.selected, open_.selected)
    assert float((hidden.global_weights - open_.global_weights).abs().max()) < 1e-5
    assert not torch.equal(hidden.global_weights, open_.global_weights)
    steps = hidden.global_weights.diff(dim=0)
    assert torch.allclose(steps, hidden.aggregates, atol=1e-15)
    assert torch.equal(hidden.aggregates * 2**24, (hidden.aggregates * 2**24).round())
    assert not hidden.updates.any()  # what nobody sees is not recorded
    assert hidden.metadata.guarantees == ()
    view = project(hidden, "server", SecureAggregation())
    assert type(view) is AggregateView
    assert torch.equal(view.aggregates, hidden.aggregates)
