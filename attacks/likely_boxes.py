"""The answer of an attacker who cannot solve for the records: the likeliest small boxes around them.

Strong noise leaves so many records possible that the likeliest single point is a poor guess: it is drawn to the middle
of its class, where there may be nobody. What counts as rebuilt is a record within a tolerance, so the best answer is
the boxes of that size that hold most of the posterior probability. Without any signal they are the best fixed guesses.
"""

import math

import numpy as np
import torch
from torch import Tensor

from qfl_sec.attacks.client_update import ClientUpdate
from qfl_sec.attacks.inversion_problem import InversionProblem
from qfl_sec.attacks.likelihood_ratio import gaussian_log_ratios
from qfl_sec.contracts import Reconstructions
from qfl_sec.models import per_example_gradients

_BANDWIDTH = 0.4
"""Standard deviation of the kernel around each reference record, in tolerances."""

_BOXES_A_GUESS = 2.5
"""How many boxes compete for each guess: with more, those win whose few records overstate their probability."""

_RECORDS = 400
"""Reference records that are looked at, at most; bounds the memory."""

_CHUNK = 1024
"""Boxes that are weighed at a time."""


def with_likely_boxes(problem: InversionProblem, found: Reconstructions, *, tolerance: float) -> Reconstructions:
    """Return the outcome with one more restart: the centres of the likeliest boxes.

    Its residual stands below the best restart's by twice the logarithm of how many more records it is expected to hit,
    so that the lowest residual is the answer that is expected to hit more.

    Args:
        problem: With noise.
        found: The restarts' outcome.
        tolerance: Half-width of a box, as a share of each feature's reference range.
    """
    points, labels, boxes_hit = _likely_boxes(problem, tolerance)
    best = found.residuals.min(1)
    solved_hit = problem.expected_hits(found, tolerance=tolerance)
    tiny = torch.finfo(boxes_hit.dtype).tiny
    gain = 2 * (boxes_hit.clamp(min=tiny).log() - solved_hit.clamp(min=tiny).log())
    records = torch.where((labels < 0).unsqueeze(-1), 0.0, problem.reference.features(points))
    return Reconstructions(
        targets=found.targets,
        records=torch.cat([found.records, records.unsqueeze(1)], 1),
        labels=torch.cat([found.labels, labels.unsqueeze(1)], 1),
        residuals=torch.cat([found.residuals, (best.values - gain).unsqueeze(1)], 1),
        ranks=found.ranks,
        equations=found.equations,
        unknowns=found.unknowns,
    )


def _likely_boxes(problem: InversionProblem, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return centres (targets, guesses, features), their labels, -1 in empty slots, and the hits expected (targets,).

    Greedy: each box holds as much as any of what those before it have left.
    """
    filled = (problem.labels[:, 0] >= 0).flatten(1)  # (targets, guesses)
    last = len(problem.reference.records) - 1
    rows = torch.from_numpy(np.unique(np.linspace(0, last, _RECORDS).round().astype(np.int64)))
    expected = _expected_numbers(problem)[:, rows]
    weights = expected * _log_ratios(problem, rows, expected).exp()  # (targets, records)
    guesses = int(filled.sum(1).max())
    centres, inside = _dense_boxes(
        problem.reference.records[rows],
        half_width=problem.reference.share_of_range(tolerance),
        boxes=math.ceil(_BOXES_A_GUESS * guesses),
    )
    classes = problem.reference.record_labels()[rows]
    points = torch.full((*filled.shape, centres.shape[-1]), 0.5, dtype=centres.dtype)
    labels = torch.full(filled.shape, -1)
    hits = torch.zeros(len(filled), dtype=centres.dtype)
    for target, slots in enumerate(filled):
        chosen, masses = _cover(weights[target], inside, int(slots.sum()))
        points[target, slots] = centres[chosen]
        by_class = [
            (inside[chosen] * weights[target])[:, classes == label].sum(1)
            for label in range(len(problem.reference.counts))
        ]
        labels[target, slots] = torch.stack(by_class).argmax(0)
        hits[target] = -torch.expm1(-masses).sum()  # a box is hit at most once, however many records it holds
    return points, labels, hits


def _expected_numbers(problem: InversionProblem) -> Tensor:
    """Return how often each reference record is expected behind each target before seeing it, (targets, records).

    Labels that all restarts agree upon were told: then each class has its number of records.
    """
    reference = problem.reference
    labels = problem.labels.flatten(2)  # (targets, restarts, guesses)
    told = (labels == labels[:, :1]).flatten(1).all(1)
    classes = reference.record_labels()
    by_class = (labels[:, 0].unsqueeze(-1) == torch.arange(len(reference.counts))).sum(1)  # (targets, classes)
    share = by_class / reference.counts.clamp(min=1)
    everyone = (labels[:, :1] >= 0).flatten(1).sum(1, keepdim=True) / len(classes)
    known = told & ~((by_class > 0) & (reference.counts == 0)).any(1)
    return torch.where(known.unsqueeze(1), share[:, classes], everyone).double()


def _log_ratios(problem: InversionProblem, rows: Tensor, expected: Tensor) -> Tensor:
    """Return ln P(update | reference record in the batch) - ln P(update), (targets, records).

    Batches are taken for Poisson samples of the reference records, several local steps for one, and the records'
    contributions for sums; under Adam, whose updates are none, nothing is learned from them.
    """
    client = problem.client
    if client.optimizer != "sgd":
        return torch.zeros_like(expected)
    records = problem.reference.features(problem.reference.records[rows])
    labels = problem.reference.record_labels()[rows]
    ratios = []
    for target, numbers in enumerate(expected):
        shifts = _contributions(client, target, records, labels)
        numbers = numbers * (len(problem.reference.records) / len(rows))
        offset = problem.observed[target] - numbers @ shifts
        turned = torch.remainder(offset + math.pi, 2 * math.pi) - math.pi
        covariance = shifts.mT @ (numbers.unsqueeze(1) * shifts) + problem.scale[target].square().diag()
        ratios.append(gaussian_log_ratios(torch.where(problem.wrapped, turned, offset), shifts, covariance, covariance))
    return torch.stack(ratios)


def _contributions(client: ClientUpdate, target: int, records: Tensor, labels: Tensor) -> Tensor:
    """Return how far each record alone moves the weights in one local step, (records, parameters)."""
    gradients = per_example_gradients(client.architecture, client.weights[target], records, labels)
    size = int(client.mask[target, 0].sum())
    if client.defense is not None:
        copies = gradients.unsqueeze(1).expand(-1, size, -1)
        gradients = client.defense.expected_gradient(copies, torch.ones(copies.shape[:2], dtype=torch.bool))
    return -client.learning_rate * gradients / size


def _dense_boxes(records: Tensor, *, half_width: float, boxes: int) -> tuple[Tensor, Tensor]:
    """Return centres (boxes, features) of boxes that are dense in the reference, and each record's share in each.

    Centres lie halfway between two records, or at one. A record's share (boxes, records) is the probability that a
    normal kernel around it puts into the box.
    """
    one, two = torch.triu_indices(len(records), len(records))
    close = ((records[one] - records[two]).abs() <= 2 * half_width).all(-1)
    centres = (records[one[close]] + records[two[close]]) / 2
    spread = _BANDWIDTH * half_width * math.sqrt(2)
    left = torch.ones(len(records), dtype=records.dtype)
    parts = [_shares(part, records, half_width, spread) for part in torch.split(centres, _CHUNK)]
    chosen, _ = _cover(left, torch.cat(parts), boxes)
    return centres[chosen], torch.cat(parts)[chosen]


def _shares(centres: Tensor, records: Tensor, half_width: float, spread: float) -> Tensor:
    """Return the probability of each box (boxes, features) under the kernel of each record, (boxes, records)."""
    shares = torch.ones(len(centres), len(records), dtype=records.dtype)
    for middle, values in zip(centres.unbind(1), records.unbind(1), strict=True):
        gaps = middle.unsqueeze(1) - values
        shares *= (torch.erf((gaps + half_width) / spread) - torch.erf((gaps - half_width) / spread)) / 2
    return shares


def _cover(weights: Tensor, inside: Tensor, boxes: int) -> tuple[Tensor, Tensor]:
    """Return which boxes greedily hold most of the records' weights (records,), and how much each holds."""
    left, chosen, masses = weights.clone(), [], []
    for _ in range(boxes):
        mass = inside @ left
        box = int(mass.argmax())
        chosen.append(box)
        masses.append(mass[box])
        left = left * (1 - inside[box])
    return torch.tensor(chosen), torch.stack(masses)
