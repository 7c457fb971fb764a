"""What the grid consists of: trainings, cells, and the plan that holds them.

Plain types apart from `qfl_sec.grid`, which makes them: a worker that is sent a task loads what the task holds and no
more.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qfl_sec.contracts import Adversary, Attack

if TYPE_CHECKING:
    from qfl_sec.federation import Kind, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """One training, ready to be run anywhere.

    Attributes:
        key: sha256 of everything that decides its transcript, in hex.
        variant: Id of the sweep's point.
        setting: Id of the defense setting; the kind, for a baseline.
        seed: Of all random streams.
        kind: The audited federation or a baseline.
        config: What to train.
    """

    key: str
    variant: str
    setting: str
    seed: int
    kind: "Kind"
    config: "TrainingConfig"

    @property
    def folder_name(self) -> str:
        """Name of its transcript's folder."""
        return self.key[:16]


@dataclass(frozen=True, kw_only=True)
class CellTask:
    """One attack by one adversary on one training.

    Attributes:
        key: sha256 of everything that decides its raw scores, in hex.
        training: What is attacked.
        adversary: Who attacks.
        attack: How.
    """

    key: str
    training: TrainingTask
    adversary: Adversary
    attack: Attack


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All trainings and cells of an audit, in a fixed order. Two points of a sweep may share a training's key."""

    trainings: tuple[TrainingTask, ...]
    cells: tuple[CellTask, ...]
