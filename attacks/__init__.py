"""The attacks of qfl-sec, imported as `qfl_sec.attacks`.

One method a file: `gradient_inversion`, `loss_membership`, `update_membership`. What attack authors need stands here:
`Attack`, the views it can ask for, what it knows beside them, and the raw scores it returns. The other files are the
methods' parts: `least_squares` the solver, `client_update` the simulated client, `inversion_problem` the equations,
`starting_points`, `reference_statistics` and `shadow_models` what the public reference split gives, `likelihood_ratio`
the densities.
"""

if __name__ != "qfl_sec.attacks":
    raise ImportError(
        "Import this folder as qfl_sec.attacks: a plain 'import attacks' would load a second copy of every class."
    )

from qfl_sec.contracts import (
    AggregateView,
    Architecture,
    Attack,
    Candidates,
    GlobalModelsView,
    Knowledge,
    MembershipScores,
    NotApplicableError,
    Reconstructions,
    Records,
    ReleasedModelView,
    Scores,
    Setup,
    UpdatesView,
    View,
)

__all__ = [
    "AggregateView",
    "Architecture",
    "Attack",
    "Candidates",
    "GlobalModelsView",
    "Knowledge",
    "MembershipScores",
    "NotApplicableError",
    "Reconstructions",
    "Records",
    "ReleasedModelView",
    "Scores",
    "Setup",
    "UpdatesView",
    "View",
]
