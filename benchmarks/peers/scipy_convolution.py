"""`scipy.signal.fftconvolve`: the Toeplitz product as one convolution of real numbers, rounded."""

import numpy as np
import scipy
import scipy.signal
import torch
from torch import Tensor

from benchmarks.problems import Hashing
from benchmarks.sides import Side


def convolution(problem: Hashing) -> Side:
    """Compute the hash (length,)."""

    def work() -> tuple[Tensor]:
        counts = scipy.signal.fftconvolve(problem.bits.astype(float), problem.seed.astype(float), mode="valid")
        return (torch.from_numpy((np.rint(counts).astype(np.int64) & 1).astype(np.uint8)),)

    return Side(name="scipy.signal.fftconvolve, rounded", version=f"scipy {scipy.__version__}", work=work)
