"""What each setting changes against no defense, seed by seed: paired differences of attack success and accuracy."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qfl_sec.contracts import Adversary, Attack
from qfl_sec.differences import paired_difference
from qfl_sec.evidence import Evidence, ScoredCell, Trained
from qfl_sec.experiment import Experiment, setting_id
from qfl_sec.measuring import linkage_trial, membership_trial, reconstruction_trial
from qfl_sec.results import Measurement, PairedDifference
from qfl_sec.scoring import found_members, named_senders, rebuilt_records

UNDEFENDED = "none"

_SHARED: Mapping[str, Callable[[Trained], Iterable[Tensor]]] = {
    "split": lambda one: (one.truth.clients, *_features(one)),
    "members": lambda one: (one.truth.members,),
    "initial weights": lambda one: (one.initial_weights,),
    "clients of each round": lambda one: (torch.tensor(one.metadata.setup.schedule),),
    "batches": lambda one: (one.truth.batch_records,),
}
"""What two trainings of a seed may share, and where their records show it."""


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """One training's hits, and the names of what they are about: equal names, equal trials."""

    trained: Trained
    hits: NDArray[np.bool_]
    names: NDArray[np.int64]


def pair(
    evidence: Evidence, variant: str, experiment: Experiment, measurements: Iterable[Measurement]
) -> Iterable[PairedDifference]:
    """Yield the paired differences of every setting of a variant but the undefended one: accuracy first, then attacks.

    Args:
        evidence: What the runs left.
        variant: Id of the variant.
        experiment: As of the variant.
        measurements: Of all variants; those without figures have no difference.
    """
    measured = {(one.setting, one.adversary, one.attack): one for one in measurements if one.variant == variant}
    attacks = {attack.name: attack for attack in experiment.attacks}
    bare_accuracy = _accuracy(evidence, variant, UNDEFENDED)

    @cache
    def scored(setting: str, adversary: Adversary, attack: str) -> dict[int, _Trial]:
        found = measured.get((setting, adversary, attack))
        if found is None or found.success is None:
            return {}
        cells, _ = evidence.cells(variant, setting, adversary, attacks[attack])
        return {cell.trained.task.seed: _trial(cell, attacks[attack], found) for cell in cells}

    for setting in (setting_id(defense) for defense in experiment.defenses):
        if setting == UNDEFENDED:
            continue
        yield from _difference(variant, setting, None, None, _accuracy(evidence, variant, setting), bare_accuracy)
        for one in [entry for entry in measured.values() if entry.setting == setting and entry.attack is not None]:
            adversary, attack = one.adversary, str(one.attack)
            yield from _difference(
                variant,
                setting,
                adversary,
                attack,
                scored(setting, adversary, attack),
                scored(UNDEFENDED, adversary, attack),
            )


def _difference(
    variant: str,
    setting: str,
    adversary: Adversary | None,
    attack: str | None,
    defended: Mapping[int, _Trial],
    bare: Mapping[int, _Trial],
) -> Iterable[PairedDifference]:
    """Yield the difference over the seeds that both sides have, none if there is nothing to compare."""
    pairs = [(defended[seed], bare[seed]) for seed in defended if seed in bare]
    if not sum(len(one.hits) for one, _ in pairs) or not sum(len(other.hits) for _, other in pairs):
        return
    found = paired_difference(
        [one.hits for one, _ in pairs],
        [other.hits for _, other in pairs],
        matched=all(np.array_equal(one.names, other.names) for one, other in pairs),
    )
    yield PairedDifference(
        variant=variant,
        setting=setting,
        measure="accuracy" if attack is None else "success",
        adversary=adversary,
        attack=attack,
        trainings=found.clusters,
        shared=_shared([(one.trained, other.trained) for one, other in pairs]),
        difference=found.value,
        low=found.low,
        high=found.high,
        method=found.method,
        gained=found.gained,
        lost=found.lost,
        trials=sum(len(one.hits) for one, _ in pairs),
    )


def _accuracy(evidence: Evidence, variant: str, setting: str) -> dict[int, _Trial]:
    trained = evidence.trainings(variant, setting)
    return {
        one.task.seed: _Trial(
            trained=one, hits=one.truth.test_hits.numpy(), names=np.arange(len(one.truth.test_hits)).reshape(-1, 1)
        )
        for one in trained
    }


def _trial(cell: ScoredCell, attack: Attack, measurement: Measurement) -> _Trial:
    """Return which members were found, or which records rebuilt, in one training."""
    if attack.question == "membership":
        threshold = None if measurement.membership is None else measurement.membership.threshold
        hits, names = found_members(membership_trial(cell), threshold)
    elif attack.question == "linkage":
        hits, names = named_senders(linkage_trial(cell))
    else:
        hits, names = rebuilt_records(reconstruction_trial(cell))
    return _Trial(trained=cell.trained, hits=hits, names=names)


def _shared(pairs: list[tuple[Trained, Trained]]) -> tuple[str, ...]:
    """Return what the two trainings of every pair have in common."""

    def same(part: Callable[[Trained], Iterable[Tensor]]) -> bool:
        return all(
            all(torch.equal(mine, theirs) for mine, theirs in zip(part(one), part(other), strict=True))
            for one, other in pairs
        )

    return tuple(name for name, part in _SHARED.items() if same(part))


def _features(trained: Trained) -> tuple[Tensor, ...]:
    splits = trained.population.splits
    return splits.candidates.features, splits.test.features, splits.reference.features
