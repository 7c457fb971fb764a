"""What an attacker learns from the public reference split: ranges, class shares, means and covariances."""

from dataclasses import dataclass

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from qfl_sec.contracts import Records

_SMALLEST_VARIANCE = 1e-12


def shrunk_covariance(samples: Tensor) -> Tensor:
    """Return the covariance of samples (n, dimensions), shrunk towards a multiple of the identity.

    It is positive definite whatever the samples: a floor of 1e-12 stands where they show no variance at all.

    Reference: Ledoit and Wolf 2004, doi:10.1016/S0047-259X(03)00096-4.
    """
    values = samples.detach().to("cpu", torch.float64).numpy()
    covariance = torch.from_numpy(ledoit_wolf(values)[0]) if len(values) > 1 else torch.zeros(2 * values.shape[-1:])
    floor = _SMALLEST_VARIANCE * torch.eye(values.shape[-1], dtype=torch.float64)
    return (covariance + floor).to(samples)


@dataclass(frozen=True, kw_only=True)
class ReferenceStatistics:
    """The reference split in the coordinates of an attack: the widened range of each feature is the unit interval.

    Attributes:
        low: (features,), what 0 stands for.
        width: (features,), what the step from 0 to 1 stands for.
        records: (reference, features), in unit coordinates, sorted by label.
        counts: (classes,), how many there are of each label.
        shares: (classes,), the prior probability of each label, by Laplace's rule.
        means: (classes, features), in unit coordinates.
        whitening: (classes, features, features), the inverse of the covariance's Cholesky factor.
    """

    low: Tensor
    width: Tensor
    records: Tensor
    counts: Tensor
    shares: Tensor
    means: Tensor
    whitening: Tensor

    def features(self, unit: Tensor) -> Tensor:
        """Return features (..., features) from unit coordinates."""
        return self.low + unit * self.width

    def label_penalties(self) -> Tensor:
        """Return what each label costs beside the squared distance to its mean, (classes,); the cheapest costs 0.

        It is -2 (ln share + ln determinant of the whitening), as twice a negative log density is a squared distance.
        """
        constants = self.shares.log() + self.whitening.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return 2 * (constants.max() - constants)


def reference_statistics(reference: Records, n_classes: int, *, margin: float) -> ReferenceStatistics:
    """Summarise the reference split.

    Args:
        reference: The public records.
        n_classes: Number of labels, present or not.
        margin: The range is widened at either end by this share of it. A feature without range gets one of width 1.
    """
    features = reference.features.to(torch.float64)
    bottom, top = features.amin(0), features.amax(0)
    spread = torch.where(top > bottom, top - bottom, torch.ones_like(top))
    low, width = bottom - margin * spread, (1 + 2 * margin) * spread
    order = torch.argsort(reference.labels, stable=True)
    unit, labels = ((features - low) / width)[order], reference.labels[order]
    counts = torch.bincount(labels, minlength=n_classes)
    of_class = [unit[labels == label] if counts[label] > 1 else unit for label in range(n_classes)]
    factors = torch.linalg.cholesky(torch.stack([shrunk_covariance(samples) for samples in of_class]))
    identity = torch.eye(unit.shape[-1], dtype=unit.dtype, device=unit.device)
    return ReferenceStatistics(
        low=low,
        width=width,
        records=unit,
        counts=counts,
        shares=(counts + 1) / (counts.sum() + n_classes),
        means=torch.stack([samples.mean(0) for samples in of_class]),
        whitening=torch.linalg.solve_triangular(factors, identity.expand_as(factors), upper=False),
    )
