"""The comparison as one self-contained page: no script, no request to anywhere, the words of the PDF."""

import base64
import hashlib
from collections.abc import Iterable
from html import escape
from typing import Literal

from qfl_sec.reports.comparison_text import Section, Sheet
from qfl_sec.reports.tables import Row, Table

STYLE = """
:root{color:#1A1A1A;background:#fff;font:15px/1.45 "Source Sans Pro","Segoe UI",Roboto,Arial,sans-serif}
body{max-width:1100px;margin:0 auto;padding:24px 16px 48px}
h1{font-size:1.7rem;margin:.2rem 0 .6rem;border-top:3px solid #004488;padding-top:.8rem}
h2{font-size:1.2rem;margin:2rem 0 .6rem}
.kicker,.closing,caption span,th,tbody th span{color:#5F6368}
.sample,.alarm{color:#A13D50;font-weight:600}
.lead{font-size:1.1rem;max-width:70ch}
.wide{overflow-x:auto;margin:0 0 1.4rem}
table{border-collapse:collapse;border:solid #1A1A1A;border-width:1.5px 0;font-size:.85rem;width:100%}
caption{text-align:left;padding:.3rem 0;font-size:.9rem}
th,td{padding:.3rem .5rem;text-align:right;vertical-align:top;font-variant-numeric:tabular-nums lining-nums}
th{font-weight:400}
thead tr{border-bottom:1px solid #1A1A1A}
tbody tr{border-bottom:1px solid #B8BCC2}
.left{text-align:left}
tbody th{text-align:left;font-weight:600;color:#1A1A1A}
tr.group th{background:#F1F3F4}
tbody th span{font-weight:400;margin-left:.6em}
figure{margin:0 0 1.4rem}
figure svg{width:100%;height:auto;min-width:640px}
figcaption{font-size:.9rem}
li{margin:.35rem 0;max-width:90ch}
code{font:.8rem "DejaVu Sans Mono",monospace}
@media print{body{max-width:none;padding:0}.wide{overflow:visible}@page{size:A4 landscape}}
"""


def page(sheet: Sheet) -> str:
    """Return the comparison's HTML; it is readable without styles and allows nothing to be loaded or run."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    sample = f'<p class="sample">{_text(sheet.sample)}</p>' if sheet.sample else ""
    sections = "".join(_section(section) for section in sheet.sections)
    notes = "".join(f"<li>{_text(note)}</li>" for note in sheet.notes)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(sheet.product)}: {_text(sheet.title)}</title><style>{STYLE}</style></head><body><main>"
        f'<p class="kicker">{_text(sheet.product)} · <code>{_text(sheet.identifier)}</code></p>{sample}'
        f'<h1>{_text(sheet.title)}</h1><p class="lead">{_text(sheet.lead)}</p>'
        f"{_table(sheet.runs)}{_table(sheet.differing)}{sections}"
        f"<h2>{_text(sheet.notes_title)}</h2><ul>{notes}</ul>"
        f'<p class="closing">{_text(sheet.closing)} {_text(sheet.date)} · {_text(sheet.schema)}</p>'
        "</main></body></html>\n"
    )


def _text(text: str) -> str:
    return escape(text).replace("\u200b", "<wbr>")


def _section(section: Section) -> str:
    drawing = ""
    if section.chart is not None:
        shown = section.chart
        svg = shown.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(shown.alt)}" ', 1)
        drawing = (
            f'<figure><div class="wide" tabindex="0" role="group" aria-label="Figure">{svg}</div>'
            f"<figcaption>{_text(shown.caption)}</figcaption></figure>"
        )
    return f"<h2>{_text(section.title)}</h2>{drawing}{''.join(_table(table) for table in section.tables)}"


def _table(table: Table) -> str:
    if not table.groups:
        return ""
    head = "".join(
        f'<th scope="col"{_left(column.align)}>{_text(column.title)}</th>' for column in table.columns
    )  # fmt: skip
    body = "".join(_body(table, index) for index in range(len(table.groups)))
    notes = "".join(f"<p>{_text(note)}</p>" for note in table.notes)
    return (
        f'<div class="wide" tabindex="0" role="group" aria-label="{escape(table.caption)}"><table>'
        f"<caption>{_text(table.caption)}</caption><thead><tr>{head}</tr></thead>{body}</table>{notes}</div>"
    )


def _left(align: Literal["left", "right"]) -> str:
    return ' class="left"' if align == "left" else ""


def _body(table: Table, index: int) -> str:
    group, width = table.groups[index], len(table.columns)
    heading = ""
    if group.title:
        note = f"<span>{_text(group.note)}</span>" if group.note else ""
        heading = f'<tr class="group"><th colspan="{width}" scope="rowgroup">{_text(group.title)}{note}</th></tr>'
    return f"<tbody>{heading}{''.join(_row(table, row) for row in group.rows)}</tbody>"


def _row(table: Table, row: Row) -> str:
    return f"<tr>{''.join(_cells(table, row))}</tr>"


def _cells(table: Table, row: Row) -> Iterable[str]:
    last = len(row.cells) - 1
    for index, cell in enumerate(row.cells):
        span = len(table.columns) - index if index == last else 1
        wide = f' colspan="{span}"' if span > 1 else ""
        classes = [name for name, on in (
            ("left", span > 1 or table.columns[index].align == "left"), ("alarm", index == row.alarm),
        ) if on]  # fmt: skip
        named = f' class="{" ".join(classes)}"' if classes else ""
        yield f'<th scope="row">{_text(cell)}</th>' if index == 0 else f"<td{named}{wide}>{_text(cell)}</td>"
