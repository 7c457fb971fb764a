"""The folder of captured updates: written by whoever captures them, read by `qfl-sec attack`.

`capture.json` says what was trained and how, in the tables of an experiment file; the tensors lie beside it. The format
is described in docs/captured-updates.md.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from qfl_sec.captured import Capture, read_capture
from qfl_sec.captured_data import RECORDS, TRUTH, UPDATES, CapturedData, read_bytes
from qfl_sec.checking import InputError
from qfl_sec.experiment import Experiment, parse, place_files
from qfl_sec.tables import as_mapping, as_table, check_known

VERSION: Final = "qfl-sec/capture-1"

HEADER = "capture.json"

TABLES = ("model", "federation", "attacks", "tolerances", "report")
"""Tables of an experiment that a capture may say; the others follow from its being one undefended training."""


def save_capture(capture: Capture, folder: Path) -> None:
    """Write a capture.

    Args:
        capture: What was captured.
        folder: Created if need be.

    Raises:
        OSError: If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"model": as_table(capture.model), "federation": as_table(capture.federation)}
    rounds = capture.rounds
    seen = {
        "rounds": torch.tensor([one.number for one in rounds]),
        "global_weights": torch.stack([*(one.weights for one in rounds), capture.final_weights]),
        "selected": torch.tensor([one.clients for one in rounds]),
        "updates": torch.stack([one.updates for one in rounds]),
    }
    truth = {"members": capture.members, "batch_records": torch.stack([one.records for one in rounds])}
    for name, tensors in ((UPDATES, seen), (RECORDS, capture.records.tensors()), (TRUTH, truth)):
        save_file(_contiguous(tensors), folder / name)
    text = json.dumps({"version": VERSION, "experiment": tables}, indent=2, allow_nan=False)
    (folder / HEADER).write_text(text + "\n")


def is_capture(folder: Path) -> bool:
    """Return whether a folder holds captured updates."""
    return (folder / HEADER).is_file()


def capture_experiment(folder: Path) -> Experiment:
    """Return what a capture is about, as an experiment with one training.

    Raises:
        InputError: If the folder is no capture of this version, or its content is impossible.
    """
    path = folder / HEADER
    try:
        header = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}). Capture again.") from None
    version = header.get("version") if isinstance(header, Mapping) else None
    if version != VERSION:
        raise InputError(f"{path}: version = {version!r}. Expected {VERSION!r}: capture with that version's format.")
    for key in header:
        check_known(key, ("version", "experiment"), f"{path}: unknown key", remedy="Remove it")
    tables: dict[str, Any] = as_mapping(header.get("experiment"), f"{path}: experiment")
    for name in tables:
        check_known(name, TABLES, f"{path}: unknown table", remedy="Remove it or correct its name")
    for name in ("model", "federation"):
        if name not in tables:
            raise InputError(f"{path}: experiment has no {name}. Add what was trained and how.")
    place_files(tables, folder)
    experiment = parse(tables | {"data": {"captured": str(folder)}, "run": {"seeds": [0]}}, str(path))
    data = experiment.data
    assert isinstance(data, CapturedData)
    read_capture(folder, experiment.model, experiment.federation, data.records())  # refuses before anything is computed
    return experiment


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}
