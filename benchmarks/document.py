"""The generated part of `docs/benchmarks.md`."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.rows import Other, Row

BEGIN = "<!-- written by `make bench` -->"
END = "<!-- end of what `make bench` wrote -->"


def with_tables(text: str, rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """Return the document with the part between the markers written anew.

    Raises:
        ValueError: If it does not hold both markers, in this order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"Expected the document to hold {BEGIN!r} and then {END!r}.")
    return f"{before}{BEGIN}\n{tables(rows, machine)}\n{END}{after}"


def tables(rows: Sequence[Row], machine: Mapping[str, Any]) -> str:
    """Return the machine, the verdict in one sentence, and the tables, in Markdown."""
    met = sum(row.met for row in rows)
    missed = ", ".join(f"`{row.name}`" for row in rows if not row.met)
    verdict = f"**{met} of {len(rows)} goals are met.**" + (f" Not met: {missed}." if missed else "")
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    where = (
        f"Measured on {machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}; {packages}."
    )
    notes = [f"- `{row.name}`: {note}" for row in rows if (note := _note(row))]
    others = [f"| `{row.name}` | {_other(row, other)} |" for row in rows for other in row.also]
    parts = [
        [where],
        [verdict],
        ["| row | work | ours | peer or limit | ratio | goal | met |", "|---|---|---|---|---|---|---|"]
        + [_line(row) for row in rows],
        ["Beside the rows:"],
        notes,
        ["The same work done in other ways, without a goal:"],
        ["| row | how | time | ratio to ours |", "|---|---|---|---|", *others],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts)


def _line(row: Row) -> str:
    reference = f"{row.peer}: {_value(row.reference, row)}" if row.peer else f"limit: {_value(row.reference, row)}"
    ratio, goal = (f"{_number(value)}x" for value in (row.ratio, row.goal))
    met = "yes" if row.met else "**no**"
    return f"| `{row.name}` | {row.work} | {_value(row.ours, row)} | {reference} | {ratio} | {goal} | {met} |"


def _value(value: float, row: Row) -> str:
    return f"{_number(value)} {row.unit}"


def _number(value: float) -> str:
    """Return three significant digits without an exponent.

    Example:
        >>> [_number(value) for value in (0.12345, 12.345, 12345.6)]
        ['0.123', '12.3', '12,300']
    """
    digits = float(f"{value:.3g}")
    return f"{digits:,.0f}" if digits >= 100 else f"{digits:g}"


def _other(row: Row, other: Other) -> str:
    return f"{other.name} | {_number(other.value)} {row.unit} | {_number(other.value / row.ours)}x"


def _note(row: Row) -> str:
    """Return the spreads, compile times and the row's own note."""
    spread = f"ours {_range(row.ours_spread)}"
    if row.peers_spread is not None:
        spread += f", peer {_range(row.peers_spread)}"
    runs = f"{row.runs} runs" if row.runs > 1 else "1 run"
    words = [f"{runs}, {row.threads} thread{'s' if row.threads > 1 else ''} a side, quartiles {spread} {row.unit}."]
    if row.compile_seconds:
        times = ", ".join(f"{_number(value)} s ({side})" for side, value in row.compile_seconds.items())
        words.append(f"First call, not counted: {times}.")
    return " ".join([*words, *([row.note] if row.note else [])])


def _range(spread: tuple[float, float]) -> str:
    return f"{_number(spread[0])} to {_number(spread[1])}"
