"""The axis-parallel box of a given width that holds the most points: the best single guess within a tolerance."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

_STEPS = 20_000
"""Partial boxes looked at before an exact search gives up."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Box:
    """A box that holds many points.

    Attributes:
        members: Rows of the points in it, rising.
        bound: Points that no box of this width exceeds; equal to their number where the search was exact.
    """

    members: Rows
    bound: int


def largest_box(points: Floats, *, width: float) -> Box:
    """Return a box of this width, in every coordinate, that holds as many points as any.

    A depth-first search: some largest box has its lower side at a point in every coordinate, so coordinate by
    coordinate the windows that start at a point are tried, largest first, and dropped when they hold no more points
    than the best box so far. A box lies within twice its width around any of its points, so points with too few others
    so near are dropped as well. After a fixed number of steps the search stops; the best box so far is then returned
    with the bound that this gives for all points.

    Args:
        points: (points, features), at least one point and one feature.
        width: Side of the box, >= 0.
    """
    best = _around_points(points, width / 2)
    search = _Search(points=points, width=width, best=best)
    if search.run(np.arange(len(points)), 0):
        return Box(members=np.sort(search.best), bound=len(search.best))
    loose = max(int((np.abs(points - centre) <= width).all(axis=1).sum()) for centre in points)
    return Box(members=np.sort(search.best), bound=loose)


def _around_points(points: Floats, half_width: float) -> Rows:
    """Return the rows in the best of the boxes that are centred at a point."""
    boxes = ((np.abs(points - centre) <= half_width).all(axis=1) for centre in points)
    return np.flatnonzero(max(boxes, key=lambda inside: int(inside.sum())))


@dataclass(kw_only=True, eq=False)
class _Search:
    """State of one depth-first search.

    Attributes:
        points: (points, features)
        width: Side of the box.
        best: Rows of the best box so far.
        steps: Partial boxes looked at.
    """

    points: Floats
    width: float
    best: Rows
    steps: int = 0

    def run(self, rows: Rows, feature: int) -> bool:
        """Search the boxes that hold only points of `rows`, cut in the features before; false if steps run out."""
        rows = self._near_enough(rows, feature)
        if len(rows) <= len(self.best):
            return True
        windows = self._windows(rows, feature)
        if feature == self.points.shape[1] - 1:
            self.best = windows[0] if windows else self.best
            return True
        for window in windows:
            if len(window) <= len(self.best):
                break
            self.steps += 1
            if self.steps > _STEPS or not self.run(window, feature + 1):
                return False
        return True

    def _near_enough(self, rows: Rows, feature: int) -> Rows:
        """Drop points that no better box can hold, again and again: too few others lie within its width of them."""
        while len(rows) > len(self.best):
            near = np.ones((len(rows), len(rows)), dtype=np.bool_)
            for values in self.points[rows, feature:].T:
                near &= np.abs(values[:, None] - values) <= self.width
            kept = rows[near.sum(axis=1) > len(self.best)]
            if len(kept) == len(rows):
                break
            rows = kept
        return rows

    def _windows(self, rows: Rows, feature: int) -> list[Rows]:
        """Return the windows of one feature that no other window contains, largest first."""
        ordered = rows[np.argsort(self.points[rows, feature], kind="stable")]
        values = self.points[ordered, feature]
        ends = np.searchsorted(values, values + self.width, side="right")
        starts = np.flatnonzero(np.diff(ends, prepend=0) > 0)
        windows = [ordered[start : ends[start]] for start in starts if ends[start] - start > len(self.best)]
        return sorted(windows, key=len, reverse=True)
