"""Runs one training or one cell: the only code that holds a view and the truth's file at arm's length of each other.

A cell runs the attack and its signal-free control on a saved transcript, and keeps raw scores. Nothing here opens the
truth; comparing scores with it is `qfl_sec.assembly`'s work.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from qfl_sec.captured import build_transcript, read_capture
from qfl_sec.captured_data import CapturedData
from qfl_sec.checking import InputError
from qfl_sec.contracts import (
    AnonymousUpdatesView,
    Attack,
    Candidates,
    Knowledge,
    LinkageScores,
    MembershipScores,
    NotApplicableError,
    Question,
    Reconstructions,
    Scores,
    UpdatesView,
    View,
    reads_updates,
)
from qfl_sec.federation import build_model, train
from qfl_sec.grid import CellTask, TrainingTask
from qfl_sec.protocols.blind_sampler import BlindSampler
from qfl_sec.protocols.carriage import open_channel
from qfl_sec.randomness import Streams
from qfl_sec.transcript import Transcript
from qfl_sec.views import project

SCORES: Mapping[Question, type[Scores]] = MappingProxyType(
    {"membership": MembershipScores, "reconstruction": Reconstructions, "linkage": LinkageScores}
)
"""What an attack on each question returns."""


def run_training(task: TrainingTask, folder: Path) -> None:
    """Train, or read what was captured, and save the transcript; the folder appears complete or not at all."""
    config = task.config
    if isinstance(config.data, CapturedData):
        data = config.data
        capture = read_capture(data.folder, config.model, config.federation, data.records())
        build_transcript(capture, key=task.key, fingerprint=data.sha256).save(folder)
    else:
        train(config, key=task.key, open_channel=open_channel, open_blind=BlindSampler).save(folder)


def run_cell(task: CellTask, folder: Path) -> bytes:
    """Attack a saved transcript, and again without signal.

    Args:
        task: Training, adversary and attack.
        folder: The training's saved transcript.

    Returns:
        The raw scores of the attack and of its control; read them with `scores_from_bytes`.

    Raises:
        InputError: If the transcript is damaged or another training's.
        NotApplicableError: If the attack has no meaning in this setting, or the adversary sees nothing.
    """
    transcript = Transcript.load(folder)
    if transcript.metadata.key != task.training.key:
        raise InputError(f"{folder}: holds another training's transcript. Remove the folder and run again.")
    config = task.training.config
    defense = config.defense.prepare(transcript.metadata.setup)
    view = project(transcript, task.adversary, defense, config.channel, config.compute)
    if view is None:
        raise NotApplicableError("By protocol this adversary sees nothing of the training.")
    population = config.population()
    if population.fingerprint != transcript.metadata.data_fingerprint:
        raise InputError(f"{folder}: the data set has changed since this training. Train again.")
    _, arch = build_model(config, population.splits)
    dtype = config.federation.dtype
    knowledge = Knowledge(
        architecture=arch,
        reference=population.reference(dtype),
        defense=defense,
        batch_labels=transcript.batch_labels if task.attack.knows_labels else None,
        candidates=population.candidates(dtype) if task.attack.question == "membership" else None,
    )
    return attack_with_control(task.attack, view, knowledge, Streams(config.seed))


def attack_with_control(attack: Attack, view: View, knowledge: Knowledge, streams: Streams) -> bytes:
    """Run an attack and its signal-free control on one view; return both sets of raw scores as bytes.

    The control of a membership attack on single updates is the same attack with every candidate laid at the next
    client's door, whose updates it never entered. An attack on sums, which hold all clients' records, or on a model
    would not notice: its control asks about the next candidate's record in each candidate's place. The control of a
    reconstruction needs no run of its own: it compares each answer with the records behind another update or sum. The
    control of an attack that names senders is the same attack on updates that each hold something of every client's.
    """
    role = f"attack {attack.name} by {view.adversary}"
    scores = _checked(attack.run(view, knowledge, generator=streams.torch(role)), attack, knowledge, view)
    control: Scores | None = None
    single_updates = isinstance(view, UpdatesView) and reads_updates(attack.requires)
    if knowledge.candidates is not None and (view.setup.clients > 1 or not single_updates):
        exchanged = _moved(knowledge.candidates, view.setup.clients) if single_updates else _next(knowledge.candidates)
        moved = replace(knowledge, candidates=exchanged)
        generator = streams.torch(f"{role}, control")
        control = _checked(attack.run(view, moved, generator=generator), attack, moved, view)
    if attack.question == "linkage" and isinstance(view, AnonymousUpdatesView):
        generator = streams.torch(f"{role}, control")
        control = _checked(attack.run(_mixed(view, generator), knowledge, generator=generator), attack, knowledge, view)
    return scores_to_bytes(scores, control)


def _checked(scores: Scores, attack: Attack, knowledge: Knowledge, view: View) -> Scores:
    """Return an attack's scores if they are of the kind its question asks for, have the right shapes and are finite."""
    expected = SCORES[attack.question]
    if not isinstance(scores, expected):
        raise ValueError(f"{attack.name} gave {type(scores).__name__}. Expected {expected.__name__}.")
    if isinstance(scores, MembershipScores):
        candidates = 0 if knowledge.candidates is None else len(knowledge.candidates)
        shapes: dict[str, tuple[int, ...]] = {"values": (candidates,)}
        numbers = scores.values
    elif isinstance(scores, LinkageScores):
        shapes = {"senders": (len(view.setup.schedule), len(view.setup.schedule[0]))}
        numbers = scores.senders
    else:
        targets, restarts, guesses, _ = scores.records.shape
        shapes = {
            "records": (targets, restarts, guesses, knowledge.architecture.n_features),
            "labels": (targets, restarts, guesses),
            "residuals": (targets, restarts),
            "targets": (targets, 2),
            "ranks": (targets,),
            "unknowns": (targets,),
        }
        numbers = scores.records
    for name, shape in shapes.items():
        found = tuple(getattr(scores, name).shape)
        if found != shape:
            raise ValueError(f"{attack.name} gave {name} of shape {found}. Expected {shape}.")
    if not bool(torch.isfinite(numbers).all()):
        raise ValueError(f"{attack.name} gave numbers that are not finite.")
    return scores


def _mixed(view: AnonymousUpdatesView, generator: torch.Generator) -> AnonymousUpdatesView:
    """Return a view whose updates have each round's mean and covariance, but no sender.

    The differences of a round's updates from their mean are turned by a random rotation of the updates: one that is
    distributed alike whatever the order of the clients, so that no update is more one client's than another's.
    """
    updates = view.updates.clone()
    for round_ in range(view.setup.rounds):
        came = len(updates[0]) if view.delivered is None else int(view.delivered[round_].sum())
        if came > 1:
            mean = updates[round_, :came].mean(0)
            turned = _rotation(came, generator).to(updates) @ (updates[round_, :came] - mean)
            updates[round_, :came] = mean + turned
    return replace(view, updates=updates, shuffles=None)


def _rotation(size: int, generator: torch.Generator) -> Tensor:
    """Return a uniformly random orthogonal matrix (size, size) that leaves equal numbers as they are.

    Reference: Mezzadri 2007, arXiv math-ph/0609050, section 5 (the signs that make a QR decomposition's Q uniform).
    """
    ones = torch.full((size, 1), size**-0.5, dtype=torch.float64)
    drawn = torch.randn(size, size - 1, generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(torch.cat([ones, drawn], 1)).Q[:, 1:]  # of what is orthogonal to equal numbers
    free, corner = torch.linalg.qr(torch.randn(size - 1, size - 1, generator=generator, dtype=torch.float64))
    turn: Tensor = ones @ ones.T + basis @ (free * corner.diagonal().sign()) @ basis.T
    return turn


def _moved(candidates: Candidates, clients: int) -> Candidates:
    return replace(candidates, clients=(candidates.clients + 1) % clients)


def _next(candidates: Candidates) -> Candidates:
    return replace(candidates, features=candidates.features.roll(1, 0), labels=candidates.labels.roll(1, 0))


def scores_to_bytes(scores: Scores, control: Scores | None) -> bytes:
    """Write raw scores and their control's, if there is one, as safetensors."""
    tensors: dict[str, Tensor] = {}
    for name, one in (("scores", scores), ("control", control)):
        for field, value in vars(one).items() if one is not None else ():
            tensor = value if isinstance(value, Tensor) else torch.tensor(value)
            tensors[f"{name}.{field}"] = tensor.detach().contiguous().clone()
    return bytes(save(tensors))


def scores_from_bytes(blob: bytes) -> tuple[Scores, Scores | None]:
    """Read what `scores_to_bytes` wrote: raw scores, and the control's or None.

    Raises:
        InputError: If the bytes are not such scores.
    """
    try:
        tensors = load(blob)
    except SafetensorError as error:
        raise InputError(f"Stored scores are not readable ({error}). Run the audit again.") from None
    scores = _scores_of(tensors, "scores")
    if scores is None:
        raise InputError(f"Stored scores hold {sorted(tensors)}. Expected an attack's scores: run the audit again.")
    return scores, _scores_of(tensors, "control")


def _scores_of(tensors: dict[str, Tensor], name: str) -> Scores | None:
    fields = {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
    if set(fields) == {"values"}:
        return MembershipScores(values=fields["values"])
    if set(fields) == {"senders"}:
        return LinkageScores(senders=fields["senders"])
    if "equations" in fields and set(fields) == set(Reconstructions.__dataclass_fields__):
        equations = int(fields.pop("equations"))
        return Reconstructions(equations=equations, **fields)
    return None
