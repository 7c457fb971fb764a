"""One pass of Cascade as Bob keeps it: an order of the bits, blocks, their halves, and which of them are odd."""

import math
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qfl_sec.protocol_contracts import Bits

Places: TypeAlias = NDArray[np.int64]
"""Indices of bits or of places, (m,)."""


class Pass:
    """Blocks of a shuffled string, halved again and again down to single bits.

    Node j of a block of `size` places at depth d covers the offsets from ceil(j size / 2^d) to before
    ceil((j + 1) size / 2^d); nodes of one depth are numbered through all blocks, and the last block may be cut short.
    A node whose parity is known is odd where Alice's and Bob's parities differ.

    Args:
        number: Counts the passes.
        order: The index of the bit at each place, (n,).
        size: Of a block.
        reuse: Whether halves are remembered; otherwise whole blocks only.

    Attributes:
        number: Counts the passes.
        order: The index of the bit at each place, (n,).
        depth: At which nodes hold one bit at most.
    """

    def __init__(self, *, number: int, order: Places, size: int, reuse: bool) -> None:
        self.number, self.order, self.depth = number, order, (size - 1).bit_length()
        self._n, self._size = len(order), size
        self._blocks = -(-self._n // size)
        self._levels = 1 + self.depth if reuse else 1
        self._place = np.empty(self._n, dtype=np.int32)  # the place of each bit
        self._place[order] = np.arange(self._n, dtype=np.int32)
        # One entry a node, depth by depth: those of depth d begin at blocks * (2^d - 1).
        self._known = np.zeros(self._blocks * (2**self._levels - 1), dtype=bool)
        self._odd = np.zeros_like(self._known, dtype=np.uint8)  # the last bit counts
        self._touched: Places = np.zeros(0, dtype=np.int64)  # entries that may be odd

    def width(self, depth: int) -> int:
        """Return the most places that a node covers."""
        return -(-self._size // (1 << depth))

    def bounds(self, depth: int, nodes: Places) -> tuple[Places, Places]:
        """Return the first place of each node, and the place after its last."""
        block, inside = nodes >> depth, nodes & (2**depth - 1)
        start, stop = (block * self._size + -(-(j * self._size) // 2**depth) for j in (inside, inside + 1))
        return np.minimum(start, self._n), np.minimum(stop, self._n)

    def blocks(self) -> tuple[Places, Places]:
        """Return the bounds of all blocks."""
        return self.bounds(0, np.arange(self._blocks))

    def learn(self, depth: int, nodes: Places, odd: Bits) -> None:
        """Remember whether nodes are odd, if this pass remembers such."""
        if depth >= self._levels:
            return
        entries = self._first(depth) + nodes
        self._known[entries] = True
        self._odd[entries] = odd
        self._touched = np.concatenate([self._touched, entries[odd == 1]])

    def flip(self, bits: Places) -> None:
        """Account for flipped bits, no index twice: every known node that holds one changes."""
        block, inside = np.divmod(self._place[bits].astype(np.int64), self._size)
        depths = np.arange(self._levels)[:, None]
        entries = self._blocks * (2**depths - 1) + (block << depths) + (inside << depths) // self._size
        entries = entries[self._known[entries]]
        np.add.at(self._odd, entries, np.uint8(1))
        self._touched = np.unique(np.concatenate([self._touched, entries]))
        self._touched = self._touched[self._odd[self._touched] & 1 == 1]

    def smallest_odd(self) -> float:
        """Return the size of the smallest known odd node, infinite if there is none."""
        if not len(self._touched):
            return math.inf
        return self._size / (1 << self._deepest())

    def take_smallest_odd(self) -> tuple[int, Places]:
        """Return the depth of the smallest odd nodes and all odd nodes of that depth."""
        depth = self._deepest()
        return depth, self._touched[self._touched >= self._first(depth)] - self._first(depth)

    def _deepest(self) -> int:
        return (int(self._touched.max()) // self._blocks + 1).bit_length() - 1

    def _first(self, depth: int) -> int:
        return self._blocks * ((1 << depth) - 1)
