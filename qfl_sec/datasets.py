"""Real data, split into train candidates, test records and a public reference, and scaled by the reference alone.

Nothing is downloaded: both data sets come with scikit-learn, which is imported only when data are loaded.
"""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch

from qfl_sec.checking import InputError
from qfl_sec.contracts import Records

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A data set as lists show it.

    Attributes:
        name: Its registered name.
        description: One line.
        records: How many there are, with the default classes.
        features: Features of a raw record.
        classes: Labels a federation learns to tell apart.
        default_classes: The pair taken where the user names none; None where there is no choice.
    """

    name: str
    description: str
    records: int
    features: int
    classes: int
    default_classes: tuple[int, int] | None


DATASETS: Mapping[str, DatasetInfo] = MappingProxyType(
    {
        "breast_cancer": DatasetInfo(
            name="breast_cancer",
            description="Wisconsin diagnostic breast cancer: cell nuclei, malignant or benign",
            records=569,
            features=30,
            classes=2,
            default_classes=None,
        ),
        "digits": DatasetInfo(
            name="digits",
            description="Handwritten digits of 8x8 pixels, two of the ten classes",
            records=357,
            features=64,
            classes=2,
            default_classes=(3, 8),
        ),
    }
)
"""Every data set by name."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Which data, how many features of it, and how it is split.

    Attributes:
        name: A key of `DATASETS`.
        features: Principal components the model is given, at least 1.
        test_fraction: Share of the records kept for measuring accuracy, in (0, 1).
        reference_fraction: Share that is public, in (0, 1). The rest are the train candidates.
        classes: The two digits of `digits`, each 0 to 9, label 0 first; None takes the data set's default, and is the
            only choice where there is none.

    Raises:
        ValueError: If a value is impossible.
    """

    name: str = "breast_cancer"
    features: int = 4
    test_fraction: float = 0.25
    reference_fraction: float = 0.25
    classes: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        info = _info(self.name)
        if not 1 <= self.features <= info.features:
            raise ValueError(f"Expected 1 <= features={self.features} <= {info.features}, what {self.name} has")
        for key in ("test_fraction", "reference_fraction"):
            if not 0 < getattr(self, key) < 1:
                raise ValueError(f"Expected 0 < {key}={getattr(self, key)} < 1")
        if self.test_fraction + self.reference_fraction >= 1:
            both = f"test_fraction={self.test_fraction} + reference_fraction={self.reference_fraction}"
            raise ValueError(f"Expected {both} < 1. Lower one, so that records are left to train on")
        self._settle_classes(info)

    def _settle_classes(self, info: DatasetInfo) -> None:
        if self.classes is None:
            object.__setattr__(self, "classes", info.default_classes)
            return
        if info.default_classes is None:
            raise ValueError(
                f"Expected no classes={self.classes}: {self.name} has no choice of classes. Remove the key"
            )
        if len(set(self.classes)) != 2 or not set(self.classes) <= set(range(10)):
            raise ValueError(f"Expected classes={self.classes} to be two different digits from 0 to 9")


@dataclass(frozen=True, kw_only=True)
class RawData:
    """Records as published.

    Attributes:
        features: (records, raw features)
        labels: (records,), from 0, in the order of `class_names`.
        class_names: The labels in words.
        fingerprint: sha256, in hexadecimal, of the features' bytes (64-bit little-endian floats, record after record)
            followed by the labels' (64-bit little-endian integers).
    """

    features: Floats
    labels: Integers
    class_names: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The three parts of the data, scaled as the model takes them; float64.

    Attributes:
        candidates: Records that may be trained on.
        test: Records that only measure accuracy.
        reference: Public records, to which scaling and PCA were fitted: each feature's range here is [-1, 1].
        feature_low: (features,), lowest value in the reference split.
        feature_high: (features,), highest value in the reference split.
    """

    candidates: Records
    test: Records
    reference: Records
    feature_low: torch.Tensor
    feature_high: torch.Tensor


def load(spec: DataSpec) -> RawData:
    """Return the raw records of a data set.

    Example:
        >>> load(DataSpec(name="breast_cancer")).class_names
        ('malignant', 'benign')
    """
    features, labels, names = _load_breast_cancer() if spec.classes is None else _load_digits(spec.classes)
    content = features.astype("<f8").tobytes(order="C") + labels.astype("<i8").tobytes(order="C")
    return RawData(features=features, labels=labels, class_names=names, fingerprint=hashlib.sha256(content).hexdigest())


def split(raw: RawData, spec: DataSpec, *, rng: np.random.Generator) -> Splits:
    """Divide the records at random within each class, then reduce and scale them by the reference split alone.

    A class of c records gives round(c * fraction) of them to the test and to the reference split and the rest to the
    candidates. Features are standardised (one without variance is only centred), replaced by their first principal
    components, and each component is mapped linearly so that the reference split spans [-1, 1]. Other records are not
    clipped: they may lie outside.

    Args:
        raw: What `load` returned.
        spec: The same that was loaded.
        rng: Source of the split.

    Raises:
        InputError: If a split lacks a class, or the reference split cannot carry so many components.
    """
    candidates, test, reference = _stratify(raw.labels, spec, rng)
    if spec.features > len(reference) - 1:
        remedy = "Lower features or raise reference_fraction."
        raise InputError(f"Expected features={spec.features} < {len(reference)}, the reference records. {remedy}")
    scaled = _scale(raw.features, reference, spec.features)

    def records(chosen: Integers) -> Records:
        return Records(features=torch.from_numpy(scaled[chosen]), labels=torch.from_numpy(raw.labels[chosen]))

    public = records(reference)
    return Splits(
        candidates=records(candidates),
        test=records(test),
        reference=public,
        feature_low=public.features.amin(dim=0),
        feature_high=public.features.amax(dim=0),
    )


def _info(name: str) -> DatasetInfo:
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name, DATASETS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"Unknown data set name={name!r}. Known: {', '.join(sorted(DATASETS))}.{hint}")


def _load_breast_cancer() -> tuple[Floats, Integers, tuple[str, ...]]:
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    return bunch.data.astype(np.float64), bunch.target.astype(np.int64), tuple(str(n) for n in bunch.target_names)


def _load_digits(classes: tuple[int, int]) -> tuple[Floats, Integers, tuple[str, ...]]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    chosen = np.isin(bunch.target, classes)
    labels = (bunch.target[chosen] == classes[1]).astype(np.int64)
    return bunch.data[chosen].astype(np.float64), labels, tuple(str(digit) for digit in classes)


def _stratify(labels: Integers, spec: DataSpec, rng: np.random.Generator) -> tuple[Integers, Integers, Integers]:
    """Return the indices of candidates, test and reference records, each in random order."""
    parts: tuple[list[Integers], ...] = ([], [], [])
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        n_test = round(len(members) * spec.test_fraction)
        n_reference = round(len(members) * spec.reference_fraction)
        cut = np.split(members, [n_test, n_test + n_reference])
        for part, chosen, name in zip(parts, (cut[2], cut[0], cut[1]), ("train", "test", "reference"), strict=True):
            if len(chosen) == 0:
                fractions = f"test_fraction={spec.test_fraction}, reference_fraction={spec.reference_fraction}"
                raise InputError(
                    f"{fractions}: the {name} split has no record of class {label}. Give it a larger share."
                )
            part.append(chosen)
    candidates, test, reference = (rng.permutation(np.concatenate(part)) for part in parts)
    return candidates, test, reference


def _scale(features: Floats, reference: Integers, components: int) -> Floats:
    """Return all records (records, components), reduced and scaled by the reference records alone."""
    from sklearn.decomposition import PCA

    public = features[reference]
    deviation = public.std(axis=0)
    standard = (features - public.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    pca = PCA(n_components=components, svd_solver="full").fit(standard[reference])
    reduced: Floats = pca.transform(standard)
    low, high = reduced[reference].min(axis=0), reduced[reference].max(axis=0)
    flat = int(np.sum(high - low <= 1e-9 * (high - low).max()))
    if flat:
        remedy = f"Choose at most {components - flat}."
        raise InputError(f"features={components}: {flat} of the principal components do not vary. {remedy}")
    scaled: Floats = 2 * (reduced - low) / (high - low) - 1
    return scaled
