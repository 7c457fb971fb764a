"""The round loop of federated averaging, with all selected clients of a round in one tensor program.

The order of a round: the server broadcasts its weights; each selected client draws batches from its own records and
makes its local steps, the defense acting on per-record gradients; the client sends new weights minus old, with angles
wrapped, as the defense lets it leave; the server averages.

Reference:
    Chen & Yoo 2021, "Federated Quantum Machine Learning", arXiv 2103.12010; McMahan et al. 2017, arXiv 1602.05629,
    algorithm 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qfl_sec.batches import steps_per_round
from qfl_sec.captured_data import CapturedData
from qfl_sec.channel import Channel, ChannelSpec, PlainChannel, open_plain
from qfl_sec.computation import Computation, OpenBlind
from qfl_sec.compute import ComputeSpec, LocalCompute
from qfl_sec.conformance import check_gradients
from qfl_sec.contracts import Architecture, Defense, Records, Setup
from qfl_sec.datasets import DataSpec, Splits
from qfl_sec.models import ModelSpec, architecture, equal_size_mlp, flat_weights, load_flat_weights
from qfl_sec.parameter_shift import check_parameter_shift
from qfl_sec.partition import Scheme, check_scheme
from qfl_sec.population import Population, populate, toss_membership
from qfl_sec.randomness import Streams
from qfl_sec.rounds import RoundLoop
from qfl_sec.transcript import VERSION, Metadata, Transcript, Truth

Kind = Literal["federated", "centralised", "classical"]
"""The audited federation; the same model trained on all members at one place; a classical model of equal size."""

GATE_RECORDS = 8
"""Records on which per-record gradients are held against a loop before training."""

SHIFT_RECORDS = 3
"""Records on which gradients from shifted circuits are held against differentiated ones before training."""


@dataclass(frozen=True, kw_only=True)
class FederationSpec:
    """How the federation trains.

    Attributes:
        clients: Number of clients.
        clients_per_round: How many are drawn each round, without replacement.
        rounds: Number of rounds.
        local_steps: Optimizer steps a client makes in a round; None if `local_epochs` says so.
        local_epochs: Passes over the client's records in a round; None if `local_steps` says so.
        batch_size: Records a step.
        sampling: "fixed" draws batches without replacement, "poisson" takes each record independently. A defense that
            needs one or the other overrides it for its own setting.
        optimizer: The clients' optimizer, fresh each round.
        learning_rate: Its step size.
        average: "plain" averages updates; "weighted" weighs them by the clients' numbers of records.
        partition: How records are dealt to clients.
        alpha: Concentration of the "dirichlet" and "quantity_skew" partitions; None for the others.
        precision: "double" lets an exact inversion be told from a near one; "single" is faster.
    """

    clients: int = 10
    clients_per_round: int = 5
    rounds: int = 40
    local_steps: int | None = None
    local_epochs: int | None = None
    batch_size: int = 4
    sampling: Literal["fixed", "poisson"] = "fixed"
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = 1.0
    average: Literal["plain", "weighted"] = "plain"
    partition: Scheme = "iid"
    alpha: float | None = None
    precision: Literal["single", "double"] = "double"

    def __post_init__(self) -> None:
        if self.local_steps is None and self.local_epochs is None:
            object.__setattr__(self, "local_steps", 1)
        elif self.local_steps is not None and self.local_epochs is not None:
            raise ValueError(
                f"Expected local_steps={self.local_steps} or local_epochs={self.local_epochs}, not both: remove one."
            )
        for name in ("clients", "clients_per_round", "rounds", "local_steps", "local_epochs", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Expected {name}={value} >= 1.")
        if self.clients_per_round > self.clients:
            raise ValueError(f"Expected clients_per_round={self.clients_per_round} <= clients={self.clients}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"Expected learning_rate={self.learning_rate} > 0.")
        check_scheme(self.partition, self.alpha)

    @property
    def dtype(self) -> torch.dtype:
        """The floating type that training runs in."""
        return torch.float64 if self.precision == "double" else torch.float32

    def summary(self) -> str:
        """Return the federation in words."""
        steps = f"{self.local_steps} local step" if self.local_steps else f"{self.local_epochs} local epoch"
        plural = "s" if max(self.local_steps or 0, self.local_epochs or 0) > 1 else ""
        shares = f"{self.partition} (alpha {self.alpha:g})" if self.alpha else self.partition
        return (
            f"{self.clients_per_round} of {self.clients} clients a round, {self.rounds} rounds, {steps}{plural}, "
            f"batches of {self.batch_size}, {self.optimizer.upper()} at {self.learning_rate:g}, "
            f"{self.average} average, {shares} partition"
        )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides a training.

    Attributes:
        data: The data set and its splits, or the records of a capture.
        model: The model.
        federation: The federation.
        channel: What carries updates from the clients to the server.
        compute: Who runs the circuits.
        defense: The defense in place, not yet prepared.
        seed: Of all random streams.
        kind: The audited federation or a baseline.
    """

    data: DataSpec | CapturedData
    model: ModelSpec
    federation: FederationSpec
    channel: ChannelSpec = field(default_factory=PlainChannel)
    compute: ComputeSpec = field(default_factory=LocalCompute)
    defense: Defense
    seed: int
    kind: Kind = "federated"

    def population(self) -> Population:
        """Load, split and deal the data: the same for every defense and baseline of a seed."""
        if isinstance(self.data, CapturedData):
            return self.data.population()
        federation = self.federation
        return populate(
            self.data,
            clients=federation.clients,
            scheme=federation.partition,
            alpha=federation.alpha,
            seed=self.seed,
        )


def build_model(config: TrainingConfig, splits: Splits) -> tuple[torch.nn.Module, Architecture]:
    """Build the model of a training with its initial weights, and its functional form.

    Raises:
        InputError: If the model does not fit the data.
    """
    n_features = splits.reference.features.shape[-1]
    n_classes = int(splits.reference.labels.max()) + 1
    generator = Streams(config.seed).torch("initial weights")
    module = config.model.build(n_features, n_classes, generator=generator, dtype=config.federation.dtype)
    if config.kind == "classical":
        n_parameters = sum(weight.numel() for weight in module.parameters())
        twin = equal_size_mlp(n_features, n_classes, n_parameters)
        module = twin.build(n_features, n_classes, generator=generator, dtype=config.federation.dtype)
    else:
        config.model.load_into(module)
    return module, architecture(module, n_features, n_classes)


def train(
    config: TrainingConfig,
    *,
    key: str = "",
    open_channel: Callable[[ChannelSpec, Streams], Channel] = open_plain,
    open_blind: OpenBlind | None = None,
) -> Transcript:
    """Train a federation and record it.

    Args:
        config: Everything that decides the training; same configuration, same bytes.
        key: The training's key, recorded with it.
        open_channel: Opens the channel; the default knows the plain one alone.
        open_blind: Runs circuits blindly; None leaves what that takes out of the record, where no message is sent.

    Raises:
        InputError: If data, model and federation do not fit together.
        GradientConformanceError: If the model's per-record gradients are wrong, which would void any guarantee.
    """
    population = config.population()
    module, arch = build_model(config, population.splits)
    reference = population.reference(config.federation.dtype)
    weights = flat_weights(module)
    gate = check_gradients(
        module,
        arch,
        Records(features=reference.features[:GATE_RECORDS], labels=reference.labels[:GATE_RECORDS]),
    )
    members = toss_membership(len(population.clients), config.seed)
    federation, owners = _as_kind(config, population.clients)
    owned = [np.flatnonzero(members & (owners == client)) for client in range(federation.clients)]
    sizes = [len(records) for records in owned]
    setup = make_setup(config.defense, federation, owners, sizes, config.seed, len(weights))
    # Baselines show what the model can do: no message of theirs travels, and nobody else computes.
    federated = config.kind == "federated"
    compute = config.compute if federated else LocalCompute()
    if compute.shots is not None:
        few = Records(features=reference.features[:SHIFT_RECORDS], labels=reference.labels[:SHIFT_RECORDS])
        check_parameter_shift(arch, weights, few)
    computation = Computation(compute, module, arch, Streams(config.seed), open_blind)
    channel = open_channel(config.channel if federated else PlainChannel(), Streams(config.seed).child("channel"))
    defense = _prepared(config.defense, setup, channel)
    candidates = population.candidates(federation.dtype)
    loop = RoundLoop(setup, defense, arch, candidates, owned, channel, computation, config.seed)
    for round_ in range(setup.rounds):
        weights = loop.run_round(round_, weights)
    load_flat_weights(module, weights)
    known, intercepted = loop.intercepted()
    hits, majority = score_test(
        arch, weights, population.splits.test, population.splits.reference, config.federation.dtype
    )
    return Transcript(
        metadata=Metadata(
            version=VERSION,
            key=key,
            data_fingerprint=population.fingerprint,
            setup=setup,
            guarantees=defense.guarantees(setup),
            premises=(*defense.premises(loop.evidence()), *computation.premises()),
            gradient_gap=gate.largest_gap,
            gradient_norm=gate.smallest_norm,
            gradients_checked=gate.records,
            test_records=len(hits),
            links=loop.links(),
            compute_costs=tuple(loop.costs),
        ),
        global_weights=torch.stack([*loop.global_weights, weights]),
        selected=torch.tensor(setup.schedule),
        updates=torch.stack(loop.updates),
        aggregates=torch.stack(loop.aggregates),
        batch_labels=loop.batch_labels(),
        state={name: value.detach().clone() for name, value in module.state_dict().items()},
        delivered=loop.delivered(),
        known=known,
        intercepted=intercepted,
        shuffles=loop.shuffles(),
        circuit_angles=loop.circuit_angles(),
        truth=Truth(
            members=torch.from_numpy(members),
            clients=torch.from_numpy(owners),
            batch_records=loop.batch_records(),
            test_hits=hits,
            majority_hits=majority,
            senders=loop.senders(),
        ),
    )


def _prepared(defense: Defense, setup: Setup, channel: Channel) -> Defense:
    """Return a defense calibrated to the schedule, with the keys that the channel gives pairs of clients."""
    calibrated = defense.prepare(setup)
    return calibrated if channel.pair_keys is None else calibrated.with_shared_keys(channel.pair_keys)


def _as_kind(config: TrainingConfig, clients: NDArray[np.int64]) -> tuple[FederationSpec, NDArray[np.int64]]:
    """Return the federation and ownership of a training: a centralised one has a single client that owns all.

    It processes as many records a step as all selected clients of the federation together.
    """
    federation = config.federation
    if config.kind != "centralised":
        return federation, clients
    whole = replace(
        federation,
        clients=1,
        clients_per_round=1,
        batch_size=federation.batch_size * federation.clients_per_round,
        partition="iid",
        alpha=None,
    )
    return whole, np.zeros_like(clients)


def make_setup(
    defense: Defense,
    federation: FederationSpec,
    owners: NDArray[np.int64],
    sizes: list[int],
    seed: int,
    n_parameters: int,
) -> Setup:
    """Draw the schedule and state everything about a training that is public.

    Args:
        defense: Its need for Poisson batches overrides the federation's sampling.
        federation: How the federation trains.
        owners: (candidates,), the client each candidate is dealt to.
        sizes: Members at each client.
        seed: Of the schedule.
        n_parameters: Length of the weight vector.
    """
    rng = Streams(seed).numpy("schedule")
    schedule = tuple(
        tuple(sorted(int(c) for c in rng.choice(federation.clients, federation.clients_per_round, replace=False)))
        for _ in range(federation.rounds)
    )
    sampling = "poisson" if defense.sampling == "poisson" else federation.sampling
    expected = np.bincount(owners, minlength=federation.clients) / 2
    public_sizes = expected.tolist() if sampling == "poisson" else sizes
    return Setup(
        schedule=schedule,
        expected_sizes=tuple(float(size) for size in expected),
        local_steps=tuple(
            steps_per_round(size, federation.batch_size, federation.local_steps, federation.local_epochs)
            for size in public_sizes
        ),
        batch_size=federation.batch_size,
        sampling=sampling,
        optimizer=federation.optimizer,
        learning_rate=federation.learning_rate,
        average=federation.average,
        n_parameters=n_parameters,
    )


def score_test(
    arch: Architecture, weights: Tensor, test: Records, reference: Records, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return which test records the final model gets right, and which the largest reference class does."""
    answers = arch.outputs(weights, test.features.to(dtype)).argmax(-1)
    largest = reference.labels.bincount().argmax()
    return answers == test.labels, test.labels == largest
