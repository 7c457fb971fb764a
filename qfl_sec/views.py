"""What each adversary sees of a transcript: the only way from the record to an attack."""

from collections.abc import Callable

from torch import Tensor

from qfl_sec.channel import ChannelSpec, PlainChannel, eavesdropper_view, is_watched
from qfl_sec.compute import ComputeSpec, LocalCompute, is_delegated, quantum_server_view
from qfl_sec.contracts import (
    ADVERSARIES,
    Adversary,
    AggregateView,
    AnonymousUpdatesView,
    Defense,
    GlobalModelsView,
    InterceptedView,
    ReleasedModelView,
    ServerComputeView,
    UpdatesView,
    View,
)
from qfl_sec.transcript import Transcript

DEFAULT_VIEWS: dict[Adversary, type[View]] = {
    "server": UpdatesView,
    "client": GlobalModelsView,
    "recipient": ReleasedModelView,
    "eavesdropper": InterceptedView,
    "quantum_server": ServerComputeView,
}
"""What each adversary sees where nothing hides it.

The client is the strongest one: it keeps every broadcast. So does an eavesdropper who can read updates at all, since
the global models are no secret of the federation."""

PLAIN = PlainChannel()

LOCAL = LocalCompute()


def adversaries(channel: ChannelSpec, compute: ComputeSpec = LOCAL) -> tuple[Adversary, ...]:
    """Return who looks at a federation over this channel whose circuits are run there."""
    absent = {"eavesdropper": not is_watched(channel), "quantum_server": not is_delegated(compute)}
    return tuple(one for one in ADVERSARIES if not absent.get(one, False))


def view_type(
    adversary: Adversary, defense: Defense, channel: ChannelSpec = PLAIN, compute: ComputeSpec = LOCAL
) -> type[View] | None:
    """Return the type of what this adversary sees under this defense, channel and compute; None if nothing."""
    if adversary == "eavesdropper" and eavesdropper_view(channel) is None:
        return None
    if adversary == "quantum_server" and quantum_server_view(compute) is None:
        return None
    return defense.view_for(adversary, DEFAULT_VIEWS[adversary])


def project(
    transcript: Transcript,
    adversary: Adversary,
    defense: Defense,
    channel: ChannelSpec = PLAIN,
    compute: ComputeSpec = LOCAL,
) -> View | None:
    """Build what this adversary sees of a transcript.

    Args:
        transcript: A training's record. Its truth is not read.
        adversary: Who looks.
        defense: The defense in place, which may hide things.
        channel: The channel in place, which may too.
        compute: Who ran the circuits.

    Returns:
        The view, sharing no memory with the transcript; None if this adversary sees nothing.

    Raises:
        ValueError: If the defense names a view that cannot be projected.
    """
    kind = view_type(adversary, defense, channel, compute)
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
        delivered=_copy(transcript.delivered),
    )


def _intercepted(transcript: Transcript, adversary: Adversary) -> View:
    if transcript.known is None or transcript.intercepted is None:
        raise ValueError("Expected a transcript of a training on whose channel somebody listened.")
    return InterceptedView(
        adversary=adversary,
        setup=transcript.metadata.setup,
        global_weights=transcript.global_weights.clone(),
        selected=transcript.selected.clone(),
        updates=transcript.intercepted.clone(),
        known=transcript.known.clone(),
    )


def _anonymous(transcript: Transcript, adversary: Adversary) -> View:
    return AnonymousUpdatesView(
        adversary=adversary,
        setup=transcript.metadata.setup,
        global_weights=transcript.global_weights.clone(),
        updates=transcript.updates.clone(),
        delivered=_copy(transcript.delivered),
        shuffles=_copy(transcript.shuffles),
    )


def _server_compute(transcript: Transcript, adversary: Adversary) -> View:
    if transcript.circuit_angles is None:
        raise ValueError("Expected a transcript of a training whose circuits a quantum server saw.")
    return ServerComputeView(
        adversary=adversary,
        setup=transcript.metadata.setup,
        global_weights=transcript.global_weights.clone(),
        angles=transcript.circuit_angles.clone(),
        filled=transcript.batch_labels >= 0,
    )


def _aggregate(transcript: Transcript, adversary: Adversary) -> View:
    return AggregateView(
        adversary=adversary,
        setup=transcript.metadata.setup,
        global_weights=transcript.global_weights.clone(),
        aggregates=transcript.aggregates.clone(),
        delivered=_copy(transcript.delivered),
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
    InterceptedView: _intercepted,
    ServerComputeView: _server_compute,
    AnonymousUpdatesView: _anonymous,
    AggregateView: _aggregate,
    GlobalModelsView: _global_models,
    ReleasedModelView: _released_model,
}


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
