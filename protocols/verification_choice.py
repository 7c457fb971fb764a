"""How many test rounds, and how many failures to accept, for a wanted failure probability."""

from collections.abc import Callable

from scipy.stats import binom

from qfl_sec.checking import InputError
from qfl_sec.protocols.channels import check_probability
from qfl_sec.protocols.verification import Verification, largest_failing_fraction

MOST_TEST_ROUNDS = 5_000
"""Where the search ends."""


def acceptance_threshold(
    test_rounds: int, *, round_failure_probability: float = 0.0, honest_acceptance: float = 0.99
) -> int:
    """Return the lowest threshold w at which an honest server with this noise is accepted often enough.

    Args:
        test_rounds: t.
        round_failure_probability: That noise makes a test round of the honest server fail.
        honest_acceptance: Wanted probability that this server is accepted, in (0, 1).

    Raises:
        InputError: If a value is out of its range.

    Example:
        >>> acceptance_threshold(100), acceptance_threshold(100, round_failure_probability=0.05)
        (0, 11)
    """
    if test_rounds < 1:
        raise InputError(f"Expected test_rounds={test_rounds} >= 1.")
    check_probability(round_failure_probability=round_failure_probability)
    if not 0 < honest_acceptance < 1:
        raise InputError(f"Expected 0 < honest_acceptance={honest_acceptance} < 1.")
    return int(binom.ppf(honest_acceptance, test_rounds, round_failure_probability))


def choose_verification(
    *,
    computation_rounds: int,
    failure_probability: float,
    round_failure_probability: float = 0.0,
    honest_acceptance: float = 0.99,
    error_rate: float = 0.0,
    colours: int = 2,
) -> Verification:
    """Return a plan with few test rounds that keeps both promises.

    The threshold is the lowest that accepts the honest server often enough. It moves in whole steps, so that one more
    test round may spoil a plan: the search, by doubling and halving, finds a short plan, not always the shortest.

    Args:
        computation_rounds: d.
        failure_probability: Wanted bound on accepting a wrong majority, in (0, 1), whatever the adversary's m.
        round_failure_probability: That noise makes a test round of the honest server fail.
        honest_acceptance: Wanted probability that this server is accepted, in (0, 1).
        error_rate: p, the probability that an honest computation round gives the wrong answer, below 1/2.
        colours: k.

    Raises:
        InputError: If a value is out of its range, or no number of test rounds keeps both promises.

    Example:
        >>> choose_verification(computation_rounds=100, failure_probability=1e-3, round_failure_probability=0.05)
        Verification(computation_rounds=100, test_rounds=92, threshold=10, colours=2)
    """
    if not 0 < failure_probability < 1:
        raise InputError(f"Expected 0 < failure_probability={failure_probability} < 1.")
    most = largest_failing_fraction(colours=colours, error_rate=error_rate)
    if round_failure_probability >= most:
        raise InputError(
            f"Expected round_failure_probability={round_failure_probability} < {most:.4g}: test rounds of an honest "
            "server that fail as often hide an attack, however many there are."
        )

    def plan(test_rounds: int) -> Verification | None:
        """Return the plan with so many test rounds if it keeps both promises."""
        threshold = acceptance_threshold(
            test_rounds, round_failure_probability=round_failure_probability, honest_acceptance=honest_acceptance
        )
        if threshold >= test_rounds:
            return None
        found = Verification(
            computation_rounds=computation_rounds, test_rounds=test_rounds, threshold=threshold, colours=colours
        )
        return found if found.worst_case(error_rate=error_rate).failure_probability <= failure_probability else None

    if (least := _least(plan)) is None:
        raise InputError(
            f"Expected computation_rounds={computation_rounds} to allow failure_probability={failure_probability:g}: "
            f"no number of test rounds up to {MOST_TEST_ROUNDS} does. Ask for more computation rounds."
        )
    return least


def _least(plan: Callable[[int], Verification | None]) -> Verification | None:
    """Double the number of test rounds until a plan holds, then halve the gap to the last that did not."""
    tested, failing = 1, 0
    found = plan(tested)
    while found is None:
        if tested == MOST_TEST_ROUNDS:
            return None
        failing, tested = tested, min(2 * tested, MOST_TEST_ROUNDS)
        found = plan(tested)
    while tested - failing > 1:
        middle = (tested + failing) // 2
        better = plan(middle)
        if better is None:
            failing = middle
        else:
            tested, found = middle, better
    return found
