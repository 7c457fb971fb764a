"""What broadcasts give away: the average of a round's updates is the difference of the global models around it."""

import math

import torch
from torch import Tensor

from qfl_sec.contracts import AggregateView, GlobalModelsView
from qfl_sec.rounds import wrap_angles


def sums_from_broadcasts(view: GlobalModelsView, *, wrapped: Tensor | None = None) -> AggregateView:
    """Return each round's averaged update, as whoever kept every broadcast computes it.

    The server adds the average to the model that it sent, so that the difference of two consecutive models is the
    average but for the rounding of the later one: at most half a unit in its last place, 6e-8 of a weight in single and
    1.1e-16 in double precision. How updates were averaged plays no part.

    Broadcasts do not say whose updates arrived. Every selected client's is taken to be in the average of a round that
    moved the model, and none in that of a round that left it exactly as it was. Where a channel lost some updates of a
    round and not all, the average is of fewer clients than the answer says.

    Args:
        view: At least the global models; what else it holds is not read.
        wrapped: (parameters,), true where a server may have sent an angle modulo 2 pi, so that a step of more than half
            a turn was one of less the other way; None if averages may be as long as they are.

    Returns:
        The same adversary's view of sums, in double precision.

    Example:
        >>> from qfl_sec.contracts import Setup
        >>> setup = Setup(schedule=((0, 1), (1, 2), (0, 2)), expected_sizes=(9.0,) * 3, local_steps=(1,) * 3,
        ...               batch_size=1, sampling="fixed", optimizer="sgd", learning_rate=1.0, average="plain",
        ...               n_parameters=2)
        >>> models = torch.tensor([[0.0, 3.0], [0.5, 3.0], [0.5, 3.0], [0.25, -3.0]])
        >>> view = GlobalModelsView(adversary="client", setup=setup, global_weights=models)
        >>> sums = sums_from_broadcasts(view, wrapped=torch.tensor([False, True]))
        >>> [[round(value, 4) for value in row] for row in sums.aggregates.tolist()]
        [[0.5, 0.0], [0.0, 0.0], [-0.25, 0.2832]]
        >>> sums.delivered.tolist()
        [[True, True], [False, False], [True, True]]
    """
    steps = view.global_weights.double().diff(dim=0)
    if wrapped is not None:
        steps = torch.where(steps.abs() > math.pi, wrap_angles(steps, wrapped), steps)
    moved = (steps != 0).any(-1, keepdim=True).expand(-1, len(view.setup.schedule[0]))
    return AggregateView(
        adversary=view.adversary,
        setup=view.setup,
        global_weights=view.global_weights,
        aggregates=steps,
        delivered=None if bool(moved.all()) else moved.clone(),
    )
