"""What several test files need: one thread, and small trainings."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from qfl_sec.datasets import DataSpec
from qfl_sec.federation import FederationSpec, TrainingConfig
from qfl_sec.models import MlpClassifier, VariationalClassifier
from qfl_sec.plugins import get

torch.set_num_threads(1)


@pytest.fixture
def small_training() -> TrainingConfig:
    """Four clients, three rounds, a variational classifier of two layers, no defense."""
    return TrainingConfig(
        data=DataSpec(),
        model=VariationalClassifier(layers=2),
        federation=FederationSpec(clients=4, clients_per_round=2, rounds=3, batch_size=4),
        defense=get("defense", "none")(),
        seed=0,
    )


@pytest.fixture
def mlp_training(small_training: TrainingConfig) -> TrainingConfig:
    """The same with a classical model."""
    from dataclasses import replace

    return replace(small_training, model=MlpClassifier())
