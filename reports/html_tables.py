"""The report's tables in a page."""

import re

from qfl_sec.reports.display import Decision
from qfl_sec.reports.first_page import FindingRow, Mark
from qfl_sec.reports.html_figures import keys, mark, scale, sight, strip
from qfl_sec.reports.html_markup import Html, join, tag
from qfl_sec.reports.tables import Column, Group, Row, Table

_RAISED = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_NUMBER = re.compile(r"(?P<sign>[+-]?)[<>]?(?:(?P<digits>\d+(?:\.\d+)?)(?:×10(?P<power>[⁻⁰¹²³⁴-⁹]+))?)")
_TEN = re.compile(r"(?P<sign>-?)10(?P<power>[⁻⁰¹²³⁴-⁹]+)")
_SEVERITY: tuple[Mark, ...] = (
    "no verdict", "above tolerance", "open", "tested only", "within tolerance", "conditional",
)  # fmt: skip


def sort_key(cell: str, *, number_first: bool) -> float | None:
    """Return the number by which a cell is sorted, None for a text.

    Args:
        cell: Its text.
        number_first: Whether its column holds numbers; in another one only a setting like "ε = 2" has one.

    Example:
        >>> sort_key("1\u202f704 / 2", number_first=True), sort_key("6 × 10⁻⁸", number_first=True)
        (1704.0, 6e-08)
        >>> sort_key("ε = 0.5", number_first=False), sort_key("5 clients", number_first=False)
        (0.5, None)
    """
    flat = re.sub(r"[\s\u200b]", "", cell).replace("−", "-")
    if not number_first:
        _, equals, value = flat.partition("=")
        return sort_key(value, number_first=True) if equals and _NUMBER.fullmatch(value) else None
    power = _TEN.search(flat)
    if power is not None and "×" not in flat:
        return float(f"{power['sign']}1e{power['power'].translate(_RAISED)}")
    found = _NUMBER.search(flat)
    if found is None:
        return None
    exponent = found["power"].translate(_RAISED) if found["power"] else "0"
    return float(f"{found['sign']}{found['digits']}e{exponent}")


def caption(number: int, words: str) -> Html:
    """Return a table's caption with its number."""
    return tag("caption", tag("span", tag("b", f"Table {number}"), " ", words))


def framed(number: int, table: Html) -> Html:
    """Let a wide table scroll in its own frame, by keyboard too, so that the page never does."""
    return tag("div", table, class_="frame", role="region", tabindex="0", aria_label=f"Table {number}")


def findings_table(page: Decision, number: int) -> Html:
    """Return the first table. Its roles are written out, since narrow screens show its rows as cards."""
    first, *_, last = page.scale
    heads = (
        tag("th", "Question, and who asks it", scope="col", role="columnheader", data_sort=True),
        tag("th", tag("span", f"{first} to {last}", class_="heard"), scale(page.scale, page.scale_places),
            scope="col", role="columnheader", class_="scale"),
        tag("th", "Evidence (95%)", scope="col", role="columnheader", data_sort=True),
        tag("th", "Guarantee", scope="col", role="columnheader", data_sort=True),
        tag("th", "Verdict", scope="col", role="columnheader", data_sort=True),
    )  # fmt: skip
    return tag(
        "table",
        caption(number, page.findings_caption),
        tag("thead", tag("tr", *heads, role="row"), role="rowgroup"),
        tag("tbody", *(_finding(row, page.scale_places) for row in page.findings), role="rowgroup"),
        id="findings", class_="findings sortable", role="table",
    )  # fmt: skip


def _finding(row: FindingRow, places: tuple[float, ...]) -> Html:
    alarm, visible = row.mark == "above tolerance", row.evidence != "not visible"
    ceiling = row.strip.ceiling
    return tag(
        "tr",
        tag("th", tag("span", row.question), " ", tag("small", row.adversary), scope="row", role="rowheader"),
        tag("td", strip(row.strip, places, alarm=alarm, visible=visible), role="cell", class_="scale"),
        tag("td", tag("span", row.evidence), " ", tag("small", row.figures), role="cell", data_label="Evidence",
            data_key=row.strip.point),
        # What nothing is proven of ranks behind every proof.
        tag("td", row.guarantee, role="cell", data_label="Guarantee", data_key=2.0 if ceiling is None else ceiling,
            class_=None if row.proven else "unproven"),
        tag("td", mark(row.mark), " ", tag("span", row.verdict), role="cell", data_label="Verdict",
            data_key=float(_SEVERITY.index(row.mark)), class_=f"verdict {row.mark.replace(' ', '-')}"),
        role="row", data_adversary=row.adversary,
    )  # fmt: skip


def legend(words: tuple[str, ...]) -> Html:
    """Return the words of the strips' marks, each beside its mark."""
    entries = (tag("span", key, " ", word) for key, word in zip(keys(), words, strict=True))
    return tag("p", join(entries, " "), class_="legend")


def data_table(table: Table, number: int, *, name: str = "", sortable: bool = False, marks: bool = False) -> Html:
    """Return a table of texts and numbers in its frame, with its notes."""
    heads = (
        tag("th", column.title, scope="col", class_=_column_class(column), data_sort=sortable)
        for column in table.columns
    )
    body = tag(
        "table",
        caption(number, table.caption),
        tag("thead", tag("tr", *heads)),
        *(_group(group, table.columns, sortable=sortable, marks=marks) for group in table.groups),
        class_=" ".join(word for word in ("data", name, "sortable" if sortable else "") if word),
    )
    return join((framed(number, body), *(tag("p", note, class_="note") for note in table.notes)))


def _column_class(column: Column) -> str | None:
    words = ["" if column.align == "left" else "number", "" if column.fill == "none" else column.fill]
    return " ".join(word for word in words if word) or None


def _group(group: Group, columns: tuple[Column, ...], *, sortable: bool, marks: bool) -> Html:
    heading = tag(
        "tr",
        tag("th", tag("b", group.title), " ", tag("span", group.note), scope="rowgroup", colspan=str(len(columns))),
        class_="group",
    )
    rows = (_row(row, columns, sortable=sortable, marks=marks) for row in group.rows)
    return tag("tbody", heading if group.title else "", *rows)


def _row(row: Row, columns: tuple[Column, ...], *, sortable: bool, marks: bool) -> Html:
    cells = []
    for index, (cell, column) in enumerate(zip(row.cells, columns, strict=False)):
        short = index + 1 == len(row.cells) and len(row.cells) < len(columns)
        numbers = column.align == "right"
        words = ["unproven" if index == row.alarm or cell == "none" else ""]
        unproven = 0 < index == len(columns) - 1 and cell in ("assumed", "declared")
        words += ["strong" if unproven or column.title in ("Rate", "Accuracy") else ""]
        words += ["" if short else _column_class(column) or ""]
        cells.append(
            tag(
                "th" if index == 0 else "td", sight(cell) if marks and index > 0 and len(columns) > 2 else "", cell,
                scope="row" if index == 0 else None,
                class_=" ".join(word for word in words if word) or None,
                colspan=str(len(columns) - index) if short else None,
                data_key=sort_key(cell, number_first=numbers) if sortable else None,
            )
        )  # fmt: skip
    return tag("tr", *cells, class_="audited" if row.audited else None)
