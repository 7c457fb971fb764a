"""Planted leaks: updates, models and circuits that certainly give records away, to see whether attacks find anything.

An attack that finds nothing may be blunt. Each built-in attack therefore runs on the easiest case there is, without a
defense. For an attack on updates, these are clients that send the exact gradient of one public record each, for one on
sums of updates the same clients in pairs; for an attack on the released model, models that have learned one public
record by heart and the opposite of another one's label; for an attack on circuits, those of public records, in clear;
for an attack on senders, clients who send the same whenever they take part. What can be found there is known: it was
planted.
"""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from qfl_sec.contracts import (
    AggregateView,
    Architecture,
    Attack,
    Candidates,
    Knowledge,
    MembershipScores,
    Reconstructions,
    Records,
    ReleasedModelView,
    ServerComputeView,
    Setup,
    UpdatesView,
    visible,
)
from qfl_sec.federation import TrainingConfig, build_model
from qfl_sec.gradients import per_example_gradients
from qfl_sec.models import flat_weights
from qfl_sec.optimizers import LocalOptimizer
from qfl_sec.planted_circuits import find_in_circuits
from qfl_sec.planted_senders import find_senders
from qfl_sec.randomness import Streams
from qfl_sec.reconstruction import score

MOST_PLANTED = 20
"""Records that are planted, or a third of the reference split; as many others stay out, for comparison."""

MEETINGS = 10
"""Sums of two in which a membership attack sees each client, with as many others: one alone may hide it by chance."""

MOST_LEARNED = 10
"""Models that learn records by heart: an attack may take long on each."""

SAME_UPDATE = 1e-6
"""Updates that differ by less than this share of their norm count as the same."""

LEARNING_STEPS, LEARNING_RATE = 40, 0.1
"""Of Adam, by which a model learns its two records by heart."""


def can_plant(attack: Attack) -> bool:
    """Return whether there is a planted leak for this attack: it is one of this package, and reads what is planted."""
    read = any(visible(attack.requires, view) for view in (UpdatesView, ReleasedModelView))
    planted = read or _reads_circuits(attack) or attack.question == "linkage"
    return planted and type(attack).__module__.startswith("qfl_sec.")


def find_planted(attack: Attack, config: TrainingConfig, *, tolerance: float, sums: bool = False) -> tuple[int, int]:
    """Return how many planted records an attack finds, and how many were planted.

    A membership attack has found a record that it scores above another one that was left out, of the same client or of
    the same model; a model that did not learn its two records does not count as planted. A reconstruction has found a
    record when every feature lies within the tolerance. Records that an update or sum does not determine cannot be
    rebuilt, and do not count as planted: the rank of its equations is below the number of features, or other records
    that the attack names would have been sent as the very same update. `find_in_circuits` and `find_senders` say what
    counts in circuits and of nameless updates.

    Args:
        attack: As in the experiment; if it has a field `targets`, all planted updates are attacked.
        config: A training whose data and model are used, at its initial weights.
        tolerance: Share of each feature's reference range.
        sums: Whether the attack sees the clients' updates by pairs, rather than each; for attacks on updates.
    """
    population = config.population()
    module, architecture = build_model(config, population.splits)
    weights, records = flat_weights(module), population.reference(config.federation.dtype)
    ranges = (population.splits.feature_high - population.splits.feature_low).numpy()
    streams, role = Streams(config.seed), f"planted {attack.name}"
    if attack.question == "linkage":
        return find_senders(attack, architecture, weights, records, generator=streams.torch(role))
    summands = 2 if sums else 1
    count = min(MOST_PLANTED, len(records) // 3) // summands * summands
    every = _attacking_all(attack, count)
    if _reads_circuits(attack):
        return find_in_circuits(
            every,
            architecture,
            weights,
            records,
            most=count,
            ranges=ranges,
            tolerance=tolerance,
            generator=streams.torch(role),
        )
    planted, absent, rest = (_rows(records, *ends) for ends in ((0, count), (count, 2 * count), (2 * count, None)))
    if visible(attack.requires, ReleasedModelView):
        return _find_learned(attack, architecture, weights, planted, absent, reference=rest, streams=streams)
    meetings = MEETINGS if attack.question == "membership" else 1
    view = _sums_view(architecture, weights, planted, meetings) if sums else _view(architecture, weights, planted)
    knowledge = Knowledge(
        architecture=architecture,
        reference=rest,
        defense=None,
        batch_labels=planted.labels.reshape(view.setup.rounds, -1, 1) if attack.knows_labels else None,
        candidates=_candidates(planted, absent) if attack.question == "membership" else None,
    )
    scores = every.run(view, knowledge, generator=streams.torch(role))
    if isinstance(scores, MembershipScores):
        return int((scores.values[:count] > scores.values[count:]).sum()), count
    alike = _sent_alike(scores, architecture, weights, _updates(architecture, weights, planted), summands)
    truth = planted.features.reshape(-1, summands, planted.features.shape[-1])
    return _rebuilt(scores, truth, alike, ranges, tolerance)


def _reads_circuits(attack: Attack) -> bool:
    """Return whether an attack asks for circuits; who asks for models alone can be handed them, and does not look."""
    return ServerComputeView in attack.requires


def _find_learned(
    attack: Attack,
    architecture: Architecture,
    weights: Tensor,
    planted: Records,
    absent: Records,
    *,
    reference: Records,
    streams: Streams,
) -> tuple[int, int]:
    """Return how many planted records an attack tells from those left out, by the models that learned them by heart."""
    planted, absent = _rows(planted, 0, MOST_LEARNED), _rows(absent, 0, MOST_LEARNED)
    models, setup = _learned_by_heart(architecture, weights, planted, absent)
    found = learned = 0
    for row, model in enumerate(models):
        pair = [_rows(records, row, row + 1) for records in (planted, absent)]
        candidates = replace(_candidates(*pair), clients=torch.zeros(2, dtype=torch.int64))
        known, unknown = (architecture.outputs(model, candidates.features).argmax(-1) == candidates.labels).tolist()
        if not known or unknown:
            continue
        knowledge = Knowledge(architecture=architecture, reference=reference, defense=None, candidates=candidates)
        view = ReleasedModelView(adversary="recipient", setup=setup, weights=model)
        scores = attack.run(view, knowledge, generator=streams.torch(f"planted {attack.name} {row}"))
        assert isinstance(scores, MembershipScores)
        learned += 1
        found += bool(scores.values[0] > scores.values[1])
    return found, learned


def _learned_by_heart(
    architecture: Architecture, weights: Tensor, planted: Records, absent: Records
) -> tuple[Tensor, Setup]:
    """Return a model for each planted record, (records, parameters), trained on it and on an absent one mislabelled.

    The two records of a model differ in nothing that could be seen without it.
    """
    features = torch.stack([planted.features, absent.features], dim=1)  # (records, 2, features)
    labels = torch.stack([planted.labels, (absent.labels + 1) % architecture.n_classes], dim=1)
    models = weights.expand(len(planted), -1)
    optimizer = LocalOptimizer("adam", LEARNING_RATE)
    for _ in range(LEARNING_STEPS):
        gradients = per_example_gradients(architecture, models.unsqueeze(1), features, labels).detach()
        models = optimizer.step(models, gradients.mean(1))
    setup = Setup(
        schedule=((0,),),
        expected_sizes=(2.0,),
        local_steps=(LEARNING_STEPS,),
        batch_size=2,
        sampling="fixed",
        optimizer="adam",
        learning_rate=LEARNING_RATE,
        average="plain",
        n_parameters=architecture.n_parameters,
    )
    return models, setup


def _rows(records: Records, start: int, stop: int | None) -> Records:
    return Records(features=records.features[start:stop], labels=records.labels[start:stop])


def _view(architecture: Architecture, weights: Tensor, planted: Records) -> UpdatesView:
    """Return what a server sees of one round in which each client sends the gradient of one planted record."""
    updates = _updates(architecture, weights, planted)
    return UpdatesView(
        adversary="server",
        setup=_setup(architecture, planted, per_round=len(planted)),
        global_weights=torch.stack([weights, weights + updates.mean(0)]),
        selected=torch.arange(len(planted)).unsqueeze(0),
        updates=updates.unsqueeze(0),
    )


def _sums_view(architecture: Architecture, weights: Tensor, planted: Records, meetings: int) -> AggregateView:
    """Return what a server sees of rounds of two such clients each, from the same weights, who hide their updates.

    Each client of even number meets as many of odd number, one after the other.
    """
    updates, pairs = _updates(architecture, weights, planted), len(planted) // 2
    schedule = [
        (2 * one, 2 * ((one + turn) % pairs) + 1) for turn in range(min(meetings, pairs)) for one in range(pairs)
    ]
    setup = replace(_setup(architecture, planted, per_round=2), schedule=tuple(schedule))
    return AggregateView(
        adversary="server",
        setup=setup,
        global_weights=weights.expand(setup.rounds + 1, -1).clone(),
        aggregates=updates[torch.tensor(schedule)].mean(1),
    )


def _updates(architecture: Architecture, weights: Tensor, planted: Records) -> Tensor:
    return -per_example_gradients(architecture, weights, planted.features, planted.labels).detach()


def _setup(architecture: Architecture, planted: Records, *, per_round: int) -> Setup:
    """Return the public metadata of clients of one record each, who take turns."""
    count = len(planted)
    return Setup(
        schedule=tuple(tuple(range(start, start + per_round)) for start in range(0, count, per_round)),
        expected_sizes=(1.0,) * count,
        local_steps=(1,) * count,
        batch_size=1,
        sampling="fixed",
        optimizer="sgd",
        learning_rate=1.0,
        average="plain",
        n_parameters=architecture.n_parameters,
    )


def _candidates(planted: Records, absent: Records) -> Candidates:
    return Candidates(
        features=torch.cat([planted.features, absent.features]),
        labels=torch.cat([planted.labels, absent.labels]),
        clients=torch.arange(len(planted)).repeat(2),
    )


def _attacking_all(attack: Attack, count: int) -> Any:
    """Return the attack, set to attack every update if it would draw some."""
    has_targets = any(field.name == "targets" for field in fields(attack))  # type: ignore[arg-type]
    return replace(attack, targets=count) if has_targets else attack  # type: ignore[type-var]


def _sent_alike(
    scores: Reconstructions, architecture: Architecture, weights: Tensor, updates: Tensor, summands: int
) -> list[bool]:
    """Return whether each answer would have been sent as what was sent, by gradients that the attack has no part in."""
    records, dtype = scores.answers(), updates.dtype
    labels = scores.labels[torch.arange(len(records)), scores.residuals.argmin(1)].clamp(min=0)
    gradients = per_example_gradients(architecture, weights, records.to(dtype), labels).detach()
    sums = updates.reshape(-1, summands, updates.shape[-1]).mean(1)
    sent = sums[[round_ if slot < 0 else slot for round_, slot in scores.targets.tolist()]]
    gaps = (gradients.mean(1) + sent).norm(dim=-1) / sent.norm(dim=-1).clamp(min=torch.finfo(dtype).tiny)
    return [gap <= SAME_UPDATE for gap in gaps.tolist()]


def _rebuilt(
    scores: Reconstructions, truth: Tensor, alike: list[bool], ranges: Any, tolerance: float
) -> tuple[int, int]:
    """Return how many records (sums, records, features) were rebuilt, of those that their update or sum determines."""
    answers = scores.answers().double().numpy()
    determined = (scores.ranks >= scores.unknowns).tolist()
    hits: list[bool] = []
    for row, (round_, slot) in enumerate(scores.targets.tolist()):
        records = truth[round_ if slot < 0 else slot].double().numpy()
        found = score(answers[row], records, ranges=ranges, tolerance=tolerance).hits.tolist()
        if determined[row] and (all(found) or not alike[row]):
            hits += found
    return sum(hits), len(hits)
