import json
from dataclasses import asdict, replace

import pytest
import sample_results as sample
from hypothesis import given
from hypothesis import strategies as st

from qfl_sec.checking import InputError
from qfl_sec.intervals import Rate
from qfl_sec.reports import document
from qfl_sec.reports import wording as w
from qfl_sec.reports.display import Document
from qfl_sec.reports.sanitising import cut, link, printable, supported
from qfl_sec.results import FailedCell, Results

SHARES = st.floats(0, 1, allow_nan=False)


def build(results: Results) -> Document:
    return document(results, sample.environment(), sample.timings(), run_id="f" * 64)


def text(results: Results) -> str:
    """Return all of a report's strings, with plain spaces."""
    return json.dumps(asdict(build(results)), ensure_ascii=False).replace(w.FIXED, " ").replace(w.NARROW, " ")


@pytest.mark.parametrize(
    ("share", "prose", "table"),
    [
        (0.0, "0.0%", "0.0%"),
        (0.0243, "2.4%", "2.4%"),
        (0.0996, "10%", "10.0%"),
        (0.568, "57%", "56.8%"),
        (1.0, "100%", "100.0%"),
        (0.0001, "<0.1%", "<0.1%"),
        (0.9999, ">99%", ">99.9%"),
    ],
)
def test_rates_follow_the_rule_of_decimals(share: float, prose: str, table: str) -> None:
    assert w.rate(share) == prose
    assert w.rate(share, table=True) == table


def test_a_rate_without_trials_is_a_dash() -> None:
    empty = Rate(k=0, n=0, low=0.0, high=1.0, method="no trials", clusters=0)
    assert (w.rate(w.share(empty)), w.interval(empty), w.rate(None)) == ("–", "–", "–")


@given(SHARES)
def test_bounds_round_up(share: float) -> None:
    assert float(w.percent(share, up=True).lstrip("<")) >= 100 * share - 1e-9
    assert float(w.percent(share, table=True, up=True).lstrip("<")) >= 100 * share - 1e-9
    assert int(w.of(share, 1000, up=True).replace(w.NARROW, "").replace("fewer than ", "")) >= 1000 * share - 1e-9


@given(st.floats(0.001, 1e4))
def test_a_guarantee_is_never_printed_below_itself(epsilon: float) -> None:
    assert epsilon - 1e-9 <= float(w.budget(epsilon, up=True)) <= epsilon + 0.01 + 1e-9


@given(SHARES)
def test_natural_frequencies_hide_neither_something_nor_a_rest(share: float) -> None:
    shown = w.of(share, 1000).replace(w.NARROW, "")
    assert (shown == "0") == (share == 0)
    assert (shown == "1000") == (share == 1)


def test_one_denominator_serves_a_sentence() -> None:
    assert w.denominator((0.88, 0.5, 0.0)) == 100
    assert w.denominator((0.88, 0.004)) == 1000


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2.0, "2"),
        (0.5, "0.5"),
        (0.001, "0.001"),
        (1e-5, "0.00001"),
        (1e-10, "10⁻¹⁰"),
        (6e-8, "6 × 10⁻⁸"),
        (-0.62, "−0.62"),
    ],
)
def test_numbers_without_and_with_exponent(value: float, shown: str) -> None:
    assert w.plain(value) == shown


def test_printable_drops_shows_and_breaks() -> None:
    assert printable("e\u0301") == "é"
    assert printable("a\x00b\x9fc\u202ed\u2066e\ufefff\ue000g\u200bh") == "abcdefgh"
    assert printable("東😀") == "[U+6771][U+1F600]"
    assert printable("a\tb\nc") == "a b c"
    assert printable("x" * 60) == "\u200b".join(("x" * 24, "x" * 24, "x" * 12))
    assert printable('#image("x") *b* $x$ <l> @r \\u{0}') == '#image("x") *b* $x$ <l> @r \\u{0}'


@given(st.text(max_size=300))
def test_printable_text_has_only_glyphs_that_the_fonts_have(raw: str) -> None:
    shown = printable(raw)
    assert {ord(character) for character in shown} <= supported() | {0x200B}
    assert all(len(run) <= 24 for word in shown.split(" ") for run in word.split("\u200b"))


def test_cut_marks_what_it_leaves_out() -> None:
    assert cut("  a   b ", 10) == "a b"
    assert cut("abcdefghij", 5) == "abcd…"


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "file:///etc/passwd", "http://example.org", "https://a b", "https://é.org", ""]
)
def test_only_https_is_linked(address: str) -> None:
    assert link(address) is None
    assert link("https://arxiv.org/abs/2302.07225") == "https://arxiv.org/abs/2302.07225"


def test_first_page_numbers_are_those_of_the_counts() -> None:
    results = sample.sample_results()
    page = build(results).decision
    found, accused = sample.MEMBERS_FOUND, sample.FALSE_ACCUSATIONS
    rows = {row.cells[0]: row.cells[1:] for row in page.budgets.groups[0].rows}
    order = (*sample.EPSILONS, None)
    assert [column.title for column in page.budgets.columns[1:]] == ["0.5", "1", "2", "4", "8", "16", "no DP"]
    assert rows["Members found, measured"] == tuple(f"{1000 * found[e] / sample.MEMBERS:.0f}" for e in order)
    assert rows["Outsiders wrongly accused"] == tuple(f"{1000 * accused[e] / sample.NON_MEMBERS:.0f}" for e in order)
    assert rows["Records rebuilt, measured"] == tuple(
        f"{1000 * sample.RECORDS_REBUILT[e] / sample.RECORDS:.0f}" for e in order
    )
    assert rows["Accuracy on unseen records"] == tuple(
        f"{100 * sample.CORRECT[e] / sample.TEST_RECORDS:.0f}%" for e in order
    )
    assert rows["Members found, at most by proof"][-1] == "none"
    row = next(row for row in page.findings if row.adversary == "curious server" and row.question.startswith("Is this"))
    assert row.figures == "2.3% (1.6–3.1)"


def test_a_changed_count_changes_the_text() -> None:
    results = sample.sample_results()
    before = text(results)
    assert "39 / 1 704" in before
    assert "0.4% (0.2–0.8)" not in before

    def changed(entry):  # type: ignore[no-untyped-def]
        if entry.setting == "dp_sgd(epsilon=2)" and entry.membership is not None:
            return replace(entry, success=sample.clustered(7, sample.MEMBERS))
        return entry

    after = text(replace(results, measurements=tuple(map(changed, results.measurements))))
    assert "39 / 1 704" not in after
    assert "7 / 1 704" in after
    assert "0.4% (0.2–0.8)" in after


@pytest.mark.parametrize(
    ("change", "gone", "new"),
    [
        (lambda r: replace(r, seeds=(3, 5)), "8 seeds", "2 seeds (3, 5)"),
        (lambda r: replace(r, subject=replace(r.subject, clients=37)), "10 clients ×", "37 clients ×"),
        (
            lambda r: replace(r, questions=tuple(replace(q, tolerance=0.125) for q in r.questions)),
            'of 5%"',
            'of 12.5%"',
        ),
        (lambda r: replace(r, date="2027-03-04"), '2026-11-21"', '2027-03-04"'),
        (
            lambda r: replace(r, guarantees=tuple(replace(g, epsilon=g.epsilon * 1.5) for g in r.guarantees)),
            "0: 2.00",
            "0: 3.00",
        ),
        (
            lambda r: replace(r, utility=tuple(replace(u, accuracy=sample.rate(1100, 1144)) for u in r.utility)),
            "897 / 1 144",
            "1 100 / 1 144",
        ),
    ],
    ids=["seeds", "clients", "tolerance", "date", "guarantees", "utility"],
)
def test_other_changes_reach_the_text(change, gone: str, new: str) -> None:  # type: ignore[no-untyped-def]
    before, after = text(sample.sample_results()), text(change(sample.sample_results()))
    assert gone.replace('"', '\\"') in before or gone in before
    assert new.replace('"', '\\"') in after or new in after
    assert gone not in after


def test_epsilon_is_printed_for_each_client_and_adversary() -> None:
    results = sample.sample_results()
    weaker = tuple(
        replace(entry, epsilon=entry.epsilon + 0.25) if entry.adversary == "recipient" else entry
        for entry in results.guarantees
    )
    table = build(replace(results, guarantees=weaker)).measurements.evidence[1]
    group = next(group for group in table.groups if group.title.replace(w.FIXED, " ") == "ε = 2")
    assert [row.cells[0] for row in group.rows] == ["curious server", "user of the released model"]
    server, recipient = (row.cells[1].replace(w.FIXED, " ").split(" · ") for row in group.rows)
    assert server[:2] == ["0: 2.00", "1: 1.74"]  # 2 · sqrt(9 / 12) = 1.7320..., rounded up
    assert recipient[:2] == ["0: 2.25", "1: 1.99"]
    assert len(server) == 10


def test_missing_ceiling_prints_no_formal_guarantee() -> None:
    page = build(sample.without_dp(sample.sample_results())).decision
    assert {row.guarantee for row in page.findings} == {"no formal guarantee"}
    assert "no formal guarantee" in page.box[1].text


def test_intervals_name_method_clusters_and_homogeneity() -> None:
    table = build(sample.sample_results()).measurements.counts[1]
    row = table.groups[0].rows[0]
    assert row.cells[4] == "a 320 (0.21)"
    assert "a cluster bootstrap and design effect over clusters" in table.notes[0]


def test_failed_cells_stay_in_the_table() -> None:
    tables = build(sample.all_failed(sample.sample_results())).measurements.counts
    cells = [cell for table in tables for group in table.groups for row in group.rows for cell in row.cells]
    assert "8 cells failed, seed 0 with: RuntimeError: the simulator stopped" in cells
    assert "7 settings" in cells


def test_cells_that_failed_beside_others_are_counted_below_the_figures() -> None:
    results = sample.sample_results()
    failed = (FailedCell(seed=3, reason="MemoryError"),)
    first, *rest = results.measurements
    tables = build(replace(results, measurements=(replace(first, failed=failed), *rest))).measurements.counts
    rows = tables[0].groups[0].rows
    assert rows[0].cells[1] == f"20 / 1{w.NARROW}704"
    assert rows[1].cells == ("", "1 cell failed, seed 3 with: MemoryError")


def test_long_tables_keep_the_strongest_and_count_the_rest() -> None:
    results = sample.sample_results()
    more = tuple(replace(results.measurements[0], attack=f"attack_{index}") for index in range(500))
    tables = build(replace(results, measurements=(*results.measurements, *more))).measurements.counts
    rows = [row for table in tables[:2] for group in table.groups for row in group.rows]
    assert len(rows) <= 400
    # Kept: 14 measured by the verdicts' attacks and the 7 not tested.
    assert "500 further rows are in the attached results.json." in tables[0].notes


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda r: replace(r, verdicts=(replace(r.verdicts[0], setting="x"),)), "verdicts[0].setting = 'x'"),
        (lambda r: replace(r, utility=(replace(r.utility[0], variant="y"),)), "utility[0].variant = 'y'"),
        (lambda r: replace(r, settings=(*r.settings, r.settings[0])), "settings: id 'none' occurs twice"),
        (lambda r: replace(r, settings=(), measurements=()), "at least one variant and one setting"),
        (lambda r: replace(r, date="tomorrow"), "date = 'tomorrow'"),
    ],
)
def test_results_that_do_not_hold_together_are_refused(change, place: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError) as refused:
        build(change(sample.sample_results()))
    assert place in str(refused.value) or "Expected" in str(refused.value)


def test_without_a_date_the_report_says_so() -> None:
    made = build(replace(sample.sample_results(), date=None))
    assert made.head.date == "no date stated"
    assert (made.head.year, made.head.month, made.head.day) == (1970, 1, 1)
    assert "no date stated" in made.decision.box[0].text


def test_the_first_page_says_which_point_of_a_sweep_it_shows() -> None:
    results = sample.sample_results()
    shown, other = results.variants[0], replace(results.variants[0], id="model.layers=1", shown=False)
    assert "of the sweep" not in build(results).decision.subject
    swept = build(replace(results, variants=(shown, other))).decision.subject
    assert swept.endswith(f"of the sweep, the point {shown.id}")
