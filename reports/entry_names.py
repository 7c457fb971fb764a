"""Which channels and computations a report shows, and by what names."""

from collections.abc import Iterable, Sequence
from typing import TypeVar

from qfl_sec.intervals import Rate
from qfl_sec.protocol_results import ChannelEntry, ComputationEntry
from qfl_sec.reports import wording as w
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Selection
from qfl_sec.results import Scalar

CHANNEL, FRACTION, DISTANCE = "channel.name", "channel.adversary_fraction", "channel.distance_km"
COMPUTE = "compute.name"

Entry = TypeVar("Entry", ChannelEntry, ComputationEntry)


def at_audited(selection: Selection, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries of the audited setting, in the order of the variants."""
    order = {variant.id: index for index, variant in enumerate(selection.results.variants)}
    here = [entry for entry in entries if entry.setting == selection.audited.id]
    return sorted(here, key=lambda entry: order[entry.variant])


def shown_channels(selection: Selection) -> list[ChannelEntry]:
    """Return what is known of the channels at the audited setting."""
    return at_audited(selection, selection.results.channels)


def shown_computations(selection: Selection) -> list[ComputationEntry]:
    """Return what is known of who ran the circuits at the audited setting."""
    return at_audited(selection, selection.results.computations)


def fraction(entry: ChannelEntry) -> str:
    """Write what the adversary does: 10% intercept_resend; nothing is written without one."""
    return "" if entry.attack == "none" else f"{w.agreed(entry.attacked_fraction)} {cut(entry.attack, 24)}"


def channel_label(selection: Selection, entry: ChannelEntry) -> str:
    """Name a channel, its adversary, and what else the sweep tells apart."""
    others = other_values(selection, entry, (CHANNEL, FRACTION, "channel.adversary"))
    return cut(" · ".join(text for text in (cut(entry.name, 24), fraction(entry), others) if text), 70)


def computation_label(selection: Selection, entry: ComputationEntry) -> str:
    """Name who computes, and what else the sweep tells apart."""
    others = other_values(selection, entry, (COMPUTE,))
    return cut(" · ".join(text for text in (cut(entry.name, 24), others) if text), 70)


def accuracy_of(selection: Selection, entry: ComputationEntry) -> Rate | None:
    """Return the accuracy of the models that a computation released."""
    return next(
        (
            one.accuracy
            for one in selection.results.utility
            if (one.variant, one.setting) == (entry.variant, entry.setting)
        ),
        None,
    )


def other_values(selection: Selection, entry: ChannelEntry | ComputationEntry, left_out: Iterable[str]) -> str:
    """Write the swept values that are not named otherwise."""
    values = next(one.values for one in selection.results.variants if one.id == entry.variant)
    rest = {key: value for key, value in values.items() if key not in left_out}
    return ", ".join(f"{key.partition('.')[2]} {_scalar(value)}" for key, value in rest.items())


def _scalar(value: Scalar) -> str:
    return w.plain(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
