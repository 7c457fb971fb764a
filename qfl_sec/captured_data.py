"""The records behind updates that were captured elsewhere: who could have been in, who was, and what is public."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from qfl_sec.checking import InputError
from qfl_sec.contracts import Candidates, Records
from qfl_sec.datasets import Splits
from qfl_sec.population import Population

UPDATES, RECORDS, TRUTH = "updates.safetensors", "records.safetensors", "truth.safetensors"
"""The tensors of a capture: what the server saw, whose records are asked about, and what only scoring may know."""

MAX_BYTES = 1 << 30
"""Larger files are refused before they are read."""

MAX_CLASSES = 100


@dataclass(frozen=True, kw_only=True)
class CapturedRecords:
    """All records of a captured federation, scaled as its model took them.

    Attributes:
        candidates: Who may have been trained on, with the client each would have been at, member or not.
        reference: Public records, which attackers calibrate on.
        test: Records that measure accuracy.

    Raises:
        InputError: If they do not fit together.
    """

    candidates: Candidates
    reference: Records
    test: Records

    def __post_init__(self) -> None:
        for part in ("candidates", "reference", "test"):
            _check_records(getattr(self, part), part, self.reference.features.shape[-1:])
        highest = int(self.reference.labels.max())
        known = sorted(set(self.reference.labels.tolist()))
        if not 1 <= highest < MAX_CLASSES or len(known) != highest + 1:
            raise InputError(
                f"reference: labels {known[:10]}. Expected every class from 0 on, two or more: add records."
            )
        for part in ("candidates", "test"):
            found = int(getattr(self, part).labels.max())
            if found > highest:
                raise InputError(f"{part}: label {found} > {highest}, the highest of the reference. Add such records.")
        clients = self.candidates.clients
        if clients.shape != self.candidates.labels.shape or clients.dtype != torch.int64 or int(clients.min()) < 0:
            found_clients = f"clients of shape {tuple(clients.shape)} and {clients.dtype}"
            raise InputError(f"candidates: {found_clients}. Expected one number from 0, an int64, for each candidate.")

    def population(self, fingerprint: str) -> Population:
        """Return them as the data of a training."""
        parts = {
            name: Records(features=part.features.double(), labels=part.labels)
            for name, part in (("candidates", self.candidates), ("test", self.test), ("reference", self.reference))
        }
        low, high = parts["reference"].features.amin(dim=0), parts["reference"].features.amax(dim=0)
        return Population(
            splits=Splits(**parts, feature_low=low, feature_high=high),
            clients=self.candidates.clients.numpy(),
            fingerprint=fingerprint,
            records=sum(len(part) for part in parts.values()),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the content of `records.safetensors`."""
        return {
            f"{part}.{name}": tensor.contiguous()
            for part in ("candidates", "reference", "test")
            for name, tensor in vars(getattr(self, part)).items()
        }

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> "CapturedRecords":
        """Return what `tensors` wrote; the names have been checked."""

        def part(name: str) -> dict[str, Tensor]:
            return {"features": tensors[f"{name}.features"], "labels": tensors[f"{name}.labels"]}

        return cls(
            candidates=Candidates(**part("candidates"), clients=tensors["candidates.clients"]),
            reference=Records(**part("reference")),
            test=Records(**part("test")),
        )


RECORD_NAMES = (
    "candidates.features",
    "candidates.labels",
    "candidates.clients",
    "reference.features",
    "reference.labels",
    "test.features",
    "test.labels",
)


@dataclass(frozen=True, kw_only=True)
class CapturedData:
    """Records and updates that were captured elsewhere, in place of a data set.

    Attributes:
        captured: The capture's folder; kept as an absolute path.
        sha256: Of its tensors; set by itself.

    Raises:
        ValueError: If a file is missing or its records are impossible.
    """

    captured: str = field(metadata={"in_key": False})
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        folder = Path(self.captured).absolute()
        object.__setattr__(self, "captured", str(folder))
        content = [hashlib.sha256(read_bytes(folder / name)).hexdigest() for name in (UPDATES, RECORDS, TRUTH)]
        object.__setattr__(self, "sha256", hashlib.sha256(" ".join(content).encode()).hexdigest())
        self.records()

    @property
    def folder(self) -> Path:
        """Where the capture lies."""
        return Path(self.captured)

    @property
    def title(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def features(self) -> int:
        """Length of a record."""
        return self.records().reference.features.shape[-1]

    @property
    def classes(self) -> int:
        """Number of labels."""
        return int(self.records().reference.labels.max()) + 1

    def records(self) -> CapturedRecords:
        """Return the records.

        Raises:
            InputError: If the file is damaged or they do not fit together; the message names it.
        """
        return _records(read_bytes(self.folder / RECORDS), str(self.folder / RECORDS))

    def population(self) -> Population:
        """Return the records as the data of a training."""
        return self.records().population(self.sha256)


def read_bytes(path: Path) -> bytes:
    """Return a file's content.

    Raises:
        InputError: If it is missing or too large.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(
                f"{path}: {path.stat().st_size} bytes. Expected at most {MAX_BYTES}: capture fewer rounds."
            )
        return path.read_bytes()
    except OSError as error:
        remedy = "A capture has all files that docs/captured-updates.md names: add it"
        raise InputError(f"{path}: cannot be read ({error.strerror}). {remedy}.") from None


def read_tensors(content: bytes, source: str, names: Sequence[str]) -> dict[str, Tensor]:
    """Read safetensors that must hold exactly these names.

    Raises:
        InputError: If they are damaged or hold other names.
    """
    try:
        tensors = dict(load(content))
    except SafetensorError as error:
        raise InputError(f"{source}: not readable as safetensors ({error}). Capture again.") from None
    if set(tensors) != set(names):
        raise InputError(f"{source}: holds {sorted(tensors)}. Expected {sorted(names)}: add, remove or rename.")
    return tensors


def check_finite(numbers: Tensor, place: str) -> None:
    """Refuse floating-point numbers of which one is not finite; the message names the first."""
    if not numbers.is_floating_point():
        raise InputError(f"{place} holds {numbers.dtype}. Expected floating-point numbers: convert it.")
    wrong = (~torch.isfinite(numbers)).nonzero()
    if len(wrong):
        index = tuple(wrong[0].tolist())
        raise InputError(f"{place}: {float(numbers[index])} at {list(index)}. Expected finite numbers: leave it out.")


def _check_records(records: Records, part: str, width: torch.Size) -> None:
    features, labels = records.features, records.labels
    if features.ndim != 2 or features.shape[1:] != width or not len(features) or not features.shape[1]:
        expected = f"(records, {', '.join(map(str, width)) or 'features'})"
        raise InputError(f"{part}: features of shape {tuple(features.shape)}. Expected {expected}: reshape them.")
    check_finite(features, f"{part}: features")
    if labels.shape != features.shape[:1] or labels.dtype != torch.int64 or int(labels.min()) < 0:
        found = f"labels of shape {tuple(labels.shape)} and {labels.dtype}"
        raise InputError(f"{part}: {found}. Expected one number from 0, an int64, for each record.")


@lru_cache(maxsize=2)
def _records(content: bytes, source: str) -> CapturedRecords:
    tensors = read_tensors(content, source, RECORD_NAMES)
    try:
        return CapturedRecords.of_tensors(tensors)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
