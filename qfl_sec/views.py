"""What each adversary sees of a transcript: the only way from the record to an attack."""

from collections.abc import Callable

from qfl_sec.contracts import (
    Adversary,
    AggregateView,
    Defense,
    GlobalModelsView,
    ReleasedModelView,
    UpdatesView,
    View,
)
from qfl_sec.transcript import Transcript

DEFAULT_VIEWS: dict[Adversary, type[View]] = {
    "server": UpdatesView,
    "client": GlobalModelsView,
    "recipient": ReleasedModelView,
}
"""What each adversary sees where no defense hides it. The client is the strongest one: it keeps every broadcast."""


def view_type(adversary: Adversary, defense: Defense) -> type[View] | None:
    """Return the type of what this adversary sees under this defense; None if nothing."""
    return defense.view_for(adversary, DEFAULT_VIEWS[adversary])


def project(transcript: Transcript, adversary: Adversary, defense: Defense) -> View | None:
    """Build what this adversary sees of a transcript.

    Args:
        transcript: A training's record. Its truth is not read.
        adversary: Who looks.
        defense: The defense in place, which may hide things.

    Returns:
        The view, sharing no memory with the transcript; None if this adversary sees nothing.

    Raises:
        ValueError: If the defense names a view that cannot be projected.
    """
    kind = view_type(adversary, defense)
    if kind is None:
        return None
    if kind not in _PROJECTIONS:
        known = ", ".join(sorted(view.__name__ for view in _PROJECTIONS))
        raise ValueError(f"Expected view_for to return one of {known}, got {kind.__name__}.")
    return _PROJECTIONS[kind](transcript, adversary)


def _updates(transcript: Transcript, adversary: Adversary) -> View:
    return UpdatesView(
        adversary=adversary,
        setup=transcript.metadata.setup,
        global_weights=transcript.global_weights.clone(),
        selected=transcript.selected.clone(),
        updates=transcript.updates.clone(),
    )


def _aggregate(transcript: Transcript, adversary: Adversary) -> View:
    return AggregateView(
        adversary=adversary,
        setup=transcript.metadata.setup,
        global_weights=transcript.global_weights.clone(),
        aggregates=transcript.aggregates.clone(),
    )


def _global_models(transcript: Transcript, adversary: Adversary) -> View:
    return GlobalModelsView(
        adversary=adversary, setup=transcript.metadata.setup, global_weights=transcript.global_weights.clone()
    )


def _released_model(transcript: Transcript, adversary: Adversary) -> View:
    return ReleasedModelView(
        adversary=adversary, setup=transcript.metadata.setup, weights=transcript.global_weights[-1].clone()
    )


_PROJECTIONS: dict[type[View], Callable[[Transcript, Adversary], View]] = {
    UpdatesView: _updates,
    AggregateView: _aggregate,
    GlobalModelsView: _global_models,
    ReleasedModelView: _released_model,
}
