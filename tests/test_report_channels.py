"""The report on channels: what it says, draws and leaves out, in the PDF and in the page."""

from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pypdf
import pytest
import sample_results as sample

from qfl_sec.checking import InputError
from qfl_sec.protocol_results import Abort, ChannelEntry, Spread
from qfl_sec.reports import Document, document, write_report
from qfl_sec.reports import wording as w
from qfl_sec.reports.channel_charts import channel_figure
from qfl_sec.reports.channels import channel_premises, channels
from qfl_sec.reports.grounds import premise_table, sight_table
from qfl_sec.reports.html import render
from qfl_sec.reports.sections import Section
from qfl_sec.reports.selection import Selection, check_references
from qfl_sec.reports.series_figures import draw_series
from qfl_sec.reports.series_panels import SeriesFigure, SeriesPanel
from qfl_sec.results import (
    AdversaryEntry,
    Measurement,
    Results,
    Variant,
    dumps,
)

HOSTILE = '#image("x") <b>$x$</b>'


def spread(*values: float) -> Spread:
    least, median, most = values
    return Spread(least=least, median=median, most=most)


def entry(variant: str, name: str, share: float, **changes: Any) -> ChannelEntry:
    kind = "plain" if name == "plain" else "direct" if name.endswith("qsdc") else "key"
    aborted = share == 1 and kind != "plain"
    made = ChannelEntry(
        variant=variant, setting=sample.setting_id(sample.AUDITED), name=name, kind=kind,  # type: ignore[arg-type]
        attack="intercept_resend", attacked_fraction=share, distance_km=None if kind == "plain" else 0.0,
        authenticated=kind != "plain", messages=40, delivered=0 if aborted else 40,
        aborts=(Abort(reason="error rate", count=40, example="error rate 0.25"),) if aborted else (),
        pairs=0, pair_aborts=(), ciphers={} if aborted else {"plain": {"none": 40}, "direct": {"direct": 40},
        "key": {"AES-256-GCM": 3, "one-time pad": 37}}[kind], needed_bits=spread(3264, 3264, 3264),
        secret_bits=spread(0, 0, 0) if aborted else spread(3000, 5000, 6000),
        expected_secret_bits=(0 if aborted else 5100) if kind == "key" else None,
        error_rate=None if kind == "plain" else spread(0.9 * share / 4, share / 4, 1.1 * share / 4),
        expected_error_rate=None if kind == "plain" else share / 4, leaked_bits=round(share * 61_440) * (kind != "key"),
        leaking=round(40 * share) * (kind != "key"), qubits=2_000_000, classical_bits=7_000_000, seconds=0.002,
        epsilon={"plain": None, "direct": 1.0, "key": 4.31e-9}[kind],
    )  # fmt: skip
    return replace(made, **changes)


NAMES = ("plain", "bb84", "two_step_qsdc")


def variants() -> dict[str, tuple[str, float]]:
    points = [(name, share) for name in NAMES for share in (0.1, 1.0)]
    return {("default" if not index else f"point {index}"): point for index, point in enumerate(points)}


def eavesdropped(variant: str, name: str, k: int) -> Measurement:
    found = next(one for one in sample.sample_results().measurements if one.question == "reconstruction")
    heard = replace(
        found,
        variant=variant,
        setting=sample.setting_id(sample.AUDITED),
        adversary="eavesdropper",
        success=sample.rate(k, 64),
    )
    if name != "bb84":
        return heard
    none = dict.fromkeys(("attack", "success", "control", "guess", "reconstruction"))
    return replace(heard, status="not visible", reason="By protocol nothing.", **none)  # type: ignore[arg-type]


def carried() -> Results:
    """The sample with three channels at two shares."""
    results, points = sample.sample_results(), variants()
    listener = AdversaryEntry(id="eavesdropper", label="eavesdropper", sees=("global model of each round",))
    return replace(
        results,
        variants=tuple(
            Variant(id=key, values={"channel.name": name, "channel.adversary_fraction": share}, shown=key == "default")
            for key, (name, share) in points.items()
        ),
        adversaries=(*results.adversaries, listener),
        measurements=(
            *results.measurements,
            *(
                eavesdropped(key, name, int(60 * share) if name == "plain" else 0)
                for key, (name, share) in points.items()
            ),
        ),
        channels=tuple(entry(key, *point) for key, point in points.items()),
    )


def section(results: Results) -> Section:
    found = channels(Selection(results=results))
    assert found is not None
    return found


def drawing(results: Results) -> SeriesFigure:
    found = channel_figure(Selection(results=results))
    assert found is not None
    return found


def panel(results: Results, title: str) -> SeriesPanel:
    return next(one for one in drawing(results).panels if title in one.title)


def made(results: Results) -> Document:
    return document(results, sample.environment(), sample.timings())


def flat(text: str) -> str:
    return " ".join(text.replace("\u200b", "").split())


def test_without_a_channel_nothing_is_said_or_drawn(tmp_path: Path) -> None:
    results = sample.sample_results()
    selection = Selection(results=results)
    assert channels(selection) is None and channel_figure(selection) is None and channel_premises(selection) == []
    assert made(results).appendix.sections == ()
    assert premise_table(selection).caption.startswith("Premises of the guarantee at ")
    assert "intercepts" not in str(sight_table(selection))


def test_tables_tell_what_arrived_leaked_and_was_spent() -> None:
    arrived, cost = section(carried()).tables
    rows = {
        row.cells[0]: [flat(cell).replace("\u202f", " ") for cell in row.cells[1:]] for row in arrived.groups[0].rows
    }
    assert rows["bb84 · 10% intercept_resend"] == [
        "40 / 40", "–", "AES-256-GCM (3), one-time pad (37)", "2.5% (2.2–2.8)", "2.5%", "0", "0 / 40",
    ]  # fmt: skip
    assert rows["bb84 · 100% intercept_resend"][:2] == ["0 / 40", "error rate (40)"]
    assert rows["plain · 100% intercept_resend"][-2:] == ["61 440", "40 / 40"]
    assert rows["two_step_qsdc · 10% intercept_resend"][2] == "the protocol itself"
    spent = {row.cells[0]: row.cells[1:] for row in cost.groups[0].rows}
    assert spent["bb84 · 10% intercept_resend"][-1] == "4.4 × 10⁻⁹"
    assert spent["two_step_qsdc · 10% intercept_resend"][-1] == "1"
    assert set(spent["plain · 10% intercept_resend"][:4]) == {"–"}
    assert [row.audited for row in cost.groups[0].rows] == [True, *[False] * 5]


def test_what_is_not_proven_is_said() -> None:
    said = " ".join(section(carried()).says)
    assert "no composable secrecy" in said and "which is computational" in said
    assert "missing from its round" in said
    only_keys = replace(carried(), channels=tuple(one for one in carried().channels if one.kind == "key"))
    assert "composable" not in " ".join(section(only_keys).says)


def test_premises_name_epsilon_authentication_and_what_is_computational() -> None:
    rows = [row.cells for row in premise_table(Selection(results=carried())).groups[0].rows]
    text = " ".join(cell for row in rows for cell in row)
    assert "except with probability 4.4 × 10⁻⁹" in text
    assert "AES-256-GCM holds (3 / 40 updates over bb84): secrecy is computational" in flat(text)
    assert "no composable proof" in text and "plain" not in text
    assert premise_table(Selection(results=carried())).caption.startswith("Premises of guarantee and channels")
    open_ = replace(carried(), channels=tuple(replace(one, authenticated=False) for one in carried().channels))
    assert [row.cells[2] for row in channel_premises(Selection(results=open_)) if row.alarm == 2] == [
        "declared: failed"
    ] * 2
    assert "except with probability" not in str(channel_premises(Selection(results=open_)))


def test_error_rates_stand_beside_theory() -> None:
    found = panel(carried(), "Error rate")
    assert [one.label for one in found.series] == ["bb84", "two_step_qsdc"]
    for series in found.series:
        assert series.theory == ((0.1, 0.025), (1.0, 0.25))
        assert [mark.value for mark in series.marks] == [0.025, 0.25]
    assert "bb84 at 10% intercepted 2.5% (2.2–2.8), theory 2.5%" in found.trend
    assert found.top > 0.275


def test_the_eavesdroppers_success_is_drawn_where_she_sees_something() -> None:
    found = panel(carried(), "rebuilt by the eavesdropper")
    assert {one.label: [mark.value for mark in one.marks] for one in found.series} == {
        "plain": [6 / 64, 60 / 64],
        "two_step_qsdc": [0, 0],
    }
    assert found.subtitle == "nothing to attack by protocol: bb84"
    assert found.trend.endswith("Nothing to attack by protocol: bb84.")
    assert all(mark.zero for one in found.series if one.label != "plain" for mark in one.marks)


def test_bits_needed_stand_beside_bits_given() -> None:
    found = panel(carried(), "needed and given")
    assert found.levels == tuple((float(place), 3264.0) for place in range(4))
    assert [mark.value for one in found.series for mark in one.marks] == [5000, 0, 5000, 0]
    assert found.bottom < 3000 < 6000 < found.top
    assert [tick.label for tick in found.columns][:2] == ["bb84 10%", "bb84 100%"]
    assert "needed 3\u202f264, given 5\u202f000 (least 3\u202f000)" in found.trend


def test_distance_is_drawn_only_where_it_was_swept() -> None:
    assert not [one for one in drawing(carried()).panels if "distance" in one.title]
    results = carried()
    far = replace(
        results,
        variants=(
            *results.variants,
            *(Variant(id=f"{km} km", values={"channel.distance_km": km}, shown=False) for km in (50, 100)),
        ),
        channels=tuple(
            entry(variant, "bb84", 0.1, distance_km=km, secret_bits=spread(key, key, key), expected_secret_bits=key)
            for variant, km, key in (("default", 0.0, 90_000), ("50 km", 50.0, 800), ("100 km", 100.0, 0))
        ),
    )
    (series,) = panel(far, "against distance").series
    assert [(mark.at, mark.value, mark.zero) for mark in series.marks] == [
        (0.0, 90_000, False), (50.0, 800, False), (100.0, 0, True),
    ]  # fmt: skip
    assert series.theory == ((0.0, 90_000.0), (50.0, 800.0))


def test_letters_alternative_text_and_svg_hold_every_panel() -> None:
    figure = drawing(carried())
    assert [one.title[:2] for one in figure.panels] == ["a ", "b ", "c "]
    assert all(one.trend in figure.alt for one in figure.panels)
    svg = draw_series(figure)
    texts = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]
    assert {one.title for one in figure.panels} <= set(texts)
    assert {"bb84", "plain", "two_step_qsdc"} <= set(texts)
    assert svg == draw_series(figure)


def test_pdf_and_page_hold_the_same_section(tmp_path: Path) -> None:
    results = carried()
    path = write_report(dumps(results), sample.environment(), sample.timings(), tmp_path)[0]
    pdf = flat(" ".join(page.extract_text() for page in pypdf.PdfReader(path).pages))
    page = flat(unescape(render(made(results), dumps(results)).decode()))
    found = section(results)
    for words in (found.title, *found.says, *(table.caption for table in found.tables)):
        assert flat(words) in pdf
        assert flat(words) in page
    assert found.figure is not None and flat(found.figure.caption) in pdf and flat(found.figure.caption) in page


def test_foreign_names_are_printed_as_they_are(tmp_path: Path) -> None:
    results = carried()
    strange = tuple(replace(one, name=HOSTILE, attack=HOSTILE) for one in results.channels)
    path = write_report(dumps(replace(results, channels=strange)), sample.environment(), sample.timings(), tmp_path)[0]
    assert '#image("x")' in flat(" ".join(page.extract_text() for page in pypdf.PdfReader(path).pages))
    assert "<b>$x$" not in render(made(replace(results, channels=strange)), dumps(results)).decode()


def test_many_channels_are_counted_and_unknown_ones_refused() -> None:
    results = carried()
    many = tuple(entry(f"v{index}", "bb84", 0.1) for index in range(60))
    wide = replace(
        results, variants=(*results.variants, *(Variant(id=one.variant, values={}, shown=False) for one in many)),
        channels=many,
    )  # fmt: skip
    table = section(wide).tables[0]
    assert len(table.groups[0].rows) == 40 and table.notes == ("20 further entries in results.json.",)
    with pytest.raises(InputError, match=r"channels\[0\].variant = 'v0'"):
        check_references(replace(results, channels=many))


@pytest.mark.parametrize(
    ("value", "shown"), [(1.0, "1"), (0.0, "0"), (1.01e-9, "1.1 × 10⁻⁹"), (0.999, "1"), (0.01, "0.01")]
)
def test_bounds_are_rounded_up(value: float, shown: str) -> None:
    assert w.upper(value) == shown
