"""The equations of gradient inversion: what was sent, what guessed records would have sent, and how far apart they are.

Unknowns are the features of all records behind an update, or behind a sum of updates, in coordinates in which the
search range is the unit cube.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from qfl_sec.attacks.client_update import ClientUpdate
from qfl_sec.attacks.least_squares import Solution, rank
from qfl_sec.attacks.reference_statistics import ReferenceStatistics, reference_statistics
from qfl_sec.attacks.starting_points import label_guesses
from qfl_sec.attacks.transmissions import Transmissions, shares_are_public, transmissions
from qfl_sec.contracts import (
    AnonymousUpdatesView,
    Defense,
    GlobalModelsView,
    Knowledge,
    NotApplicableError,
    Reconstructions,
    Setup,
    View,
)
from qfl_sec.gradients import per_example_gradients
from qfl_sec.optimizers import LocalOptimizer

_SOLVED = 1e-26
"""An objective below this share of the squared observation counts as solved."""

_CHUNK_DERIVATIVES = 8192
"""Directional derivatives of single records' gradients that are computed at a time; bounds the memory."""


@dataclass(frozen=True, kw_only=True)
class InversionProblem:
    """All targets of one attack, each with all its restarts.

    Attributes:
        positions: (targets, 2), round and position among that round's selected clients, -1 for their sum.
        client: What each client behind a target would have sent, as a function of its records; target after target.
        shares: (targets, clients), what each client's update is multiplied by in the target's sum.
        observed: (targets, parameters), the sums that were seen.
        known: (targets, parameters), false where a coordinate was left out or not intercepted: it gives no equation.
        wrapped: (parameters,), true where only the remainder modulo 2 pi was sent.
        scale: (targets, parameters), what a residual is measured in: the noise's standard deviation if there is noise,
            else the learning rate, so that residuals are those of the gradient.
        noisy: Whether there is noise, hence a prior.
        labels: (targets, restarts, clients, steps, slots), -1 in empty slots.
        reference: The reference split.
        solved: (targets,), the objective that rounding leaves of an exact solution; -1 where noise leaves more.
    """

    positions: Tensor
    client: ClientUpdate
    shares: Tensor
    observed: Tensor
    known: Tensor
    wrapped: Tensor
    scale: Tensor
    noisy: bool
    labels: Tensor
    reference: ReferenceStatistics
    solved: Tensor

    @property
    def chunk(self) -> int:
        """How many problems are evaluated at a time."""
        clients, steps, slots = self.labels.shape[2:]
        directions = len(self.reference.low) + (self.observed.shape[-1] if steps > 1 else 0)
        return max(1, _CHUNK_DERIVATIVES // (clients * slots * directions))

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
        labels = self.labels.flatten(0, 1)[which]  # (k, clients, steps, slots)
        target = which // self.labels.shape[1]
        features = self.reference.features(points.reshape(*labels.shape, -1))
        total, jacobian = self._sums(target, features, labels)
        gap = self._turned(total - self.observed[target], target)
        widths = (self.reference.width * (labels >= 0).unsqueeze(-1)).flatten(1)  # no slope in empty slots
        scale = self.scale[target]
        known = self.known[target]
        return gap / scale * known, jacobian * widths.unsqueeze(1) / scale.unsqueeze(-1) * known.unsqueeze(-1)

    def _sums(self, target: Tensor, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return what these targets' clients would have sent together, (k, parameters), and its slopes."""
        shares = self.shares[target]  # (k, clients)
        places = torch.arange(shares.shape[1])
        clients = self.client.select((target.unsqueeze(1) * shares.shape[1] + places).flatten())
        updates, slopes = clients.with_jacobian(features.flatten(0, 1), labels.flatten(0, 1).clamp(min=0))
        updates = torch.where(self.wrapped, torch.remainder(updates + math.pi, 2 * math.pi) - math.pi, updates)
        updates, slopes = _as_sent(self.client.defense, updates, slopes)
        total = torch.einsum("kc,kcp->kp", shares, updates.reshape(*shares.shape, -1))
        slope = torch.einsum("kc,kcpu->kpcu", shares, slopes.reshape(*shares.shape, *slopes.shape[1:])).flatten(2)
        return total, slope

    def _turned(self, gap: Tensor, target: Tensor) -> Tensor:
        """Take whole turns of the clients' angles out of gaps (k, parameters), where all turns weigh the same."""
        shares = self.shares[target]
        turn = 2 * math.pi * shares[:, :1]
        alike = self.wrapped & (shares == shares[:, :1]).all(1, keepdim=True)
        return torch.where(alike, torch.remainder(gap + turn / 2, turn) - turn / 2, gap)

    def reconstructions(self, solution: Solution) -> Reconstructions:
        """Return the outcome of all restarts in the features' own units, and the rank of the data's equations."""
        n_targets, n_restarts = self.labels.shape[:2]
        objectives = solution.objectives
        if self.noisy:
            penalties = self.reference.label_penalties()[self.labels.clamp(min=0)] * (self.labels >= 0)
            objectives = objectives + penalties.flatten(2).sum(-1)
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
    view: View,
    knowledge: Knowledge,
    *,
    targets: int,
    restarts: int,
    labels_known: bool,
    margin: float,
    generator: torch.Generator,
) -> InversionProblem:
    """Choose the updates, or sums of updates, to attack and write down their equations.

    Raises:
        NotApplicableError: If labels are to be known and are not, no update holds a record, or the sum of the updates
            cannot be written down.
    """
    assert isinstance(view, GlobalModelsView)
    if isinstance(view, AnonymousUpdatesView) and len(set(view.setup.local_steps)) > 1:
        raise NotApplicableError(
            "Clients make different numbers of local steps, and whose an update is, is not known. "
            "Only equal local steps are covered."
        )
    setup, architecture = view.setup, knowledge.architecture
    sent = transmissions(view, knowledge.defense, wrapped=architecture.wrapped)
    _check_sums(setup, sent)
    reference = reference_statistics(knowledge.reference, architecture.n_classes, margin=margin)
    told = sent.by_sum(_told_labels(setup, knowledge)) if labels_known else None
    drawn = _choose(sent, told, targets, generator)
    rounds, places = drawn.unbind(1)
    clients, shares = sent.clients[rounds, places], sent.shares[rounds, places]  # (targets, clients)
    if told is not None:
        labels = _trimmed(told[rounds, places]).unsqueeze(1).expand(-1, restarts, -1, -1, -1)
        mask = labels[:, 0] >= 0
    else:
        assumed = _assumed_mask(setup, clients.flatten().tolist())
        mask = assumed.reshape(*clients.shape, *assumed.shape[1:])
        batches = mask.flatten(1, 2)  # (targets, clients x steps, slots)
        guesses = [label_guesses(one, reference.shares, restarts, generator=generator) for one in batches]
        labels = torch.stack(guesses).reshape(len(mask), restarts, *mask.shape[1:])
    client = ClientUpdate(
        architecture=architecture,
        defense=knowledge.defense,
        optimizer=setup.optimizer,
        learning_rate=setup.learning_rate,
        weights=view.global_weights[rounds].double().repeat_interleave(sent.summands, 0),
        mask=mask.flatten(0, 1),
        steps_made=torch.tensor([setup.local_steps[owner] for owner in clients.flatten().tolist()]),
    ).with_closed_forms()
    observed = sent.values[rounds, places]
    known = sent.known[rounds, places]
    wrapped = architecture.wrapped
    digits = 8 * torch.finfo(view.global_weights.dtype).eps  # what weights up to 16 leave of a difference of two
    rounding = max(digits, math.sqrt(sent.summands / 12) * _grid(sent.values, 0.0 if sent.as_sent else digits))
    noise = 0.0 if knowledge.defense is None else knowledge.defense.noise_std()
    added = 0.0 if knowledge.defense is None else knowledge.defense.update_noise_std()
    if setup.optimizer == "adam" and int(client.steps_made.max()) == 1 and added == 0:
        observed, client = _undo_adam(observed, client)
        wrapped = torch.zeros_like(wrapped)
    if noise > 0 or added > 0:
        spread = _scale(client, noise, knowledge) if noise > 0 else torch.zeros_like(client.weights)
        spread = torch.hypot(spread, torch.tensor(added, dtype=spread.dtype)) if added > 0 else spread
        scale = (shares.unsqueeze(-1) * spread.reshape(*shares.shape, -1)).norm(dim=1)
    else:
        scale = torch.full_like(observed, client.learning_rate)
    exact = (rounding / scale).square().sum(-1) + _SOLVED * (observed / scale).square().sum(-1)
    return InversionProblem(
        positions=sent.positions(drawn),
        client=client,
        shares=shares,
        observed=observed,
        known=known,
        wrapped=wrapped,
        scale=scale,
        noisy=noise > 0 or added > 0,
        labels=labels,
        reference=reference,
        solved=torch.full_like(exact, -1.0) if noise > 0 or added > 0 else exact,
    )


def _as_sent(defense: Defense | None, updates: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
    """Return updates (k, parameters) and their slopes (k, parameters, unknowns) as a defense's update hook has them."""
    if defense is None or bool((defense.expected_update(updates) == updates).all()):
        return updates, slopes
    expected = defense.expected_update
    along = torch.func.vmap(lambda slope: torch.func.jvp(expected, (updates,), (slope,))[1], in_dims=-1, out_dims=-1)
    return expected(updates), along(slopes)


def _check_sums(setup: Setup, sent: Transmissions) -> None:
    """Refuse sums whose summands are not known as a function of the records."""
    if sent.summands > 1 and setup.optimizer == "adam" and max(setup.local_steps) == 1:
        raise NotApplicableError(
            "One step of Adam is a sign but for its last digits, which a sum of several does not keep. "
            "Only sgd, or several local steps, are covered."
        )
    if not shares_are_public(setup, sent.summands):
        raise NotApplicableError(
            "The average goes by the clients' numbers of members, which this view does not hold. Only average = "
            '"plain", or Poisson batches, are covered.'
        )


def _grid(values: Tensor, slack: float = 0.0) -> float:
    """Return the coarsest power of two from 1 to 2^-45 of which all values are multiples; 0 if there is none.

    Numbers that were sent in fixed point show it, to within a slack where they were told from something else.
    """
    for bits in range(46):
        scaled = values * 2.0**bits
        whole = scaled.round()
        near = bool(((scaled - whole).abs() <= slack * 2.0**bits).all())
        if near and bool(whole.any() or not values.any()):
            return float(2.0**-bits)
    return 0.0


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


def _choose(sent: Transmissions, told: Tensor | None, targets: int, generator: torch.Generator) -> Tensor:
    """Draw the sums to attack among those that came and are not known to be empty: (targets, 2), in order of time."""
    candidates = (sent.sent if told is None else sent.sent & (told >= 0).flatten(2).any(-1)).nonzero()
    if len(candidates) == 0:
        raise NotApplicableError("No update came that holds a record: there is nothing to rebuild.")
    drawn = torch.randperm(len(candidates), generator=generator)[:targets]
    return candidates[drawn.sort().values]


def _trimmed(labels: Tensor) -> Tensor:
    """Move the filled slots of each step to the front and drop those that no target fills: (..., steps, slots)."""
    order = (labels < 0).to(torch.int8).argsort(dim=-1, stable=True)
    return labels.gather(-1, order)[..., : int((labels >= 0).sum(-1).max())]


def _assumed_mask(setup: Setup, clients: list[int]) -> Tensor:
    """Return the slots that an attacker assumes filled who is not told: (clients, steps, slots).

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
    """Return the standard deviation that the noise has in each coordinate of each update, (clients, parameters).

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
