"""Formulas as MathML, written when the site is built: browsers draw it themselves, and no script is fetched for it."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Replace what the Markdown extension has marked as LaTeX."""
    return FORMULA.sub(_as_mathml, content)


def _as_mathml(found: re.Match[str]) -> str:
    text = html.unescape(found[2]).strip()
    display = found[1] == "div"
    return convert(text[2:-2].strip(), display="block" if display else "inline")
