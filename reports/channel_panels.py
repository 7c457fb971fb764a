"""The figure on channels as data: panels with marks, lines of theory, ticks and words; which channels there are."""

from collections.abc import Iterable
from dataclasses import dataclass

from qfl_sec.reports import wording as w
from qfl_sec.reports.panels import Mark, Tick
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Selection
from qfl_sec.results import ChannelEntry, Scalar

NAME, FRACTION, DISTANCE = "channel.name", "channel.adversary_fraction", "channel.distance_km"


@dataclass(frozen=True, kw_only=True)
class Series:
    """One channel's values.

    Attributes:
        label: For the legend.
        style: Place in the figure's list of colours and shapes.
        marks: Values from left to right, with their ends; `zero` where the value stands at the panel's foot.
        theory: (place, value), joined by a line.
    """

    label: str
    style: int
    marks: tuple[Mark, ...]
    theory: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChannelPanel:
    """One panel.

    Attributes:
        title: With its letter.
        subtitle: What is shown.
        axis_label: Below the axis.
        logarithmic: Whether the values' axis is.
        left: Of the places' axis.
        right: Of the places' axis.
        bottom: Of the values' axis; zeros of a logarithmic one stand there.
        top: Of the values' axis.
        columns: Ticks of the places' axis.
        ticks: Ticks of the values' axis.
        series: One a channel.
        levels: (place, value) of what is needed, drawn as short lines.
        trend: In words with numbers.
    """

    title: str
    subtitle: str
    axis_label: str
    logarithmic: bool
    left: float
    right: float
    bottom: float
    top: float
    columns: tuple[Tick, ...]
    ticks: tuple[Tick, ...]
    series: tuple[Series, ...]
    levels: tuple[tuple[float, float], ...] = ()
    trend: str


@dataclass(frozen=True, kw_only=True)
class ChannelFigure:
    """The figure: up to four panels, the labels of all series, words."""

    panels: tuple[ChannelPanel, ...]
    labels: tuple[str, ...]
    alt: str
    caption: str


def shown_entries(selection: Selection) -> list[ChannelEntry]:
    """Return what is known of the channels at the audited setting, in the order of the variants."""
    order = {variant.id: index for index, variant in enumerate(selection.results.variants)}
    here = [entry for entry in selection.results.channels if entry.setting == selection.audited.id]
    return sorted(here, key=lambda entry: order[entry.variant])


def fraction(entry: ChannelEntry) -> str:
    """Write what the adversary does: 10% intercept_resend; nothing is written without one."""
    return "" if entry.attack == "none" else f"{w.agreed(entry.attacked_fraction)} {cut(entry.attack, 24)}"


def channel_label(selection: Selection, entry: ChannelEntry) -> str:
    """Name a channel, its adversary, and what else the sweep tells apart."""
    others = other_values(selection, entry, (NAME, FRACTION, "channel.adversary"))
    return cut(" · ".join(text for text in (cut(entry.name, 24), fraction(entry), others) if text), 70)


def other_values(selection: Selection, entry: ChannelEntry, left_out: Iterable[str]) -> str:
    """Write the swept values that are not named otherwise."""
    values = next(one.values for one in selection.results.variants if one.id == entry.variant)
    rest = {key: value for key, value in values.items() if key not in left_out}
    return ", ".join(f"{key.partition('.')[2]} {_scalar(value)}" for key, value in rest.items())


def _scalar(value: Scalar) -> str:
    return w.plain(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
