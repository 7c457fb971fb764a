"""What an update says of the records behind it, as far as it is the same in every round.

A client whose records are distributed as p w, with p the reference split's distribution, sends E_p[w grad] on average.
With w = 1 + sum of a_m f_m, where the functions f_m have mean 0, variance 1 and no correlation under p, that is linear
in the fingerprint a. The functions are those to which the gradients of all rounds respond most: principal components
of the reference records, by their whitened gradients. A client that holds N records of p itself has a fingerprint of
variance 1 / N; clients who differ in more than what records they happened to get have a larger one.
"""

import math

import numpy as np
import torch
from torch import Tensor

from qfl_sec.attacks.assignment import Clues
from qfl_sec.attacks.protected_gradients import divides_by_batch_size, in_full_batch
from qfl_sec.attacks.reference_statistics import shrunk_covariance
from qfl_sec.attacks.transmissions import present_clients, transmissions
from qfl_sec.contracts import AnonymousUpdatesView, Knowledge, Setup
from qfl_sec.gradients import per_example_gradients

MOST_FUNCTIONS = 16
"""Of a fingerprint."""


_LEAST_DRAWN = 0.1
"""Share of the spread of the mean of all of a client's records that is noise in any case: how many there are is known
by expectation only, and gradients move while a client makes its steps."""


def records_of(setup: Setup, client: int) -> int:
    """Return how many records a client is taken to hold."""
    return max(1, round(setup.expected_sizes[client]))


def clues(view: AnonymousUpdatesView, knowledge: Knowledge) -> list[Clues]:
    """Return what each round's updates say of who sent them, for fingerprints of unit variance.

    A coordinate that a defense left out is taken for what it is on average.
    """
    setup, reference = view.setup, knowledge.reference
    sent = transmissions(view, knowledge.defense)
    gradients = [
        in_full_batch(
            knowledge.defense,
            per_example_gradients(knowledge.architecture, weights, reference.features.double(), reference.labels),
            setup.batch_size,
        )
        for weights in view.global_weights[: setup.rounds].double()
    ]
    functions = principal_functions(gradients)
    found = []
    for round_, at_weights in enumerate(gradients):
        clients = present_clients(view, round_)
        values, known = sent.values[round_, : len(clients)], sent.known[round_, : len(clients)]
        found.append(_clues(values, known, clients, at_weights, functions, setup, knowledge))
    return found


def principal_functions(gradients: list[Tensor]) -> Tensor:
    """Return the functions of fingerprints at the reference records, (records, functions): mean 0, variance 1.

    Args:
        gradients: Of the reference records in each round, (records, parameters).
    """
    records = len(gradients[0])
    gram = torch.zeros(records, records, dtype=torch.float64)
    for one in gradients:
        centred = one - one.mean(0)
        factor = torch.linalg.cholesky(shrunk_covariance(one))
        white = torch.linalg.solve_triangular(factor, centred.T, upper=False)
        gram += white.T @ white
    sizes, directions = torch.linalg.eigh(gram)  # rising
    kept = min(MOST_FUNCTIONS, int((sizes > 1e-9 * sizes[-1]).sum()))
    functions: Tensor = math.sqrt(records) * directions[:, -kept:]
    return functions


def _clues(
    values: Tensor,
    known: Tensor,
    clients: list[int],
    gradients: Tensor,
    functions: Tensor,
    setup: Setup,
    knowledge: Knowledge,
) -> Clues:
    """Return the clues of one round's updates (n, parameters) from the reference records' gradients at its weights."""
    mean, slopes = gradients.mean(0), gradients.T @ functions / len(functions)  # (parameters,), (parameters, functions)
    by_size = setup.sampling == "poisson" and divides_by_batch_size(knowledge.defense, gradients)
    spread = shrunk_covariance(gradients) + (torch.outer(mean, mean) if by_size else 0.0)
    rest = shrunk_covariance(gradients - mean - functions @ slopes.T)  # what fingerprints do not explain
    nothing = (values == 0).all(1)  # of clients without a record
    base, evidence, precision = [], [], []
    for client in clients:
        steps, held = setup.local_steps[client], records_of(setup, client)
        share = min(1.0, setup.expected_sizes[client] / setup.batch_size) if by_size else 1.0  # of a full batch
        used = steps * setup.batch_size / share
        drawn = 1 / used if by_size else max(_LEAST_DRAWN / held, 1 / used - 1 / held)  # without replacement
        noise = _noise(knowledge, setup, steps) * torch.eye(len(mean), dtype=mean.dtype)
        covariance = spread * drawn + rest / held + noise
        factor = torch.linalg.cholesky(covariance)
        residuals = torch.where(known, values / (-setup.learning_rate * steps) - share * mean, 0.0)
        white = torch.linalg.solve_triangular(factor, residuals.T, upper=False)  # (parameters, n)
        shown = torch.linalg.solve_triangular(factor, share * slopes, upper=False)  # (parameters, functions)
        volume = float(factor.diagonal().log().sum()) + len(mean) * math.log(steps)
        empty = _nothing_sent(setup, client)
        sent = math.log1p(-min(empty, 1 - 1e-12)) - white.square().sum(0) / 2 - volume
        base.append(torch.where(nothing, math.log(max(empty, 1e-300)), sent))
        evidence.append(torch.where(nothing.unsqueeze(1), 0.0, white.T @ shown))
        precision.append(shown.T @ shown)
    shape = (len(clients), len(clients), functions.shape[1])
    return Clues(
        parties=clients,
        base=np.array([one.numpy() for one in base]).reshape(shape[:2]).T,
        evidence=np.array([one.numpy() for one in evidence]).reshape(shape).swapaxes(0, 1),
        precision=np.array([one.numpy() for one in precision]).reshape(shape[0], shape[2], shape[2]),
    )


def _noise(knowledge: Knowledge, setup: Setup, steps: int) -> float:
    """Return the variance of a defense's noise on the mean gradient that an update amounts to."""
    if knowledge.defense is None:
        return 0.0
    on_update = knowledge.defense.update_noise_std() / (setup.learning_rate * steps)
    return knowledge.defense.noise_std() ** 2 / steps + on_update**2


def _nothing_sent(setup: Setup, client: int) -> float:
    """Return the probability that none of a client's candidates is a member that enters a batch."""
    rate = setup.sample_rate(client) if setup.sampling == "poisson" else 1.0
    entered = (1 - (1 - rate) ** setup.local_steps[client]) / 2
    return float((1 - entered) ** (2 * setup.expected_sizes[client]))
