"""Anonymous forwarding: layers against the primitives, orders against chance, and what the server is shown."""

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import permutations
from pathlib import Path

import pytest
import scipy.stats
import torch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from safetensors.torch import load_file
from torch import Tensor

from qfl_sec.channel import Carried, Channel, PlainChannel
from qfl_sec.checking import InputError
from qfl_sec.contracts import (
    AggregateView,
    AnonymousUpdatesView,
    GlobalModelsView,
    InterceptedView,
    MechanismEvidence,
    ReleasedModelView,
    Setup,
    UpdatesView,
    reads_updates,
    visible,
)
from qfl_sec.defenses import AnonymousForwarding, GradientPruning, SecureAggregation, Stack
from qfl_sec.defenses.onion import LAYER_BYTES, pass_on, unwrap, wrap
from qfl_sec.federation import FederationSpec, TrainingConfig, train
from qfl_sec.models import VariationalClassifier
from qfl_sec.plugins import get
from qfl_sec.transcript import Transcript, load_truth
from qfl_sec.views import project

CLIENTS, PARAMETERS = 3, 5
SETUP = Setup(
    schedule=((0, 2, 3), (1, 2, 4)),
    expected_sizes=(10.0,) * 5,
    local_steps=(1,) * 5,
    batch_size=4,
    sampling="fixed",
    optimizer="sgd",
    learning_rate=1.0,
    average="plain",
    n_parameters=PARAMETERS,
)
EVIDENCE = MechanismEvidence(largest_contribution=1.0, noise_std=0.0, noise_draws=0, sampling="fixed")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def updates(dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(CLIENTS, PARAMETERS, generator=generator(1), dtype=dtype)


def keys(count: int, first: int = 1) -> list[X25519PrivateKey]:
    return [X25519PrivateKey.from_private_bytes(bytes([first + index] * 32)) for index in range(count)]


def configured(defense, **federation) -> TrainingConfig:  # type: ignore[no-untyped-def]
    spec = {"clients": 5, "clients_per_round": 3, "rounds": 4, **federation}
    model = VariationalClassifier(layers=1)
    return TrainingConfig(data=get_data(), model=model, federation=FederationSpec(**spec), defense=defense, seed=3)


def get_data():  # type: ignore[no-untyped-def]
    from qfl_sec.datasets import DataSpec

    return DataSpec()


def test_a_layer_is_the_primitives() -> None:
    party, secret = keys(1)[0], bytes(range(32))
    sealed = wrap(b"update", [party.public_key()], [secret])
    own = X25519PrivateKey.from_private_bytes(secret)
    shared = own.exchange(party.public_key())
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"qfl-sec layer").derive(shared)
    assert sealed == own.public_key().public_bytes_raw() + AESGCM(key).encrypt(bytes(12), b"update", None)
    assert unwrap(sealed, party) == b"update"


def test_each_party_opens_its_own_layer_alone() -> None:
    parties = keys(3)
    route: list[X25519PublicKey] = [party.public_key() for party in parties]
    message = wrap(b"update", route, [bytes([100 + index] * 32) for index in range(3)])
    assert len(message) == len(b"update") + 3 * LAYER_BYTES
    for index, party in enumerate(parties):
        for other in parties[:index] + parties[index + 1 :]:
            with pytest.raises(InvalidTag):
                unwrap(message, other)
        assert b"update" not in message
        message = unwrap(message, party)
    assert message == b"update"


def test_a_changed_message_is_refused() -> None:
    party = keys(1)[0]
    sealed = bytearray(wrap(b"update", [party.public_key()], [bytes(32)]))
    sealed[40] ^= 1
    with pytest.raises(InvalidTag):
        unwrap(bytes(sealed), party)


def test_a_hop_shuffles_what_it_opens_and_refuses_what_it_could_tell_apart() -> None:
    party = keys(1)[0]
    sealed = [wrap(bytes([index] * 4), [party.public_key()], [bytes([50 + index] * 32)]) for index in range(3)]
    assert pass_on(sealed, party, [2, 0, 1]) == [bytes([index] * 4) for index in (2, 0, 1)]
    with pytest.raises(ValueError, match="one length"):
        pass_on([*sealed, sealed[0] + b"x"], party, [0, 1, 2, 3])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("hops", [1, 2, 5])
def test_updates_arrive_as_they_left(hops: int, dtype: torch.dtype) -> None:
    sent = updates(dtype)
    found = AnonymousForwarding(hops=hops).forward(sent, round=0, generator=generator())
    assert found.received.dtype == dtype
    assert torch.equal(found.received, sent[found.order])
    assert found.shuffles is None


def test_every_order_is_equally_likely() -> None:
    rounds = 600
    seen = [
        tuple(AnonymousForwarding(hops=1).forward(updates()[:, :1], round=r, generator=generator()).order.tolist())
        for r in range(rounds)
    ]
    counts = [seen.count(order) for order in permutations(range(CLIENTS))]
    assert sum(counts) == rounds
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_nothing_is_drawn_from_the_training_s_generator() -> None:
    given = generator()
    before = given.get_state()
    first = AnonymousForwarding().forward(updates(), round=0, generator=given)
    assert torch.equal(given.get_state(), before)
    assert torch.equal(first.order, AnonymousForwarding().forward(updates(), round=0, generator=given).order)


@pytest.mark.parametrize("colluding", [1, 2, 3])
def test_colluding_hops_tell_how_they_shuffled_and_no_others(colluding: int) -> None:
    defense = AnonymousForwarding(hops=3, colluding_hops=colluding)
    for round_ in range(5):
        found = defense.forward(updates(), round=round_, generator=generator())
        assert found.shuffles is not None
        assert (found.shuffles >= 0).all(1).tolist() == [True] * colluding + [False] * (3 - colluding)
        if colluding == 3:
            order = list(range(CLIENTS))
            for shuffle in found.shuffles.tolist():
                order = [order[place] for place in shuffle]
            assert order == found.order.tolist()


def test_views() -> None:
    defense = AnonymousForwarding()
    assert defense.view_for("server", UpdatesView) is AnonymousUpdatesView
    assert defense.view_for("eavesdropper", InterceptedView) is GlobalModelsView
    assert defense.view_for("client", GlobalModelsView) is GlobalModelsView
    assert defense.view_for("recipient", ReleasedModelView) is ReleasedModelView
    assert not visible((UpdatesView,), AnonymousUpdatesView)
    assert visible((GlobalModelsView,), AnonymousUpdatesView)
    assert reads_updates((AnonymousUpdatesView,))
    assert "selected" not in {field.name for field in fields(AnonymousUpdatesView)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hops": 0}, "hops=0 >= 1"),
        ({"colluding_hops": -1}, "colluding_hops=-1"),
        ({"hops": 2, "colluding_hops": 3}, "<= hops=2"),
    ],
)
def test_parameters_out_of_range(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnonymousForwarding(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": ((0,), (1,))}, "at least 2 clients a round"),
        ({"average": "weighted"}, "average to be plain"),
        ({"schedule": ((0, 1), (0, 1)), "expected_sizes": (3.0, 3.0), "local_steps": (1, 1)}, "hops=3 <= 2 clients"),
    ],
)
def test_federations_in_which_nothing_is_hidden(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AnonymousForwarding().prepare(replace(SETUP, **change))  # type: ignore[arg-type]


def test_premises_say_what_it_costs_and_fail_if_all_collude() -> None:
    honest, _ = AnonymousForwarding(colluding_hops=2).prepare(SETUP).premises(EVIDENCE)
    assert honest.passed is True
    assert "travels 4 times, 192 bytes longer" in honest.how
    assert AnonymousForwarding(colluding_hops=3).prepare(SETUP).premises(EVIDENCE)[0].passed is False


def test_stacks() -> None:
    stack = Stack(defenses=(GradientPruning(), AnonymousForwarding()))
    assert stack.view_for("server", UpdatesView) is AnonymousUpdatesView
    found = stack.forward(updates(), round=0, generator=generator())
    assert found is not None
    assert torch.equal(found.received, updates()[found.order])
    assert (
        Stack(defenses=(GradientPruning(), SecureAggregation())).forward(updates(), round=0, generator=generator())
        is None
    )
    summed = Stack(defenses=(SecureAggregation(), AnonymousForwarding()))
    assert summed.view_for("server", UpdatesView) is AggregateView


def test_a_training_learns_the_same_and_shows_no_sender(tmp_path: Path) -> None:
    plain = train(configured(get("defense", "none")()))
    defense = AnonymousForwarding()
    hidden = train(configured(defense))
    assert torch.allclose(plain.global_weights, hidden.global_weights, atol=1e-12)
    assert hidden.truth is not None and hidden.truth.senders is not None and plain.truth is not None
    truth = hidden.truth.senders
    for round_, chosen in enumerate(hidden.metadata.setup.schedule):
        places = [chosen.index(client) for client in truth[round_].tolist()]
        assert torch.allclose(hidden.updates[round_], plain.updates[round_][places], atol=1e-12)
        assert torch.equal(hidden.truth.batch_records[round_], plain.truth.batch_records[round_][places])
        assert torch.equal(hidden.batch_labels[round_], plain.batch_labels[round_][places])
    assert not torch.equal(truth, hidden.selected)
    view = project(hidden, "server", defense)
    assert type(view) is AnonymousUpdatesView and view.shuffles is None
    assert torch.equal(view.updates, hidden.updates)
    hidden.save(tmp_path / "hidden")
    public = load_file(tmp_path / "hidden" / "tensors.safetensors")
    assert not any(tensor.shape == truth.shape and torch.equal(tensor, truth) for tensor in public.values())
    loaded = Transcript.load(tmp_path / "hidden")
    assert loaded.truth is None
    again = load_truth(tmp_path / "hidden", loaded.metadata).senders
    assert again is not None and torch.equal(again, truth)
    plain.save(tmp_path / "plain")
    assert "senders" not in load_file(tmp_path / "plain" / "truth.safetensors")
    assert "shuffles" not in load_file(tmp_path / "plain" / "tensors.safetensors")


def test_a_damaged_truth_is_refused(tmp_path: Path) -> None:
    hidden = train(configured(AnonymousForwarding()))
    assert hidden.truth is not None and hidden.truth.senders is not None
    wrong = hidden.truth.senders.clone()
    wrong[0, 0] = wrong[0, 1]
    replace(hidden, truth=replace(hidden.truth, senders=wrong)).save(tmp_path / "wrong")
    with pytest.raises(InputError, match="senders are not the clients"):
        load_truth(tmp_path / "wrong", hidden.metadata)


class Lossy(Channel):
    """Loses the second client's update in every round but the first, in which all are lost."""

    def carry(self, updates: Tensor, *, broadcast: Tensor, clients: Sequence[int], round: int) -> Carried:
        delivered = torch.tensor([round > 0 and place != 1 for place in range(len(clients))])
        return Carried(received=updates * delivered.unsqueeze(1), delivered=delivered)


@pytest.mark.parametrize("colluding", [0, 3])
def test_lost_updates_stand_last_and_have_no_sender(colluding: int, tmp_path: Path) -> None:
    defense = AnonymousForwarding(colluding_hops=colluding)
    transcript = train(configured(defense), open_channel=lambda spec, streams: Lossy())
    assert transcript.truth is not None and transcript.truth.senders is not None
    for round_, chosen in enumerate(transcript.metadata.setup.schedule):
        came = 2 if round_ else 0
        senders = transcript.truth.senders[round_]
        assert sorted(senders[:came].tolist()) == [chosen[0], chosen[2]][:came]
        assert (senders[came:] == -1).all()
        assert (transcript.updates[round_, came:] == 0).all()
        moved = transcript.global_weights[round_ + 1] - transcript.global_weights[round_]
        expected = transcript.updates[round_, :came].sum(0) / max(1, came)
        assert torch.allclose(moved, expected, atol=1e-12)
    assert (transcript.shuffles is None) == (colluding == 0)
    transcript.save(tmp_path / "lossy")
    view = project(Transcript.load(tmp_path / "lossy"), "server", defense)
    assert isinstance(view, AnonymousUpdatesView) and view.delivered is not None


def test_who_listens_reads_nothing_and_leaves_nothing_in_the_record() -> None:
    config = replace(configured(AnonymousForwarding()), channel=PlainChannel(adversary="intercept_resend"))
    transcript = train(config)
    assert transcript.known is None and transcript.intercepted is None
    view = project(transcript, "eavesdropper", config.defense, config.channel)
    assert type(view) is GlobalModelsView
