"""Membership from the released model: scores by hand, shadows against a loop, success where models remember."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from qfl_sec import plugins
from qfl_sec.attacks.loss_membership import LossMembership, confidence
from qfl_sec.attacks.shadow_models import shadow_evaluations, train_shadows
from qfl_sec.contracts import (
    AggregateView,
    Candidates,
    GlobalModelsView,
    Knowledge,
    MembershipScores,
    NotApplicableError,
    Records,
    ReleasedModelView,
    Setup,
    UpdatesView,
    visible,
)
from qfl_sec.datasets import DataSpec
from qfl_sec.defenses import DpSgd, SecureAggregation, Stack
from qfl_sec.experiment import Experiment
from qfl_sec.federation import FederationSpec, TrainingConfig
from qfl_sec.grid import cell_task, training_task
from qfl_sec.harness import attack_with_control, run_cell, run_training, scores_from_bytes
from qfl_sec.membership import auc
from qfl_sec.models import MlpClassifier, VariationalClassifier, architecture, flat_weights
from qfl_sec.optimizers import LocalOptimizer
from qfl_sec.planting import can_plant, find_planted
from qfl_sec.randomness import Streams
from qfl_sec.tables import RunSpec
from qfl_sec.workbench import audit

SETUP = Setup(
    schedule=((0, 1), (0, 2), (1, 2)),
    expected_sizes=(10.0, 10.0, 10.0),
    local_steps=(2, 2, 2),
    batch_size=3,
    sampling="fixed",
    optimizer="sgd",
    learning_rate=0.5,
    average="plain",
    n_parameters=24,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def records(count: int, seed: int) -> Records:
    source = generator(seed)
    features = 2 * torch.rand(count, 4, generator=source, dtype=torch.float64) - 1
    return Records(features=features, labels=torch.randint(0, 2, (count,), generator=source))


def known(*, classical: bool = False, candidates: int = 30, layers: int = 2) -> tuple[Knowledge, Tensor]:
    spec = MlpClassifier(hidden=4) if classical else VariationalClassifier(layers=layers)
    module = spec.build(4, 2, generator=generator(), dtype=torch.float64)
    asked = records(candidates, 2)
    knowledge = Knowledge(
        architecture=architecture(module, 4, 2),
        reference=records(40, 1),
        defense=None,
        candidates=Candidates(**vars(asked), clients=torch.arange(candidates) % 3),
    )
    return knowledge, flat_weights(module)


def released(weights: Tensor) -> ReleasedModelView:
    return ReleasedModelView(adversary="recipient", setup=SETUP, weights=weights)


def run(attack: LossMembership, weights: Tensor, knowledge: Knowledge, seed: int = 0) -> Tensor:
    found = attack.run(released(weights), knowledge, generator=generator(seed))
    assert isinstance(found, MembershipScores)
    return found.values


def test_confidence_is_the_log_odds_and_falls_with_the_loss() -> None:
    logits, labels = torch.randn(5, 9, 3, generator=generator(), dtype=torch.float64), torch.arange(9) % 3
    found = confidence(logits, labels)
    chance = torch.softmax(logits, -1)[:, torch.arange(9), labels]
    assert torch.allclose(found, chance.log() - (1 - chance).log(), atol=1e-12)
    losses = torch.nn.functional.cross_entropy(logits[0], labels, reduction="none")
    assert torch.equal(found[0].argsort(), losses.argsort(descending=True))
    certain = confidence(torch.tensor([[800.0, -800.0]], dtype=torch.float64), torch.tensor([0]))
    assert certain.tolist() == [1600.0]  # where p itself would round to one


def test_without_shadows_it_orders_by_loss() -> None:
    knowledge, weights = known()
    assert knowledge.candidates is not None
    found = run(LossMembership(shadows=0), weights, knowledge)
    losses = torch.nn.functional.cross_entropy(
        knowledge.architecture.outputs(weights, knowledge.candidates.features),
        knowledge.candidates.labels,
        reduction="none",
    )
    assert torch.equal(found.argsort(), losses.argsort(descending=True))


def test_shadows_subtract_their_mean_confidence() -> None:
    knowledge, weights = known()
    assert knowledge.candidates is not None
    size = float(weights.square().mean().sqrt())
    shadows = train_shadows(3, SETUP, knowledge, size=size, generator=generator(4))
    expected = run(LossMembership(shadows=0), weights, knowledge)
    for shadow in shadows:
        logits = knowledge.architecture.outputs(shadow, knowledge.candidates.features)
        expected = expected - confidence(logits, knowledge.candidates.labels) / 3
    assert torch.allclose(run(LossMembership(shadows=3), weights, knowledge, seed=4), expected, atol=1e-10)


@pytest.mark.parametrize("classical", [False, True])
def test_one_shadow_equals_federated_averaging_by_autograd(classical: bool) -> None:
    """The same draws, played client after client with torch's own gradients."""
    knowledge, _ = known(classical=classical)
    found = train_shadows(1, SETUP, knowledge, size=0.3, generator=generator(7))[0]
    source = generator(7)
    count = knowledge.architecture.n_parameters
    angles = torch.pi * (1 - 2 * torch.rand(1, count, generator=source, dtype=torch.float64))
    others = 0.3 * torch.randn(1, count, generator=source, dtype=torch.float64)
    weights = (others if classical else angles)[0]
    for _ in range(3):
        local = [weights.clone() for _ in range(2)]
        for _ in range(2):
            rows = torch.randint(40, (1, 2, 3), generator=source)[0]
            for client in range(2):
                leaf = local[client].clone().requires_grad_()
                logits = knowledge.architecture.outputs(leaf, knowledge.reference.features[rows[client]])
                loss = torch.nn.functional.cross_entropy(logits, knowledge.reference.labels[rows[client]])
                local[client] = local[client] - 0.5 * torch.autograd.grad(loss, leaf)[0]
        weights = (local[0] + local[1]) / 2
    assert torch.allclose(found, weights, atol=1e-12)


def test_shadows_are_trained_under_the_defense() -> None:
    knowledge, _ = known()
    setup = replace(SETUP, sampling="poisson")
    private = replace(knowledge, defense=DpSgd(epsilon=1.0).prepare(setup))
    plain, noisy = (train_shadows(2, setup, one, size=1.0, generator=generator()) for one in (knowledge, private))
    std = private.defense.noise_std()  # type: ignore[union-attr]
    spread = (noisy - plain).std()
    # six noisy steps, each averaged over two clients; the clipped gradients differ by little beside that
    assert float(spread) == pytest.approx(0.5 * std * math.sqrt(6 / 2), rel=0.5)


def test_trained_shadows_have_learned() -> None:
    """On labels that follow the features, shadows are right far more often than untrained models."""
    knowledge, _ = known(layers=3)
    features = records(200, 3).features
    labelled = Records(features=features, labels=(features[:, 0] > 0).long())
    knowledge = replace(knowledge, reference=labelled)
    setup = replace(SETUP, schedule=((0, 1),) * 25, batch_size=8, learning_rate=1.0)
    shadows = train_shadows(4, setup, knowledge, size=1.0, generator=generator())
    fresh = train_shadows(4, replace(setup, learning_rate=1e-9), knowledge, size=1.0, generator=generator())

    def right(models: Tensor) -> float:
        answers = knowledge.architecture.outputs(models.unsqueeze(1), features).argmax(-1)
        return float((answers == labelled.labels).double().mean())

    assert right(shadows) > 0.8 > right(fresh) + 0.1


def test_answers_from_shots_are_binomial_around_the_exact_ones() -> None:
    """<Z> from N shots is 2 k / N - 1 with k binomial: mean, variance and grid of 2 000 answers on one record."""
    knowledge, weights = known(candidates=1)
    assert knowledge.architecture.sampled is not None and knowledge.candidates is not None
    inputs = knowledge.candidates.features.expand(2000, -1)
    exact = knowledge.architecture.outputs(weights, inputs[:1])[0]
    answers = knowledge.architecture.sampled(weights, inputs, 50, generator())
    for column in range(2):
        counts = (answers[:, column] + 1) * 25
        assert torch.allclose(counts, counts.round(), atol=1e-9)
        p = (1 + float(exact[column])) / 2
        found = np.bincount(counts.round().long().numpy(), minlength=51)
        chance = scipy.stats.binom(50, p).pmf(np.arange(51))
        kept = chance * 2000 >= 5
        observed, expected = (np.append(one[kept], one[~kept].sum()) for one in (found, 2000 * chance))
        assert scipy.stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue > 1e-3


def test_more_shots_come_closer_and_follow_the_generator() -> None:
    knowledge, weights = known()
    exact = run(LossMembership(shadows=0), weights, knowledge)
    errors = [
        float((run(LossMembership(shadows=0, shots=shots), weights, knowledge) - exact).square().mean().sqrt())
        for shots in (10, 1000, 100000)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2] > 0
    few = LossMembership(shadows=0, shots=10)
    assert torch.equal(run(few, weights, knowledge, seed=1), run(few, weights, knowledge, seed=1))
    assert not torch.equal(run(few, weights, knowledge, seed=1), run(few, weights, knowledge, seed=2))


def test_shots_mean_nothing_for_a_classical_model() -> None:
    knowledge, weights = known(classical=True)
    with pytest.raises(NotApplicableError, match="shots = 10"):
        run(LossMembership(shots=10), weights, knowledge)
    assert bool(torch.isfinite(run(LossMembership(shadows=2), weights, knowledge)).all())


def test_everyone_who_holds_the_released_model_can_run_it() -> None:
    knowledge, weights = known()
    for view in (ReleasedModelView, GlobalModelsView, AggregateView, UpdatesView):
        assert visible(LossMembership.requires, view)
    history = GlobalModelsView(adversary="client", setup=SETUP, global_weights=torch.stack([weights + 1, weights]))
    found = LossMembership().run(history, knowledge, generator=generator())
    assert torch.equal(found.values, run(LossMembership(), weights, knowledge))


def test_the_estimate_counts_every_evaluation() -> None:
    """Three rounds of two local steps by two clients on batches of three, three evaluations a gradient."""
    assert shadow_evaluations(5, SETUP) == 5 * 3 * 2 * 2 * 3 * 3
    assert (
        LossMembership(shadows=5).circuit_evaluations(SETUP, view=ReleasedModelView, candidates=30, reference=40)
        == 540 + 6 * 30
    )
    assert (
        LossMembership(shadows=0).circuit_evaluations(SETUP, view=ReleasedModelView, candidates=30, reference=40) == 30
    )


@pytest.mark.parametrize("wrong", [{"shadows": -1}, {"shots": 0}])
def test_impossible_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"Expected {next(iter(wrong))}="):
        LossMembership(**wrong)


@pytest.mark.parametrize("shadows", [0, 4])
def test_members_of_models_that_remember_are_found_and_the_control_finds_none(shadows: int) -> None:
    """Twelve models, each trained to the end on 8 of 16 records with coin-toss labels."""
    values, controls, truth = [], [], []
    for seed in range(12):
        knowledge, weights = known(classical=True, candidates=16)
        asked = records(16, 100 + seed)
        knowledge = replace(knowledge, candidates=Candidates(**vars(asked), clients=torch.arange(16) % 3))
        members = torch.randperm(16, generator=generator(seed)) < 8
        optimizer, fitted = LocalOptimizer("adam", 0.1), weights.clone()
        for _ in range(200):
            leaf = fitted.clone().requires_grad_()
            logits = knowledge.architecture.outputs(leaf, asked.features[members])
            loss = torch.nn.functional.cross_entropy(logits, asked.labels[members])
            fitted = optimizer.step(fitted, torch.autograd.grad(loss, leaf)[0])
        attack = LossMembership(shadows=shadows)
        scores, control = scores_from_bytes(attack_with_control(attack, released(fitted), knowledge, Streams(seed)))
        assert isinstance(scores, MembershipScores) and isinstance(control, MembershipScores)
        values.append(scores.values)
        controls.append(control.values)
        truth.append(members)
    hidden = torch.cat(truth).numpy()
    # 96 members against 96 others: the standard error of the area is 0.042 without signal
    assert auc(torch.cat(values).numpy(), hidden) > 0.5 + 4 * 0.042
    assert abs(auc(torch.cat(controls).numpy(), hidden) - 0.5) < 4 * 0.042


def test_at_chance_on_a_model_that_saw_nobody() -> None:
    """2 000 candidates: the area's standard error is 0.013."""
    knowledge, weights = known(candidates=2000)
    members = (torch.rand(2000, generator=generator(9)) < 0.5).numpy()
    for shots in (None, 100):
        found = run(LossMembership(shadows=4, shots=shots), weights, knowledge)
        assert abs(auc(found.numpy(), members) - 0.5) < 4 * 0.013


@pytest.mark.parametrize("attack", [LossMembership(shadows=3), LossMembership(shadows=0, shots=1000)], ids=repr)
def test_planted_leaks_are_found(small_training: TrainingConfig, attack: LossMembership) -> None:
    assert can_plant(attack)
    assert find_planted(attack, small_training, tolerance=0.05) == (10, 10)


def test_one_shot_is_too_blunt_for_planted_leaks(small_training: TrainingConfig) -> None:
    blunt = LossMembership(shadows=2, shots=1)
    weak = replace(small_training, model=VariationalClassifier(layers=1), seed=1)
    found, planted = find_planted(blunt, weak, tolerance=0.05)
    assert found <= planted <= 10
    assert found < 0.9 * planted


@pytest.mark.parametrize("adversary", ["server", "client", "recipient"])
def test_cells_of_every_adversary_run_on_a_saved_transcript(
    small_training: TrainingConfig, tmp_path, adversary
) -> None:
    defense = Stack(defenses=(DpSgd(epsilon=4.0), SecureAggregation()))
    task = training_task(replace(small_training, defense=defense), variant="default", setting="both")
    run_training(task, tmp_path / "t")
    cell = cell_task(task, adversary, LossMembership(shadows=2))
    first = run_cell(cell, tmp_path / "t")
    (tmp_path / "t" / "truth.safetensors").unlink()
    assert run_cell(cell, tmp_path / "t") == first
    scores, control = scores_from_bytes(first)
    assert isinstance(scores, MembershipScores) and isinstance(control, MembershipScores)
    assert not torch.equal(scores.values, control.values)


def test_an_audit_reports_it_for_each_adversary_under_a_stack() -> None:
    experiment = Experiment(
        data=DataSpec(),
        model=MlpClassifier(hidden=3),
        federation=FederationSpec(clients=4, clients_per_round=2, rounds=2),
        defenses=(Stack(defenses=(DpSgd(epsilon=4.0), SecureAggregation())),),
        attacks=(LossMembership(shadows=2), plugins.get("attack", "update_membership")()),
        run=RunSpec(seeds=(0, 1)),
    )
    results = audit(experiment)
    assert "stack" not in plugins.names("defense")
    hidden = results.settings[1].id
    measured = {(one.adversary, one.attack): one for one in results.measurements if one.setting == hidden}
    for adversary in ("server", "client", "recipient"):
        found = measured[adversary, "loss_membership"]
        assert found.status == "measured" and found.success is not None and found.membership is not None
        assert found.membership.false_positives / found.membership.non_members <= 0.01
    assert measured["server", "update_membership"].status == "measured"
    assert {one.adversary for one in results.guarantees if one.setting == hidden} == {"server", "client", "recipient"}
    instruments = {one.id: one.passed for one in results.instruments}
    assert instruments["planted_leak_loss_membership"] and instruments["membership_control"]
    assert {"planted_leak_update_membership", "planted_leak_update_membership_in_sums"} <= set(instruments)
