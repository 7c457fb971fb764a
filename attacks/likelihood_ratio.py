"""Likelihood ratios of a mean of gradients, with one record in it against without."""

import torch
from torch import Tensor

_FLOOR = 1e-9
"""Variance added in every direction, as a share of the mean variance: one record without noise would leave none."""


def gaussian_log_ratios(offset: Tensor, shifts: Tensor, without: Tensor, within: Tensor) -> Tensor:
    """Return ln N(offset; shift, within) - ln N(offset; 0, without) for each shift.

    Args:
        offset: (dimensions,), the observation minus its mean without the record.
        shifts: (k, dimensions), how much each record would move the mean.
        without: (dimensions, dimensions), the covariance without the record.
        within: (dimensions, dimensions), the covariance with it, when it is no longer random.

    Reference: the quadratic discriminant of two Gaussians, for instance Hastie, Tibshirani and Friedman 2009,
        The Elements of Statistical Learning, equation 4.12.
    """
    floor = _FLOOR * without.diagonal().mean() * torch.eye(len(offset), dtype=offset.dtype, device=offset.device)
    outside, inside = torch.linalg.cholesky(without + floor), torch.linalg.cholesky(within + floor)
    scaling = inside.diagonal().log().sum() - outside.diagonal().log().sum()
    distance = _whitened(outside, offset.unsqueeze(0)).square().sum(-1)
    ratios: Tensor = (distance - _whitened(inside, offset - shifts).square().sum(-1)) / 2 - scaling
    return ratios


def mixed_with_absence(log_ratios: Tensor, probability: float) -> Tensor:
    """Return ln(1 - p + p exp(ratio)): a member was in the batch only with this probability.

    Example:
        >>> [round(value, 6) for value in mixed_with_absence(torch.tensor([-1e9, 0.0]).double(), 0.5).tolist()]
        [-0.693147, 0.0]
    """
    chance = torch.as_tensor(probability, dtype=log_ratios.dtype, device=log_ratios.device)
    return torch.logaddexp((1 - chance).log().expand_as(log_ratios), chance.log() + log_ratios)


def repeated_log_ratios(offset: Tensor, shifts: Tensor, covariance: Tensor, draws: int, rate: float) -> Tensor:
    """Return ln of the mean, over k ~ Binomial(draws, rate), of N(offset; k shift, C) / N(offset; 0, C).

    A member of Poisson batches enters each of them on its own, so that it is in k of them; the other records' share,
    hence the covariance, stays what it was.

    Args:
        offset: (dimensions,), the observation minus its mean without the record.
        shifts: (n, dimensions), how much each record moves the mean each time it is drawn.
        covariance: (dimensions, dimensions), C.
        draws: Number of batches.
        rate: Probability of entering one batch.
    """
    floor = _FLOOR * covariance.diagonal().mean() * torch.eye(len(offset), dtype=offset.dtype, device=offset.device)
    factor = torch.linalg.cholesky(covariance + floor)
    white_offset, white_shifts = _whitened(factor, offset.unsqueeze(0)), _whitened(factor, shifts)
    slope, curvature = (white_shifts * white_offset).sum(-1), white_shifts.square().sum(-1)  # (n,), (n,)
    times = torch.arange(draws + 1, dtype=offset.dtype, device=offset.device)
    orders = torch.lgamma(times.new_tensor(draws + 1.0)) - torch.lgamma(times + 1) - torch.lgamma(draws - times + 1)
    chance = times.new_tensor(rate)
    weights = orders + torch.xlogy(times, chance) + torch.xlogy(draws - times, 1 - chance)
    exponents = times * slope.unsqueeze(-1) - times.square() * curvature.unsqueeze(-1) / 2  # (n, draws + 1)
    return torch.logsumexp(weights + exponents, dim=-1)


def _whitened(factor: Tensor, vectors: Tensor) -> Tensor:
    """Return the rows of `vectors` (k, dimensions) in coordinates of unit covariance."""
    white: Tensor = torch.linalg.solve_triangular(factor, vectors.mT, upper=False)
    return white.mT
