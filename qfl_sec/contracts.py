"""The types that everything else hangs on: guarantees, views, defenses, attacks and raw scores.

This is the bottom layer. It knows neither circuits nor files; `qfl_sec.attacks` and `qfl_sec.defenses` re-export what
their authors need.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor

Adversary = Literal["server", "client", "recipient", "eavesdropper", "quantum_server"]
"""Who looks: the curious server, a passive client, a user of the released model, whoever taps the channel, and whoever
runs the clients' circuits for them."""

ADVERSARIES: tuple[Adversary, ...] = ("server", "client", "recipient", "eavesdropper", "quantum_server")

UPDATE_READERS: tuple[Adversary, ...] = ADVERSARIES[:4]
"""Those whose views are computed from what leaves the clients as updates: a guarantee of updates covers them alone."""

Question = Literal["membership", "reconstruction", "linkage"]
"""What an attack asks: was this record used, what did the records look like, and which client sent this update."""

PrivacyCurve = tuple[tuple[float, float], ...]
"""Points (epsilon, delta) of a mechanism's privacy profile, by rising epsilon."""


class NotApplicableError(ValueError):
    """An attack cannot run on this setting; the message says why. The cell is reported as not tested."""


class LostRoundError(ValueError):
    """What arrived of a round cannot be aggregated; the message says why. The round then changes nothing."""


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """One proven statement: what a mechanism lets one adversary learn about one client's records.

    Attributes:
        adversary: Whom it holds against.
        client: Whose records it protects; None for every client.
        epsilon: The privacy budget over all releases, at `delta`.
        delta: The probability mass outside the budget, in (0, 1).
        unit: What is protected: one record, or all records of a client.
        adjacency: Which data sets are neighbours.
        sampling: The sampling assumption in words, with its rate.
        mechanism: The mechanism in words, with its noise multiplier and releases.
        releases: How many noisy releases compose.
        accountant: Who computed it.
        curve: The whole (epsilon, delta) curve: the ceiling of a game in which the record is a member or not.
        in_batch_curve: The curve for a record that is known to be in the batches of one round, which is what a
            reconstruction's targets are: amplification by sampling does not count in that round.
        epsilon_rdp: The same budget by a second, looser accountant, as a check; None if there is none.
    """

    adversary: Adversary
    client: int | None
    epsilon: float
    delta: float
    unit: Literal["record", "client"]
    adjacency: Literal["add-remove", "replace-one"]
    sampling: str
    mechanism: str
    releases: int
    accountant: str
    curve: PrivacyCurve
    in_batch_curve: PrivacyCurve
    epsilon_rdp: float | None = None


@dataclass(frozen=True, kw_only=True)
class MechanismEvidence:
    """What the federation saw of a defense's gradient hook, measured on every release of one training.

    Attributes:
        largest_contribution: Largest L2 norm of what one record adds to a client's gradient.
        noise_std: Root mean square of released minus expected gradient, over coordinates.
        noise_draws: How many coordinates that is.
        sampling: How batches were in fact drawn.
        largest_update_l1: Largest L1 norm of an update that leaves a client, before its noise.
        largest_update_l2: Largest L2 norm of the same.
        update_noise_std: Root mean square of sent minus expected update, over coordinates.
        update_noise_draws: How many coordinates that is.
    """

    largest_contribution: float
    noise_std: float
    noise_draws: int
    sampling: Literal["fixed", "poisson"]
    largest_update_l1: float = 0.0
    largest_update_l2: float = 0.0
    update_noise_std: float = 0.0
    update_noise_draws: int = 0


@dataclass(frozen=True, kw_only=True)
class PremiseCheck:
    """A premise of a guarantee, and how far it was checked in this very training.

    Attributes:
        premise: The premise in words.
        how: How we know, with the figure that was seen.
        status: Checked by the machine, assumed of the parties, or declared by the user.
        passed: Whether the check held; None for what cannot be checked.
    """

    premise: str
    how: str
    status: Literal["machine-checked", "assumed", "declared"]
    passed: bool | None


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is public about a training before its first step: every adversary knows it.

    Attributes:
        schedule: The selected clients of each round, drawn beforehand.
        expected_sizes: How many records each client is expected to hold: half of the candidates dealt to it, whoever
            turned out to be a member. Public, hence safe to use in a mechanism.
        local_steps: How many optimizer steps each client makes in a round.
        batch_size: Records a step, expected ones under Poisson sampling.
        sampling: How batches are drawn from a client's records.
        optimizer: The clients' optimizer.
        learning_rate: Its step size.
        average: How the server averages updates.
        n_parameters: Length of the weight vector.
    """

    schedule: tuple[tuple[int, ...], ...]
    expected_sizes: tuple[float, ...]
    local_steps: tuple[int, ...]
    batch_size: int
    sampling: Literal["fixed", "poisson"]
    optimizer: Literal["sgd", "adam"]
    learning_rate: float
    average: Literal["plain", "weighted"]
    n_parameters: int

    def __post_init__(self) -> None:
        clients = len(self.expected_sizes)
        if not self.schedule or not self.schedule[0] or len({len(chosen) for chosen in self.schedule}) > 1:
            raise ValueError("Expected a schedule of at least one round, each with the same number of clients.")
        if any(not 0 <= client < clients for chosen in self.schedule for client in chosen):
            raise ValueError(f"Expected every client of the schedule in 0..{clients - 1}.")
        if len(self.local_steps) != clients or min(self.local_steps) < 1 or min(self.expected_sizes) <= 0:
            raise ValueError(f"Expected positive expected_sizes and local_steps, one for each of {clients} clients.")
        if self.batch_size < 1 or self.n_parameters < 1:
            raise ValueError(f"Expected batch_size={self.batch_size} and n_parameters={self.n_parameters} >= 1.")

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return len(self.schedule)

    @property
    def clients(self) -> int:
        """Number of clients, selected or not."""
        return len(self.expected_sizes)

    def sample_rate(self, client: int) -> float:
        """Probability that one of the client's records enters one batch, in (0, 1]."""
        return min(1.0, self.batch_size / self.expected_sizes[client])

    def releases(self, client: int) -> int:
        """Number of noisy gradients that the client releases over all rounds."""
        return sum(client in chosen for chosen in self.schedule) * self.local_steps[client]


@dataclass(frozen=True, kw_only=True)
class View(ABC):
    """What one adversary sees of one training, and nothing else. The truth is not reachable from it.

    Attributes:
        adversary: Whose view this is.
        setup: The public metadata.
    """

    adversary: Adversary
    setup: Setup


@dataclass(frozen=True, kw_only=True)
class ReleasedModelView(View):
    """The final weights, as their recipient holds them.

    Attributes:
        weights: (parameters,)
    """

    weights: Tensor


@dataclass(frozen=True, kw_only=True)
class GlobalModelsView(View):
    """The global model of each round, as a client receives it.

    The difference of two consecutive ones is the averaged update of the round: `qfl_sec.broadcasts` takes it.

    Attributes:
        global_weights: (rounds + 1, parameters); row t is what round t starts from.
    """

    global_weights: Tensor


@dataclass(frozen=True, kw_only=True)
class AggregateView(GlobalModelsView):
    """The global models and each round's averaged update, as a server under secure aggregation holds them.

    Attributes:
        aggregates: (rounds, parameters)
        delivered: (rounds, clients a round), false where the channel aborted and the update is not in the average;
            None if nothing was lost.
    """

    aggregates: Tensor
    delivered: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class UpdatesView(GlobalModelsView):
    """The global models and every transmitted update, as a curious server holds them.

    Attributes:
        selected: (rounds, clients a round), whose update it is.
        updates: (rounds, clients a round, parameters), each as transmitted: new weights minus old, angles wrapped.
        delivered: (rounds, clients a round), false where the channel aborted and `updates` holds zeros; None if nothing
            was lost.
    """

    selected: Tensor
    updates: Tensor
    delivered: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class InterceptedView(UpdatesView):
    """The global models, and what an eavesdropper got of the updates on their way.

    An attack that can do with parts of updates names this type in `requires`: `UpdatesView` alone does not cover it.

    Attributes:
        known: (rounds, clients a round, parameters), true where `updates` holds what was sent; zero elsewhere.
    """

    known: Tensor


@dataclass(frozen=True, kw_only=True)
class AnonymousUpdatesView(GlobalModelsView):
    """The global models and every update, but not whose it is, as a server behind forwarding clients holds them.

    Who took part in which round is no secret: the schedule says so, and `delivered` says whose update was lost.

    Attributes:
        updates: (rounds, clients a round, parameters), in the order in which they came; zeros after a round's last.
        delivered: (rounds, clients a round), by the places of the schedule; None if nothing was lost.
        shuffles: (rounds, hops, clients a round), which place of its input each place of a hop's output came from: told
            by hops that collude with the server, -1 for the others; None if none does.
    """

    updates: Tensor
    delivered: Tensor | None = None
    shuffles: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class ServerComputeView(GlobalModelsView):
    """The circuits that clients have run elsewhere, as the quantum server that runs them holds them.

    Attributes:
        angles: (rounds, clients a round, steps x slots, angles), the gate parameters that encode each record; zeros in
            an empty slot. What else a circuit holds is the model.
        filled: (rounds, clients a round, steps x slots), whether a record was run.
    """

    angles: Tensor
    filled: Tensor


@dataclass(frozen=True, kw_only=True)
class Forwarded:
    """What reached the server of one round's updates after others had passed them on.

    Attributes:
        received: (clients, parameters), in the order in which they came.
        order: (clients,), which place among those sent each came from: the truth.
        shuffles: (hops, clients), the same for each hop that tells the server, -1 for the others; None if none does.
    """

    received: Tensor
    order: Tensor
    shuffles: Tensor | None = None


class Defense(ABC):
    """A frozen dataclass whose fields are the defense's parameters.

    A concrete defense sets `name` and overrides the hooks it needs; each does nothing by default. Hooks are called in
    the order in which they stand here. The first line of the docstring is the description in lists and reports.
    """

    name: ClassVar[str]
    sampling: ClassVar[Literal["fixed", "poisson"]] = "fixed"
    strength_field: ClassVar[str | None] = None
    """The numeric field against which a defense without a guarantee is drawn; None for the one that is swept."""
    strength_unit: ClassVar[str] = ""
    """What its values count, in words, for the axis: "of the coordinates", "bits"."""

    def prepare(self, setup: Setup) -> Self:
        """Calibrate against the drawn schedule, once a training; return the defense that the hooks are called on."""
        return self

    def with_shared_keys(self, keys: Callable[[int, int], bytes]) -> Self:
        """Use keys that pairs of clients get over the channel; called after `prepare` where there are any.

        Args:
            keys: The 32 bytes that two clients, the lower number first, share all through the training. Raises
                `LostRoundError` if the channel gave them none.
        """
        return self

    def expected_gradient(self, per_example: Tensor, mask: Tensor) -> Tensor:
        """Return what `gradient` gives on average; differentiable, so that an adaptive attacker can model it.

        Args:
            per_example: (..., batch, parameters), one gradient a record.
            mask: (..., batch), true where the slot holds a record.

        Returns:
            (..., parameters); by default the mean over the records, zero for an empty batch.
        """
        count = mask.sum(-1, keepdim=True).clamp(min=1)
        return (per_example * mask.unsqueeze(-1)).sum(-2) / count

    @property
    def withholds(self) -> bool:
        """Whether a coordinate sent as exactly zero was left out: attackers who know this take it for unknown."""
        return False

    def noise_std(self) -> float:
        """Return the standard deviation that `gradient` adds to each coordinate; public, 0 by default."""
        return 0.0

    def gradient(self, per_example: Tensor, mask: Tensor, *, step: int, generator: torch.Generator) -> Tensor:
        """Turn per-example gradients (clients, batch, parameters) into one gradient a client (clients, parameters)."""
        return self.expected_gradient(per_example, mask)

    def update(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        """Change what leaves each client: (clients, parameters) to the same shape."""
        return updates

    def expected_update(self, updates: Tensor) -> Tensor:
        """Return what `update` gives on average for (..., parameters); differentiable, like `expected_gradient`.

        Left at the identity by a defense that changes updates otherwise than by clipping and noise.
        """
        return updates

    def update_noise_std(self) -> float:
        """Return the standard deviation that `update` adds to each coordinate; public, 0 by default."""
        return 0.0

    def forward(self, updates: Tensor, *, round: int, generator: torch.Generator) -> Forwarded | None:
        """Pass updates that are on their way (clients, parameters) through others; None if they go straight there."""
        return None

    def aggregate(self, updates: Tensor, weights: Tensor, *, round: int, generator: torch.Generator) -> Tensor:
        """Combine updates (clients, parameters) by weights (clients,), which sum to one, into (parameters,)."""
        return weights @ updates

    def view_for(self, adversary: Adversary, default: type[View]) -> type[View] | None:
        """Return the type of what this adversary sees now; None if nothing."""
        return default

    def guarantees(self, setup: Setup) -> tuple[Guarantee, ...]:
        """Return what is proven, one entry for each adversary and client; empty means no formal guarantee."""
        return ()

    def premises(self, evidence: MechanismEvidence) -> tuple[PremiseCheck, ...]:
        """Return what the guarantees rest on, each premise held against what was seen in this training."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Records:
    """Labelled records, scaled as the model takes them.

    Attributes:
        features: (records, features)
        labels: (records,), integers from 0.
    """

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True)
class Candidates(Records):
    """Records of the membership game, without their membership.

    Attributes:
        clients: (records,), the client each record was dealt to.
    """

    clients: Tensor


class GradientKernel(Protocol):
    """Closed forms of the gradients of a classifier's cross-entropy, for models that have them.

    Weights are (models, parameters), inputs (models or 1, samples, features), labels (models or 1, samples).
    """

    def pays(self, models: int, samples: int) -> bool:
        """Return whether the closed form is cheaper than differentiating the outputs; a fixed rule, no timing."""
        ...

    def batch_gradients(self, weights: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return each model's mean loss (models,), and its gradient (models, parameters)."""
        ...

    def example_gradients(self, weights: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """Return the gradient of each record's own loss, (models, samples, parameters)."""
        ...

    def prepare(self, weights: Tensor) -> Tensor | None:
        """Return what `slopes` needs to know of each model; None if that takes too much memory."""
        ...

    def slopes(self, prepared: Tensor, which: Tensor, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return gradients and their derivatives in the records' features.

        Args:
            prepared: From `prepare`, a row a model.
            which: (problems,), the model of each problem.
            inputs: (problems, samples, features)
            labels: (problems, samples)

        Returns:
            (problems, samples, parameters) and (features, problems, samples, parameters).
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The model as a function of a flat weight vector: public, whoever attacks.

    Attributes:
        n_parameters: Length of the weight vector.
        n_features: Length of a record.
        n_classes: Number of labels.
        wrapped: (parameters,), true where a parameter is an angle of period 2 pi.
        outputs: (weights (..., parameters), inputs (..., features)) to logits (..., classes). The leading dimensions
            of the two broadcast.
        sampled: The same from a number of shots, third, and a generator, fourth: what a device answers; no derivatives.
            None for a model that nobody measures.
        kernel: Closed forms of the gradients; None where only `outputs` can be differentiated.
        encoding: Records (..., features) to the gate parameters that depend on them, (..., angles): what somebody who
            runs the circuits reads. None for a model that is no circuit.
    """

    n_parameters: int
    n_features: int
    n_classes: int
    wrapped: Tensor
    outputs: Callable[[Tensor, Tensor], Tensor]
    sampled: Callable[[Tensor, Tensor, int, torch.Generator], Tensor] | None = None
    kernel: GradientKernel | None = None
    encoding: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """What an attacker knows beside its view.

    Attributes:
        architecture: The model that is trained.
        reference: The public reference split.
        defense: The defense in place, prepared; None when the attacker is kept ignorant of it.
        batch_labels: (rounds, clients a round, steps x slots), labels used by each selected client, step by step, -1
            in an empty slot; None unless the attack declares that it is told.
        candidates: The records of the membership game; None for attacks that ask something else.
    """

    architecture: Architecture
    reference: Records
    defense: Defense | None
    batch_labels: Tensor | None = None
    candidates: Candidates | None = None


@dataclass(frozen=True, kw_only=True)
class MembershipScores:
    """One number a candidate; higher speaks for membership.

    Attributes:
        values: (candidates,)
    """

    values: Tensor


@dataclass(frozen=True, kw_only=True)
class Reconstructions:
    """Rebuilt records of the attacked updates, with every restart that led there.

    Attributes:
        targets: (targets, 2), round and position among that round's selected clients; -1 for all of them together.
        records: (targets, restarts, guesses, features)
        labels: (targets, restarts, guesses)
        residuals: (targets, restarts), the objective the attacker can see; lower is better.
        ranks: (targets,), rank of the system's Jacobian at the answer.
        equations: Number of equations an update gives: its parameters.
        unknowns: (targets,), number of unknown features.
    """

    targets: Tensor
    records: Tensor
    labels: Tensor
    residuals: Tensor
    ranks: Tensor
    equations: int
    unknowns: Tensor

    def answers(self) -> Tensor:
        """Return the restart with the lowest residual of each target: (targets, guesses, features)."""
        best = self.residuals.argmin(dim=1)
        return self.records[torch.arange(len(best)), best]


@dataclass(frozen=True, kw_only=True)
class LinkageScores:
    """The client who is taken to have sent each update.

    Attributes:
        senders: (rounds, clients a round), in the order in which updates came; -1 where none did.
    """

    senders: Tensor


Scores = MembershipScores | Reconstructions | LinkageScores


class Attack(ABC):
    """A frozen dataclass whose fields are the attack's parameters.

    An attack reads a view and returns raw scores; the harness alone compares them with the truth.
    """

    name: ClassVar[str]
    question: ClassVar[Question]
    requires: ClassVar[tuple[type[View], ...]]

    @property
    def knows_labels(self) -> bool:
        """Whether this attacker is told the labels of the records behind an update."""
        return False

    def circuit_evaluations(self, setup: Setup, *, view: type[View], candidates: int, reference: int) -> int:
        """Return roughly how many circuit evaluations, gradients included, one run takes: for estimates of time.

        Args:
            setup: The public metadata.
            view: The type of what the attack is handed.
            candidates: Records of the membership game.
            reference: Records of the reference split.
        """
        return 0

    @abstractmethod
    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> Scores:
        """Attack one training.

        Args:
            view: An instance of one of the types in `requires`.
            knowledge: What the attacker knows beside it.
            generator: The attack's only source of randomness.

        Raises:
            NotApplicableError: If the attack has no meaning in this setting.
        """


def visible(requires: Sequence[type[View]], view: type[View] | None) -> bool:
    """Return whether an attack that requires one of these views can be handed that one.

    A view of parts of updates is no view of updates, unless the attack names it. Nor is one of circuits handed as
    broadcasts to an attack that tells sums of updates from them: whatever an update says of a record's features, the
    angles that it was computed from say too.
    """
    if view is None:
        return False
    partial = issubclass(view, InterceptedView)
    circuits = issubclass(view, ServerComputeView) and reads_updates(requires)
    unfit = (UpdatesView,) if partial else (GlobalModelsView,) if circuits else ()
    return issubclass(view, tuple(one for one in requires if one not in unfit))


def reads_updates(requires: Sequence[type[View]]) -> bool:
    """Return whether an attack that requires one of these views reads updates or their sums, or nothing at all.

    It names updates or sums, and beside them at most the broadcasts, whose differences are sums. An attack that can do
    with the released model alone reads models.
    """
    named = any(issubclass(view, UpdatesView | AnonymousUpdatesView | AggregateView) for view in requires)
    return named and all(issubclass(view, GlobalModelsView) for view in requires)
