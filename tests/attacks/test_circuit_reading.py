"""Circuits that are read: exact records and members from plain ones, chance without signal, nothing from blind ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from qfl_sec.attacks.circuit_membership import CircuitMembership
from qfl_sec.attacks.circuit_reading import CircuitReading
from qfl_sec.attacks.gradient_inversion import GradientInversion
from qfl_sec.compute import PlainCloud
from qfl_sec.contracts import Knowledge, NotApplicableError, ServerComputeView
from qfl_sec.defenses import GaussianNoise
from qfl_sec.federation import TrainingConfig, build_model, train
from qfl_sec.harness import attack_with_control, scores_from_bytes
from qfl_sec.membership import auc
from qfl_sec.models import VariationalClassifier
from qfl_sec.randomness import Streams
from qfl_sec.transcript import Transcript
from qfl_sec.views import project

Seen = tuple[ServerComputeView, Knowledge, Transcript, torch.Tensor]


def seen(config: TrainingConfig, **model: Any) -> Seen:
    """Train over a plain cloud; return what it holds, what it knows, and the truth."""
    cloud = PlainCloud(shots=5)
    federation = replace(config.federation, rounds=12)
    config = replace(config, model=VariationalClassifier(layers=1, **model), federation=federation, compute=cloud)
    transcript, population = train(config), config.population()
    view = project(transcript, "quantum_server", config.defense, config.channel, cloud)
    assert isinstance(view, ServerComputeView)
    knowledge = Knowledge(
        architecture=build_model(config, population.splits)[1],
        reference=population.reference(config.federation.dtype),
        defense=config.defense,
        candidates=population.candidates(config.federation.dtype),
    )
    return view, knowledge, transcript, population.splits.candidates.features


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("model", [{}, {"encoding": "angle"}, {"encoding": "angle", "frequencies": (2.0,)}])
def test_records_are_read_exactly(small_training: TrainingConfig, model: dict[str, Any]) -> None:
    view, knowledge, transcript, features = seen(small_training, **model)
    found = CircuitReading().run(view, knowledge, generator=generator())
    assert transcript.truth is not None
    rows = transcript.truth.batch_records[found.targets[:, 0], found.targets[:, 1]]
    filled = rows >= 0
    assert float((found.answers() - features[rows.clamp(min=0)])[filled].abs().max()) < 1e-6
    assert torch.equal(found.ranks, found.unknowns)
    assert not found.answers()[~filled].any()


def test_directions_alone_are_no_full_rank(small_training: TrainingConfig) -> None:
    view, knowledge, _, _ = seen(small_training, encoding="amplitude", qubits=2)
    found = CircuitReading(targets=2).run(view, knowledge, generator=generator())
    assert bool((found.ranks < found.unknowns).all())  # amplitudes of unit norm keep no length


def test_members_that_were_run_are_told_and_the_control_is_at_chance(small_training: TrainingConfig) -> None:
    view, knowledge, transcript, _ = seen(small_training)
    scores, control = scores_from_bytes(attack_with_control(CircuitMembership(), view, knowledge, Streams(0)))
    assert transcript.truth is not None and control is not None
    used = transcript.truth.batch_records.unique()
    was_run = torch.zeros(len(transcript.truth.members), dtype=torch.bool)
    was_run[used[used >= 0]] = True
    assert bool((scores.values[was_run] > -1e-12).all())  # type: ignore[union-attr]
    assert bool((scores.values[~was_run] < -1e-6).all())  # type: ignore[union-attr]
    assert abs(auc(control.values.numpy(), transcript.truth.members.numpy()) - 0.5) < 0.12  # type: ignore[union-attr]


def test_nothing_to_read(small_training: TrainingConfig) -> None:
    view, knowledge, _, _ = seen(small_training)
    closed = replace(knowledge, architecture=replace(knowledge.architecture, encoding=None))
    empty = replace(view, filled=torch.zeros_like(view.filled))
    for attack in (CircuitReading(), CircuitMembership()):
        with pytest.raises(NotApplicableError, match="angle"):
            attack.run(view, closed, generator=generator())
        with pytest.raises(NotApplicableError, match="run"):
            attack.run(empty, knowledge, generator=generator())


@pytest.mark.parametrize("field", ["targets", "starts", "iterations"])
def test_bad_parameters(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}=0"):
        CircuitReading(**{field: 0})
    with pytest.raises(ValueError, match="margin=-1"):
        CircuitReading(margin=-1)


def test_inversion_models_clipped_updates(federation: Callable[..., Any]) -> None:
    played = federation(batch_size=1, layers=2, rounds=2)

    class Clipped(GaussianNoise):
        """Hardly any noise, which shows whether the clip is modelled."""

        def update_noise_std(self) -> float:
            return 1e-9

    defense = Clipped(epsilon=2.0, clip_norm=0.05)
    view = replace(played.view, updates=defense.expected_update(played.view.updates))
    knowledge = replace(played.knowledge, defense=defense)
    attack = GradientInversion(targets=4, restarts=8, labels="known")
    found = attack.run(view, knowledge, generator=generator())
    unaware = attack.run(view, replace(knowledge, defense=None), generator=generator())
    rows = played.used[found.targets[:, 0], found.targets[:, 1], 0]
    gaps, without = (
        (one.answers()[:, 0] - knowledge.candidates.features[rows]).abs().amax(1) for one in (found, unaware)
    )
    assert int((gaps < 1e-3).sum()) >= 3
    assert int((without < 1e-3).sum()) == 0
