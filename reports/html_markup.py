"""Elements of a page: text is escaped unless it is already markup, so that no string of anybody's becomes a tag."""

import json
from collections.abc import Iterable
from html import escape

from qfl_sec.reports.sanitising import ZERO_WIDTH_SPACE


class Html(str):
    """Markup, which stands in a page as it is. Every other string is text."""

    __slots__ = ()


def text(value: str) -> Html:
    r"""Return a text's markup. A place for a line break is a `<wbr>`, which nobody copies with the text.

    Example:
        >>> text("<b> & \u200bc")
        '&lt;b&gt; &amp; <wbr>c'
    """
    return value if isinstance(value, Html) else Html(escape(value).replace(ZERO_WIDTH_SPACE, "<wbr>"))


def join(parts: Iterable[str], separator: str = "") -> Html:
    """Put texts and markup in a row."""
    return Html(text(separator).join(text(part) for part in parts))


def tag(name: str, /, *children: str, **attributes: str | float | bool | None) -> Html:
    """Return an element.

    Args:
        name: Its name.
        *children: Texts, which are escaped, and markup, which is not.
        **attributes: `class_` gives class, `aria_label` aria-label. True stands without a value, False and None do
            not stand at all.

    Example:
        >>> tag("p", "a < b", tag("br", close=False), class_="note", hidden=True)
        '<p class="note" hidden>a &lt; b<br></p>'
    """
    closed = attributes.pop("close", True)
    written = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return Html(f"<{name}{written}>{join(children)}" + (f"</{name}>" if closed else ""))


def _attribute(key: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return f" {key}"
    shown = f"{value:.9g}" if isinstance(value, float) else str(value)
    return f' {key}="{escape(shown.replace(ZERO_WIDTH_SPACE, ""))}"'


def island(identifier: str, content: str) -> Html:
    r"""Return a text as a block of data, which a script reads back to the same text, character for character.

    No browser sees a tag in it: it is one JSON string of ASCII, without angle brackets and ampersands.

    Example:
        >>> island("data", "</script>")
        '<script type="application/json" id="data">"\\u003c/script\\u003e"</script>'
    """
    quoted = json.dumps(content)
    for character in "<>&":
        quoted = quoted.replace(character, f"\\u{ord(character):04x}")
    return tag("script", Html(quoted), type="application/json", id=identifier)
