"""Numbers of an update as the bytes that travel."""

import numpy as np
import torch
from torch import Tensor

FLOATS = {torch.float64: (">f8", 11), torch.float32: (">f4", 8)}
"""How a number travels, its most significant byte first, and the bits of its exponent."""


def to_bytes(numbers: Tensor) -> bytes:
    """Return numbers (parameters,) as bytes, the most significant first."""
    return bytes(numbers.detach().cpu().numpy().astype(FLOATS[numbers.dtype][0]).tobytes())


def from_bytes(content: bytes, like: Tensor) -> Tensor:
    """Return the numbers that bytes stand for, of the type of others."""
    native = np.frombuffer(content, dtype=FLOATS[like.dtype][0]).astype(FLOATS[like.dtype][0].replace(">", "="))
    return torch.from_numpy(native)
