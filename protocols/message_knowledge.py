"""What an eavesdropper knows of a message when she has read some of the bits that carry it for certain.

The code is public: what she has not read of a frame may follow from what she has.
"""

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols import block_code


class MessageKnowledge:
    """Grows block by block."""

    def __init__(self) -> None:
        self._bits: list[Bits] = []
        self._known: list[NDArray[np.bool_]] = []

    def learn(self, read: Bits, known: NDArray[np.bool_], *, frames: int) -> None:
        """Add a block.

        Args:
            read: First and second bit of each encoded pair, in the order of the message, (2, pairs).
            known: Which of them were read, (2, pairs).
            frames: In the block.
        """
        ratios = np.where(known, block_code.CERTAIN * (1.0 - 2.0 * read), 0.0).T.reshape(frames, -1)
        copies = ratios.shape[1] // block_code.CODED_BITS
        bits, certain = block_code.recover(block_code.combine(ratios, copies))
        self._bits.append(bits.ravel())
        self._known.append(certain.ravel())

    def held(self, message_bits: int) -> dict[str, NDArray[np.generic]]:
        """Return which bits of the message are known, and what they are, each (message_bits,)."""
        bits, known = np.zeros(message_bits, np.uint8), np.zeros(message_bits, bool)
        if self._bits:
            told, certain = np.concatenate(self._bits)[:message_bits], np.concatenate(self._known)[:message_bits]
            bits[: len(told)], known[: len(certain)] = told, certain
        return {"known": known, "bits": np.where(known, bits, 0).astype(np.uint8)}
