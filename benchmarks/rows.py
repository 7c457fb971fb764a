"""One line of `benchmarks/results.json`: the same work on both sides, and how many times better ours is."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

_FIRST = ("name", "ours", "peer", "peer_version", "peers", "unit", "ratio", "goal", "direction", "work")


def rounded(value: float) -> float:
    """Return a value at four significant digits, which is more than a timing has.

    Example:
        >>> rounded(12.34567)
        12.35
    """
    return float(f"{value:.4g}")


@dataclass(frozen=True, kw_only=True)
class Other:
    """Another way to do the work of a row, for the reader to see; no goal hangs on it.

    Attributes:
        name: Which way.
        version: Of the software.
        value: In the row's unit.
        spread: Its quartiles over runs.
        note: What the reader must know about the value; empty for nothing.
    """

    name: str
    version: str
    value: float
    spread: tuple[float, float]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison, with a peer or with a limit.

    Attributes:
        name: Stays put; scripts look rows up by it.
        work: What both sides did, in words.
        unit: Of `ours`, `peers`, `limit` and the spreads.
        direction: "lower": a lower value is the better one.
        ours: Our median over runs.
        ours_spread: Our quartiles over runs.
        peer: Whom we are compared with; None for a limit.
        peer_version: Its version; None for a limit.
        peers: The peer's median over runs; None for a limit.
        peers_spread: The peer's quartiles over runs; None for a limit.
        limit: What ours may be at most; None for a peer.
        goal: The ratio to reach.
        runs: How often each side was timed; a run of short work averages several calls.
        threads: Threads that either side could use.
        difference: The largest difference between the two results, as a share of the largest entry.
        tolerance: What it may be.
        compile_seconds: What the first calls took before any timing, by side; empty where that is nothing to speak of.
        note: What the reader must know; empty for nothing.
        also: Other ways to do the same work.
    """

    name: str
    work: str
    unit: str
    direction: Literal["lower"] = "lower"
    ours: float
    ours_spread: tuple[float, float]
    peer: str | None = None
    peer_version: str | None = None
    peers: float | None = None
    peers_spread: tuple[float, float] | None = None
    limit: float | None = None
    goal: float
    runs: int
    threads: int
    difference: float
    tolerance: float
    compile_seconds: dict[str, float]
    note: str = ""
    also: tuple[Other, ...] = ()

    def __post_init__(self) -> None:
        if (self.peers is None) == (self.limit is None):
            raise ValueError(f"Expected one of peers={self.peers} and limit={self.limit}, in {self.name}.")
        if len({value is None for value in (self.peer, self.peer_version, self.peers, self.peers_spread)}) > 1:
            raise ValueError(f"Expected peer={self.peer!r} with its version, value and spread, in {self.name}.")
        for key in ("ours", "reference", "goal"):
            if not getattr(self, key) > 0:
                raise ValueError(f"Expected {key}={getattr(self, key)} > 0, in {self.name}.")
        if not self.difference <= self.tolerance:
            raise ValueError(f"Expected difference={self.difference} <= tolerance={self.tolerance}, in {self.name}.")

    @property
    def reference(self) -> float:
        """The peer's value, or the limit."""
        value = self.limit if self.peers is None else self.peers
        assert value is not None
        return value

    @property
    def ratio(self) -> float:
        """How many times better ours is."""
        return rounded(self.reference / self.ours)

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.ratio >= self.goal

    def as_json(self) -> dict[str, Any]:
        """Return the row for `results.json`, the keys that scripts rely on first."""
        values = asdict(self) | {"ratio": self.ratio}
        return {key: values[key] for key in (*_FIRST, *(key for key in values if key not in _FIRST))}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the row of an entry of `results.json`.

        Raises:
            ValueError: If its ratio is not what its values give.
        """
        known = {field.name for field in fields(cls)}
        kept = {key: _tuples(value) for key, value in values.items() if key != "ratio"}
        if kept.keys() != known:
            raise ValueError(f"Expected the keys {sorted(kept.keys() ^ known)} to be in both the row and the file.")
        row = cls(**kept | {"also": tuple(Other(**_all_tuples(other)) for other in values["also"])})
        if row.ratio != values["ratio"]:
            raise ValueError(f"Expected ratio={values['ratio']} to be {row.ratio}, in {row.name}.")
        return row


def write_rows(rows: list[Row], path: Path) -> None:
    """Write `results.json`."""
    path.write_text(json.dumps([row.as_json() for row in rows], indent=2, allow_nan=False) + "\n")


def read_rows(path: Path) -> list[Row]:
    """Read `results.json`."""
    return [Row.from_json(entry) for entry in json.loads(path.read_text())]


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _all_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _tuples(value) for key, value in values.items()}
