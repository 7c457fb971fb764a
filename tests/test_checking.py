"""The boundary for JSON: the quick way and the one that explains refuse the same."""

from dataclasses import dataclass

import pytest

from qfl_sec.checking import InputError, parse_json


@dataclass(frozen=True, kw_only=True)
class Box:
    name: str
    values: tuple[float, ...]
    count: int = 0


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "1E+999", "-1e0400", "9" * 310, "1" + "0" * 320 + ".5"]
)
@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("rest", ["", ", 2.0", " "])
def test_numbers_that_are_not_finite_are_refused_by_place(number: str, as_bytes: bool, rest: str) -> None:
    text = f'{{"name": "n", "values": [1.0, {number}{rest}]}}'
    with pytest.raises(InputError, match=r"x.json: .*values(\[1\]|.1)"):
        parse_json(Box, text.encode() if as_bytes else text, source="x.json")


def test_texts_that_look_like_such_numbers_are_read() -> None:
    text = '{"name": "NaN 1e400 Infinity e123", "values": [1e-400, 1e308, -2.5E+2, 12], "count": 3}'
    found = Box(name="NaN 1e400 Infinity e123", values=(0.0, 1e308, -250.0, 12.0), count=3)
    assert parse_json(Box, text, source="x.json") == found
    assert (
        parse_json(Box, text.replace("NaN 1e400 Infinity e123", "n").encode(), source="x.json").values == found.values
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"name": "n", "values": [], "count": "3"}', "count = '3'"),
        ('{"name": "n", "values": [], "count": true}', "count = True"),
        ('{"name": "n", "values": [], "more": 1}', "unknown key more = 1"),
        ('{"name": "n"}', "values is missing"),
        ('{"name": "n", "values": []', "not valid JSON"),
        ("[" * 5000 + "]" * 5000, "x.json"),
    ],
)
def test_what_is_wrong_is_said_as_before(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_json(Box, text, source="x.json")
    assert message in str(caught.value)
