"""The recorded evidence of one training: what happened, and apart from it the truth.

On disk a transcript is a folder: `metadata.json` and `tensors.safetensors` hold what views are made from,
`model.safetensors` the final weights by name, `truth.safetensors` who was a member and which records each update used.
Only the harness opens the last one.
"""

import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from qfl_sec.channel import Link
from qfl_sec.checking import InputError, parse_json
from qfl_sec.compute import ComputeCost
from qfl_sec.contracts import Guarantee, PremiseCheck, Setup

if TYPE_CHECKING:
    from qfl_sec.captured import CapturedRound
    from qfl_sec.captured_data import CapturedRecords
    from qfl_sec.federation import FederationSpec
    from qfl_sec.models import ModelSpec

VERSION: Final = "qfl-sec/transcript-1"

_OPTIONAL = ("delivered", "known", "intercepted", "shuffles", "circuit_angles")
"""Tensors of a training on whose channel something happened, or whose updates others passed on or computed."""

MAX_FILE_BYTES = 1 << 30
"""Larger files are refused before they are read."""


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The part of a transcript that is no tensor.

    Attributes:
        version: Of the format.
        key: Of the training that this is.
        data_fingerprint: Of the raw data set.
        setup: The public metadata.
        guarantees: What the defense claims for this very schedule.
        premises: What these claims rest on, and what was seen.
        gradient_gap: Largest difference between vectorised and looped per-record gradients, of norm about one.
        gradient_norm: Smallest norm among the gradients compared.
        gradients_checked: How many were compared.
        test_records: Records of the test split.
        links: What carrying each update took, round by round; empty on a plain channel that nobody taps.
        compute_costs: What each client's circuits of each round took; empty where gradients are exact.
    """

    version: Literal["qfl-sec/transcript-1"]
    key: str
    data_fingerprint: str
    setup: Setup
    guarantees: tuple[Guarantee, ...]
    premises: tuple[PremiseCheck, ...]
    gradient_gap: float
    gradient_norm: float
    gradients_checked: int
    test_records: int
    links: tuple[Link, ...] = ()
    compute_costs: tuple[ComputeCost, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What no adversary is shown; for scoring only.

    Attributes:
        members: (candidates,), true for members.
        clients: (candidates,), the client each was dealt to.
        batch_records: (rounds, clients a round, steps x slots), the candidates behind each update, in the order of the
            transcript's, step by step; -1 in a slot that stayed empty.
        test_hits: (test records,), true where the final model is right.
        majority_hits: (test records,), true where the reference split's largest class is right.
        senders: (rounds, clients a round), whose each update is where others passed them on, -1 where none came; None
            where nobody did, and they came in the order of the schedule.
    """

    members: Tensor
    clients: Tensor
    batch_records: Tensor
    test_hits: Tensor
    majority_hits: Tensor
    senders: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Transcript:
    """Everything that happened in a training, as far as an adversary could see any of it.

    Attributes:
        metadata: The part that is no tensor.
        global_weights: (rounds + 1, parameters); row t is what round t starts from, the last row is released.
        selected: (rounds, clients a round)
        updates: (rounds, clients a round, parameters), as transmitted, in the order of the schedule unless others
            passed them on; zeros where a defense hides them from everybody.
        aggregates: (rounds, parameters), the averaged update of each round.
        batch_labels: (rounds, clients a round, steps x slots), the labels behind each update, step by step, -1 in an
            empty slot; handed only to an attack that declares that it is told.
        state: The final weights by parameter name.
        delivered: (rounds, clients a round), false where the channel aborted and nothing arrived; None if all did.
        known: (rounds, clients a round, parameters), true where an eavesdropper has the coordinate; None if it has none
            by protocol.
        intercepted: (rounds, clients a round, parameters), the values of these, zero elsewhere; None like `known`.
        shuffles: (rounds, hops, clients a round), how hops that collude with the server reordered what they passed on,
            -1 for the others; None if none does.
        circuit_angles: (rounds, clients a round, steps x slots, angles), the gate parameters that encode each record
            that a quantum server ran, in the order of the updates, zeros in an empty slot; None if it saw none.
        truth: None once loaded: it is read by `load_truth`, by nobody but the harness.
    """

    metadata: Metadata
    global_weights: Tensor
    selected: Tensor
    updates: Tensor
    aggregates: Tensor
    batch_labels: Tensor
    state: dict[str, Tensor]
    truth: Truth | None
    delivered: Tensor | None = None
    known: Tensor | None = None
    intercepted: Tensor | None = None
    shuffles: Tensor | None = None
    circuit_angles: Tensor | None = None

    @classmethod
    def from_updates(
        cls,
        model: "ModelSpec",
        rounds: "Sequence[CapturedRound]",
        *,
        federation: "FederationSpec",
        records: "CapturedRecords",
        members: Tensor,
        final_weights: Tensor,
    ) -> Self:
        """Return updates that were captured elsewhere as a transcript, checked, with its truth.

        Args:
            model: What was trained.
            rounds: Every round, in order.
            federation: How; `clients`, `clients_per_round` and `rounds` are those of the capture.
            records: Candidates, reference and test records.
            members: (candidates,), true for those that were trained on.
            final_weights: (parameters,), the released model.

        Raises:
            InputError: If rounds are missing, shapes are mixed, numbers are not finite, or the parts do not fit.
        """
        from qfl_sec.captured import Capture, build_transcript

        capture = Capture(
            model=model,
            federation=federation,
            records=records,
            members=members,
            rounds=tuple(rounds),
            final_weights=final_weights,
        )
        return cls(**vars(build_transcript(capture)))

    def save(self, folder: Path) -> None:
        """Write the transcript; the folder appears at once and complete, or not at all.

        Args:
            folder: Where to; an existing transcript there is kept.

        Raises:
            OSError: If the disk is full or the place cannot be written.
        """
        if self.truth is None:
            raise ValueError("Expected a transcript fresh from training: a loaded one does not hold the truth.")
        partial = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:8]}.partial")
        partial.mkdir(parents=True)
        try:
            (partial / "metadata.json").write_text(json.dumps(asdict(self.metadata), allow_nan=False, sort_keys=True))
            save_file(_contiguous(self._tensors()), partial / "tensors.safetensors")
            save_file(_contiguous(self.state), partial / "model.safetensors")
            save_file(_contiguous(_present(vars(self.truth))), partial / "truth.safetensors")
            for path in partial.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            if not folder.exists():
                partial.rename(folder)
        except SafetensorError as error:
            raise OSError(f"Cannot write {partial}: {error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _tensors(self) -> dict[str, Tensor]:
        names = ("global_weights", "selected", "updates", "aggregates", "batch_labels", *_OPTIONAL)
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    @classmethod
    def load(cls, folder: Path) -> "Transcript":
        """Read a transcript without its truth, and check every size and shape.

        Raises:
            InputError: If a file is missing, damaged, of another version, or its tensors do not fit together.
        """
        path = folder / "metadata.json"
        try:
            text = path.read_text()
            version = json.loads(text).get("version")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}: not readable as a transcript's metadata ({error}). Train again.") from None
        if version != VERSION:
            raise InputError(f"{path}: version = {version!r}. Expected {VERSION!r}: train again with this version.")
        metadata = parse_json(Metadata, text, source=str(path))
        path = folder / "tensors.safetensors"
        tensors = _load(path)
        setup = metadata.setup
        per_round = len(setup.schedule[0])
        optional = {
            "delivered": (setup.rounds, per_round),
            "known": (setup.rounds, per_round, setup.n_parameters),
            "intercepted": (setup.rounds, per_round, setup.n_parameters),
            "shuffles": (setup.rounds, None, per_round),
            "circuit_angles": (*tensors.get("batch_labels", torch.empty(0, 0, 0)).shape, None),
        }
        _expect(
            path,
            tensors,
            {
                "global_weights": (setup.rounds + 1, setup.n_parameters),
                "selected": (setup.rounds, per_round),
                "updates": (setup.rounds, per_round, setup.n_parameters),
                "aggregates": (setup.rounds, setup.n_parameters),
                "batch_labels": (setup.rounds, per_round, None),
                **{name: shape for name, shape in optional.items() if name in tensors},
            },
        )
        types = dict.fromkeys(("global_weights", "updates", "aggregates"), tensors["global_weights"].dtype)
        types |= dict.fromkeys(("selected", "batch_labels", "shuffles"), torch.int64)
        types |= {"intercepted": types["updates"], "delivered": torch.bool, "known": torch.bool}
        types |= {"circuit_angles": torch.float64}
        _expect_types(path, tensors, {name: kind for name, kind in types.items() if name in tensors})
        if not tensors["global_weights"].is_floating_point():
            raise InputError(f"{path}: global_weights holds no floating-point numbers. Train again.")
        if tensors["selected"].tolist() != [list(chosen) for chosen in setup.schedule]:
            raise InputError(f"{path}: selected differs from the schedule. Train again.")
        return cls(metadata=metadata, **tensors, state=_load(folder / "model.safetensors"), truth=None)


def load_truth(folder: Path, metadata: Metadata) -> Truth:
    """Read the truth of a saved transcript: for scoring, never for an attack.

    Raises:
        InputError: If the file is missing, damaged, or does not fit the transcript's metadata.
    """
    path, setup = folder / "truth.safetensors", metadata.setup
    tensors = _load(path)
    candidates = round(2 * sum(setup.expected_sizes))
    shapes: dict[str, tuple[int | None, ...]] = {
        "members": (candidates,),
        "clients": (candidates,),
        "batch_records": (setup.rounds, len(setup.schedule[0]), None),
        "test_hits": (metadata.test_records,),
        "majority_hits": (metadata.test_records,),
    }
    if "senders" in tensors:
        shapes["senders"] = (setup.rounds, len(setup.schedule[0]))
    _expect(path, tensors, shapes)
    _expect_types(path, tensors, dict.fromkeys(("members", "test_hits", "majority_hits"), torch.bool))
    whole = [name for name in ("clients", "batch_records", "senders") if name in tensors]
    _expect_types(path, tensors, dict.fromkeys(whole, torch.int64))
    for name, low, high in (("clients", 0, setup.clients), ("batch_records", -1, candidates)):
        if bool((tensors[name] < low).any() or (tensors[name] >= high).any()):
            raise InputError(f"{path}: {name} has numbers outside {low}..{high - 1}. Train again.")
    if "senders" in tensors and not _took_part(tensors["senders"], setup):
        raise InputError(f"{path}: senders are not the clients of the schedule. Train again.")
    return Truth(**tensors)


def _took_part(senders: Tensor, setup: Setup) -> bool:
    """Return whether each round's senders (rounds, clients a round) are clients of that round, each once."""
    named = [[client for client in row if client >= 0] for row in senders.tolist()]
    rounds = zip(named, setup.schedule, strict=True)
    return all(len(set(row)) == len(row) and set(row) <= set(chosen) for row, chosen in rounds)


def _present(tensors: dict[str, Tensor | None]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _expect_types(path: Path, tensors: dict[str, Tensor], types: dict[str, torch.dtype]) -> None:
    for name, kind in types.items():
        if tensors[name].dtype != kind:
            raise InputError(f"{path}: {name} holds {tensors[name].dtype}. Expected {kind}: train again.")


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}


def _load(path: Path) -> dict[str, Tensor]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path}: {path.stat().st_size} bytes. Expected at most {MAX_FILE_BYTES}.")
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not readable as safetensors ({error}). Train again.") from None


def _expect(path: Path, tensors: dict[str, Tensor], shapes: dict[str, tuple[int | None, ...]]) -> None:
    """Check names, shapes (None fits any length), and that floating numbers are finite."""
    if set(tensors) != set(shapes):
        raise InputError(f"{path}: tensors {sorted(tensors)}. Expected {sorted(shapes)}: train again.")
    for name, shape in shapes.items():
        found = tuple(tensors[name].shape)
        fits = len(found) == len(shape) and all(want in (None, got) for want, got in zip(shape, found, strict=True))
        if not fits:
            raise InputError(f"{path}: {name} has shape {found}. Expected {shape}: train again.")
        if tensors[name].is_floating_point() and not bool(torch.isfinite(tensors[name]).all()):
            raise InputError(f"{path}: {name} holds numbers that are not finite. Train again.")
