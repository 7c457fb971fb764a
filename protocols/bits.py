"""Checks on arrays of zeros and ones, and the entropy of one bit."""

import math

import numpy as np

from qfl_sec.protocol_contracts import Bits


def checked_bits(bits: Bits, name: str) -> Bits:
    """Return bits as they are.

    Args:
        bits: Zeros and ones, (n,).
        name: What they are called in the message.

    Raises:
        ValueError: If they are no flat array of zeros and ones, of type uint8.
    """
    if bits.ndim != 1 or bits.dtype != np.uint8:
        raise ValueError(f"Expected {name} of shape {bits.shape} and type {bits.dtype} to be a flat array of uint8.")
    if bits.size and bits.max() > 1:
        raise ValueError(f"Expected {name} to hold zeros and ones; found {bits.max()}. Unpack bytes into bits first.")
    return bits


def binary_entropy(probability: float) -> float:
    """Return the entropy of a bit that is 1 with a probability, in bits.

    Raises:
        ValueError: If it is no probability.

    Example:
        >>> binary_entropy(0.5), binary_entropy(0.0)
        (1.0, 0.0)
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"Expected 0 <= probability={probability} <= 1.")
    if probability in (0, 1):
        return 0.0
    entropy = -probability * math.log2(probability) - (1 - probability) * math.log1p(-probability) / math.log(2)
    return min(1.0, entropy)
