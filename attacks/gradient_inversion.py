"""Gradient inversion: rebuild the records behind an update by multistart bounded least squares."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from qfl_sec.attacks.inversion_problem import pose
from qfl_sec.attacks.least_squares import minimize
from qfl_sec.attacks.starting_points import first_points
from qfl_sec.contracts import (
    AggregateView,
    AnonymousUpdatesView,
    Attack,
    GlobalModelsView,
    InterceptedView,
    Knowledge,
    Question,
    Reconstructions,
    Setup,
    UpdatesView,
    View,
)

_EXACT_TOLERANCE = 1e-6
_NOISY_TOLERANCE = 1e-3
"""Share of the objective by which a step must lower it; under noise smaller steps mean nothing."""

_SHARE_MADE = 4
"""One in this many of the allowed steps is made, on average: restarts end early."""

_TYPICAL_FEATURES = 4


@dataclass(frozen=True, kw_only=True)
class GradientInversion(Attack):
    """Rebuild the records behind updates, or sums of updates, by multistart second-order least squares.

    The residual is what a client with the guessed records would have sent, minus what was sent. Where only the sum of a
    round's updates is seen, or is told from the broadcasts before and after it, the records of all its clients are
    unknowns of one problem. Under a defense that adds noise, which the adaptive attacker knows, the residual is weighed
    by the noise's standard deviation and joined by a Gaussian prior of each class from the reference split, which makes
    the answer a maximum a posteriori estimate. The answer is the restart with the lowest objective; the truth plays no
    part. Whose an update is need not be known, as long as all clients make as many steps.

    Attributes:
        targets: Updates attacked in a training, drawn over all rounds and clients; all of them if there are fewer. Sums
            of updates, drawn over all rounds, where nothing else is seen.
        restarts: Starting points of each target.
        iterations: Steps of each restart at most.
        labels: "known" if the attacker is told the labels of the records behind an update, else "searched".
        margin: The search range is the reference's range, widened at either end by this share of it.

    Reference: Levenberg-Marquardt on the gradient-matching residual of Zhu, Liu and Han 2019, arXiv 1906.08935.
    """

    name: ClassVar[str] = "gradient_inversion"
    question: ClassVar[Question] = "reconstruction"
    requires: ClassVar[tuple[type[View], ...]] = (
        UpdatesView,
        AggregateView,
        InterceptedView,
        AnonymousUpdatesView,
        GlobalModelsView,
    )

    targets: int = 8
    restarts: int = 40
    iterations: int = 60
    labels: Literal["known", "searched"] = "searched"
    margin: float = 0.5

    def __post_init__(self) -> None:
        for name in ("targets", "restarts", "iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name}={getattr(self, name)} >= 1.")
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ValueError(f"Expected margin={self.margin} >= 0.")

    @property
    def knows_labels(self) -> bool:
        """Whether this attacker is told the labels of the records behind an update."""
        return self.labels == "known"

    def circuit_evaluations(self, setup: Setup, *, view: type[View], candidates: int, reference: int) -> int:
        """Return roughly how many circuit evaluations one run takes, for records of about four features.

        A gradient costs about three evaluations, a directional derivative of it twice that.
        """
        steps = max(setup.local_steps)
        directions = _TYPICAL_FEATURES + (setup.n_parameters if steps > 1 else 0)
        selected, single = len(setup.schedule[0]), issubclass(view, UpdatesView | AnonymousUpdatesView)
        clients, sums = (1, setup.rounds * selected) if single else (selected, setup.rounds)
        problems = min(self.targets, sums) * self.restarts * max(1, self.iterations // _SHARE_MADE)
        return problems * clients * steps * setup.batch_size * (3 + 6 * directions)

    def run(self, view: View, knowledge: Knowledge, *, generator: torch.Generator) -> Reconstructions:
        """Attack some updates of one training; see `Attack.run`.

        Empty slots of a batch have label -1 and features 0 in the answer.

        Raises:
            NotApplicableError: If labels are to be known and are not, no update holds a record, or the sum of the
                updates cannot be written down.
        """
        problem = pose(
            view,
            knowledge,
            targets=self.targets,
            restarts=self.restarts,
            labels_known=self.knows_labels,
            margin=self.margin,
            generator=generator,
        )
        start = first_points(problem.labels.flatten(2, 3), problem.reference, generator=generator)
        solution = minimize(
            problem.system,
            start.flatten(2),
            solved=problem.solved,
            iterations=self.iterations,
            chunk=problem.chunk,
            tolerance=_NOISY_TOLERANCE if problem.noisy else _EXACT_TOLERANCE,
        )
        return problem.reconstructions(solution)
