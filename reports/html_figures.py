"""Drawings inside a page: the SVG of the PDF, and the small marks and strips of the first table."""

from xml.etree import ElementTree

from qfl_sec.reports.first_page import Mark, Strip
from qfl_sec.reports.html_markup import Html, join, tag

_DROPPED = frozenset({"metadata", "style"})
_PRESENTED_AS_TEXT = frozenset({"d", "points"})


def inline(svg: str, prefix: str, label: str) -> Html:
    """Return a drawing for the inside of a page.

    Its styles become attributes, since the page allows no styles but its own; its names get a prefix, since several
    drawings share the page.

    Args:
        svg: A drawing as `figures.draw` makes it.
        prefix: What makes its names unique, like "figure-1-".
        label: What it shows, for those who do not see it.
    """
    # Ours, drawn a moment ago: no entity and no reference of anybody's stands in it.
    root = ElementTree.fromstring(svg)
    used = {value for element in root.iter() for value in _references(element)}
    body = join(_element(child, prefix, used) for child in root if _name(child.tag) not in _DROPPED)
    return tag(
        "svg", body, viewBox=root.get("viewBox"), role="img", aria_label=label, stroke_linejoin="round",
        stroke_linecap="butt",
    )  # fmt: skip


def _name(qualified: str) -> str:
    """Return a name without its namespace."""
    return qualified.rsplit("}", 1)[-1]


def _references(element: ElementTree.Element) -> list[str]:
    """Return the names that an element's attributes refer to."""
    values = [value.strip() for key, value in _attributes(element).items() if key != "id"]
    return [value.removeprefix("url(").removeprefix("#").removesuffix(")") for value in values if "#" in value]


def _attributes(element: ElementTree.Element) -> dict[str, str]:
    """Return an element's attributes, its style's properties among them."""
    own = {_name(key): value for key, value in element.attrib.items()}
    for entry in own.pop("style", "").split(";"):
        key, colon, value = entry.partition(":")
        if colon:
            own[key.strip()] = value.strip()
    return own


def _element(element: ElementTree.Element, prefix: str, used: set[str]) -> Html:
    name = _name(element.tag)
    children = join(_element(child, prefix, used) for child in element if _name(child.tag) not in _DROPPED)
    written: dict[str, str] = {}
    for key, value in _attributes(element).items():
        if key == "id":
            if value in used:
                written[key] = prefix + value
        elif key == "font-family":
            # The page's own, which is the same.
            continue
        elif value.startswith(("url(#", "#")) and (key == "href" or value.startswith("url(")):
            written[key] = value.replace("#", f"#{prefix}", 1)
        else:
            written[key] = " ".join(value.split()) if key in _PRESENTED_AS_TEXT else value
    if name == "g" and not written:
        return children
    return tag(name, element.text or "" if name == "text" else "", children, **written)


def _percent(share: float) -> str:
    """Write a place along a strip."""
    return f"{100 * share:.1f}%"


def hatching() -> Html:
    """Return the pattern of what a proof rules out, for every strip of the page."""
    stroke = tag("path", d="M0 4 4 0", class_="hatch")
    pattern = tag("pattern", stroke, id="ruled-out", width="4", height="4", patternUnits="userSpaceOnUse")
    return tag("svg", tag("defs", pattern), width="0", height="0", class_="nowhere", aria_hidden="true")


def scale(labels: tuple[str, ...], places: tuple[float, ...]) -> Html:
    """Return the labels above the strips."""
    words = [tag("text", word, x=_percent(at), y="12") for word, at in zip(labels, places, strict=True)]
    return tag("svg", *words, class_="strip", height="16", aria_hidden="true")


def strip(marks: Strip, places: tuple[float, ...], *, alarm: bool, visible: bool) -> Html:
    """Return a strip. The text beside it says the same, so that a screen reader passes it by."""
    parts = [_upright(place, 2, 20, "grid") for place in places]
    if not visible:
        parts.append(tag("line", x1="0%", x2="100%", y1="11", y2="11", class_="unseen"))
    if marks.ceiling is not None:
        parts.append(_ruled_out(_percent(marks.ceiling), _percent(1 - marks.ceiling)))
        parts.append(_upright(marks.ceiling, 2, 20, "ceiling"))
    if marks.guess is not None:
        parts.append(_upright(marks.guess, 2, 20, "guess"))
    if marks.low is not None and marks.high is not None:
        parts.append(tag("line", x1=_percent(marks.low), x2=_percent(marks.high), y1="11", y2="11", class_="interval"))
    if marks.control is not None:
        parts.append(_free(marks.control, "M0 6.5 4.5 11 0 15.5-4.5 11z", "control"))
    if marks.zero and marks.point is not None:
        parts.append(_free(marks.point, "M-5 7H5L0 16z", "point"))
    elif marks.point is not None:
        parts.append(tag("circle", cx=_percent(marks.point), cy="11", r="4.2", class_="point"))
    return tag("svg", *parts, class_="strip alarm" if alarm else "strip", height="22", aria_hidden="true")


def _upright(place: float, top: int, bottom: int, kind: str) -> Html:
    at = _percent(place)
    return tag("line", x1=at, x2=at, y1=str(top), y2=str(bottom), class_=kind)


def _free(place: float, path: str, kind: str) -> Html:
    """Return a shape of fixed size at a place along the strip."""
    return tag("svg", tag("path", d=path, class_=kind), x=_percent(place), class_="free")


def _ruled_out(at: str, width: str) -> Html:
    return tag("rect", x=at, y="2", width=width, height="18", fill="url(#ruled-out)")


# The class of a verdict's square, and what is drawn in it.
_MARKS: dict[Mark, tuple[str, str]] = {
    "above tolerance": ("alarm full", ""),
    "open": ("mute", '<path d="M1 11 11 1" class="mute"/>'),
    "tested only": ("", ""),
    "within tolerance": ("", '<rect x="1" y="1" width="5" height="10" class="full"/>'),
    "conditional": ("mute dashed", ""),
    "no verdict": ("ink", '<path d="M1 11 11 1M1 1 11 11" class="ink"/>'),
}


def sight(word: str) -> Html:
    """Return the mark of whether an adversary sees a thing: full, empty, or half for sometimes."""
    half = tag("path", d="M6 2a4 4 0 0 0 0 8z", class_="full")
    seen = {"yes": "full", "no": "hair"}.get(word, "")
    parts = (tag("circle", cx="6", cy="6", r="4", class_=seen or None), "" if seen else half)
    return tag("svg", *parts, class_="mark sight", viewBox="0 0 12 12", aria_hidden="true")


def mark(verdict: Mark) -> Html:
    """Return a verdict's mark: another shape for each, so that no colour carries meaning alone."""
    kind, inside = _MARKS[verdict]
    square = tag("rect", x="1", y="1", width="10", height="10", class_=kind or None)
    return tag("svg", square, Html(inside), class_="mark", viewBox="0 0 12 12", aria_hidden="true")


def keys() -> tuple[Html, ...]:
    """Return the pictures of the strips' legend, in the order of its words."""
    middle = tag("line", x1="12", x2="12", y1="2", y2="20", class_="guess")
    pictures = (
        (
            tag("line", x1="2", x2="22", y1="11", y2="11", class_="interval"),
            tag("circle", cx="12", cy="11", r="4.2", class_="point"),
        ),
        (tag("path", d="M12 6.5 16.5 11 12 15.5 7.5 11z", class_="control"),),
        (middle,),
        (_ruled_out("4", "20"), tag("line", x1="4", x2="4", y1="2", y2="20", class_="ceiling")),
    )
    return tuple(
        tag("svg", *parts, class_="strip key", width="24", height="22", aria_hidden="true") for parts in pictures
    )
