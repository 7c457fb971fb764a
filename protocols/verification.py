"""Verification of a delegated computation: what its test rounds prove, exactly, for a finite number of rounds.

The client runs d computation rounds and t test rounds in a secret random order, drawn without replacement. A test round
looks like any other to the server, but the nodes of one colour class of the graph, drawn anew, are traps: dummies
around them cut them off, so that the client knows each trap's outcome beforehand. A test round fails if any of its
traps gives the wrong one. The client accepts up to w failures and takes the majority of the computation rounds.

**The adversary.** A server may do anything to a round; the blind protocol turns that into Pauli errors that do not
depend on the round's kind. Corrupting a round costs the adversary least with an error that only one of the k colour
classes sees: the round, if a test, then fails with probability 1/k; if a computation, its answer is wrong. So the
adversary's choice is the number m of rounds; every probability below is exact for it, and `worst_case` takes the
largest over m.

**What it covers.** The majority vote of a decision problem, whose answer is one bit. It does not cover an expectation
value that is estimated from the same d rounds: there a few corrupted rounds, too few to turn a majority or to be
noticed, shift the estimate in proportion. `expectation_bias` says how far.

Reference: Leichtle, Music, Kashefi and Ollivier 2021, PRX Quantum 2, 040302, Protocol 1 and Theorem 1 for the limit of
many rounds; the exact sums here count its events.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, xlog1py, xlogy

from qfl_sec.checking import InputError
from qfl_sec.protocols.channels import check_probability

Array = NDArray[np.float64]

COVERED = "the majority vote over the computation rounds of a decision problem"
"""What an accepted run vouches for."""

NOT_COVERED = "an expectation value estimated from the computation rounds"
"""What it does not vouch for, however small the failure probability."""


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """The adversary's best choice.

    Attributes:
        corrupted: m, the number of rounds to corrupt.
        failure_probability: That the client accepts a wrong majority.
    """

    corrupted: int
    failure_probability: float


@dataclass(frozen=True, kw_only=True)
class ExpectationBias:
    """What corrupted rounds do to the mean of outcomes +1 and -1, which verification does not cover.

    Attributes:
        corrupted: m, the number of rounds corrupted.
        acceptance_probability: That the client accepts all the same.
        shift: Of the mean over the computation rounds, on average over their order: 2 m/n, where every honest outcome
            is the same; less where outcomes differ.
        covered: Always False.
    """

    corrupted: int
    acceptance_probability: float
    shift: float
    covered: Literal[False] = False


@dataclass(frozen=True, kw_only=True)
class Verification:
    """A plan of computation and test rounds.

    Attributes:
        computation_rounds: d.
        test_rounds: t.
        threshold: w, the number of failed test rounds up to which the client accepts; it rejects above.
        colours: k, the colour classes of the graph; 2 for the brickwork graph.

    Raises:
        InputError: If a number is out of its range, for example no test rounds.

    Example:
        >>> plan = Verification(computation_rounds=100, test_rounds=100, threshold=12)
        >>> worst = plan.worst_case()
        >>> worst.corrupted, round(worst.failure_probability, 6)
        (88, 0.001538)
        >>> bias = plan.expectation_bias(40)
        >>> round(bias.acceptance_probability, 2), bias.shift
        (0.83, 0.4)
    """

    computation_rounds: int
    test_rounds: int
    threshold: int
    colours: int = 2

    def __post_init__(self) -> None:
        if self.computation_rounds < 1:
            raise InputError(f"Expected computation_rounds={self.computation_rounds} >= 1.")
        if self.test_rounds < 1:
            raise InputError(
                f"Expected test_rounds={self.test_rounds} >= 1: without test rounds nothing is verified. Ask for some, "
                "or for no verification."
            )
        if not 0 <= self.threshold < self.test_rounds:
            raise InputError(
                f"Expected 0 <= threshold={self.threshold} < test_rounds={self.test_rounds}: any server passes a test "
                "that all rounds may fail."
            )
        if self.colours < 1:
            raise InputError(f"Expected colours={self.colours} >= 1; a brickwork graph has 2.")

    @property
    def rounds(self) -> int:
        """n, all rounds."""
        return self.computation_rounds + self.test_rounds

    @property
    def wrong_majority(self) -> int:
        """The least number of wrong computation rounds that turns the vote; a tie counts as turned."""
        return -(-self.computation_rounds // 2)

    def honest_acceptance(self, round_failure_probability: float) -> float:
        """Return the probability that an honest but noisy server is accepted.

        Args:
            round_failure_probability: That noise makes a test round fail, see `round_failure_probability`.

        Raises:
            InputError: If it is no probability.
        """
        check_probability(round_failure_probability=round_failure_probability)
        return _probability(float(_log_at_most(self.threshold, np.array(self.test_rounds), round_failure_probability)))

    def attacked_acceptance(self, corrupted: int) -> float:
        """Return the probability that a server which corrupts so many rounds is accepted.

        Raises:
            InputError: If there are not so many rounds.
        """
        return _probability(float(_log_acceptances(self)[self._checked(corrupted)]))

    def failure_probability(self, corrupted: int, *, error_rate: float = 0.0) -> float:
        """Return the probability that the client accepts a wrong majority when the server corrupts so many rounds.

        Args:
            corrupted: m.
            error_rate: p, the probability that an honest computation round gives the wrong answer.

        Raises:
            InputError: If there are not so many rounds, or p is no probability.
        """
        check_probability(error_rate=error_rate)
        return _probability(float(_log_failures(self, error_rate)[self._checked(corrupted)]))

    def worst_case(self, *, error_rate: float = 0.0) -> WorstCase:
        """Return the number of corrupted rounds that the client fails for most often, and how often.

        Args:
            error_rate: p, the probability that an honest computation round gives the wrong answer.

        Raises:
            InputError: If p is no probability.
        """
        check_probability(error_rate=error_rate)
        failures = _log_failures(self, error_rate)
        most = int(np.argmax(failures))
        return WorstCase(corrupted=most, failure_probability=_probability(float(failures[most])))

    def expectation_bias(self, corrupted: int) -> ExpectationBias:
        """Return what corrupting so many rounds does to an expectation value.

        Raises:
            InputError: If there are not so many rounds.
        """
        accepted = self.attacked_acceptance(corrupted)
        return ExpectationBias(corrupted=corrupted, acceptance_probability=accepted, shift=2 * corrupted / self.rounds)

    def _checked(self, corrupted: int) -> int:
        if not 0 <= corrupted <= self.rounds:
            raise InputError(f"Expected 0 <= corrupted={corrupted} <= {self.rounds}, the number of rounds.")
        return corrupted

    def _log_passing(self) -> Array:
        """Return log P(accept | x test rounds are corrupted) for each x, (t + 1,)."""
        return _log_at_most(self.threshold, np.arange(self.test_rounds + 1), 1 / self.colours)

    def _log_turned(self, error_rate: float) -> Array:
        """Return log P(wrong majority | c computation rounds are corrupted) for each c, (d + 1,)."""
        corrupted = np.arange(self.computation_rounds + 1)
        honest = self.computation_rounds - corrupted
        # At least `needed` of the honest rounds wrong is at most honest - needed of them right.
        return _log_at_most(honest - (self.wrong_majority - corrupted), honest, 1 - error_rate)

    def _log_joint(self, of_tests: Array, of_computations: Array) -> Array:
        """Return log of the mean of the product of two functions over orders of the rounds, for each m, (n + 1,).

        The numbers of corrupted test rounds x and computation rounds c = m - x are hypergeometric: the sum over x of
        C(t, x) f(x) C(d, c) g(c) / C(n, m) is a convolution.

        Args:
            of_tests: log f, (t + 1,).
            of_computations: log g, (d + 1,).
        """
        long, short = _log_choices(self.test_rounds) + of_tests, _log_choices(self.computation_rounds) + of_computations
        if len(long) < len(short):
            long, short = short, long
        total = np.full(self.rounds + 1, -np.inf)
        for count in np.flatnonzero(short > -np.inf):
            part = total[count : count + len(long)]
            np.logaddexp(part, long + short[count], out=part)
        joint: Array = total - _log_choices(self.rounds)
        return joint


@lru_cache(maxsize=32)
def _log_acceptances(plan: Verification) -> Array:
    """Return the logarithm of the probability that the server is accepted for each m, (n + 1,)."""
    return plan._log_joint(plan._log_passing(), np.zeros(plan.computation_rounds + 1))


@lru_cache(maxsize=32)
def _log_failures(plan: Verification, error_rate: float) -> Array:
    """Return the logarithm of the failure probability for each m, (n + 1,)."""
    return plan._log_joint(plan._log_passing(), plan._log_turned(error_rate))


def largest_failing_fraction(*, colours: int = 2, error_rate: float = 0.0) -> float:
    """Return what w/t must stay below for the failure probability to vanish with many rounds.

    Args:
        colours: k >= 1.
        error_rate: p < 1/2 of an honest computation round.

    Raises:
        InputError: If a value is out of its range.

    Reference: Leichtle et al. 2021, Theorem 1: (1/k) (2p - 1)/(2p - 2).

    Example:
        >>> largest_failing_fraction(colours=2)
        0.25
    """
    if colours < 1 or not 0 <= error_rate < 0.5:
        raise InputError(f"Expected colours={colours} >= 1 and 0 <= error_rate={error_rate} < 1/2.")
    return (2 * error_rate - 1) / (2 * error_rate - 2) / colours


def round_failure_probability(flip_probability: float, traps: tuple[int, ...]) -> float:
    """Return the probability that independent flips of outcomes make a test round fail.

    Args:
        flip_probability: That noise turns the outcome of one trap.
        traps: The number of traps in each colour class; the class is drawn evenly.

    Raises:
        InputError: If there is no class, or a value is out of its range.

    Example:
        >>> round(round_failure_probability(0.1, (1, 2)), 12)
        0.145
    """
    check_probability(flip_probability=flip_probability)
    if not traps or min(traps) < 0:
        raise InputError(f"Expected traps={traps} to hold one number >= 0 for each colour class.")
    failing = [-math.expm1(float(xlog1py(count, -flip_probability))) for count in traps]
    return math.fsum(failing) / len(failing)


def _log_choices(count: int) -> Array:
    """Return log C(count, j) for each j, (count + 1,)."""
    chosen = np.arange(count + 1)
    choices: Array = gammaln(count + 1) - gammaln(chosen + 1) - gammaln(count - chosen + 1)
    return choices


def _log_at_most(most: NDArray[np.integer] | int, trials: NDArray[np.integer], probability: float) -> Array:
    """Return log P(at most so many successes) for each number of trials; arguments broadcast; -inf below 0."""
    trials, most = np.broadcast_arrays(trials, np.minimum(most, trials))
    total = np.full(trials.shape, -np.inf)
    # One number of successes at a time keeps the memory linear in the trials.
    for successes in range(int(most.max()) + 1):
        capped = np.minimum(successes, trials)
        choices = gammaln(trials + 1) - gammaln(capped + 1) - gammaln(trials - capped + 1)
        term = choices + xlogy(capped, probability) + xlog1py(trials - capped, -probability)
        total = np.logaddexp(total, np.where(successes <= most, term, -np.inf))
    return total


def _probability(logarithm: float) -> float:
    """Return e to it, without the last digit above 1 that rounding leaves."""
    return min(1.0, math.exp(logarithm))
