"""Error correction of a message in frames: a systematic repeat-accumulate code, repeated as often as the channel needs.

Each frame of 1,024 bits gets 1,024 parity bits: every information bit enters four of them, and each parity bit is the
running sum of the checks before it. A channel that is worse than this code stands gets every coded bit several times;
copies that arrive are added up before decoding, and copies that are lost count for nothing. Decoding is belief
propagation, many frames at once. A frame that it does not settle is told by the checks, or else by the tag.

Reference: Divsalar, Jin and McEliece 1998 (repeat-accumulate codes); Gallager 1962, doi:10.1109/TIT.1962.1057683
(belief propagation).
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from qfl_sec.protocol_contracts import Bits

FRAME_BITS = 1024
"""Information bits of a frame."""

CODED_BITS = 2 * FRAME_BITS
"""Information and parity bits of a frame."""

REPEATS = 4
"""Parity checks that each information bit enters."""

ENOUGH_INFORMATION = 0.7
"""Bits that each coded bit has to bring, copies together: at this, none of 2,000 frames failed on three channels."""

MAX_COPIES = 1 << 14
"""A channel that needs more of each coded bit carries no message."""

ITERATIONS = 60
"""Rounds of belief propagation at most."""

CERTAIN = 30.0
"""Largest log-likelihood ratio in use."""

NO_EVIDENCE = 1e-3
"""A ratio so small tells nothing: rounding gives rise to it."""

_LAYOUT_SEED = 20071
"""The code is drawn once, in public: any seed would do, and both parties have the same."""

_SMALLEST = 1e-12
"""Keeps hyperbolic tangents away from 0, by which they are divided, and from 1, where their inverse is infinite."""

Ratios = NDArray[np.float64]
"""Log-likelihood ratios, positive for 0."""


@dataclass(frozen=True)
class _Layout:
    """Which bits each check adds up.

    Attributes:
        sums: Information bits of each check, (checks, REPEATS).
        edges: Coded bits of each check, the own and the previous parity last; CODED_BITS stands for a bit that is
            known to be 0, (checks, REPEATS + 2).
        information: Positions in the flat edges of each information bit, (FRAME_BITS, REPEATS).
        parity: Positions in the flat edges of each parity bit; the last one's second is past the end, (checks, 2).
    """

    sums: NDArray[np.intp]
    edges: NDArray[np.intp]
    information: NDArray[np.intp]
    parity: NDArray[np.intp]


@cache
def _layout() -> _Layout:
    generator = np.random.default_rng(_LAYOUT_SEED)
    sums = _drawn_sums(generator)
    checks = np.arange(FRAME_BITS)
    own, previous = FRAME_BITS + checks, np.where(checks > 0, FRAME_BITS + checks - 1, CODED_BITS)
    edges = np.column_stack([sums, own, previous])
    width = REPEATS + 2
    flat = (checks[:, None] * width + np.arange(REPEATS)).ravel()
    information = flat[np.argsort(sums.ravel(), kind="stable")].reshape(FRAME_BITS, REPEATS)
    parity = np.column_stack([width * checks + REPEATS, width * checks + 2 * width - 1])
    return _Layout(sums, edges, information, parity)


def _drawn_sums(generator: np.random.Generator) -> NDArray[np.intp]:
    """Draw REPEATS information bits for each check, each bit equally often and no two bits together twice."""
    sums = np.column_stack([generator.permutation(FRAME_BITS) for _ in range(REPEATS)])
    while True:
        wrong = _repeated_pairs(sums)
        if not len(wrong):
            return sums
        for check in wrong:
            column, other = generator.integers(REPEATS), generator.integers(FRAME_BITS)
            sums[[check, other], column] = sums[[other, check], column]


def _repeated_pairs(sums: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return checks with a bit twice, or with a pair of bits that an earlier check, or a neighbour's, holds."""
    seen: set[tuple[int, int]] = set()
    wrong = []
    for check, row in enumerate(sums.tolist()):
        pairs = {(min(a, b), max(a, b)) for i, a in enumerate(row) for b in row[i + 1 :]}
        neighbour = check > 0 and set(row) & set(sums[check - 1].tolist())
        if len(set(row)) < REPEATS or pairs & seen or neighbour:
            wrong.append(check)
        seen |= pairs
    return np.array(wrong, np.intp)


def frame_count(message_bits: int) -> int:
    """Return how many frames a message fills."""
    return -(-message_bits // FRAME_BITS)


def encode(frames: Bits) -> Bits:
    """Return frames (frames, FRAME_BITS) with their parity bits behind, (frames, CODED_BITS)."""
    parity = np.bitwise_xor.accumulate(np.bitwise_xor.reduce(frames[:, _layout().sums], axis=2), axis=1)
    return np.concatenate([frames, parity], axis=1)


def repeat(coded: Bits, copies: int) -> Bits:
    """Return every frame several times over, each copy turned by one more bit, (frames, copies CODED_BITS).

    A bit that rides on the bit half of a pair in one copy rides on the phase half in the next.
    """
    return np.concatenate([np.roll(coded, turn, axis=1) for turn in range(copies)], axis=1)


def combine(ratios: Ratios, copies: int) -> Ratios:
    """Return the ratios of coded bits from those of their copies: the inverse of `repeat`."""
    parts = ratios.reshape(len(ratios), copies, CODED_BITS)
    total: Ratios = np.sum([np.roll(parts[:, turn], -turn, axis=1) for turn in range(copies)], axis=0)
    return total


def decode(ratios: Ratios) -> tuple[Bits, NDArray[np.bool_]]:
    """Decode frames by belief propagation.

    Args:
        ratios: Log-likelihood ratio of each coded bit, positive for 0, (frames, CODED_BITS).

    Returns:
        The information bits, (frames, FRAME_BITS), and whether all checks of the frame hold, (frames,).
    """
    channel = np.clip(ratios, -CERTAIN, CERTAIN)
    bits, settled = _hard(channel)
    messages = np.zeros((len(channel), FRAME_BITS * (REPEATS + 2)))
    open_frames = np.flatnonzero(~settled)
    for _ in range(ITERATIONS):
        if not len(open_frames):
            break
        beliefs, messages[open_frames] = _iterate(channel[open_frames], messages[open_frames])
        bits[open_frames], settled[open_frames] = _hard(beliefs)
        open_frames = open_frames[~settled[open_frames]]
    return bits[:, :FRAME_BITS], settled


def recover(ratios: Ratios) -> tuple[Bits, NDArray[np.bool_]]:
    """Return what follows from knowing some coded bits for certain and nothing of the others.

    Args:
        ratios: Plus or minus `CERTAIN` for known bits, 0 for the others, (frames, CODED_BITS).

    Returns:
        The information bits, and which of them are known, each (frames, FRAME_BITS).
    """
    channel = np.clip(ratios, -CERTAIN, CERTAIN)
    beliefs, messages = channel, np.zeros((len(channel), FRAME_BITS * (REPEATS + 2)))
    found = -1
    while found < (known := int((np.abs(beliefs) > 1).sum())):
        found = known
        beliefs, messages = _iterate(channel, messages)
    told = beliefs[:, :FRAME_BITS]
    return (told < -1).astype(np.uint8), np.abs(told) > 1


def _hard(beliefs: Ratios) -> tuple[Bits, NDArray[np.bool_]]:
    """Return the likelier bits, and whether they keep every check; a bit without any evidence settles nothing."""
    bits = (beliefs < 0).astype(np.uint8)
    settled = (encode(bits[:, :FRAME_BITS]) == bits).all(axis=1) & (np.abs(beliefs) > NO_EVIDENCE).all(axis=1)
    return bits, settled


def _iterate(channel: Ratios, messages: Ratios) -> tuple[Ratios, Ratios]:
    """Return beliefs and the checks' next messages from their last ones, (frames, checks x edges)."""
    layout = _layout()
    beliefs = _beliefs(channel, messages)
    known = np.concatenate([beliefs, np.full((len(channel), 1), CERTAIN)], axis=1)
    to_checks = known[:, layout.edges] - messages.reshape(len(channel), *layout.edges.shape)
    halves = np.tanh(np.clip(to_checks, -CERTAIN, CERTAIN) / 2)
    halves[np.abs(halves) < _SMALLEST] = _SMALLEST
    others = halves.prod(axis=2, keepdims=True) / halves
    sent: Ratios = 2 * np.arctanh(np.clip(others, -1 + _SMALLEST, 1 - _SMALLEST)).reshape(messages.shape)
    return _beliefs(channel, sent), sent


def _beliefs(channel: Ratios, messages: Ratios) -> Ratios:
    layout = _layout()
    padded = np.concatenate([messages, np.zeros((len(messages), REPEATS + 2))], axis=1)
    gathered = [padded[:, layout.information].sum(axis=2), padded[:, layout.parity].sum(axis=2)]
    beliefs: Ratios = channel + np.concatenate(gathered, axis=1)
    return beliefs


def information_of_copies(copies: int, *, survival: float, error_rate: float) -> float:
    """Return what copies of a bit tell of it together, in bits.

    Args:
        copies: Of the bit, sent over a binary symmetric channel with erasures.
        survival: Probability that a copy is not erased.
        error_rate: Of a copy that is not.
    """
    if error_rate == 0:
        return float(1 - binom.pmf(0, copies, survival))
    weight = binom.pmf(np.arange(copies + 1), copies, survival)
    step = np.log((1 - error_rate) / error_rate)
    total = 0.0
    for count in np.flatnonzero(weight > 1e-12).tolist():  # what is rarer adds less than 1e-12 bits each
        wrong = np.arange(count + 1)
        told = 1 - np.logaddexp(0, (2 * wrong - count) * step) / np.log(2)
        total += float(weight[count] * (binom.pmf(wrong, count, error_rate) @ told))
    return total


def copies_needed(*, survival: float, error_rate: float) -> int | None:
    """Return how often a coded bit has to be sent for frames to be decoded; None if more than MAX_COPIES.

    Example:
        >>> copies_needed(survival=1.0, error_rate=0.0), copies_needed(survival=0.1, error_rate=0.0)
        (1, 12)
    """
    if survival <= 0 or error_rate >= 0.5:
        return None

    def enough(copies: int) -> bool:
        return information_of_copies(copies, survival=survival, error_rate=error_rate) >= ENOUGH_INFORMATION

    most = 1
    while not enough(most):
        most *= 2
        if most > MAX_COPIES:
            return None
    least = most // 2 + 1
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle + 1, most)
    return most
