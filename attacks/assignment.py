"""The assignment of nameless messages to parties under which all of them are most likely.

Each party has a hidden vector a ~ N(0, I), and a message of party p in round t is Gaussian around M_t a. Only the
messages' sufficient statistics are needed: with precision A = M^T S^-1 M and evidence z = M^T S^-1 r of a message's
residual r, and H, A summed over a party's rounds, the hidden vectors integrate out to

    ln P = sum of base densities + sum over parties of (H^T V H + ln det V) / 2,  V = (I + sum of A)^-1.

V depends on who takes part when alone. Given all other rounds, the best assignment of one is therefore exact: a linear
assignment problem.

Reference: Bishop 2006, Pattern Recognition and Machine Learning, eqs 3.49 to 3.51 and 3.86.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Clues:
    """What one round's messages say of who sent them.

    Attributes:
        parties: Who took part, (n,).
        base: (n messages, n parties), log density of a message of a party whose hidden vector is zero.
        evidence: (n messages, n parties, dimensions), z above.
        precision: (n parties, dimensions, dimensions), A above.
    """

    parties: list[int]
    base: Floats
    evidence: Floats
    precision: Floats

    def scaled(self, spreads: Floats) -> "Clues":
        """Return the same for hidden vectors of these standard deviations, (all parties,)."""
        own = spreads[self.parties].reshape(-1, 1)
        return replace(self, evidence=self.evidence * own, precision=self.precision * own.reshape(-1, 1, 1) ** 2)


class Answer(NamedTuple):
    """An assignment: the party of each message, round by round, and how likely it makes them all."""

    clients: list[list[int]]
    log_evidence: float


def assign(rounds: list[Clues], parties: int, restarts: int, sweeps: int, generator: torch.Generator) -> Answer:
    """Return the most likely assignment that several starts lead to.

    Args:
        rounds: What each round's messages say.
        parties: How many there are.
        restarts: Starts, each with the rounds in a random order.
        sweeps: Most passes over all rounds from each.
        generator: Of the starts.
    """
    problem = _Problem(rounds, parties)
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    found = [problem.climb(sweeps, rng) for _ in range(restarts)]
    return max(found, key=lambda answer: answer.log_evidence)


class _Problem:
    """What does not change from start to start."""

    def __init__(self, rounds: list[Clues], parties: int) -> None:
        self.rounds = rounds
        dimensions = rounds[0].evidence.shape[-1]
        total = np.tile(np.eye(dimensions), (parties, 1, 1))
        for one in rounds:
            total[one.parties] += one.precision
        covariance = np.linalg.inv(total)
        self.hidden = (parties, dimensions)
        self.covariance = covariance
        self.log_determinants = -float(np.linalg.slogdet(total)[1].sum()) / 2
        self.pulls = [np.einsum("mpd,pde->mpe", one.evidence, covariance[one.parties]) for one in rounds]  # V z
        self.alone = [
            one.base + np.einsum("mpd,mpd->mp", one.evidence, pull) / 2
            for one, pull in zip(rounds, self.pulls, strict=True)
        ]

    def climb(self, sweeps: int, rng: np.random.Generator) -> Answer:
        """Assign the rounds one after the other, in a random order, and again until nothing changes.

        The first round is assigned at random: nothing says yet who is who among parties that are alike in public.
        """
        order = rng.permutation(len(self.rounds))
        sums = np.zeros(self.hidden)
        chosen: list[NDArray[np.int64] | None] = [None] * len(self.rounds)
        for _ in range(sweeps):
            changed = False
            for round_ in order:
                one, before = self.rounds[round_], chosen[round_]
                if not one.parties:
                    chosen[round_] = np.empty(0, dtype=np.int64)
                    continue
                places = np.arange(len(one.parties))
                if before is not None:
                    sums[one.parties] -= one.evidence[before, places]
                scores = self.alone[round_] + np.einsum("mpd,pd->mp", self.pulls[round_], sums[one.parties])
                now = linear_sum_assignment(scores.T, maximize=True)[1]
                if before is None and round_ == order[0]:
                    now = rng.permutation(len(now))
                sums[one.parties] += one.evidence[now, places]
                changed |= not np.array_equal(before, now)
                chosen[round_] = now
            if not changed:
                break
        return self._answer([one for one in chosen if one is not None], sums)

    def _answer(self, chosen: list[NDArray[np.int64]], sums: Floats) -> Answer:
        base = sum(
            float(one.base[messages, np.arange(len(messages))].sum())
            for one, messages in zip(self.rounds, chosen, strict=True)
        )
        hidden = float(np.einsum("pd,pde,pe->", sums, self.covariance, sums)) / 2
        clients = [
            [one.parties[place] for place in np.argsort(messages)]
            for one, messages in zip(self.rounds, chosen, strict=True)
        ]
        return Answer(clients, base + hidden + self.log_determinants)
