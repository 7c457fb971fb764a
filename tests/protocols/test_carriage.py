"""Channels in a federation: what arrives, what is lost, what an eavesdropper gets, and what it costs."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from qfl_sec.attacks.transmissions import transmissions
from qfl_sec.channel import Channel, Link, PlainChannel, eavesdropper_view, is_watched
from qfl_sec.contracts import (
    AggregateView,
    InterceptedView,
    LostRoundError,
    UpdatesView,
    visible,
)
from qfl_sec.federation import TrainingConfig, train
from qfl_sec.plugins import get
from qfl_sec.protocol_contracts import (
    AdversaryReport,
    Bits,
    Cost,
    EpsilonLedger,
    EpsilonTerm,
    KeyResult,
    KeySource,
    MessageCarrier,
    MessageResult,
)
from qfl_sec.protocols.carriage import open_channel
from qfl_sec.protocols.keyed_channel import authentication_bits
from qfl_sec.protocols.number_bytes import from_bytes, to_bytes
from qfl_sec.randomness import Streams
from qfl_sec.transcript import Transcript
from qfl_sec.views import adversaries, project, view_type

LEDGER = EpsilonLedger(terms=(EpsilonTerm(aspect="secrecy", epsilon=1e-9, theorem="assumed for the test"),))


@dataclass(frozen=True, kw_only=True)
class GivenKey(KeySource):
    """Hands out a number of random bits, and aborts for every client of an odd draw if asked to."""

    name: ClassVar[str] = "given_key"

    bits: int = 20_000
    aborting: float = 0.0
    flipped: int = 0
    open: bool = False

    @property
    def authenticated(self) -> bool:
        return not self.open

    def distribute(self, streams: Streams) -> KeyResult:
        key = streams.numpy("alice").integers(0, 2, self.bits, dtype=np.uint8)
        aborts = streams.numpy("line").random() < self.aborting
        other = key.copy()
        other[: self.flipped] ^= 1
        return KeyResult(
            abort_reason="too many errors" if aborts else None,
            cost=Cost(qubits=2 * self.bits, classical_bits=7),
            ledger=LEDGER,
            adversary=AdversaryReport(name="none", power="none", information=0.0, unit="bits"),
            alice_key=key[:0] if aborts else key,
            bob_key=key[:0] if aborts else other,
        )


@dataclass(frozen=True, kw_only=True)
class Leaky(MessageCarrier):
    """Delivers every message, and lets each bit be known with a probability."""

    name: ClassVar[str] = "leaky"

    share: float = 0.0

    @property
    def attacked(self) -> bool:
        return self.share > 0

    def send(self, message: Bits, streams: Streams) -> MessageResult:
        known = streams.numpy("eve").random(len(message)) < self.share
        held = {"known": known, "bits": message * known}
        return MessageResult(
            abort_reason=None,
            cost=Cost(qubits=len(message)),
            ledger=LEDGER,
            adversary=AdversaryReport(name="leak", power="reads", information=None, unit="bits", held=held),
            delivered=message,
        )


def carried(channel: Channel, updates: torch.Tensor, *, round_: int = 0) -> tuple[torch.Tensor, list[Link]]:
    result = channel.carry(updates, broadcast=torch.ones_like(updates[0]), clients=range(len(updates)), round=round_)
    return result.received, list(result.links)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_survive_the_way_into_bytes_and_back(dtype: torch.dtype) -> None:
    numbers = torch.tensor([0.0, -0.0, 1e-300, -3.141592653589793, 3.5], dtype=torch.float64).to(dtype)
    assert torch.equal(from_bytes(to_bytes(numbers), numbers), numbers)


def test_most_significant_bit_is_the_sign() -> None:
    first = np.unpackbits(np.frombuffer(to_bytes(torch.tensor([-1.0], dtype=torch.float64)), np.uint8))[0]
    assert first == 1


def test_key_encrypts_and_delivers_exactly(updates: torch.Tensor) -> None:
    received, links = carried(open_channel(GivenKey(), Streams(0)), updates)
    assert torch.equal(received, updates)
    assert [link.cipher for link in links] == ["one-time pad"] * 3
    assert all(link.needed_bits == 2 * 64 * updates.shape[1] + authentication_bits() for link in links)
    assert all(link.leaked_bits == 0 and 1e-9 <= (link.epsilon or 0) < 1.1e-9 for link in links)


def test_a_short_key_falls_back_to_aes_and_a_shorter_one_aborts(updates: torch.Tensor) -> None:
    message = 64 * updates.shape[1]
    tags = authentication_bits()
    for bits, cipher in ((2 * message + tags, "one-time pad"), (message + 256 + tags, "AES-256-GCM")):
        received, links = carried(open_channel(GivenKey(bits=bits), Streams(0)), updates)
        assert torch.equal(received, updates)
        assert {link.cipher for link in links} == {cipher}
    received, links = carried(open_channel(GivenKey(bits=511 + tags), Streams(0)), updates)
    assert not received.any()
    assert all(str(link.abort_reason).startswith("key budget") for link in links)


def test_different_keys_are_found_by_the_tags(updates: torch.Tensor) -> None:
    received, links = carried(open_channel(GivenKey(flipped=1), Streams(0)), updates)
    assert not received.any()
    assert {link.abort_reason for link in links} == {"authentication: a tag does not fit its message"}


def test_rounds_and_clients_get_keys_of_their_own(updates: torch.Tensor) -> None:
    source = Recording()
    channel = open_channel(source, Streams(0))
    for round_ in range(2):
        carried(channel, updates, round_=round_)
    assert len(set(SEEN)) == 2 * len(updates)


SEEN: list[bytes] = []


class Recording(GivenKey):
    """Remembers every key."""

    def distribute(self, streams: Streams) -> KeyResult:
        result = super().distribute(streams)
        SEEN.append(result.alice_key.tobytes())
        return result


def test_a_carrier_leaks_the_numbers_whose_leading_bits_are_known(updates: torch.Tensor) -> None:
    channel = open_channel(Leaky(share=1.0), Streams(0))
    result = channel.carry(updates, broadcast=updates[0], clients=(0, 1, 2), round=0)
    assert result.known is not None and result.intercepted is not None
    assert bool(result.known.all()) and torch.equal(result.intercepted, updates)
    partial = open_channel(Leaky(share=0.99), Streams(0)).carry(
        updates, broadcast=updates[0], clients=(0, 1, 2), round=0
    )
    assert partial.known is not None and partial.intercepted is not None
    expected = 0.99 ** (1 + 11 + 16)
    share = float(partial.known.double().mean())
    assert abs(share - expected) < 5 * (expected * (1 - expected) / partial.known.numel()) ** 0.5
    gap = (partial.intercepted - updates)[partial.known].abs() / updates[partial.known].abs()
    assert float(gap.max()) < 2.0**-16
    assert not partial.intercepted[~partial.known].any()


def test_who_is_exposed() -> None:
    exposed = PlainChannel(adversary="intercept_resend")
    assert not is_watched(PlainChannel()) and is_watched(exposed) and is_watched(GivenKey())
    assert eavesdropper_view(GivenKey()) is None and eavesdropper_view(GivenKey(open=True)) is InterceptedView
    assert eavesdropper_view(Leaky()) is None and eavesdropper_view(Leaky(share=0.1)) is InterceptedView
    assert "eavesdropper" not in adversaries(PlainChannel()) and "eavesdropper" in adversaries(GivenKey())
    masked, none = get("defense", "secure_aggregation")(), get("defense", "none")()
    assert view_type("eavesdropper", masked, exposed) is AggregateView
    assert view_type("eavesdropper", none, exposed) is InterceptedView
    assert view_type("eavesdropper", none) is None


def test_parts_of_updates_go_only_to_attacks_that_name_them() -> None:
    assert visible((UpdatesView, AggregateView), UpdatesView)
    assert not visible((UpdatesView, AggregateView), InterceptedView)
    assert visible((UpdatesView, InterceptedView), InterceptedView)


def test_a_protected_training_equals_the_plain_one(small_training: TrainingConfig) -> None:
    plain = train(small_training)
    quantum = train(replace(small_training, channel=GivenKey(bits=60_000)), open_channel=open_channel)
    assert torch.equal(plain.updates, quantum.updates)
    assert torch.equal(plain.global_weights, quantum.global_weights)
    assert quantum.known is None and quantum.delivered is None
    assert len(quantum.metadata.links) == plain.selected.numel()


def test_aborted_clients_are_missing_and_the_federation_goes_on(small_training: TrainingConfig, tmp_path) -> None:  # type: ignore[no-untyped-def]
    transcript = train(replace(small_training, channel=GivenKey(bits=60_000, aborting=0.4)), open_channel=open_channel)
    delivered = transcript.delivered
    assert delivered is not None and 0 < int(delivered.sum()) < delivered.numel()
    for round_, came in enumerate(delivered):
        expected = transcript.updates[round_][came].mean(0) if bool(came.any()) else torch.zeros(1)
        assert torch.allclose(transcript.aggregates[round_], expected.to(transcript.aggregates.dtype), atol=1e-12)
        assert not transcript.updates[round_][~came].any()
    transcript.save(tmp_path / "t")
    loaded = Transcript.load(tmp_path / "t")
    assert loaded.delivered is not None and torch.equal(loaded.delivered, delivered)
    assert loaded.metadata.links == transcript.metadata.links
    view = project(loaded, "server", small_training.defense)
    assert view is not None
    assert torch.equal(transmissions(view).sent, delivered)


def test_a_missing_client_spoils_a_masked_round(small_training: TrainingConfig) -> None:
    masked = replace(
        small_training, defense=get("defense", "secure_aggregation")(), channel=GivenKey(bits=60_000, aborting=0.2)
    )
    transcript = train(masked, open_channel=open_channel)
    assert transcript.delivered is not None
    whole = transcript.delivered.all(1)
    assert not transcript.delivered[~whole].any()
    assert not transcript.aggregates[~whole].any()
    assert bool(transcript.aggregates[whole].any(1).all())


def test_masks_grow_from_keys_of_the_channel(small_training: TrainingConfig) -> None:
    masked = replace(small_training, defense=get("defense", "secure_aggregation")())
    agreed = train(masked)
    keyed = train(replace(masked, channel=GivenKey(bits=60_000)), open_channel=open_channel)
    assert torch.equal(agreed.global_weights, keyed.global_weights)  # masks cancel, whatever they grow from
    pairs = {(link.client, link.peer) for link in keyed.metadata.links if link.peer is not None}
    selected = {(a, b) for chosen in keyed.metadata.setup.schedule for a in chosen for b in chosen if a < b}
    assert pairs == selected
    defense = masked.defense.prepare(keyed.metadata.setup)
    updates, shares = keyed.updates[0] + 0.1, torch.full((keyed.updates.shape[1],), 0.5)

    def uploads(seed: int) -> np.ndarray:  # type: ignore[type-arg]
        keys = open_channel(GivenKey(), Streams(seed)).pair_keys
        assert keys is not None
        with_keys = defense.with_shared_keys(keys)
        return with_keys.uploads(updates, shares, round=0, generator=torch.Generator())  # type: ignore[attr-defined]

    assert np.array_equal(uploads(1), uploads(1))
    assert (uploads(1) != uploads(2)).mean() > 0.9


def test_pairs_without_a_key_lose_the_round(small_training: TrainingConfig) -> None:
    masked = replace(
        small_training, defense=get("defense", "secure_aggregation")(), channel=GivenKey(bits=60_000, aborting=1.0)
    )
    transcript = train(masked, open_channel=open_channel)
    assert transcript.delivered is not None and not transcript.delivered.any()
    keys = open_channel(GivenKey(bits=100), Streams(0)).pair_keys
    assert keys is not None
    with pytest.raises(LostRoundError, match="Clients 0 and 1 share no key: key budget"):
        keys(0, 1)


def test_tapping_takes_its_share_and_changes_nothing(small_training: TrainingConfig) -> None:
    plain = train(small_training)
    spec = PlainChannel(adversary="intercept_resend", adversary_fraction=0.5)
    tapped = train(replace(small_training, channel=spec))
    assert torch.equal(plain.updates, tapped.updates)
    assert tapped.known is not None and tapped.intercepted is not None
    whole = tapped.known.all(-1)
    assert torch.equal(whole, tapped.known.any(-1)) and 0 < int(whole.sum()) < whole.numel()
    assert torch.equal(tapped.intercepted[whole], tapped.updates[whole]) and not tapped.intercepted[~whole].any()
    view = project(tapped, "eavesdropper", small_training.defense, spec)
    assert isinstance(view, InterceptedView)
    assert bool(transmissions(view).sent.all())


def test_tampering_turns_updates_round(small_training: TrainingConfig) -> None:
    spec = PlainChannel(adversary="tamper")
    first = train(replace(small_training, channel=spec))
    assert first.intercepted is not None
    assert torch.equal(first.updates, -first.intercepted)


@pytest.fixture
def updates() -> torch.Tensor:
    return torch.randn(3, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
