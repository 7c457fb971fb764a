"""Guesses weighed by a noisy update: never worse than guesses without it, exact solutions where the noise allows."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from qfl_sec.attacks.gradient_inversion import GradientInversion
from qfl_sec.attacks.inversion_problem import InversionProblem, pose
from qfl_sec.attacks.likely_boxes import _contributions, _cover, _dense_boxes, _expected_numbers, _log_ratios
from qfl_sec.contracts import Reconstructions, Records
from qfl_sec.reconstruction import best_fixed_guesses, score

TOLERANCE = 0.05


def crowds(count: int, seed: int) -> Records:
    """Half of the records stand in six small crowds, three of each label, the others anywhere."""
    generator = torch.Generator().manual_seed(seed)
    centres = 1.6 * torch.rand(6, 4, generator=torch.Generator().manual_seed(99), dtype=torch.float64) - 0.8
    crowd = torch.randint(0, 6, (count,), generator=generator)
    near = centres[crowd] + 0.03 * torch.randn(count, 4, generator=generator, dtype=torch.float64)
    anywhere = 2 * torch.rand(count, 4, generator=generator, dtype=torch.float64) - 1
    alone = (torch.rand(count, generator=generator) < 0.5).unsqueeze(-1)
    return Records(features=torch.where(alone, anywhere, near).clamp(-1, 1), labels=crowd % 2)


REFERENCE, POOL = crowds(120, 1), crowds(160, 2)
RANGES = (REFERENCE.features.amax(0) - REFERENCE.features.amin(0)).numpy()


def game(federation: Callable, defense, **fields):
    return federation(**({"rounds": 12, "defense": defense, "records": (REFERENCE, POOL)} | fields))


def attack(played, **fields: object) -> Reconstructions:
    method = GradientInversion(**({"targets": 24, "restarts": 4, "iterations": 30} | fields))  # type: ignore[arg-type]
    return method.run(played.view, played.knowledge, generator=torch.Generator().manual_seed(0))


def hits(played, found: Reconstructions, answers: Tensor) -> int:
    total = 0
    for (round_, place), guesses in zip(found.targets.tolist(), answers, strict=True):
        rows = played.used[round_, place]
        truth = POOL.features[rows[rows >= 0].unique()].numpy()
        total += int(score(guesses.numpy(), truth, ranges=RANGES, tolerance=TOLERANCE).hits.sum())
    return total


def problem_of(played, *, labels_known: bool = False, targets: int = 4) -> InversionProblem:
    return pose(
        played.view,
        played.knowledge,
        targets=targets,
        restarts=6,
        labels_known=labels_known,
        margin=0.5,
        generator=torch.Generator().manual_seed(0),
    )


def test_hopeless_noise_leaves_fixed_guesses(federation: Callable, gaussian: type) -> None:
    played = game(federation, gaussian(noise=20.0, clip_norm=0.3, divisor=4))
    found = attack(played)
    fixed = torch.from_numpy(best_fixed_guesses(REFERENCE.features, guesses=4, tolerance=TOLERANCE, ranges=RANGES))
    by_guessing = hits(played, found, fixed.expand(24, -1, -1))
    assert by_guessing >= 10
    assert hits(played, found, found.answers()) >= 0.8 * by_guessing
    solved = found.records[torch.arange(24), found.residuals[:, :4].argmin(1)]
    assert hits(played, found, solved) <= 0.3 * by_guessing


def test_an_update_that_tells_something_beats_fixed_guesses(federation: Callable, gaussian: type) -> None:
    """One guess, six crowds: noise that hides the record still tells crowds apart."""
    played = game(federation, gaussian(noise=0.05), batch_size=1)
    found = attack(played)
    fixed = torch.from_numpy(best_fixed_guesses(REFERENCE.features, guesses=1, tolerance=TOLERANCE, ranges=RANGES))
    by_guessing = hits(played, found, fixed.expand(24, -1, -1))
    assert hits(played, found, found.answers()) >= by_guessing + 3
    assert hits(played, found, found.records[:, -1].roll(3, 0)) <= by_guessing + 3


def test_little_noise_leaves_the_solution(federation: Callable, gaussian: type) -> None:
    played = game(federation, gaussian(noise=1e-5), batch_size=1, rounds=6)
    found = attack(played, targets=12, restarts=8)
    assert (found.residuals.argmin(1) < 8).float().mean() >= 0.75
    assert hits(played, found, found.answers()) >= 9


def test_without_noise_nothing_is_added(federation: Callable) -> None:
    played = game(federation, None, batch_size=1, rounds=1)
    assert attack(played, iterations=2).records.shape[1] == 4


def test_ratios_equal_scipy(federation: Callable, gaussian: type) -> None:
    noise = 0.1
    played = game(federation, gaussian(noise=noise, clip_norm=0.3, divisor=4), learning_rate=0.5)
    problem = problem_of(played)
    expected = _expected_numbers(problem)
    assert expected.sum(1).tolist() == pytest.approx([4.0] * 4)
    found = _log_ratios(problem, torch.arange(120), expected)
    records = problem.reference.features(problem.reference.records)
    labels = problem.reference.record_labels()
    for target in range(4):
        shifts = _contributions(problem.client, target, records, labels)
        assert float(shifts.norm(dim=-1).max()) <= 0.5 * 0.3 / 4 + 1e-12
        covariance = 4 * (shifts.mT @ shifts) / 120 + (0.5 * noise) ** 2 * torch.eye(36, dtype=torch.float64)
        others = scipy.stats.multivariate_normal((4 * shifts.mean(0)).numpy(), covariance.numpy())
        sent = problem.observed[target]
        ratios = others.logpdf((sent - shifts).numpy()) - others.logpdf(sent.numpy())
        assert found[target].numpy() == pytest.approx(ratios, abs=1e-5)


def test_records_of_the_reference_keep_their_labels(federation: Callable, gaussian: type) -> None:
    reference = problem_of(game(federation, gaussian(noise=0.1))).reference
    features, labels = reference.features(reference.records), reference.record_labels()
    for feature, label in zip(features, labels, strict=True):
        same = torch.isclose(REFERENCE.features, feature, atol=1e-12).all(-1)
        assert label in REFERENCE.labels[same]


def test_told_labels_give_each_class_its_number(federation: Callable, gaussian: type) -> None:
    played = game(federation, gaussian(noise=0.1))
    problem = problem_of(played, labels_known=True)
    numbers = _expected_numbers(problem)
    classes = problem.reference.record_labels()
    for target in range(4):
        told = problem.labels[target, 0]
        for label in (0, 1):
            assert float(numbers[target, classes == label].sum()) == pytest.approx(float((told == label).sum()))


def test_boxes_and_cover_equal_brute_force() -> None:
    records = torch.rand(25, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    half = 0.1
    centres, inside = _dense_boxes(records, half_width=half, boxes=5)
    pairs = [(records[i] + records[j]) / 2 for i in range(25) for j in range(25)]
    kernel = scipy.stats.norm(scale=0.4 * half)

    def share(centre: Tensor) -> np.ndarray:
        gaps = (centre - records).numpy()
        return np.asarray((kernel.cdf(gaps + half) - kernel.cdf(gaps - half)).prod(1))

    every = np.array([share(centre) for centre in pairs])
    left = np.ones(25)
    for centre, shares in zip(centres, inside, strict=True):
        assert shares.numpy() == pytest.approx(share(centre), abs=1e-12)
        assert float(shares.numpy() @ left) == pytest.approx((every @ left).max(), rel=1e-9)
        left *= 1 - shares.numpy()
    weights = torch.rand(25, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    chosen, masses = _cover(weights, inside, 2)
    assert int(chosen[0]) == int((inside @ weights).argmax())
    assert float(masses[1]) == pytest.approx(float((inside @ (weights * (1 - inside[chosen[0]]))).max()))


@pytest.mark.parametrize(
    "fields",
    [
        {"sampling": "poisson", "rounds": 3},
        {"local_steps": 2, "rounds": 2, "batch_size": 2},
        {"local_steps": 2, "rounds": 2, "batch_size": 2, "optimizer": "adam", "learning_rate": 0.05},
        {"optimizer": "adam", "rounds": 2, "learning_rate": 0.05},
    ],
    ids=["poisson", "steps", "adam steps", "adam"],
)
@pytest.mark.parametrize("labels", ["known", "searched"])
def test_every_setting_gives_a_finite_answer(federation: Callable, gaussian: type, fields: dict, labels: str) -> None:
    played = game(federation, gaussian(noise=2.0, clip_norm=0.3, divisor=4), **fields)
    found = attack(played, targets=3, restarts=3, iterations=2, labels=labels)
    assert found.records.shape[1] == found.labels.shape[1] == found.residuals.shape[1] == 4
    assert bool(torch.isfinite(found.records).all() and torch.isfinite(found.residuals).all())
    assert torch.equal(found.labels[:, -1] < 0, found.labels[:, 0] < 0)
    assert not found.records[found.labels < 0].any()
    low, high = REFERENCE.features.amin(0), REFERENCE.features.amax(0)
    boxes = found.records[:, -1][found.labels[:, -1] >= 0]
    assert bool(((boxes >= low) & (boxes <= high)).all())


def test_a_class_without_reference_records_is_survived(federation: Callable, gaussian: type) -> None:
    played = game(federation, gaussian(noise=0.5), rounds=2)
    ones = REFERENCE.labels == 1
    only = Records(features=REFERENCE.features[ones], labels=REFERENCE.labels[ones])
    played = replace(played, knowledge=replace(played.knowledge, reference=only))
    for labels in ("known", "searched"):
        assert bool(torch.isfinite(attack(played, restarts=3, iterations=2, labels=labels).residuals).all())
