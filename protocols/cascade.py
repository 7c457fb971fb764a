"""Cascade: two parties remove the differences of their strings by comparing parities, and count what that tells."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.bits import binary_entropy, checked_bits
from qfl_sec.protocols.cascade_pass import Pass, Places

Schedule = Literal["original", "optimised"]


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """What reconciliation left and cost.

    Attributes:
        corrected: Bob's string; equal to Alice's unless an even number of errors hid in every block, which a
            verification hash must rule out.
        disclosed_bits: Parities that Alice announced, all of them: what privacy amplification must subtract.
        rounds: Messages that she answered.
        efficiency: Disclosed bits over n h(error rate), 1 at the Shannon limit; infinite at a rate of 0 or 1.
    """

    corrected: Bits
    disclosed_bits: int
    rounds: int
    efficiency: float


class ParityOracle:
    """Alice in Cascade: she tells parities of her bits, and nothing else of them.

    Args:
        bits: Her string, (n,).

    Attributes:
        disclosed_bits: Parities told so far.
        rounds: Questions answered so far, each about any number of ranges.
    """

    def __init__(self, bits: Bits) -> None:
        self.__bits = bits.copy()
        self.__prefixes: list[Bits] = []
        self.disclosed_bits = 0
        self.rounds = 0

    def __len__(self) -> int:
        """Return the length of her string."""
        return len(self.__bits)

    def shuffle(self, order: Places) -> None:
        """Begin a pass, in which ranges count places in this public order (n,) of the bits."""
        self.__prefixes.append(prefix_parities(self.__bits[order]))

    def parities(self, number: int, starts: Places, stops: Places) -> Bits:
        """Tell the parity of each range from start to before stop, in the order of pass `number`."""
        self.disclosed_bits += len(starts)
        self.rounds += 1
        prefix = self.__prefixes[number]
        return prefix[stops] ^ prefix[starts]


def reconcile(
    alice: Bits, bob: Bits, *, error_rate: float, schedule: Schedule = "optimised", rng: np.random.Generator
) -> Reconciled:
    """Correct Bob's string towards Alice's.

    Args:
        alice: Alice's string, (n,).
        bob: Bob's, (n,).
        error_rate: The share of differences that they expect; a wrong one costs bits or leaves errors, never time
            without end, for every correction removes one difference.
        schedule: "original" is that of Brassard and Salvail, four passes that double blocks of 0.73 / error rate;
            "optimised" has fourteen passes and uses the parities of halved blocks again.
        rng: The public randomness of the passes' orders.

    Raises:
        ValueError: If the strings are empty or of different lengths, or the rate lies outside [0, 1/2].

    Reference: Brassard and Salvail 1994, doi 10.1007/3-540-48285-7_35; "optimised" is variant (8) of Martinez-Mateo,
    Pacher, Peev, Ciurana and Martin 2015, arXiv 1407.3257, with passes shuffled from the first on.

    Example:
        >>> rng = np.random.default_rng(1)
        >>> alice = rng.integers(0, 2, 1000, dtype=np.uint8)
        >>> bob = alice ^ (rng.random(1000) < 0.03).astype(np.uint8)
        >>> found = reconcile(alice, bob, error_rate=0.03, rng=rng)
        >>> bool((found.corrected == alice).all()), found.efficiency < 1.4
        (True, True)
    """
    if len(checked_bits(alice, "alice")) != len(checked_bits(bob, "bob")) or not len(bob):
        raise ValueError(f"Expected {len(alice)} bits of Alice and {len(bob)} of Bob to be as many, and at least one.")
    if not 0 <= error_rate <= 0.5:
        raise ValueError(f"Expected 0 <= error_rate={error_rate} <= 0.5.")
    oracle = ParityOracle(alice)
    corrected = correct(bob, oracle, error_rate=error_rate, schedule=schedule, rng=rng)
    least = len(bob) * binary_entropy(error_rate)
    return Reconciled(
        corrected=corrected,
        disclosed_bits=oracle.disclosed_bits,
        rounds=oracle.rounds,
        efficiency=oracle.disclosed_bits / least if least else math.inf,
    )


def correct(
    bob: Bits, oracle: ParityOracle, *, error_rate: float, schedule: Schedule, rng: np.random.Generator
) -> Bits:
    """Return Bob's corrected string; all he learns of Alice's is what the oracle tells.

    Args:
        bob: His string, (n,).
        oracle: Alice.
        error_rate: See `reconcile`.
        schedule: See `reconcile`.
        rng: See `reconcile`.
    """
    bob, reuse = bob.copy(), schedule == "optimised"
    passes: list[Pass] = []
    total: int | None = None
    for size in block_sizes(len(bob), error_rate, schedule):
        order = rng.permutation(len(bob))
        oracle.shuffle(order)
        current = Pass(number=len(passes), order=order, size=size, reuse=reuse)
        total = _compare_blocks(current, bob, oracle, total if reuse else None)
        passes.append(current)
        while (smallest := min(passes, key=lambda one: one.smallest_odd())).smallest_odd() < math.inf:
            flips = _bisect(smallest, bob, oracle)
            bob[flips] ^= 1
            for one in passes:
                one.flip(flips)
    return bob


def block_sizes(n: int, error_rate: float, schedule: Schedule) -> list[int]:
    """Return the size of each pass's blocks, none larger than half the string beyond the first of a tiny one.

    Args:
        n: Bits of the string, at least 1.
        error_rate: See `reconcile`.
        schedule: See `reconcile`.

    Reference: "original": 0.73 / error rate, doubled in each of four passes, Brassard and Salvail 1994; "optimised":
    powers of two, then halves of the string, Martinez-Mateo et al. 2015, arXiv 1407.3257, variant (8).
    """
    rate, half = max(error_rate, 1 / n), -(-n // 2)
    if schedule == "original":
        first = math.ceil(0.73 / rate)
        return [min(first * 2**number, n) for number in range(4)]
    exponent = math.log2(1 / rate) - 0.5
    sizes = [2 ** math.ceil(exponent), 2 ** math.ceil((exponent + 12) / 2), 2**12, *[half] * 11]
    return [min(size, half) for size in sizes]


def prefix_parities(bits: Bits) -> Bits:
    """Return the parity of all bits before each place, along the last axis, (..., n + 1)."""
    prefix = np.zeros((*bits.shape[:-1], bits.shape[-1] + 1), dtype=np.uint8)
    np.bitwise_xor.accumulate(bits, axis=-1, out=prefix[..., 1:])
    return prefix


def _compare_blocks(current: Pass, bob: Bits, oracle: ParityOracle, total: int | None) -> int:
    """Compare the parities of all blocks of a new pass.

    Args:
        current: The pass.
        bob: Bob's string.
        oracle: Alice.
        total: The parity of her whole string, which gives that of the last block; None to ask for it.

    Returns:
        The parity of her whole string.
    """
    starts, stops = current.blocks()
    asked = len(starts) if total is None else len(starts) - 1
    told = oracle.parities(current.number, starts[:asked], stops[:asked]) if asked else np.zeros(0, dtype=np.uint8)
    if total is not None:
        told = np.append(told, np.uint8(total ^ int(np.bitwise_xor.reduce(told))))
    prefix = prefix_parities(bob[current.order])
    current.learn(0, np.arange(len(starts)), told ^ prefix[stops] ^ prefix[starts])
    return int(np.bitwise_xor.reduce(told))


def _bisect(current: Pass, bob: Bits, oracle: ParityOracle) -> Places:
    """Find one difference in each of a pass's smallest odd blocks, which are disjoint; return their indices."""
    depth, nodes = current.take_smallest_odd()
    first = current.bounds(depth, nodes)[0]
    window = first[:, None] + np.arange(current.width(depth))  # (nodes, width)
    prefix = prefix_parities(bob[current.order[np.minimum(window, len(bob) - 1)]])
    for level in range(depth, current.depth):
        start, stop = current.bounds(level, nodes)
        middle = current.bounds(level + 1, 2 * nodes)[1]
        left_odd = (middle == stop).astype(np.uint8)  # the answer if a half is empty
        asked = np.flatnonzero((start < middle) & (middle < stop))
        if len(asked):
            low, high = start[asked], middle[asked]
            mine = prefix[asked, high - first[asked]] ^ prefix[asked, low - first[asked]]
            left_odd[asked] = mine ^ oracle.parities(current.number, low, high)
        current.learn(level + 1, 2 * nodes, left_odd)
        current.learn(level + 1, 2 * nodes + 1, left_odd ^ 1)
        nodes = 2 * nodes + (1 - left_odd.astype(np.int64))
    found: NDArray[np.int64] = current.order[current.bounds(current.depth, nodes)[0]]
    return found
