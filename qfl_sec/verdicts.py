"""From evidence to a word: one pure function, never stronger than the evidence."""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, Self

from qfl_sec.intervals import Rate

EvidenceWord = Literal[
    "guarantee contradicted",
    "leak shown",
    "no leak seen",
    "inconclusive",
    "not identifiable",
    "not visible",
    "not tested",
]
VerdictWord = Literal["no verdict", "above tolerance", "within tolerance", "tested only", "conditional", "open"]

Status = Literal["measured", "failed", "not tested", "not visible"]

FEWEST_FALSE_ACCUSATIONS = 10
"""Non-members times false positive rate below which a rate at that false positive rate is not read."""

STRICT_FALSE_POSITIVE_RATE = 0.01
"""The false positive rate of a membership finding."""


@dataclass(frozen=True, kw_only=True)
class Identifiability:
    """Whether the observations determine the unknowns.

    Attributes:
        rank: Of the stacked Jacobian at the answer.
        unknowns: Unknown features, B x n.
        equations: Parameters observed.
    """

    rank: float
    unknowns: float
    equations: int


@dataclass(frozen=True, kw_only=True)
class VerdictInputs:
    """Everything that a verdict depends on.

    Attributes:
        status: Whether there is a measurement, and if not, why in kind.
        success: Successes of the strongest attack; None exactly if nothing was measured.
        control: The same attack without signal; None where there is none.
        ceiling: The most that a guarantee allows, in [0, 1]; None without a formal guarantee.
        tolerance: Highest acceptable success rate, in [0, 1].
        non_members: Non-members of a membership measurement, n0; None for other questions.
        false_positive_rate: The rate at which members found were counted; None for other questions.
        identifiable: Of a reconstruction; None for other questions.
        instruments_passed: Whether every check of the workbench itself passed.
        premises_passed: Whether every premise that can be checked holds; true where there is none.
        contradicted: Whether another measurement at the same setting lies above what its guarantee allows.

    Raises:
        ValueError: If the values do not fit together.
    """

    status: Status
    success: Rate | None
    control: Rate | None
    ceiling: float | None
    tolerance: float
    non_members: int | None = None
    false_positive_rate: float | None = None
    identifiable: Identifiability | None = None
    instruments_passed: bool
    premises_passed: bool
    contradicted: bool = False

    def __post_init__(self) -> None:
        if (self.status == "measured") != (self.success is not None):
            raise ValueError(f"Expected a success rate exactly with status='measured', got status={self.status!r}.")
        if not 0 <= self.tolerance <= 1:
            raise ValueError(f"Expected 0 <= tolerance={self.tolerance} <= 1.")
        if self.ceiling is not None and not 0 <= self.ceiling <= 1:
            raise ValueError(f"Expected 0 <= ceiling={self.ceiling} <= 1.")
        if (self.non_members is None) != (self.false_positive_rate is None):
            raise ValueError("Expected non_members and false_positive_rate both or neither.")
        if self.false_positive_rate is not None and not 0 < self.false_positive_rate <= 1:
            raise ValueError(f"Expected 0 < false_positive_rate={self.false_positive_rate} <= 1.")

    @classmethod
    def of(
        cls,
        measured: "Measured",
        *,
        basis: "Rates | None" = None,
        ceiling: float | None,
        tolerance: float,
        instruments_passed: bool,
        premises_passed: bool,
        contradicted: bool = False,
    ) -> Self:
        """Return the inputs for a measurement as `results.json` holds it.

        Args:
            measured: Of the attack that the verdict is about.
            basis: Its rates with limits that hold together with those of the other attacks; None takes its own.
            ceiling: See the class, and so are the others.
            tolerance: See there.
            instruments_passed: See there.
            premises_passed: See there.
            contradicted: See there.
        """
        game, rebuilt = measured.membership, measured.reconstruction
        rates: Rates = measured if basis is None else basis
        return cls(
            status=measured.status,
            success=rates.success,
            control=rates.control,
            ceiling=ceiling,
            tolerance=tolerance,
            non_members=None if game is None else game.non_members,
            false_positive_rate=None if game is None else STRICT_FALSE_POSITIVE_RATE,
            identifiable=None
            if rebuilt is None
            else Identifiability(rank=rebuilt.rank, unknowns=rebuilt.unknowns, equations=rebuilt.equations),
            instruments_passed=instruments_passed,
            premises_passed=premises_passed,
            contradicted=contradicted,
        )


class Judgement(NamedTuple):
    """What `judge` returns."""

    evidence: EvidenceWord
    evidence_reason: str
    verdict: VerdictWord
    reason: str


def judge(inputs: VerdictInputs) -> Judgement:
    """Return evidence and verdict; in both lists the first match decides.

    [lo, hi] is the interval of the success rate, ch the control's upper end, t the tolerance, c the ceiling.

    | evidence               | if                                                     |
    |------------------------|--------------------------------------------------------|
    | not visible            | the quantity never enters this adversary's view        |
    | not tested             | no attack was run, or every cell failed                |
    | guarantee contradicted | lo > c                                                 |
    | inconclusive           | n0 FPR < 10                                            |
    | leak shown             | lo > ch                                                |
    | not identifiable       | rank < unknowns                                        |
    | no leak seen           | lo <= ch and hi <= t                                   |
    | inconclusive           | otherwise, and whenever there is no control            |

    | verdict          | if                                                                        |
    |------------------|---------------------------------------------------------------------------|
    | no verdict       | an instrument failed, or a guarantee of this setting is contradicted      |
    | above tolerance  | lo > t                                                                    |
    | within tolerance | c <= t and all checkable premises hold                                    |
    | tested only      | hi <= t                                                                   |
    | conditional      | not visible, unless a checkable premise fails                             |
    | open             | otherwise                                                                 |

    Reason codes, by verdict:
        no verdict: `instrument_failed`, `guarantee_contradicted`
        above tolerance: `above_without_guarantee`, `above_despite_guarantee` (its ceiling is above the tolerance)
        within tolerance: `bounded_by_guarantee`
        tested only: `tested_without_guarantee`, `tested_guarantee_too_weak`, `tested_premise_failed`
        conditional: `not_visible`
        open: `premise_failed` (not visible), `attack_failed`, `not_tested`, `too_few_non_members`, `no_control`,
            `leak_below_tolerance_undecided` (leak shown, interval spans the tolerance), `not_identifiable`,
            `interval_too_wide`
    """
    evidence, why = _evidence(inputs)
    verdict, reason = _verdict(inputs, evidence)
    return Judgement(evidence, why, verdict, reason)


def _evidence(given: VerdictInputs) -> tuple[EvidenceWord, str]:
    """Return the evidence and why, with figures."""
    if given.status == "not visible":
        return "not visible", "by protocol it never enters this adversary's view, as long as the premises hold"
    if given.success is None:
        return "not tested", "every run of the attack failed" if given.status == "failed" else "no attack was run"
    low, high, control = given.success.low, given.success.high, given.control
    if given.ceiling is not None and low > given.ceiling:
        return "guarantee contradicted", f"lower limit {_percent(low)} above the ceiling {_percent(given.ceiling)}"
    needed = _non_members_needed(given)
    if needed is not None:
        return "inconclusive", f"{given.non_members} non-members; {needed} would decide"
    if control is not None and low > control.high:
        return "leak shown", f"lower limit {_percent(low)} above the control's upper limit {_percent(control.high)}"
    known = given.identifiable
    if known is not None and known.rank < known.unknowns:
        figures = f"rank {known.rank:g} of {known.equations} equations for {known.unknowns:g} unknowns"
        return "not identifiable", f"{figures}, from one update or sum; more rounds or side knowledge may change this"
    if control is None:
        return "inconclusive", "there is no control to compare with"
    if high <= given.tolerance:
        return "no leak seen", f"not above its control, upper limit {_percent(high)} within the tolerance"
    needed_trials = _trials_needed(given.success, control, given.tolerance)
    return "inconclusive", f"not above its control, upper limit {_percent(high)}; {needed_trials}"


def _non_members_needed(given: VerdictInputs) -> int | None:
    """Return how many non-members a membership finding needs, None if there are enough."""
    if given.non_members is None or given.false_positive_rate is None:
        return None
    needed = math.ceil(FEWEST_FALSE_ACCUSATIONS / given.false_positive_rate - 1e-9)
    return needed if given.non_members < needed else None


def _trials_needed(success: Rate, control: Rate, tolerance: float) -> str:
    """Say about how many trials would decide, if rate and control stay: an interval shrinks with the root of n."""
    if success.n == 0 or control.n == 0:
        return "there were no trials"
    rate, against = success.k / success.n, control.k / control.n
    factors = []
    if rate < tolerance:
        factors.append(((success.high - rate) / (tolerance - rate)) ** 2)
    if rate > against:
        factors.append(((rate - success.low + control.high - against) / (rate - against)) ** 2)
    if not factors:
        return "no number of trials would decide at this rate"
    return f"about {math.ceil(success.n * min(factors))} trials would decide"


def _verdict(given: VerdictInputs, evidence: EvidenceWord) -> tuple[VerdictWord, str]:
    """Return the verdict and its reason code."""
    if not given.instruments_passed:
        return "no verdict", "instrument_failed"
    if given.contradicted or evidence == "guarantee contradicted":
        return "no verdict", "guarantee_contradicted"
    if given.success is not None and given.success.low > given.tolerance:
        return "above tolerance", "above_without_guarantee" if given.ceiling is None else "above_despite_guarantee"
    bounded = given.ceiling is not None and given.ceiling <= given.tolerance
    if bounded and given.premises_passed:
        return "within tolerance", "bounded_by_guarantee"
    if given.success is not None and given.success.high <= given.tolerance:
        if given.ceiling is None:
            return "tested only", "tested_without_guarantee"
        return "tested only", "tested_premise_failed" if bounded else "tested_guarantee_too_weak"
    if evidence == "not visible" and given.premises_passed:
        return "conditional", "not_visible"
    return "open", _open_reason(given, evidence)


def _open_reason(given: VerdictInputs, evidence: EvidenceWord) -> str:
    """Return why nothing can be concluded."""
    if evidence == "not visible":
        return "premise_failed"
    if given.success is None:
        return "attack_failed" if given.status == "failed" else "not_tested"
    if _non_members_needed(given) is not None:
        return "too_few_non_members"
    if evidence == "leak shown":
        return "leak_below_tolerance_undecided"
    if evidence == "not identifiable":
        return "not_identifiable"
    return "no_control" if given.control is None else "interval_too_wide"


def _percent(rate: float) -> str:
    """Return a rate as a percentage of two significant digits or one decimal."""
    shown = f"{100 * rate:.1f}"
    return f"{shown}%" if rate == 0 or float(shown) else "below 0.1%"


class Game(Protocol):
    """What a membership measurement tells a verdict."""

    @property
    def non_members(self) -> int:
        """Number of non-members."""


class Rebuilt(Protocol):
    """What a reconstruction measurement tells a verdict."""

    @property
    def rank(self) -> float:
        """Rank of the system's Jacobian."""

    @property
    def unknowns(self) -> float:
        """Unknown features."""

    @property
    def equations(self) -> int:
        """Parameters observed."""


class Rates(Protocol):
    """The rates that a verdict rests on; `qfl_sec.results.Basis` is one."""

    @property
    def success(self) -> Rate | None:
        """Successes of the attack."""

    @property
    def control(self) -> Rate | None:
        """Successes of the control."""


class Measured(Rates, Protocol):
    """What a measurement tells a verdict; `qfl_sec.results.Measurement` is one."""

    @property
    def status(self) -> Status:
        """Whether there are figures."""

    @property
    def membership(self) -> Game | None:
        """Figures of a membership question."""

    @property
    def reconstruction(self) -> Rebuilt | None:
        """Figures of a reconstruction question."""
