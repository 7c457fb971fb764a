"""The attacks of qfl-sec, imported as `qfl_sec.attacks`.

One method a file: `gradient_inversion`, `loss_membership`, `update_membership`, `sender_linkage`, `circuit_reading`,
`circuit_membership`. What attack authors need stands here: `Attack`, the views it can ask for, what it knows beside
them, and the raw scores it returns. The other files are the methods' parts: `least_squares` the solver, `client_update`
the simulated client, `inversion_problem` the equations, `starting_points`, `reference_statistics` and `shadow_models`
what the public reference split gives, `likelihood_ratio` the densities, `protected_gradients` what a defense makes of a
record's gradient, `fingerprints` and `assignment` what tells clients apart.
"""

if __name__ != "qfl_sec.attacks":
    raise ImportError(
        "Import this folder as qfl_sec.attacks: a plain 'import attacks' would load a second copy of every class."
    )

from qfl_sec.contracts import (
    AggregateView,
    AnonymousUpdatesView,
    Architecture,
    Attack,
    Candidates,
    GlobalModelsView,
    Knowledge,
    LinkageScores,
    MembershipScores,
    NotApplicableError,
    Reconstructions,
    Records,
    ReleasedModelView,
    Scores,
    ServerComputeView,
    Setup,
    UpdatesView,
    View,
)

__all__ = [
    "AggregateView",
    "AnonymousUpdatesView",
    "Architecture",
    "Attack",
    "Candidates",
    "GlobalModelsView",
    "Knowledge",
    "LinkageScores",
    "MembershipScores",
    "NotApplicableError",
    "Reconstructions",
    "Records",
    "ReleasedModelView",
    "Scores",
    "ServerComputeView",
    "Setup",
    "UpdatesView",
    "View",
]
