"""A message of direct communication at its two ends: coded and tagged by the sender, decoded and verified by the other.

What both ends know beforehand is the plan, which is public, and the key of the tag, which they share from before.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qfl_sec.checking import InputError
from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols import block_code
from qfl_sec.protocols.authentication import Authenticator
from qfl_sec.protocols.qsdc_discussion import TAG_BITS
from qfl_sec.randomness import Streams

PAIRS_PER_FRAME = block_code.CODED_BITS // 2
"""Two coded bits ride on a pair."""

TAG_KEY_BITS = 2 * TAG_BITS
"""The hash key, and one pad."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a message is cut up; public.

    Attributes:
        message_bits: Length of the message.
        frames_per_block: Frames of the code that are carried at once, at most.
        copies: How often each coded bit is sent.
    """

    message_bits: int
    frames_per_block: int
    copies: int

    def blocks(self) -> Iterator[int]:
        """Yield the frames of each block."""
        frames = block_code.frame_count(self.message_bits)
        for start in range(0, frames, self.frames_per_block):
            yield min(self.frames_per_block, frames - start)

    def pairs(self, frames: int) -> int:
        """Return how many pairs carry so many frames."""
        return self.copies * PAIRS_PER_FRAME * frames


class OutgoingMessage:
    """The sender's end.

    Args:
        content: The message, (message bits,).
        plan: How it is cut up.
        key: Shared with the receiver, (TAG_KEY_BITS,).
    """

    def __init__(self, content: Bits, plan: Plan, key: Bits) -> None:
        self._content = content
        self._coded = _coded(content, plan)
        self._authenticator = Authenticator(key, TAG_BITS)

    def next_block(self) -> Bits:
        """Return the coded bits of the next block, two for each pair, (2, pairs)."""
        return next(self._coded).reshape(-1, 2).T

    def tag(self) -> Bits:
        """Return the tag of the message, (TAG_BITS,)."""
        return self._authenticator.tag(np.packbits(self._content).tobytes())


class IncomingMessage:
    """The receiver's end.

    Args:
        plan: How the message is cut up.
        key: Shared with the sender, (TAG_KEY_BITS,).

    Attributes:
        frame_failures: Frames so far that error correction did not settle.
    """

    def __init__(self, plan: Plan, key: Bits) -> None:
        self._plan = plan
        self._frames: list[Bits] = []
        self._authenticator = Authenticator(key, TAG_BITS)
        self.frame_failures = 0

    def decode(self, symbols: Bits, rates: tuple[float, float], measured: NDArray[np.bool_]) -> None:
        """Decode a block.

        Args:
            symbols: Both bits of each pair, as they were read, (2, pairs).
            rates: Error rates of first and second bits.
            measured: Which pairs were, (pairs,); the others count for nothing.
        """
        ratios = log_likelihood_ratios(symbols, rates, measured)
        copies = ratios.T.reshape(-1, self._plan.copies * block_code.CODED_BITS)  # (frames, copies CODED_BITS)
        bits, settled = block_code.decode(block_code.combine(copies, self._plan.copies))
        self._frames.append(bits.ravel())
        self.frame_failures += int((~settled).sum())

    def verify(self, tag: Bits) -> Bits | None:
        """Return the message (message bits,) if the sender's tag fits it, else None."""
        decoded = np.concatenate(self._frames)[: self._plan.message_bits]
        return decoded if self._authenticator.verify(np.packbits(decoded).tobytes(), tag) else None


def message_ends(content: Bits, plan: Plan, streams: Streams) -> tuple[OutgoingMessage, IncomingMessage]:
    """Return the ends of a message; the key of its tag is shared from before, and used up."""
    key = streams.numpy("shared key").integers(0, 2, TAG_KEY_BITS, np.uint8)
    return OutgoingMessage(content, plan, key), IncomingMessage(plan, key)


def checked_message(message: Bits) -> Bits:
    """Return a message as uint8.

    Raises:
        InputError: If it is no flat array of zeros and ones.
    """
    content = np.asarray(message)
    if content.ndim != 1:
        raise InputError(f"Expected a message of shape (bits,), got {content.shape}.")
    if not ((content == 0) | (content == 1)).all():
        raise InputError("Expected message to hold zeros and ones alone.")
    return content.astype(np.uint8)


def log_likelihood_ratios(
    symbols: Bits, rates: tuple[float, float], measured: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return what bits (2, pairs) read with these error rates are worth to a decoder; 0 where nothing was measured."""
    weights = np.log([(1 - rate) / rate for rate in rates])[:, None]
    return np.where(measured, weights * (1.0 - 2.0 * symbols), 0.0)


def _coded(content: Bits, plan: Plan) -> Iterator[Bits]:
    """Yield the coded bits of each block, (frames, bits); the last frame is filled up with zeros."""
    start = 0
    for count in plan.blocks():
        part = content[start : start + count * block_code.FRAME_BITS]
        frames = np.zeros((count, block_code.FRAME_BITS), np.uint8)
        frames.ravel()[: len(part)] = part
        yield block_code.repeat(block_code.encode(frames), plan.copies)
        start += count * block_code.FRAME_BITS
