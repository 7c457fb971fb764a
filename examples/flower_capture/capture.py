"""A Flower federation whose server keeps what it sees: then qfl-sec attacks that.

    python examples/flower_capture/capture.py runs/flower      # or with a number of rounds behind it, 10 by default
    qfl-sec attack runs/flower

The clients train with torch's own optimizer, as those of any Flower app do; the server is Flower's FedAvg, which draws
half of the clients each round. `CapturingFedAvg` keeps each global model and each reply, and can be taken over as it is
into an app of your own: the clients' replies have to say who they are, in the metric `client`.

An audit needs a truth to hold the attacks' answers against: who was trained on, and in which batch. Here it is dealt
from a seed. It is written apart from what the server saw, and no attack is shown it.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np
import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

from qfl_sec.capture_folder import save_capture
from qfl_sec.captured import Capture, CapturedRound
from qfl_sec.captured_data import CapturedRecords
from qfl_sec.contracts import Records
from qfl_sec.datasets import DataSpec
from qfl_sec.federation import FederationSpec
from qfl_sec.models import VariationalClassifier
from qfl_sec.population import populate, toss_membership
from qfl_sec.randomness import Streams

CLIENTS, STEPS, BATCH_SIZE, LEARNING_RATE, SEED = 4, 1, 4, 1.0, 0
MODEL = VariationalClassifier(qubits=4, layers=2)
DTYPE = torch.float64

client_app, server_app = ClientApp(), ServerApp()


class CapturingFedAvg(FedAvg):
    """FedAvg that keeps what passes through it.

    Attributes:
        models: Global model that each round started from, (parameters,) each.
        received: For each round, the weights that each client sent, (parameters,) each.
    """

    def __init__(self, **options) -> None:
        super().__init__(**options)
        self.models: list[torch.Tensor] = []
        self.received: list[dict[int, torch.Tensor]] = []

    def configure_train(self, server_round, arrays, config, grid):
        """Keep the global model that goes out."""
        self.models.append(flat(arrays))
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]):
        """Keep what each client sent."""
        replies = list(replies)
        answered = [one.content for one in replies if one.has_content()]
        self.received.append({int(one["metrics"]["client"]): flat(one["arrays"]) for one in answered})
        return super().aggregate_train(server_round, replies)


def flat(arrays: ArrayRecord) -> torch.Tensor:
    """Return a model's weights as one vector, in the order of its state dictionary."""
    return torch.cat([value.reshape(-1) for value in arrays.to_torch_state_dict().values()])


def dealt():
    """Return all records, each candidate with the client that may hold it, and who is a member: in it, in truth."""
    population = populate(DataSpec(features=4), clients=CLIENTS, scheme="iid", alpha=None, seed=SEED)
    candidates = population.candidates(DTYPE)
    return population, candidates, torch.from_numpy(toss_membership(len(candidates), SEED))


def batches(client: int, number: int) -> torch.Tensor:
    """Return the candidates that a client uses in a round, (steps, batch size)."""
    _, candidates, members = dealt()
    owned = np.flatnonzero((candidates.clients == client) & members)
    rng = Streams(SEED).numpy(f"client {client} round {number}")
    return torch.from_numpy(np.stack([rng.choice(owned, BATCH_SIZE, replace=False) for _ in range(STEPS)]))


def model() -> torch.nn.Module:
    """Return the model with its initial weights."""
    return MODEL.build(4, 2, generator=Streams(SEED).torch("initial weights"), dtype=DTYPE)


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Make local steps from the global model on the client's own records, and send the new weights."""
    client, number = int(context.node_config["partition-id"]), int(message.content["config"]["server-round"]) - 1
    _, candidates, _ = dealt()
    module = model()
    module.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.SGD(module.parameters(), lr=LEARNING_RATE)
    for rows in batches(client, number):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(candidates.features[rows]), candidates.labels[rows]).backward()
        optimizer.step()
    metrics = MetricRecord({"num-examples": 1, "client": client})  # equal numbers: a plain average
    return Message(
        content=RecordDict({"arrays": ArrayRecord(module.state_dict()), "metrics": metrics}), reply_to=message
    )


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    """Run FedAvg, and write down what it saw."""
    folder, rounds = [*sys.argv[1:], *["runs/flower", "10"][len(sys.argv) - 1 :]]
    strategy = CapturingFedAvg(fraction_train=0.5, fraction_evaluate=0.0, min_available_nodes=CLIENTS)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(model().state_dict()), num_rounds=int(rounds))
    save(strategy, flat(result.arrays), Path(folder))


def save(strategy: CapturingFedAvg, released: torch.Tensor, folder: Path) -> None:
    """Hand what was captured to qfl-sec, with the truth beside it."""
    population, candidates, members = dealt()
    test = population.splits.test
    rounds = []
    for number, (start, received) in enumerate(zip(strategy.models, strategy.received, strict=True)):
        clients = sorted(received)
        rounds.append(
            CapturedRound(
                number=number,
                weights=start,
                clients=tuple(clients),
                updates=torch.stack([received[client] - start for client in clients]),
                records=torch.stack([batches(client, number).reshape(-1) for client in clients]),
            )
        )
    capture = Capture(
        model=MODEL,
        federation=FederationSpec(
            clients=CLIENTS,
            clients_per_round=len(rounds[0].clients),
            rounds=len(rounds),
            local_steps=STEPS,
            batch_size=BATCH_SIZE,
            learning_rate=LEARNING_RATE,
        ),
        records=CapturedRecords(
            candidates=candidates,
            reference=population.reference(DTYPE),
            test=Records(features=test.features.to(DTYPE), labels=test.labels),
        ),
        members=members,
        rounds=tuple(rounds),
        final_weights=released,
    )
    save_capture(capture, folder)


if __name__ == "__main__":
    # A Ray of its own: by default Flower waits for any cluster that was started on this machine, even a dead one.
    backend = {"init_args": {"address": "local"}, "client_resources": {"num_cpus": 1, "num_gpus": 0.0}}
    run_simulation(server_app, client_app, CLIENTS, backend_config=backend)
