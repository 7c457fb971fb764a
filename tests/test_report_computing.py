"""The report on delegated computing: what it says, draws and leaves out, in the PDF and in the page."""

from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pypdf
import pytest
import sample_results as sample

from qfl_sec.checking import InputError
from qfl_sec.protocol_results import (
    AttackPoint,
    ComputationEntry,
    GridEntry,
    NoisePoint,
    PatternEntry,
    VerificationEntry,
)
from qfl_sec.reports import Document, document, write_report
from qfl_sec.reports.advice import do_next
from qfl_sec.reports.computing import computing
from qfl_sec.reports.computing_charts import computing_figure
from qfl_sec.reports.first_page import budget_table
from qfl_sec.reports.html import render
from qfl_sec.reports.sections import Section
from qfl_sec.reports.selection import Selection, check_references
from qfl_sec.reports.series_figures import draw_series
from qfl_sec.reports.series_panels import SeriesPanel
from qfl_sec.reports.tables import Table
from qfl_sec.results import AdversaryEntry, Measurement, Results, Variant, dumps

HOSTILE = '#image("x") <b>$x$</b>'
NAMES = ("local", "plain_cloud", "blind")


def pattern(qubits: int = 4, layers: int | None = 2) -> PatternEntry:
    columns = 1 + 8 * (layers or 1)
    nodes = qubits * columns
    return PatternEntry(
        qubits=qubits, layers=layers, columns=columns, nodes=nodes, edges=2 * nodes, message_rounds=columns - 1,
        classical_bits=9 * nodes, circuits=49, observables=2,
    )  # fmt: skip


def grid(bits: int) -> GridEntry:
    return GridEntry(
        angle_bits=bits, mean_change=0.8 / 2**bits, largest_change=3.2 / 2**bits, correct=250 - 400 // 2**bits,
        view_distance=0.0 if bits <= 8 else None, unrounded_view_distance=1.0 if bits <= 8 else None,
    )  # fmt: skip


def verification(**changes: Any) -> VerificationEntry:
    made = VerificationEntry(
        asked=False, computation_rounds=100, test_rounds=100, threshold=12, security_error=1.538e-3,
        worst_corrupted=88,
        noise=tuple(
            NoisePoint(depolarizing_probability=noise, acceptance=acceptance)
            for noise, acceptance in ((0.0, 1.0), (1e-4, 0.999), (1e-3, 0.6), (1e-2, 0.0))
        ),
        attack=tuple(
            AttackPoint(corrupted=count, acceptance=acceptance, wrong_majority=wrong, shift=2 * count / 200)
            for count, acceptance, wrong in ((0, 1.0, 0.0), (40, 0.83, 0.0), (100, 4e-4, 4e-4))
        ),
    )  # fmt: skip
    return replace(made, **changes)


def entry(name: str, **changes: Any) -> ComputationEntry:
    blind = name == "blind"
    made = ComputationEntry(
        variant=f"compute.name={name}", setting=sample.setting_id(sample.AUDITED), name=name, shots=100,
        angle_bits=8 if blind else None, mode="semantic" if blind else None, depolarizing_probability=0.0,
        trainings=2, circuits=11_760, runs=1_176_000, test_runs=0, rejected=0,
        qubits_sent=79_968_000_000 if blind else 0, classical_bits=720_000_000 if blind else 0,
        fresh_records=284 if blind else 0, correct=251 if blind else 0,
        grids=tuple(grid(bits) for bits in (2, 4, 8, 12)) if blind else (), pattern=pattern() if blind else None,
        other_sizes=(pattern(2, 1), pattern(2, 2), pattern(4, 1), pattern()) if blind else (),
        verification=verification() if blind else None,
    )  # fmt: skip
    return replace(made, **changes)


def seen(variant: str, question: str, k: int | None) -> Measurement:
    found = next(one for one in sample.sample_results().measurements if one.question == question)
    here = replace(
        found, variant=variant, setting=sample.setting_id(sample.AUDITED), adversary="quantum_server",
        success=None if k is None else sample.rate(k, 64),
    )  # fmt: skip
    if k is not None:
        return here
    none = dict.fromkeys(("attack", "success", "control", "guess", "reconstruction", "membership"))
    return replace(here, status="not visible", reason="By protocol nothing.", **none)  # type: ignore[arg-type]


def computed(**changes: Any) -> Results:
    """The sample with circuits run at three places; the changes are of the blind one."""
    results = sample.sample_results()
    server = AdversaryEntry(id="quantum_server", label="quantum server", sees=("the angles that encode each record",))
    cloud, blind = (f"compute.name={name}" for name in NAMES[1:])
    return replace(
        results,
        variants=(
            *(replace(one, shown=False) for one in results.variants),
            *(Variant(id=f"compute.name={name}", values={"compute.name": name}, shown=name == "blind")
              for name in NAMES),
        ),
        adversaries=(*results.adversaries, server),
        measurements=(
            *results.measurements,
            seen(cloud, "membership", 60),
            seen(cloud, "reconstruction", 64),
            seen(blind, "membership", None),
        ),
        utility=(
            *results.utility,
            *(replace(results.utility[0], variant=f"compute.name={name}", setting=sample.setting_id(sample.AUDITED))
              for name in NAMES),
        ),
        computations=(entry("local"), entry("plain_cloud"), entry("blind", **changes)),
    )  # fmt: skip


def section(results: Results) -> Section:
    found = computing(Selection(results=results))
    assert found is not None
    return found


def table(results: Results, words: str) -> Table:
    return next(one for one in section(results).tables if words in one.caption)


def rows(results: Results, words: str) -> dict[str, list[str]]:
    return {
        flat(row.cells[0]): [flat(cell) for cell in row.cells[1:]]
        for group in table(results, words).groups
        for row in group.rows
    }


def panels(results: Results) -> dict[str, SeriesPanel]:
    figure = computing_figure(Selection(results=results))
    assert figure is not None
    return {panel.title[:1]: panel for panel in figure.panels}


def made(results: Results) -> Document:
    return document(results, sample.environment(), sample.timings())


def flat(text: str) -> str:
    return " ".join(text.replace("\u200b", "").replace("\u202f", " ").split())


def test_where_clients_compute_exactly_nothing_is_said() -> None:
    results = sample.sample_results()
    assert computing(Selection(results=results)) is None
    assert made(results).appendix.sections == ()


def test_tables_tell_what_the_quantum_server_found_and_what_hiding_cost() -> None:
    found = rows(computed(), "Who ran the circuits")
    assert found["local"][1:3] == ["–", "–"] and found["local"][-1] == "–"
    assert found["plain_cloud"][1].startswith("94% (") and found["plain_cloud"][2].startswith("100% (")
    assert found["blind"][:3] == ["100", "not visible", "–"] and found["blind"][-1] == "0.0031"
    cost = rows(computed(test_runs=5000, rejected=3), "What running them took")
    assert cost["blind"] == ["11 760", "1 176 000", "5 000", "3", "8 × 10¹⁰", "720 000 000"]
    assert cost["plain_cloud"] == ["11 760", "1 176 000", "–", "–", "–", "–"]
    exact = replace(computed(), computations=(entry("local", shots=None), entry("blind")))
    assert rows(exact, "Who ran the circuits")["local"][0] == "exact"


def test_the_grid_s_cost_and_what_it_hides_stand_side_by_side() -> None:
    found = rows(computed(), "The grid of angles")
    assert found["2"] == ["0.2000", "0.8000", "150 / 284", "0", "1"]
    assert found["12"][-2:] == ["by theorem 0", "–"]
    assert found["not rounded"] == ["0", "0", "251 / 284", "–", "–"]
    own = [row.cells[0] for row in table(computed(), "The grid").groups[0].rows if row.audited]
    assert own == ["8"]


def test_tests_are_told_with_what_they_do_not_cover() -> None:
    found = rows(computed(), "Test rounds")
    assert found["honest, without errors"] == ["100.0%", "–", "–"]
    assert found["honest, error 0.001 a qubit"] == ["60.0%", "–", "–"]
    assert found["spoils 40 of 200 runs"] == ["83.0%", "0", "0.4"]
    assert found["spoils 100 of 200 runs"] == ["<0.1%", "0.0004", "1"]
    words = flat(" ".join(section(computed()).says))
    assert "No run tested the server: one that deviates is not noticed." in words
    assert "more than 12 failures reject it. A wrong majority is then accepted with probability 0.0016 at most" in words
    assert "a server that spoils 40 of 200 runs passes with probability 83% and shifts a value by up to 0.4" in words
    asked = flat(" ".join(section(computed(verification=verification(asked=True))).says))
    assert "No run tested" not in asked and "100 of 200 runs of a measurement test the server" in asked


def test_too_many_rounds_to_sum_over_are_left_out() -> None:
    results = computed(verification=None)
    assert not any("Test rounds" in one.caption for one in section(results).tables)
    assert "reject it" not in " ".join(section(results).says)
    assert {panel.title for panel in panels(results).values()} == {
        "a What the grid hides", "b What it costs: change of an output", "c What it costs: accuracy", "d Qubits a run",
    }  # fmt: skip


def test_sizes_are_those_of_the_model_with_its_own_marked() -> None:
    found = table(computed(), "Resources")
    assert [flat(row.cells[0]) for row in found.groups[0].rows] == ["2 × 1", "2 × 2", "4 × 1", "4 × 2"]
    assert [row.audited for row in found.groups[0].rows] == [False, False, False, True]
    # 4 x 17 qubits, 49 circuits of 2 observables at 100 shots
    assert flat(found.groups[0].rows[-1].cells[-1]) == "666 400"
    alone = rows(computed(pattern=pattern(3, None), other_sizes=()), "Resources")
    assert list(alone) == ["3"]


def test_what_the_server_learns_is_said_of_the_mode_and_the_grid() -> None:
    words = flat(" ".join(section(computed()).says))
    assert "On a plain cloud the quantum server is handed every circuit as it is" in words
    assert "0 apart in trace distance on the grid of 256 angles; had the angles been left off it, 1 (0: alike" in words
    assert "messages were counted, not simulated" in words
    assert "Every message was simulated." in " ".join(section(computed(mode="transcript")).says)
    coarse = replace(computed(), computations=(entry("plain_cloud"),))
    assert not any("blind" in words.lower() for words in section(coarse).says) and section(coarse).figure is None


def test_panels_hold_the_numbers_of_the_tables() -> None:
    found = panels(computed())
    assert list(found) == list("abcdef")
    on, off = found["a"].series
    assert [(mark.at, mark.value) for mark in on.marks] == [(2, 0.0), (4, 0.0), (8, 0.0)]  # 12 bits are not computed
    assert [mark.value for mark in off.marks] == [1.0, 1.0, 1.0]
    assert [mark.value for mark in found["b"].series[0].marks] == [0.2, 0.05, 0.003125, 0.8 / 4096]
    assert found["b"].logarithmic
    assert found["c"].levels == tuple((bits, 251 / 284) for bits in (2, 4, 8, 12))
    assert [mark.value for mark in found["d"].series[0].marks] == [0.999, 0.6, 0.0]
    assert [mark.value for mark in found["e"].series[2].marks] == [0.0, 0.4, 1.0]
    assert [(one.label, len(one.marks)) for one in found["f"].series] == [("2 qubits", 2), ("4 qubits", 2)]


def test_the_figure_holds_every_panel_and_its_legend() -> None:
    figure = section(computed()).figure
    assert figure is not None and all(panel.trend in figure.alt for panel in figure.panels)
    svg = draw_series(figure)
    texts = {element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")}
    assert {panel.title for panel in figure.panels} <= texts
    assert {"angles on the grid", "left off it", "accepted", "wrong majority", "shift of a value", "4 qubits"} <= texts
    assert svg == draw_series(figure)


def test_several_blind_points_are_told_apart_and_the_first_page_s_is_drawn() -> None:
    results = computed()
    values = {"compute.name": "blind", "compute.angle_bits": 4}
    other = replace(entry("blind", angle_bits=4, mode="transcript"), variant="coarse")
    both = replace(
        results,
        variants=(Variant(id="coarse", values=values, shown=False), *results.variants),
        computations=(*results.computations, other),
    )
    titles = [group.title for group in table(both, "The grid of angles").groups]
    assert titles == ["blind · angle_bits 4", "blind"]
    assert "counted, not simulated" in " ".join(section(both).says)
    figure = section(both).figure
    assert figure is not None and figure.caption.startswith("Blind computing: ")


def judged(*measurements: Measurement, computations: tuple[ComputationEntry, ...] = ()) -> Selection:
    """Return what was measured on the plain cloud, shown on the first page."""
    results = computed()
    cloud = "compute.name=plain_cloud"
    listener = AdversaryEntry(id="eavesdropper", label="eavesdropper", sees=("what it intercepts",))
    utility = tuple(
        replace(one, accuracy=sample.rate(40 if one.variant.endswith("blind") else 50, 100)) for one in results.utility
    )
    return Selection(
        results=sample.judged(
            replace(
                results, variants=tuple(replace(one, shown=one.id == cloud) for one in results.variants), ceilings=(),
                measurements=measurements, utility=utility, computations=computations,
                adversaries=(*results.adversaries, listener),
            )
        )
    )  # fmt: skip


def above(adversary: str, *computations: ComputationEntry) -> list[str]:
    """Return what to do next where one adversary rebuilds every record."""
    rebuilt = replace(seen("compute.name=plain_cloud", "reconstruction", 64), adversary=adversary)  # type: ignore[arg-type]
    return do_next(judged(rebuilt, computations=computations))


def test_who_reads_circuits_is_to_be_blinded_and_not_met_with_noise() -> None:
    (step,) = above("quantum_server", *computed().computations)
    assert step == (
        'Have the circuits run blindly ([compute] name = "blind"): noise on updates does not hide them. In this run '
        "the server then sees sizes alone, accuracy from 50% to 40%."
    )
    (step,) = above("quantum_server", entry("plain_cloud"))
    assert step.endswith("This run did not measure what that costs.")
    (step,) = above("eavesdropper")
    assert step.startswith('Encrypt what travels ([channel] name = "bb84")')
    assert "smaller ε" in " ".join(above("server"))


def test_the_table_of_settings_is_of_the_worst_rows_and_says_whose() -> None:
    cloud = "compute.name=plain_cloud"
    quantum = seen(cloud, "membership", 60), seen(cloud, "reconstruction", 64)
    server = replace(quantum[1], adversary="server", success=sample.rate(0, 64))
    table = budget_table(judged(*quantum, server))
    assert "for the view of: quantum server." in table.caption
    assert (
        table.groups[0].rows[3].cells[0] == "Records rebuilt, measured"
        and "1\u202f000" in table.groups[0].rows[3].cells
    )
    mixed = budget_table(judged(quantum[0], server))
    assert "for the view of: quantum server (members) and curious server (records)." in mixed.caption


def test_pdf_and_page_hold_the_same_section(tmp_path: Path) -> None:
    results = computed()
    path = write_report(dumps(results), sample.environment(), sample.timings(), tmp_path)[0]
    pdf = flat(" ".join(page.extract_text() for page in pypdf.PdfReader(path).pages))
    page = flat(unescape(render(made(results), dumps(results)).decode()))
    found = section(results)
    for words in (found.title, *found.says, *(one.caption for one in found.tables)):
        assert flat(words) in pdf
        assert flat(words) in page
    assert found.figure is not None and flat(found.figure.caption) in pdf and flat(found.figure.caption) in page


def test_foreign_names_are_printed_as_they_are(tmp_path: Path) -> None:
    results = computed()
    results = replace(results, computations=tuple(replace(one, name=HOSTILE) for one in results.computations))
    path = write_report(dumps(results), sample.environment(), sample.timings(), tmp_path)[0]
    assert '#image("x")' in flat(" ".join(page.extract_text() for page in pypdf.PdfReader(path).pages))
    assert "<b>$x$" not in render(made(results), dumps(results)).decode()


def test_many_computations_are_counted_and_unknown_ones_refused() -> None:
    results = computed()
    many = tuple(replace(entry("plain_cloud"), variant=f"v{index}") for index in range(60))
    wide = replace(
        results, computations=many,
        variants=(*results.variants, *(Variant(id=one.variant, values={}, shown=False) for one in many)),
    )  # fmt: skip
    shown = table(wide, "Who ran the circuits")
    assert len(shown.groups[0].rows) == 40 and shown.notes == ("20 more are in results.json.",)
    with pytest.raises(InputError, match=r"computations\[0\].variant = 'v0'"):
        check_references(replace(results, computations=many))
