"""The report's sans inside a page: the glyphs that the page shows, and no others."""

import base64
import io

from fontTools import subset
from fontTools.ttLib import TTFont

from qfl_sec.reports.html_markup import Html
from qfl_sec.reports.sanitising import font_file

_WEIGHTS = (("Regular", 400), ("Semibold", 600))


def font_faces(shown: str) -> Html:
    """Return the style rules that carry both weights of the sans.

    The same text gives the same bytes. Its numerals are lining and of one width without any feature. The files are
    WOFF: for WOFF 2, fontTools wants a compressor that nothing else here needs.

    Args:
        shown: Every character that the page shows, in any order and number.
    """
    characters = "".join(sorted(set(shown)))
    return Html("\n".join(_face(name, weight, characters) for name, weight in _WEIGHTS))


def _face(name: str, weight: int, characters: str) -> str:
    encoded = base64.b64encode(_subset(name, characters)).decode()
    return (
        f'@font-face{{font-family:"Source Sans Pro";font-weight:{weight};font-display:block;'
        f"src:url(data:font/woff;base64,{encoded})}}"
    )


def _subset(name: str, characters: str) -> bytes:
    options = subset.Options(
        layout_features=["kern"], hinting=False, name_IDs=[1, 2], recalc_timestamp=False, flavor="woff"
    )
    with TTFont(font_file(name), lazy=True, recalcTimestamp=False) as font, io.BytesIO() as buffer:
        chosen = subset.Subsetter(options)
        chosen.populate(text=characters)
        chosen.subset(font)
        subset.save_font(font, buffer, options)
        return buffer.getvalue()
