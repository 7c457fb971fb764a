"""Initial weights from a file: a `state_dict` that torch saved, or safetensors. Nothing in it is ever unpickled freely.

Sizes are checked before anything is read, names, shapes and numbers before anything is used.
"""

import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from qfl_sec.checking import InputError
from qfl_sec.user_files import content_hash

SUFFIXES = (".safetensors", ".pt", ".pth")
"""The kinds of files that can be read; all but the first were written by `torch.save(model.state_dict(), ...)`."""

MAX_BYTES = 1 << 30
"""Largest file, and the most that an archive may unpack to."""

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class InitialWeights:
    """Where a model's weights start from: the part that all kinds of models share.

    Attributes:
        checkpoint: File of the initial weights by name; None draws them at random. A relative path counts from the
            working directory, in an experiment file from that file's folder; it is kept as an absolute one.
        checkpoint_sha256: Of its content; set by itself.
    """

    checkpoint: str | None = field(default=None, metadata={"in_key": False})
    checkpoint_sha256: str | None = field(default=None, init=False)

    def settle_checkpoint(self) -> None:
        """Look for the file, and remember where it is and what it holds.

        Raises:
            InputError: If it does not exist, is of another kind, or too large.
        """
        digest = None
        if self.checkpoint is not None:
            path = Path(self.checkpoint).absolute()
            _check_file(path)
            object.__setattr__(self, "checkpoint", str(path))
            digest = content_hash(path)
        object.__setattr__(self, "checkpoint_sha256", digest)

    def load_into(self, module: nn.Module) -> None:
        """Replace a fresh module's weights by the file's, if there is one.

        Raises:
            InputError: If the file has changed, cannot be read, or does not fit the module.
        """
        if self.checkpoint is None:
            return
        path = Path(self.checkpoint)
        if content_hash(path) != self.checkpoint_sha256:
            raise InputError(f"checkpoint: {path} has changed since this run began. Run it again.")
        load_weights(module, read_checkpoint(path), source=str(path))


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name.

    Raises:
        InputError: If the file is missing, too large, damaged, or holds anything but tensors.
    """
    _check_file(path)
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        try:
            return dict(load(content))
        except SafetensorError as error:
            remedy = "Write it with safetensors.torch.save_file(model.state_dict(), ...)"
            raise InputError(f"{path}: not readable as safetensors ({error}). {remedy}.") from None
    return _state_dict(content, path)


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Write tensors into a module's parameters and buffers, each of its name and shape.

    Raises:
        InputError: If names are missing or unknown, shapes differ, or numbers are not finite; one message for all.
    """
    wanted = module.state_dict()
    faults = []
    for fault, names in (("missing", set(wanted) - set(tensors)), ("unknown", set(tensors) - set(wanted))):
        if names:
            faults.append(f"{fault}: {_listed(sorted(names))}")
    for name in sorted(set(wanted) & set(tensors)):
        found, expected = tensors[name], wanted[name]
        if found.shape != expected.shape:
            faults.append(f"{name} has shape {tuple(found.shape)}, not {tuple(expected.shape)}")
        elif found.is_complex() or found.dtype == torch.bool:
            faults.append(f"{name} holds {found.dtype}, no real numbers")
        elif not bool(torch.isfinite(found).all()):
            faults.append(f"{name} holds numbers that are not finite")
    if faults:
        has = _listed([f"{name} {tuple(tensor.shape)}" for name, tensor in wanted.items()])
        remedy = "Save the state_dict of this very model, or change the model"
        raise InputError(f"{source}: does not fit the model, which has {has}. {'; '.join(faults)}. {remedy}.")
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(tensors[name])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _check_file(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise InputError(f"checkpoint: {path}: Expected a file that ends in {', '.join(SUFFIXES)}. Save it as one.")
    if not path.is_file():
        fault = "not a file" if path.exists() else "no such file"
        remedy = "Correct [model] checkpoint; in an experiment file a relative path counts from that file's folder"
        raise InputError(f"checkpoint: {path}: {fault}. {remedy}.")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"checkpoint: {path}: {path.stat().st_size} bytes. Expected at most {MAX_BYTES}.")


def _state_dict(content: bytes, path: Path) -> dict[str, Tensor]:
    """Read what `torch.save` wrote, with torch's unpickler that knows tensors and plain containers only."""
    remedy = "Save torch.save(model.state_dict(), ...), or better safetensors"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            raise InputError(f"{path}: unpacks to {size} bytes. Expected at most {MAX_BYTES}.")
        found = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError:
        raise InputError(f"{path}: holds more than tensors, and objects are never unpickled. {remedy}.") from None
    except (zipfile.BadZipFile, RuntimeError, ValueError, EOFError, KeyError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise InputError(f"{path}: not readable as a state_dict ({reason}). {remedy}.") from None
    if not isinstance(found, Mapping) or not all(isinstance(one, Tensor) for one in found.values()):
        kind = type(found).__name__
        raise InputError(f"{path}: holds a {kind} that is no state_dict of tensors by name. {remedy}.")
    return {str(name): tensor for name, tensor in found.items()}
