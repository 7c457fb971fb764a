"""What a figure is drawn against: a privacy budget, or the strength of a defense that claims none."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import log2

from qfl_sec.reports import wording as w
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Selection
from qfl_sec.results import Setting

STRENGTH_FIGURES = 3

EXTRA_COLUMNS = 4

LONGEST_NAME = 32
"""Characters of a strength's name and unit that fit below a panel, with the remarks."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The settings of a figure and their places.

    Attributes:
        swept: Settings that a line joins, by rising value.
        values: Their budgets or strengths.
        alone: Settings in columns of their own, after a break.
        rest: How many more there would be.
        defense: Whose strength this is; empty for budgets.
        name: Of the swept quantity; empty if nothing is swept.
        remark: What the label says of it in brackets.
    """

    swept: tuple[Setting, ...]
    values: tuple[float, ...]
    alone: tuple[Setting, ...]
    rest: int = 0
    defense: str = ""
    name: str = ""
    remark: str = ""

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All settings that get a column."""
        return (*self.swept, *self.alone)

    @cached_property
    def positions(self) -> dict[str, float]:
        """Places of the settings, by id: log2 of the value, then the others after a break.

        Values that would fall on top of each other on a log scale, or are not positive, are spaced equally instead.
        """
        places = [float(index) for index in range(len(self.swept))] if self.spaced_equally else self._logarithms
        found = {entry.id: place for entry, place in zip(self.swept, places, strict=True)}
        start = places[-1] + 1.5 * self.step if places else 0.0
        for index, entry in enumerate(self.alone):
            found[entry.id] = start + 1.2 * self.step * index
        return found

    @cached_property
    def _logarithms(self) -> list[float]:
        return [log2(value) for value in self.values]

    @cached_property
    def step(self) -> float:
        """Typical distance of two columns."""
        if self.spaced_equally or len(self.swept) < 2:
            return 1.0
        return (self._logarithms[-1] - self._logarithms[0]) / (len(self.swept) - 1)

    @cached_property
    def spaced_equally(self) -> bool:
        """Whether a log scale would press two values together, or cannot hold one."""
        if any(value <= 0 for value in self.values):
            return True
        gaps = [right - left for left, right in pairwise(self._logarithms)]
        return bool(gaps) and min(gaps) < 0.45 * sum(gaps) / len(gaps)

    @property
    def label(self) -> str:
        """What stands below the axis."""
        if not self.swept:
            return "setting"
        scale = "equally spaced" if self.spaced_equally else "log scale"
        return f"{self.name} ({'; '.join(text for text in (scale, self.remark) if text)})"


def axes(selection: Selection) -> tuple[Axis, ...]:
    """Return the axis of each figure: budgets first, then each defense that is drawn against its strength.

    Settings on no axis of their own stand in columns beside the budgets, or beside the first strengths where there is
    no budget.
    """
    families = selection.strengths[:STRENGTH_FIGURES]
    swept = {entry.id for family in families for entry in family}
    others = [entry for entry in selection.others if entry.id not in swept]
    bare = [entry for entry in others if entry.defense == "none"]
    found = [_of_budgets(selection, others)] if selection.budgets or not families else []
    for family in families:
        found.append(_of_strength(family, bare if found else others))
    return tuple(found)


def _of_budgets(selection: Selection, others: Sequence[Setting]) -> Axis:
    return Axis(
        swept=selection.budgets,
        values=tuple(entry.epsilon for entry in selection.budgets if entry.epsilon is not None),
        alone=tuple(others[:EXTRA_COLUMNS]),
        rest=max(0, len(others) - EXTRA_COLUMNS),
        name="privacy budget ε per record" if selection.budgets else "",
        remark="left is stricter" if selection.budgets else "",
    )


def _of_strength(family: tuple[Setting, ...], others: Sequence[Setting]) -> Axis:
    known = [entry.strength for entry in family if entry.strength is not None]
    neutral = f"{w.plain(known[0].neutral)} does nothing" if known[0].neutral is not None else ""
    return Axis(
        swept=family,
        values=tuple(one.value for one in known),
        alone=tuple(others[:EXTRA_COLUMNS]),
        rest=max(0, len(others) - EXTRA_COLUMNS),
        defense=cut(family[0].defense, 40),
        name=cut(f"{known[0].name} {known[0].unit}".rstrip(), LONGEST_NAME),
        remark=neutral,
    )


def column_label(axis: Axis, setting: Setting) -> str:
    """Return what stands under a setting's column: its value on the axis, or its label."""
    if setting in axis.swept:
        return w.plain(axis.values[axis.swept.index(setting)])
    if axis.defense and setting.defense == "none":
        return "none"
    return w.label(cut(setting.label, 10))
