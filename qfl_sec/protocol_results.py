"""What `results.json` says of protocols: how each channel carried the updates, and who ran the clients' circuits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ChannelKind = Literal["plain", "key", "direct"]
"""How a channel treats a message: in the clear, under distributed key, or as quantum signals."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Least, median and greatest of some numbers."""

    least: float
    median: float
    most: float


@dataclass(frozen=True, kw_only=True)
class Abort:
    """Why updates did not arrive: the kind of reason, how often it was one, and the first of them in full."""

    reason: str
    count: int
    example: str


@dataclass(frozen=True, kw_only=True)
class ChannelEntry:
    """What the channel of a variant took, leaked and lost at one setting, all trainings together.

    Attributes:
        variant: Id of the variant.
        setting: Id of the setting.
        name: Registered name.
        kind: Whether messages travel in the clear, under distributed keys, or on the quantum channel itself.
        attack: What the adversary on the line does, by its name; "none" without one.
        attacked_fraction: Share of signals, of messages on a plain channel, that it attacks; 0 without one.
        distance_km: None for a channel without.
        authenticated: Whether the parties know with whom they speak.
        messages: Updates that were sent.
        delivered: Updates that arrived; where updates are masked, one that is missing loses the round for all.
        aborts: Why the others did not, the most frequent first.
        pairs: Pairs of clients that made a key for their masks.
        pair_aborts: Why some have none.
        ciphers: What hid the updates that arrived, and how many.
        needed_bits: Secret bits that one-time pads and tags of a message and its broadcast want; bits of the update on
            a channel that carries it directly.
        secret_bits: Secret bits that the protocol gave for them, or message bits that it delivered.
        expected_secret_bits: Key of a run by the protocol's closed forms; None without any.
        error_rate: QBER, or the largest check error rate of a run, over those that measured one.
        expected_error_rate: The same by the protocol's closed forms, the largest mean of any check; None without any.
        leaked_bits: Bits of updates that the eavesdropper has for certain.
        leaking: Updates of which it has any.
        qubits: Quantum systems put on the channel.
        classical_bits: Bits of public discussion, or of messages in the clear.
        seconds: Modelled time.
        epsilon: Bound on the failure of any of the proofs, a union bound over all runs; 1 where there is no proof, None
            where none is claimed.
    """

    variant: str
    setting: str
    name: str
    kind: ChannelKind
    attack: str
    attacked_fraction: float
    distance_km: float | None
    authenticated: bool
    messages: int
    delivered: int
    aborts: tuple[Abort, ...]
    pairs: int
    pair_aborts: tuple[Abort, ...]
    ciphers: Mapping[str, int]
    needed_bits: Spread | None
    secret_bits: Spread | None
    expected_secret_bits: int | None
    error_rate: Spread | None
    expected_error_rate: float | None
    leaked_bits: int
    leaking: int
    qubits: int
    classical_bits: int
    seconds: float
    epsilon: float | None


@dataclass(frozen=True, kw_only=True)
class PatternEntry:
    """The measurement pattern of one circuit: what a blind server learns of it, and what a run takes.

    Attributes:
        qubits: Rows of the graph.
        layers: Of the model; None where it has none.
        columns: Of the graph, the output included.
        nodes: Qubits that the client sends for a run.
        edges: Controlled-Z gates.
        message_rounds: Exchanges of angles for outcomes.
        classical_bits: Of angles and outcomes of a run.
        circuits: Circuits of one record's gradient.
        observables: Measurements of each circuit, which have runs of their own.
    """

    qubits: int
    layers: int | None
    columns: int
    nodes: int
    edges: int
    message_rounds: int
    classical_bits: int
    circuits: int
    observables: int


@dataclass(frozen=True, kw_only=True)
class GridEntry:
    """What a grid of angles costs the released models, and what it hides.

    Attributes:
        angle_bits: K of the grid 2 pi j / 2^K.
        mean_change: Mean change of an output by rounding, over fresh records, outputs and trainings.
        largest_change: The largest of these changes.
        correct: Fresh records that the rounded models get right.
        view_distance: Trace distance of the server's views of a pattern's angles, at most, with secret angles of the
            same grid; None beyond what is computed.
        unrounded_view_distance: The same had the pattern's angles been left unrounded.
    """

    angle_bits: int
    mean_change: float
    largest_change: float
    correct: int
    view_distance: float | None
    unrounded_view_distance: float | None


@dataclass(frozen=True, kw_only=True)
class NoisePoint:
    """How often a server with noise and without malice is accepted.

    Attributes:
        depolarizing_probability: Of a Pauli error at each node.
        acceptance: Probability that one circuit's runs are accepted.
    """

    depolarizing_probability: float
    acceptance: float


@dataclass(frozen=True, kw_only=True)
class AttackPoint:
    """What a server achieves that spoils some of the runs.

    Attributes:
        corrupted: Runs that it spoils.
        acceptance: Probability that it is accepted all the same.
        wrong_majority: Probability that it is accepted and the majority of the results is wrong.
        shift: Of an expectation value, on average, where all honest outcomes are the same.
    """

    corrupted: int
    acceptance: float
    wrong_majority: float
    shift: float


@dataclass(frozen=True, kw_only=True)
class VerificationEntry:
    """What test rounds among the runs of one circuit prove, exactly.

    Attributes:
        asked: Whether the training had these test rounds; otherwise they are an example: as many as computations.
        computation_rounds: Runs that compute.
        test_rounds: Runs with traps.
        threshold: Failed test rounds up to which the client accepts.
        security_error: Largest probability that a wrong majority is accepted.
        worst_corrupted: How many runs the server spoils for that.
        noise: Against noise, the threshold being what it is.
        attack: Against malice.
    """

    asked: bool
    computation_rounds: int
    test_rounds: int
    threshold: int
    security_error: float
    worst_corrupted: int
    noise: tuple[NoisePoint, ...]
    attack: tuple[AttackPoint, ...]


@dataclass(frozen=True, kw_only=True)
class ComputationEntry:
    """Who ran the circuits of a variant at one setting, and what that took, all trainings together.

    Attributes:
        variant: Id of the variant.
        setting: Id of the setting.
        name: Registered name.
        shots: Of each circuit; None where gradients were exact.
        angle_bits: Of the grid of blind angles; None where nothing is blind.
        mode: How the blind protocol was simulated: "transcript", message by message, or "semantic".
        depolarizing_probability: Of the quantum server's noise.
        trainings: Seeds.
        circuits: Different circuits.
        runs: Runs of a circuit, those with traps included.
        test_runs: Runs with traps.
        rejected: Measurements of a circuit whose test rounds failed too often; they were repeated.
        qubits_sent: From the clients to the blind server.
        classical_bits: Angles to it and outcomes back.
        fresh_records: Records behind `correct`, all trainings together; 0 where nothing is blind.
        correct: Those that the released models get right, their angles not rounded.
        grids: Of the released models, by angle bits; where computing is blind.
        pattern: Of one circuit of the training; None where nothing is blind.
        other_sizes: Of the same model with other qubits and layers.
        verification: What test rounds prove; None where nothing is blind, or the rounds are too many to sum over.
    """

    variant: str
    setting: str
    name: str
    shots: int | None
    angle_bits: int | None
    mode: str | None
    depolarizing_probability: float
    trainings: int
    circuits: int
    runs: int
    test_runs: int
    rejected: int
    qubits_sent: int
    classical_bits: int
    fresh_records: int
    correct: int
    grids: tuple[GridEntry, ...]
    pattern: PatternEntry | None
    other_sizes: tuple[PatternEntry, ...]
    verification: VerificationEntry | None
