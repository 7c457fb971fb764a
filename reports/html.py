"""The page: the document's strings in one file, which asks nobody for anything and reads the same without a script."""

import base64
import hashlib
import re
from functools import cache
from html import unescape
from importlib import resources

from qfl_sec.reports.display import Document, Head
from qfl_sec.reports.html_figures import hatching
from qfl_sec.reports.html_font import font_faces
from qfl_sec.reports.html_markup import Html, island, join, tag
from qfl_sec.reports.html_pages import sections
from qfl_sec.reports.sanitising import ZERO_WIDTH_SPACE

SCRIPTED = "0123456789 page run of · ↑↓"
"""Characters that only the style and the script write: page numbers, counts, the arrows of sorted columns."""


def render(document: Document, results: bytes) -> bytes:
    """Return the report as a page.

    The same document and results give the same bytes.

    Args:
        document: Every string that is shown.
        results: The bytes of `results.json`, UTF-8, carried as they are.

    Raises:
        RuntimeError: If a drawing does not come out as the report needs it: a fault of ours, not of the data.
    """
    head = document.head
    about = tag("footer", tag("p", f"{head.date} · {head.schema} · run ", tag("code", head.run)))
    body = join((hatching(), tag("main", sections(document)), about))
    style = Html("\n".join((_asset("report.css"), _running(head), font_faces(_shown(head, body)))))
    script = Html(_asset("report.js"))
    page = tag(
        "html",
        _head(head, style, script),
        tag("body", body, island("results", results.decode()), tag("script", script)),
        lang="en",
    )
    return f"<!doctype html>\n{page}\n".encode()


def _head(head: Head, style: Html, script: Html) -> Html:
    """Return the page's head: it allows this page's own style and script, and nothing else."""
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; font-src data:; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return tag(
        "head",
        tag("meta", charset="utf-8", close=False),
        tag("meta", http_equiv="Content-Security-Policy", content=policy, close=False),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1", close=False),
        tag("meta", name="referrer", content="no-referrer", close=False),
        tag("title", f"{head.product}: {head.title}".replace(ZERO_WIDTH_SPACE, "")),
        # Without it a browser asks a server for one.
        tag("link", rel="icon", href="data:,", close=False),
        tag("style", style),
    )


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


@cache
def _asset(name: str) -> str:
    return resources.files("qfl_sec.reports").joinpath(name).read_text(encoding="utf-8").strip()


def _running(head: Head) -> str:
    """Return the rules for what stands on top of every printed page."""
    right = f"{head.sample} · run {head.run}" if head.sample else f"run {head.run}"
    tone = ";color:#a13d50;font-weight:600" if head.sample else ""
    return (
        f"@page{{@top-left{{content:{_css_string(f'{head.product} · {head.short_title}')}}}"
        f"@top-right{{content:{_css_string(right)}{tone}}}}}"
    )


def _css_string(value: str) -> str:
    r"""Write a text inside a style: every character as its number, so that none can end the string.

    Example:
        >>> _css_string('a"')
        '"\\000061\\000022"'
    """
    return '"' + "".join(f"\\{ord(character):06x}" for character in value.replace(ZERO_WIDTH_SPACE, "")) + '"'


def _shown(head: Head, body: str) -> str:
    """Return every character that the page may show, printed headers included."""
    return unescape(re.sub("<[^>]*>", "", body)) + head.product + head.short_title + head.sample + head.run + SCRIPTED
