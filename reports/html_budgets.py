"""The slider over the tested settings: the table of settings as one sentence each, in natural frequencies."""

from qfl_sec.reports import wording as w
from qfl_sec.reports.first_page import PER
from qfl_sec.reports.html_markup import Html, tag
from qfl_sec.reports.tables import Table

FOUND = ("Members found, measured", "Outsiders wrongly accused", "Members found, at most by proof")
REBUILT = ("Records rebuilt, measured", "Records rebuilt, at most by proof")
ACCURACY = "Accuracy on unseen records"
NOTHING = "–"


def sentences(table: Table) -> tuple[tuple[str, str], ...]:
    """Return a label and what was measured for each setting of the table."""
    rows = {row.cells[0]: row.cells for group in table.groups for row in group.rows}
    said = []
    for index, column in enumerate(table.columns[1:], start=1):
        cells = {label: row[index] for label, row in rows.items()}
        label = setting(column.title)
        said.append((label, " ".join((f"{'At' if '=' in label else 'With'} {label} {_attacks(cells)}", *_rest(cells)))))
    return tuple(said)


def setting(title: str) -> str:
    """Return a column's heading as a sentence names it: a bare number is a budget.

    Example:
        >>> setting("0.5").replace(w.FIXED, " "), setting("no DP")
        ('ε = 0.5', 'no DP')
    """
    return w.label(f"ε = {title}") if title[:1].isdigit() else title


def _attacks(cells: dict[str, str]) -> str:
    """Tell what the attacks reach, and what is proven of each."""
    found, accused, found_bound = (cells.get(label, NOTHING) for label in FOUND)
    rebuilt, rebuilt_bound = (cells.get(label, NOTHING) for label in REBUILT)
    parts = []
    if found != NOTHING:
        accusing = f" while wrongly accusing {_of(accused)} outsiders" if accused != NOTHING else ""
        parts.append(f"the attack finds {_of(found)} members{accusing} ({_proven(found_bound)})")
    if rebuilt != NOTHING:
        parts.append(f"{'it' if parts else 'the attack'} rebuilds {_of(rebuilt)} records ({_proven(rebuilt_bound)})")
    return ", and ".join(parts) + "." if parts else "no attack was measured."


def _rest(cells: dict[str, str]) -> tuple[str, ...]:
    accuracy = cells.get(ACCURACY, NOTHING)
    return (f"Accuracy on unseen records is {accuracy}.",) if accuracy != NOTHING else ()


def _of(cell: str) -> str:
    """Write a cell as a natural frequency: <1 is fewer than 1 of 1 000."""
    return f"{cell.replace('<', 'fewer than ').replace('>', 'more than ')} of {w.group(PER)}"


def _proven(cell: str) -> str:
    return "no formal guarantee" if cell in ("none", NOTHING) else f"at most {_of(cell)} by proof"


def slider(table: Table) -> Html:
    """Return the slider, hidden where no script can move it, above the audited setting's sentence."""
    said = sentences(table)
    audited = next((index for index, column in enumerate(table.columns[1:]) if column.fill == "audited"), 0)
    last = str(len(said) - 1)
    control = tag(
        "p",
        tag("label", table.columns[0].title, for_="budget"), " ",
        tag("input", type="range", id="budget", min="0", max=last, step="1", value=str(audited),
            aria_valuetext=said[audited][0], close=False), " ",
        tag("b", said[audited][0], id="chosen"),
        class_="scripted", hidden=True,
    )  # fmt: skip
    choices = (tag("li", sentence, data_label=label) for label, sentence in said)
    return tag(
        "div",
        control,
        tag("p", said[audited][1], id="sentence", aria_live="polite"),
        tag("ul", *choices, id="choices", hidden=True),
        class_="box budget",
    )
