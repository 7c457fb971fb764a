"""One seed, one independent stream a role.

Every consumer of random numbers asks for its stream by a role's name ("partition", "client 3 round 7",
"attack gradient_inversion"). The stream depends on the seed and the name alone, so a new consumer never shifts the
numbers of an old one.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Streams:
    """Independent random generators that grow from one seed.

    Args:
        seed: A non-negative integer.

    Raises:
        ValueError: If the seed is negative.

    Example:
        >>> first, again = Streams(7).numpy("noise"), Streams(7).numpy("noise")
        >>> bool(first.random() == again.random())
        True
    """

    seed: int

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"Expected seed={self.seed} >= 0.")

    def sequence(self, role: str) -> np.random.SeedSequence:
        """Return the seed sequence of a role, spawned from the seed by the role's name."""
        digest = hashlib.sha256(role.encode()).digest()
        spawn_key = tuple(int.from_bytes(digest[i : i + 4], "big") for i in range(0, 16, 4))
        return np.random.SeedSequence(self.seed, spawn_key=spawn_key)

    def numpy(self, role: str) -> np.random.Generator:
        """Return a fresh numpy generator for a role."""
        return np.random.default_rng(self.sequence(role))

    def child(self, role: str) -> "Streams":
        """Return the streams of a part that has roles of its own, such as one run of a protocol among many."""
        return Streams(int(self.sequence(role).generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def torch(self, role: str, device: str = "cpu") -> torch.Generator:
        """Return a fresh torch generator for a role, seeded from the role's numpy seed sequence."""
        state = int(self.sequence(role).generate_state(1, np.uint64)[0])
        return torch.Generator(device=device).manual_seed(state)
