"""Updates that a server captured elsewhere, as the transcript that attacks read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from qfl_sec import plugins
from qfl_sec.captured_data import TRUTH, UPDATES, CapturedRecords, check_finite, read_bytes, read_tensors
from qfl_sec.checking import InputError
from qfl_sec.conformance import check_gradients
from qfl_sec.contracts import Architecture, Records, Setup
from qfl_sec.federation import GATE_RECORDS, FederationSpec, make_setup, score_test
from qfl_sec.models import ModelSpec, architecture, load_flat_weights
from qfl_sec.rounds import wrap_angles
from qfl_sec.transcript import VERSION, Metadata, Transcript, Truth

UPDATE_NAMES = ("rounds", "global_weights", "selected", "updates")
TRUTH_NAMES = ("members", "batch_records")


@dataclass(frozen=True, kw_only=True)
class CapturedRound:
    """What a server saw of one round, and what only scoring may know.

    Attributes:
        number: Of the round, from 0.
        weights: (parameters,), what the round started from.
        clients: Whose updates these are.
        updates: (clients, parameters), new weights minus old.
        records: (clients, steps x slots), the candidates that each used, step by step; -1 in an empty slot.
    """

    number: int
    weights: Tensor
    clients: tuple[int, ...]
    updates: Tensor
    records: Tensor


@dataclass(frozen=True, kw_only=True)
class Capture:
    """One captured training.

    Attributes:
        model: What was trained.
        federation: How; `clients`, `clients_per_round` and `rounds` are those of the capture.
        records: Candidates, reference and test records.
        members: (candidates,), true for those that were trained on.
        rounds: Every round, in order.
        final_weights: (parameters,), the released model.

    Raises:
        InputError: If rounds are missing, shapes are mixed, numbers are not finite, or records are impossible.
    """

    model: ModelSpec
    federation: FederationSpec
    records: CapturedRecords
    members: Tensor
    rounds: tuple[CapturedRound, ...]
    final_weights: Tensor

    def __post_init__(self) -> None:
        self._check_numbers()
        self._check_clients()
        size = self.model.n_parameters(*self._width())
        slots = self.rounds[0].records.shape[-1:]
        for one in self.rounds:
            place, per_round = f"round {one.number}", self.federation.clients_per_round
            _expect_shape(one.weights, (size,), f"{place}: weights")
            _expect_shape(one.updates, (per_round, size), f"{place}: updates")
            _expect_shape(one.records, (per_round, *slots), f"{place}: records")
            for name in ("weights", "updates"):
                check_finite(getattr(one, name), f"{place}: {name}")
            self._check_selection(one, place)
        _expect_shape(self.final_weights, (size,), "final_weights")
        check_finite(self.final_weights, "final_weights")

    def _width(self) -> tuple[int, int]:
        reference = self.records.reference
        return reference.features.shape[-1], int(reference.labels.max()) + 1

    def _check_numbers(self) -> None:
        expected, found = self.federation.rounds, [one.number for one in self.rounds]
        missing = [number for number in range(expected) if number not in found]
        if missing:
            shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
            raise InputError(f"Expected rounds 0 to {expected - 1}. Missing: {shown}. Add them, or lower rounds.")
        if found != list(range(expected)):
            raise InputError(
                f"Expected rounds 0 to {expected - 1}, each once and in order, not {found[:20]}. Sort them."
            )

    def _check_clients(self) -> None:
        clients, owners = self.federation.clients, self.records.candidates.clients
        without = sorted(set(range(clients)) - set(owners.tolist()))
        if without or int(owners.max()) >= clients:
            found = f"client {without[0]} has none" if without else f"candidate of client {int(owners.max())}"
            raise InputError(f"Expected candidates of clients 0 to {clients - 1}: {found}. Number clients from 0.")
        if self.members.shape != owners.shape or self.members.dtype != torch.bool:
            shape = f"members of shape {tuple(self.members.shape)} and {self.members.dtype}"
            raise InputError(f"{shape}. Expected one bool for each of {len(owners)} candidates.")

    def _check_selection(self, one: CapturedRound, place: str) -> None:
        clients, per_round = self.federation.clients, self.federation.clients_per_round
        if len(set(one.clients)) != per_round or not set(one.clients) <= set(range(clients)):
            expected = f"{per_round} different ones of 0 to {clients - 1}"
            raise InputError(f"{place}: clients {list(one.clients)}. Expected {expected}: correct them.")
        if one.records.dtype != torch.int64:
            raise InputError(f"{place}: records hold {one.records.dtype}. Expected int64: convert them.")
        owners = self.records.candidates.clients
        for client, used in zip(one.clients, one.records, strict=True):
            rows = used[used != -1]
            if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(owners):
                raise InputError(f"{place}: client {client}: records outside 0 to {len(owners) - 1}, the candidates.")
            strange = rows[(owners[rows] != client) | ~self.members[rows]]
            if len(strange):
                found = f"record {int(strange[0])} is no member of that client"
                raise InputError(f"{place}: client {client}: {found}. Correct records, members or clients.")


def build_transcript(capture: Capture, *, key: str = "", fingerprint: str = "") -> Transcript:
    """Return a capture as a transcript, with its truth.

    Updates are wrapped where parameters are angles, as those of a training here are. What the server did beyond the
    updates shows in `aggregates`, the steps of the global model. No defense is known of, so nothing is guaranteed.

    Args:
        capture: What was captured.
        key: Of the training that it stands for.
        fingerprint: Of the capture.

    Raises:
        InputError: If model and records do not fit together.
        GradientConformanceError: If the model's per-record gradients are wrong, on which attacks rest.
    """
    module, arch = _model(capture)
    dtype, candidates = capture.federation.dtype, capture.records.candidates
    weights = torch.stack([*(one.weights for one in capture.rounds), capture.final_weights]).to(dtype)
    setup = _setup(capture, arch)
    reference, test = capture.records.reference, capture.records.test
    load_flat_weights(module, weights[0])
    some = Records(features=reference.features[:GATE_RECORDS].to(dtype), labels=reference.labels[:GATE_RECORDS])
    gate = check_gradients(module, arch, some)
    load_flat_weights(module, weights[-1])
    used = torch.stack([one.records for one in capture.rounds])
    hits, majority = score_test(arch, weights[-1], test, reference, dtype)
    return Transcript(
        metadata=Metadata(
            version=VERSION,
            key=key,
            data_fingerprint=fingerprint,
            setup=setup,
            guarantees=(),
            premises=(),
            gradient_gap=gate.largest_gap,
            gradient_norm=gate.smallest_norm,
            gradients_checked=gate.records,
            test_records=len(hits),
        ),
        global_weights=weights,
        selected=torch.tensor(setup.schedule),
        updates=wrap_angles(torch.stack([one.updates for one in capture.rounds]).to(dtype), arch.wrapped),
        aggregates=wrap_angles(weights[1:] - weights[:-1], arch.wrapped),
        batch_labels=torch.where(used >= 0, candidates.labels[used.clamp(min=0)], -1),
        state={name: value.detach().clone() for name, value in module.state_dict().items()},
        truth=Truth(
            members=capture.members,
            clients=candidates.clients,
            batch_records=used,
            test_hits=hits,
            majority_hits=majority,
        ),
    )


def read_capture(folder: Path, model: ModelSpec, federation: FederationSpec, records: CapturedRecords) -> Capture:
    """Read the updates and the truth of a capture's folder.

    Raises:
        InputError: If a file is missing or damaged, or its content is impossible; the message names it.
    """
    seen = read_tensors(read_bytes(folder / UPDATES), str(folder / UPDATES), UPDATE_NAMES)
    truth = read_tensors(read_bytes(folder / TRUTH), str(folder / TRUTH), TRUTH_NAMES)
    count = len(seen["rounds"]) if seen["rounds"].ndim == 1 else -1
    for name, rows in (("global_weights", count + 1), ("selected", count), ("updates", count)):
        if count < 1 or not seen[name].ndim or len(seen[name]) != rows:
            found = f"{name} of shape {tuple(seen[name].shape)} for rounds of shape {tuple(seen['rounds'].shape)}"
            raise InputError(f"{folder / UPDATES}: {found}. Expected {max(rows, 1)} rows: add what is missing.")
    if truth["batch_records"].ndim != 3 or len(truth["batch_records"]) != count:
        found = f"batch_records of shape {tuple(truth['batch_records'].shape)}"
        raise InputError(f"{folder / TRUTH}: {found}. Expected ({count}, clients a round, steps x slots): reshape it.")
    try:
        return Capture(
            model=model,
            federation=federation,
            records=records,
            members=truth["members"],
            rounds=tuple(
                CapturedRound(
                    number=int(number),
                    weights=seen["global_weights"][row],
                    clients=tuple(int(client) for client in seen["selected"][row].reshape(-1)),
                    updates=seen["updates"][row],
                    records=truth["batch_records"][row],
                )
                for row, number in enumerate(seen["rounds"].tolist())
            ),
            final_weights=seen["global_weights"][-1],
        )
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None


def _model(capture: Capture) -> tuple[nn.Module, Architecture]:
    n_features, n_classes = capture._width()
    capture.model.check_fit(n_features, n_classes)
    start = torch.Generator().manual_seed(0)  # every weight is replaced by a captured one
    module = capture.model.build(n_features, n_classes, generator=start, dtype=capture.federation.dtype)
    return module, architecture(module, n_features, n_classes)


def _setup(capture: Capture, arch: Architecture) -> Setup:
    """Return what is public about the training: as of one here, with the schedule that was captured."""
    owners = capture.records.candidates.clients.numpy()
    sizes = np.bincount(owners[capture.members.numpy()], minlength=capture.federation.clients).tolist()
    undefended = plugins.get("defense", "none")()
    setup = make_setup(undefended, capture.federation, owners, sizes, 0, arch.n_parameters)
    slots, steps = capture.rounds[0].records.shape[-1], max(setup.local_steps)
    if slots == 0 or slots % steps:
        raise InputError(
            f"Expected {slots} slots of records to be a multiple of {steps}, the local steps. Pad with -1."
        )
    return replace(setup, schedule=tuple(one.clients for one in capture.rounds))


def _expect_shape(tensor: Tensor, shape: Sequence[int], place: str) -> None:
    if tuple(tensor.shape) != tuple(shape):
        raise InputError(f"{place} of shape {tuple(tensor.shape)}. Expected {tuple(shape)}: correct model or capture.")
