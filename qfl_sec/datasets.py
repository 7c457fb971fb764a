"""Real data, split into train candidates, test records and a public reference, and scaled by the reference alone.

Nothing is downloaded: the data are a file of the user's own, or come with scikit-learn, which is imported only when
they are loaded.
"""

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch

from qfl_sec.checking import InputError
from qfl_sec.columns import Column, Integers, Missing, encode, read_features, read_labels, width
from qfl_sec.contracts import Records
from qfl_sec.data_files import Floats, parse_table, read_bytes


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """A data set as lists show it.

    Attributes:
        name: Its registered name.
        description: One line.
        records: How many there are, with the default classes.
        features: Features of a raw record; of a file, with one for each category.
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
        "iris": DatasetInfo(
            name="iris",
            description="Fisher's irises: sepals and petals of three species",
            records=150,
            features=4,
            classes=3,
            default_classes=None,
        ),
        "wine": DatasetInfo(
            name="wine",
            description="Chemical analyses of wines from three cultivars",
            records=178,
            features=13,
            classes=3,
            default_classes=None,
        ),
    }
)
"""Every data set that comes along, by name."""


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Which data, how many features of it, and how it is split.

    Attributes:
        name: A key of `DATASETS`; None takes breast_cancer, or the file if there is one.
        file: A `.csv` or `.npz` instead. A relative path counts from the working directory, in an experiment file from
            that file's folder; it is kept as an absolute one.
        label: The file's column that holds the classes.
        missing: What becomes of the file's missing values: "refuse", or they are filled with the column's "mean",
            "median" or "most_frequent" value in the reference split; None means "refuse".
        categorical: Columns of the file that hold categories although they are written as numbers; None means none.
        ignore: Columns of the file that are left out; None means none.
        features: Principal components the model is given, at least 1.
        test_fraction: Share of the records kept for measuring accuracy, in (0, 1).
        reference_fraction: Share that is public, in (0, 1). The rest are the train candidates.
        classes: The two digits of `digits`, each 0 to 9, label 0 first; None takes the data set's default, and is the
            only choice where there is none.

    Raises:
        ValueError: If a value is impossible.
    """

    name: str | None = None
    # Where the file lies and what it is called cannot change a result: its content's hash stands in the key instead.
    file: str | None = field(default=None, metadata={"in_key": False})
    label: str | None = None
    missing: Missing | None = None
    categorical: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    features: int = 4
    test_fraction: float = 0.25
    reference_fraction: float = 0.25
    classes: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.features < 1:
            raise ValueError(f"Expected features={self.features} >= 1")
        for key in ("test_fraction", "reference_fraction"):
            if not 0 < getattr(self, key) < 1:
                raise ValueError(f"Expected 0 < {key}={getattr(self, key)} < 1")
        if self.test_fraction + self.reference_fraction >= 1:
            both = f"test_fraction={self.test_fraction} + reference_fraction={self.reference_fraction}"
            raise ValueError(f"Expected {both} < 1. Lower one, so that records are left to train on")
        if self.file is None:
            self._settle_name()
        else:
            self._settle_file(self.file)

    @property
    def title(self) -> str:
        """What the data are called: the data set's name, or the file's without its folder."""
        return str(self.name) if self.file is None else Path(self.file).name

    def _settle_file(self, file: str) -> None:
        for key in ("name", "classes"):
            if getattr(self, key) is not None:
                raise ValueError(f"Expected {key}={getattr(self, key)!r} or file={file!r}, not both. Remove one")
        if self.label is None:
            raise ValueError(f"file={file!r} has no label. Add label, the name of the column that holds the classes")
        object.__setattr__(self, "file", str(Path(file).absolute()))
        object.__setattr__(self, "missing", self.missing or "refuse")
        for key in ("categorical", "ignore"):
            object.__setattr__(self, key, tuple(getattr(self, key) or ()))

    def _settle_name(self) -> None:
        for key in FILE_KEYS:
            if getattr(self, key) is not None:
                raise ValueError(f"Expected no {key}={getattr(self, key)!r} without a file. Add file or remove {key}")
        object.__setattr__(self, "name", "breast_cancer" if self.name is None else self.name)
        info = _info(self.title)
        if self.features > info.features:
            raise ValueError(f"Expected 1 <= features={self.features} <= {info.features}, what {self.name} has")
        if self.classes is None:
            object.__setattr__(self, "classes", info.default_classes)
            return
        if info.default_classes is None:
            raise ValueError(
                f"Expected no classes={self.classes}: {self.name} has no choice of classes. Remove the key"
            )
        if len(set(self.classes)) != 2 or not set(self.classes) <= set(range(10)):
            raise ValueError(f"Expected classes={self.classes} to be two different digits from 0 to 9")


FILE_KEYS = ("label", "missing", "categorical", "ignore")
"""Keys of `DataSpec` that only a file has."""


@dataclass(frozen=True, kw_only=True)
class RawData:
    """Records as published.

    Attributes:
        features: (records, raw features); NaN where a file has no value.
        labels: (records,), from 0, in the order of `class_names`.
        class_names: The labels in words.
        fingerprint: sha256, in hexadecimal, of the features' bytes (64-bit little-endian floats, record after record)
            followed by the labels' (64-bit little-endian integers); of a file, of its own bytes.
        columns: Of a file, what each feature is; without any, all are numbers.
    """

    features: Floats
    labels: Integers
    class_names: tuple[str, ...]
    fingerprint: str
    columns: tuple[Column, ...] = ()


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
    """Return the raw records of a data set or file. A file is read anew each time, but understood only once.

    Raises:
        InputError: If the file cannot be read or understood; the message names the place and the remedy.

    Example:
        >>> load(DataSpec(name="breast_cancer")).class_names
        ('malignant', 'benign')
    """
    if spec.file is None:
        return _bundled(spec.title, spec.classes)
    path = Path(spec.file)
    label, missing = spec.label or "", spec.missing or "refuse"
    return _understood(read_bytes(path), path, label, missing, spec.categorical or (), spec.ignore or ())


def inspect(spec: DataSpec) -> DatasetInfo:
    """Return what a specification comes to, in numbers; a file that cannot be split as asked is refused at once.

    Raises:
        InputError: As of `load` and `split`.
    """
    if spec.file is None:
        return _info(spec.title)
    raw = load(spec)
    most = width(raw.columns)
    if spec.features > most:
        remedy = f"Set [data] features = {most} or fewer"
        raise InputError(f"{spec.file}: Expected features={spec.features} <= {most}, the most it has. {remedy}.")
    for label, name in enumerate(raw.class_names):
        _class_sizes(int(np.sum(raw.labels == label)), name, spec)
    return DatasetInfo(
        name=spec.title,
        description="",
        records=len(raw.labels),
        features=most,
        classes=len(raw.class_names),
        default_classes=None,
    )


def split(raw: RawData, spec: DataSpec, *, rng: np.random.Generator) -> Splits:
    """Divide the records at random within each class, then reduce and scale them by the reference split alone.

    A class of c records gives round(c * fraction) of them to the test and to the reference split and the rest to the
    candidates. Features are standardised (one without variance is only centred), replaced by their first principal
    components, and each component is mapped linearly so that the reference split spans [-1, 1]. Other records are not
    clipped: they may lie outside. Before that, gaps of a file are filled and its categories become numbers, as
    `qfl_sec.columns.encode` describes.

    Args:
        raw: What `load` returned.
        spec: The same that was loaded.
        rng: Source of the split.

    Raises:
        InputError: If a split lacks a class, or the reference split cannot carry so many components.
    """
    candidates, test, reference = _stratify(raw, spec, rng)
    if spec.features > len(reference) - 1:
        found = f"Expected features={spec.features} < {len(reference)}, the reference records"
        raise InputError(f"{spec.title}: {found}. Lower features or raise reference_fraction.")
    encoded = encode(raw.features, raw.columns, reference, spec.missing or "refuse", source=spec.title)
    scaled = _scale(encoded, reference, spec)

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


@lru_cache(maxsize=8)
def _bundled(name: str, classes: tuple[int, int] | None) -> RawData:
    import sklearn.datasets

    bunch = getattr(sklearn.datasets, f"load_{name}")()
    features, labels = bunch.data.astype(np.float64), bunch.target.astype(np.int64)
    names = tuple(str(one) for one in bunch.target_names)
    if classes is not None:
        chosen = np.isin(labels, classes)
        features, labels, names = features[chosen], (labels[chosen] == classes[1]).astype(np.int64), _as_names(classes)
    content = features.astype("<f8").tobytes(order="C") + labels.astype("<i8").tobytes(order="C")
    fingerprint = hashlib.sha256(content).hexdigest()
    return _sealed(RawData(features=features, labels=labels, class_names=names, fingerprint=fingerprint))


def _as_names(digits: tuple[int, int]) -> tuple[str, ...]:
    return tuple(str(digit) for digit in digits)


@lru_cache(maxsize=2)
def _understood(
    content: bytes, path: Path, label: str, missing: Missing, categorical: tuple[str, ...], ignore: tuple[str, ...]
) -> RawData:
    table = parse_table(content, path)
    labels, names = read_labels(table, label)
    features, columns = read_features(table, label=label, ignore=ignore, categorical=categorical, missing=missing)
    fingerprint = table.fingerprint
    return _sealed(
        RawData(features=features, labels=labels, class_names=names, fingerprint=fingerprint, columns=columns)
    )


def _sealed(raw: RawData) -> RawData:
    """Return the data with arrays that cannot be written: all who load them share them."""
    for array in (raw.features, raw.labels):
        array.setflags(write=False)
    return raw


def _stratify(raw: RawData, spec: DataSpec, rng: np.random.Generator) -> tuple[Integers, Integers, Integers]:
    """Return the indices of candidates, test and reference records, each in random order."""
    parts: tuple[list[Integers], ...] = ([], [], [])
    for label in np.unique(raw.labels):
        members = rng.permutation(np.flatnonzero(raw.labels == label))
        _, n_test, n_reference = _class_sizes(len(members), raw.class_names[label], spec)
        cut = np.split(members, [n_test, n_test + n_reference])
        for part, chosen in zip(parts, (cut[2], cut[0], cut[1]), strict=True):
            part.append(chosen)
    candidates, test, reference = (rng.permutation(np.concatenate(part)) for part in parts)
    return candidates, test, reference


def _class_sizes(count: int, name: str, spec: DataSpec) -> tuple[int, int, int]:
    """Return how many of a class's records are candidates, test and reference records; none may go without."""
    n_test, n_reference = round(count * spec.test_fraction), round(count * spec.reference_fraction)
    sizes = count - n_test - n_reference, n_test, n_reference
    for part, size in zip(("train", "test", "reference"), sizes, strict=True):
        if size < 1:
            fractions = f"test_fraction={spec.test_fraction}, reference_fraction={spec.reference_fraction}"
            remedy = "Give it a larger share"
            if spec.file is not None:
                remedy += ", add records of the class, merge it with another, or remove its records"
            found = f"class {name!r} has {count} record{'s' if count > 1 else ''}, and none of them in the {part} split"
            raise InputError(f"{spec.title}: {found} ({fractions}). {remedy}.")
    return sizes


def _scale(features: Floats, reference: Integers, spec: DataSpec) -> Floats:
    """Return all records (records, components), reduced and scaled by the reference records alone."""
    from sklearn.decomposition import PCA

    components = spec.features
    if components > features.shape[1]:
        remedy = f"Set [data] features = {features.shape[1]} or fewer."
        found = f"the numbers a record has here, with the categories of the {len(reference)} reference records"
        raise InputError(f"{spec.title}: Expected features={components} <= {features.shape[1]}, {found}. {remedy}")
    public = features[reference]
    deviation = public.std(axis=0)
    varies = (np.ptp(public, axis=0) > 0) & (deviation > 0)  # the deviation of equal numbers may be rounding noise
    if not varies.any():
        raise InputError(f"{spec.title}: no feature varies in the reference split. Nothing can be learnt from it.")
    standard = (features - public.mean(axis=0)) / np.where(varies, deviation, 1.0)
    pca = PCA(n_components=components, svd_solver="full").fit(standard[reference])
    reduced: Floats = pca.transform(standard)
    low, high = reduced[reference].min(axis=0), reduced[reference].max(axis=0)
    flat = int(np.sum(high - low <= 1e-9 * (high - low).max()))
    if flat:
        found = f"{flat} of the principal components do not vary in the reference split"
        raise InputError(f"{spec.title}: features={components}: {found}. Choose at most {components - flat}.")
    scaled: Floats = 2 * (reduced - low) / (high - low) - 1
    return scaled
