"""Secret bits that two parties share, each given out once."""

import numpy as np

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols.bits import checked_bits


class KeyExhaustedError(Exception):
    """A key that is too short for what it was asked for; says how many bits are missing."""


class KeyStore:
    """Key bits in order, given out once each.

    Args:
        key: The first bits, (n,).

    Example:
        >>> store = KeyStore(np.array([1, 0, 1], np.uint8))
        >>> store.take(2).tolist(), store.remaining
        ([1, 0], 1)
    """

    def __init__(self, key: Bits) -> None:
        self._key = checked_bits(key, "key").copy()
        self._next = 0  # the first bit not given out
        self._forgotten = 0  # bits given out that are no longer stored

    @property
    def remaining(self) -> int:
        """Bits left."""
        return len(self._key) - self._next

    @property
    def consumed(self) -> int:
        """Bits given out so far."""
        return self._forgotten + self._next

    def add(self, key: Bits) -> None:
        """Append fresh bits, (n,)."""
        self._key = np.concatenate([self._key[self._next :], checked_bits(key, "key")])
        self._forgotten, self._next = self.consumed, 0

    def take(self, count: int) -> Bits:
        """Return the next bits (count,) and forget them.

        Raises:
            ValueError: If the count is negative.
            KeyExhaustedError: If fewer are left; none is given out then.
        """
        if count < 0:
            raise ValueError(f"Expected count={count} >= 0.")
        if count > self.remaining:
            raise KeyExhaustedError(
                f"Expected {count} key bits; {self.remaining} of {self.consumed + self.remaining} are left, "
                f"{count - self.remaining} are missing. Distribute more key."
            )
        spent = self._key[self._next : self._next + count]
        taken = spent.copy()
        spent[:] = 0
        self._next += count
        return taken
