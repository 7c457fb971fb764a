"""The equations of gradient inversion: what was sent, what guessed records would have sent, and how far apart they are.

Unknowns are the features of all records behind an update, in coordinates in which the search range is the unit cube.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qfl_sec.attacks.client_update import ClientUpdate
from qfl_sec.attacks.least_squares import Solution, rank
from qfl_sec.attacks.reference_statistics import ReferenceStatistics, reference_statistics
from qfl_sec.attacks.starting_points import label_guesses
from qfl_sec.contracts import Knowledge, NotApplicableError, Reconstructions, Setup, UpdatesView
from qfl_sec.gradients import per_example_gradients
from qfl_sec.optimizers import LocalOptimizer

_SOLVED = 1e-26
"""An objective below this share of the squared observation counts as solved."""

_CHUNK_DERIVATIVES = 4096
"""Directional derivatives of single records' gradients that are computed at a time; bounds the memory."""


@dataclass(frozen=True, kw_only=True)
class InversionProblem:
    """All targets of one attack, each with all its restarts.

    Attributes:
        positions: (targets, 2), round and position among that round's selected clients.
        client: What the targets would have sent, as a function of their records.
        observed: (targets, parameters), what they sent.
        wrapped: (parameters,), true where only the remainder modulo 2 pi was sent.
        scale: (targets, parameters), what a residual is measured in: the noise's standard deviation if there is noise,
            else the learning rate, so that residuals are those of the gradient.
        noisy: Whether there is noise, hence a prior.
        labels: (targets, restarts, steps, slots), -1 in empty slots.
        reference: The reference split.
        solved: (targets,), the objective that rounding leaves of an exact solution; -1 where noise leaves more.
    """

    positions: Tensor
    client: ClientUpdate
    observed: Tensor
    wrapped: Tensor
    scale: Tensor
    noisy: bool
    labels: Tensor
    reference: ReferenceStatistics
    solved: Tensor

    @property
    def chunk(self) -> int:
        """How many problems are evaluated at a time."""
        steps, slots = self.labels.shape[2:]
        directions = len(self.reference.low) + (self.observed.shape[-1] if steps > 1 else 0)
        return max(1, _CHUNK_DERIVATIVES // (slots * directions))

    def system(self, points: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Return residuals and Jacobian of the problems at these indices; with noise, prior rows below the data's."""
        residuals, jacobian = self._data(points, which)
        if not self.noisy:
            return residuals, jacobian
        labels = self.labels.flatten(0, 1)[which].flatten(1)  # (k, records)
        filled = (labels >= 0).unsqueeze(-1)
        whitening = self.reference.whitening[labels.clamp(min=0)] * filled.unsqueeze(-1)  # (k, records, n, n)
        offsets = points.reshape(*labels.shape, -1) - self.reference.means[labels.clamp(min=0)]
        prior = torch.einsum("krij,krj->kri", whitening, offsets).flatten(1)
        alone = torch.eye(labels.shape[1], dtype=points.dtype, device=points.device)
        slope = torch.einsum("krij,rs->krisj", whitening, alone).flatten(3).flatten(1, 2)  # (k, unknowns, unknowns)
        return torch.cat([residuals, prior], 1), torch.cat([jacobian, slope], 1)

    def _data(self, points: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Return the residuals against what was sent (k, parameters), and their Jacobian."""
        labels = self.labels.flatten(0, 1)[which]  # (k, steps, slots)
        target = which // self.labels.shape[1]
        features = self.reference.features(points.reshape(*labels.shape, -1))
        update, jacobian = self.client.select(target).with_jacobian(features, labels.clamp(min=0))
        gap = update - self.observed[target]
        gap = torch.where(self.wrapped, torch.remainder(gap + math.pi, 2 * math.pi) - math.pi, gap)
        widths = (self.reference.width * (labels >= 0).unsqueeze(-1)).flatten(1)  # no slope in empty slots
        scale = self.scale[target]
        return gap / scale, jacobian * widths.unsqueeze(1) / scale.unsqueeze(-1)

    def reconstructions(self, solution: Solution) -> Reconstructions:
        """Return the outcome of all restarts in the features' own units, and the rank of the data's equations."""
        n_targets, n_restarts = self.labels.shape[:2]
        objectives = solution.objectives
        if self.noisy:
            penalties = self.reference.label_penalties()[self.labels.clamp(min=0)] * (self.labels >= 0)
            objectives = objectives + penalties.sum((-2, -1))
        best = torch.arange(n_targets) * n_restarts + objectives.argmin(1)
        points = solution.points.flatten(0, 1)
        jacobians = torch.cat([self._data(points[row], row)[1] for row in torch.split(best, self.chunk)])
        labels = self.labels.flatten(2)  # (targets, restarts, guesses)
        features = self.reference.features(solution.points.reshape(*labels.shape, -1))
        return Reconstructions(
            targets=self.positions,
            records=torch.where((labels < 0).unsqueeze(-1), 0.0, features),
            labels=labels,
            residuals=objectives,
            ranks=rank(jacobians),
            equations=self.observed.shape[-1],
            unknowns=(labels[:, 0] >= 0).sum(-1) * features.shape[-1],
        )


def pose(
    view: UpdatesView,
    knowledge: Knowledge,
    *,
    targets: int,
    restarts: int,
    labels_known: bool,
    margin: float,
    generator: torch.Generator,
) -> InversionProblem:
    """Choose the updates to attack and write down their equations.

    Raises:
        NotApplicableError: If labels are to be known and are not, or no update holds a record.
    """
    setup, architecture = view.setup, knowledge.architecture
    reference = reference_statistics(knowledge.reference, architecture.n_classes, margin=margin)
    told = _told_labels(setup, knowledge) if labels_known else None
    positions = _choose(view, told, targets, generator)
    rounds, places = positions.unbind(1)
    clients = view.selected[rounds, places].tolist()
    if told is not None:
        labels = _trimmed(told[rounds, places]).unsqueeze(1).expand(-1, restarts, -1, -1)
        mask = labels[:, 0] >= 0
    else:
        mask = _assumed_mask(setup, clients)
        labels = torch.stack([label_guesses(one, reference.shares, restarts, generator=generator) for one in mask])
    client = ClientUpdate(
        architecture=architecture,
        defense=knowledge.defense,
        optimizer=setup.optimizer,
        learning_rate=setup.learning_rate,
        weights=view.global_weights[rounds].double(),
        mask=mask,
        steps_made=torch.tensor([setup.local_steps[owner] for owner in clients]),
    )
    observed = view.updates[rounds, places].double()
    wrapped = architecture.wrapped
    rounding = 8 * torch.finfo(view.updates.dtype).eps
    if setup.optimizer == "adam" and int(client.steps_made.max()) == 1:
        observed, client = _undo_adam(observed, client)
        wrapped = torch.zeros_like(wrapped)
    noise = 0.0 if knowledge.defense is None else knowledge.defense.noise_std()
    scale = _scale(client, noise, knowledge) if noise > 0 else torch.full_like(observed, client.learning_rate)
    exact = (rounding / scale).square().sum(-1) + _SOLVED * (observed / scale).square().sum(-1)
    return InversionProblem(
        positions=positions,
        client=client,
        observed=observed,
        wrapped=wrapped,
        scale=scale,
        noisy=noise > 0,
        labels=labels,
        reference=reference,
        solved=torch.full_like(exact, -1.0) if noise > 0 else exact,
    )


def _told_labels(setup: Setup, knowledge: Knowledge) -> Tensor:
    """Return the labels the attacker is told, (rounds, clients a round, steps, slots)."""
    if knowledge.batch_labels is None:
        raise NotApplicableError('Labels were not recorded. Set labels = "searched" to attack without them.')
    steps = max(setup.local_steps)
    if knowledge.batch_labels.shape[-1] % steps:
        raise ValueError(
            f"Expected batch_labels with records a round = {knowledge.batch_labels.shape[-1]} to be a multiple of "
            f"the {steps} local steps."
        )
    labels = knowledge.batch_labels
    return labels.reshape(*labels.shape[:-1], steps, -1)


def _choose(view: UpdatesView, told: Tensor | None, targets: int, generator: torch.Generator) -> Tensor:
    """Draw the updates to attack among those that are not known to be empty: (targets, 2), in order of time."""
    whole = torch.ones(view.selected.shape, dtype=torch.bool)
    candidates = (whole if told is None else (told >= 0).any(-1).any(-1)).nonzero()
    if len(candidates) == 0:
        raise NotApplicableError("No update holds a record: there is nothing to rebuild.")
    drawn = torch.randperm(len(candidates), generator=generator)[:targets]
    return candidates[drawn.sort().values]


def _trimmed(labels: Tensor) -> Tensor:
    """Move the filled slots of each step to the front and drop those that no target fills: (targets, steps, slots)."""
    order = (labels < 0).to(torch.int8).argsort(dim=-1, stable=True)
    return labels.gather(-1, order)[..., : int((labels >= 0).sum(-1).max())]


def _assumed_mask(setup: Setup, clients: list[int]) -> Tensor:
    """Return the slots that an attacker assumes filled who is not told: (targets, steps, slots).

    Steps that fit into one pass over the expected number of records are such a pass, whose last batch may be smaller.
    """
    steps = max(setup.local_steps[client] for client in clients)
    mask = torch.zeros(len(clients), steps, setup.batch_size, dtype=torch.bool)
    for row, client in enumerate(clients):
        size, made = max(1, round(setup.expected_sizes[client])), setup.local_steps[client]
        mask[row, :made, : min(setup.batch_size, size)] = True
        left = size - (made - 1) * setup.batch_size
        if setup.sampling == "fixed" and 0 < left < setup.batch_size:
            mask[row, made - 1, left:] = False
    return mask


def _undo_adam(observed: Tensor, client: ClientUpdate) -> tuple[Tensor, ClientUpdate]:
    """Turn Adam's first update into a gradient descent's of rate 1, from which nothing is missing but digits.

    The first step is -rate g / (|g| + epsilon): a sign to the eye, but in double precision its distance from 1 tells g.
    """
    share = (observed / client.learning_rate).abs().clamp(max=1 - torch.finfo(observed.dtype).eps)
    sent = observed.sign() * LocalOptimizer.EPSILON * share / (1 - share)
    return sent, replace(client, optimizer="sgd", learning_rate=1.0)


def _scale(client: ClientUpdate, noise: float, knowledge: Knowledge) -> Tensor:
    """Return the standard deviation that the noise has in each coordinate of each update, (targets, parameters).

    The noise of several steps adds up as if the steps' gradients did not depend on each other. Adam divides it by the
    size of the noisy gradient, which is estimated from the reference records.
    """
    total = noise * client.learning_rate * client.steps_made.double().sqrt().unsqueeze(-1)
    if client.optimizer == "sgd":
        return total.expand_as(client.weights).clone()
    records = knowledge.reference
    gradients = torch.stack(
        [
            per_example_gradients(client.architecture, weights, records.features.double(), records.labels)
            for weights in client.weights
        ]
    )
    batch = client.mask.sum(-1).amax(-1, keepdim=True).clamp(min=1)
    size = gradients.mean(1).square() + gradients.var(1, correction=0) / batch
    return total / (size + noise**2).sqrt()
