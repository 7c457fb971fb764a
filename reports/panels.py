"""Figure 1 as data: panels with points, lines, ticks and every string they show; nothing is drawn here."""

from dataclasses import dataclass
from typing import Literal

LOWEST = 0.001


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A tick: where, what it says, and whether it is the audited one."""

    at: float
    label: str
    bold: bool = False


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A value with its interval; `zero` where nothing was hit, and the interval's upper end is a limit."""

    at: float
    value: float
    low: float
    high: float
    zero: bool


@dataclass(frozen=True, kw_only=True)
class Foot:
    """A value printed at the foot of a column."""

    at: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Level:
    """A horizontal line across a panel."""

    value: float
    style: Literal["dashed", "dashdot", "dotted"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: Its question.
        subtitle: Adversary and measure.
        price: Whether it shows what a budget costs rather than what an attack gains.
        logarithmic: Whether the values' axis is.
        bottom: Lowest value shown.
        top: Highest value shown.
        ticks: Of the values' axis.
        line: Measured values that a line joins: one defense's budgets.
        alone: Measured values in grey columns.
        control: The same attack without signal.
        guess: Points of the guessing line; those of grey columns stand alone in `guess_alone`.
        guess_alone: Guessing in grey columns.
        ceiling: Points of the proven ceiling.
        levels: Lines of baselines.
        foot: Values at the foot.
        trend: What the panel shows, in words with numbers.
    """

    title: str
    subtitle: str
    price: bool
    logarithmic: bool
    bottom: float
    top: float
    ticks: tuple[Tick, ...]
    line: tuple[Mark, ...]
    alone: tuple[Mark, ...]
    control: tuple[Mark, ...]
    guess: tuple[tuple[float, float], ...]
    guess_alone: tuple[tuple[float, float], ...]
    ceiling: tuple[tuple[float, float], ...]
    levels: tuple[Level, ...]
    foot: tuple[Foot, ...]
    trend: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Figure 1.

    Attributes:
        panels: At most four; without one there is no figure.
        legend: Words of the marks: measured, control, guessing, ceiling, audited setting, no formal guarantee.
        columns: Ticks of the settings' axis, the same in every panel.
        grey: Places of settings without a budget of the main defense.
        audited: Place of the audited setting, None if it is not drawn.
        broken_at: Place of the break between budgets and grey columns, None without one.
        step: Typical distance of two columns.
        left: Left end of the axis.
        right: Right end.
        axis_label: Below the axis.
        alt: The trends of all panels.
        caption: Below the figure.
    """

    panels: tuple[Panel, ...]
    legend: tuple[str, ...]
    columns: tuple[Tick, ...]
    grey: tuple[float, ...]
    audited: float | None
    broken_at: float | None
    step: float
    left: float
    right: float
    axis_label: str
    alt: str
    caption: str
