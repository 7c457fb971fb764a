import re
from dataclasses import replace
from math import log, log2

import pytest
import sample_results as sample

from qfl_sec.ceilings import gdp_membership_ceiling, membership_ceiling
from qfl_sec.reports.charts import figures
from qfl_sec.reports.check_figures import draw_checks
from qfl_sec.reports.checks import Checks, checks, shown_budget
from qfl_sec.reports.figures import FAMILY, draw, height_mm
from qfl_sec.reports.panels import Figure
from qfl_sec.reports.sanitising import fitted
from qfl_sec.reports.selection import Selection
from qfl_sec.results import AdversaryEntry, Results, Variant


def drawn(results: Results) -> Figure:
    return figures(Selection(results=results))[0]


def recipient_measured(results: Results) -> Results:
    extra = tuple(
        replace(entry, adversary="recipient") for entry in results.measurements if entry.membership is not None
    )
    return replace(results, measurements=(*(m for m in results.measurements if m.status == "measured"), *extra))


def test_four_panels_without_a_released_model_attack() -> None:
    panels = drawn(sample.sample_results()).panels
    assert [panel.title.split(":")[0] for panel in panels] == [
        "Membership",
        "Reconstruction",
        "Membership",
        "Price paid",
    ]
    assert "ranking" in panels[2].title
    assert [panel.price for panel in panels] == [False, False, False, True]


def test_the_released_model_takes_the_third_panel_when_it_was_attacked() -> None:
    panels = drawn(recipient_measured(sample.sample_results())).panels
    assert [panel.subtitle.split(" · ")[0] for panel in panels[:3]] == [
        "curious server", "curious server", "user of the released model",
    ]  # fmt: skip
    assert not any("ranking" in panel.title for panel in panels)


def test_marks_stand_where_the_counts_say() -> None:
    shown = drawn(sample.sample_results())
    panel = shown.panels[0]
    assert [mark.at for mark in panel.line] == [log2(epsilon) for epsilon in sample.EPSILONS]
    assert [mark.value for mark in panel.line] == [sample.MEMBERS_FOUND[e] / sample.MEMBERS for e in sample.EPSILONS]
    assert [mark.value for mark in panel.alone] == [sample.MEMBERS_FOUND[None] / sample.MEMBERS]
    assert [mark.at for mark in panel.alone] == [log2(16) + 1.5]
    assert panel.control[0].at == pytest.approx(log2(0.5) + 0.17)
    assert len(panel.ceiling) >= 150
    assert (panel.ceiling[0][0], panel.ceiling[-1][0]) == pytest.approx((log2(0.5), log2(16)))
    assert shown.audited == 1.0
    assert [tick.label for tick in shown.columns if tick.bold] == ["2"]


def test_zero_hits_become_a_triangle_and_a_count() -> None:
    panel = drawn(sample.sample_results()).panels[1]
    assert [mark.zero for mark in panel.line] == [False, False, True, False, False, False]
    assert "0 of 1\u202f280" in [foot.text for foot in panel.foot]


def test_the_axis_is_linear_when_guessing_is_easy() -> None:
    results = sample.sample_results()
    easy = tuple(
        replace(entry, guess=sample.rate(200, 1000)) if entry.guess is not None else entry
        for entry in results.measurements
    )
    assert all(panel.logarithmic for panel in drawn(results).panels[:2])
    assert not any(panel.logarithmic for panel in drawn(replace(results, measurements=easy)).panels)


def test_panels_follow_what_was_measured() -> None:
    results = sample.sample_results()
    inversion = replace(results, measurements=tuple(m for m in results.measurements if m.reconstruction is not None))
    assert [panel.price for panel in drawn(inversion).panels] == [False, True]
    assert [panel.price for panel in drawn(sample.all_failed(results)).panels] == [True]
    assert drawn(sample.nothing_measured(results)).panels == ()


def test_no_line_and_no_break_without_budgets() -> None:
    shown = drawn(sample.without_dp(sample.sample_results()))
    assert shown.broken_at is None
    assert all(panel.line == () for panel in shown.panels)
    assert all(len(panel.alone) == 1 for panel in shown.panels)
    assert [tick.label for tick in shown.columns] == ["no\u00a0DP".replace("\u00a0", " ")]


def test_budgets_too_close_together_are_spaced_equally() -> None:
    results = sample.sample_results()
    settings = tuple(replace(s, epsilon=7.9) if s.epsilon == 4.0 else s for s in results.settings)
    shown = drawn(replace(results, settings=settings))
    assert [mark.at for mark in shown.panels[0].line] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert "equally spaced" in shown.axis_label
    assert shown.panels[0].ceiling[-1][0] == pytest.approx(5.0)


def test_alt_text_tells_the_trend_in_numbers() -> None:
    alt = drawn(sample.sample_results()).alt.replace("\u00a0", " ")
    assert "rises from 1.2% at ε = 0.5 to 41% at ε = 16. In full: ε = 0.5 1.2% (0.7–1.8), control 1.0%" in alt
    assert "shows no clear change from 0.4% at ε = 0.5 to 0.7% at ε = 16" in alt
    assert "no DP 57% (54–59)" in alt
    assert "ε = 16 0.90 (0.89–0.92), control 0.50" in alt
    assert "classical 88%" in alt


def test_the_same_data_give_the_same_svg_in_one_font() -> None:
    shown = drawn(sample.sample_results())
    svg = draw(shown)
    assert svg == draw(shown)
    families = set(re.findall(r"font-family: '?([^;\"']+)|font: [^;\"]*'([^']+)'", svg))
    assert {name for pair in families for name in pair if name} == {FAMILY}
    assert "<dc:date>" not in svg
    assert height_mm(shown) == pytest.approx(119, abs=1)


def test_the_svg_shows_no_text_but_the_figures_own() -> None:
    shown = drawn(sample.sample_results())
    known = {tick.label for tick in shown.columns} | set(shown.legend) | {shown.axis_label}
    for panel in shown.panels:
        known |= {tick.label for tick in panel.ticks} | {foot.text for foot in panel.foot}
        known |= {panel.title, panel.subtitle}
    written = re.findall(r"<text[^>]*>([^<]*)</text>", draw(shown))
    assert len(written) > 50
    assert {text.replace("&gt;", ">").replace("&lt;", "<") for text in written} <= known


@pytest.mark.parametrize(
    "results",
    [
        sample.without_dp(sample.sample_results()),
        sample.all_failed(sample.sample_results()),
        recipient_measured(sample.sample_results()),
    ],
    ids=["no-dp", "failed", "recipient"],
)
def test_odd_results_can_be_drawn(results: Results) -> None:
    assert draw(drawn(results)).rstrip().endswith("</svg>")


def test_markup_and_odd_glyphs_in_labels_are_drawn_as_typed() -> None:
    from qfl_sec.reports import document

    results = sample.sample_results()
    hostile = AdversaryEntry(id="server", label="<b>$x^2$ & 東\x00", sees=())
    made = document(
        replace(results, adversaries=(hostile, *results.adversaries[1:])), sample.environment(), sample.timings()
    )
    svg = draw(made.budget.figures[0])
    assert "&lt;b&gt;$x^2$ &amp; [U+6771]" in svg


def checked(results: Results) -> Checks:
    found = checks(Selection(results=results))
    assert found is not None
    return found


def test_the_shown_budget_is_the_least_that_allows_the_rates() -> None:
    for found, accused, delta in ((0.5, 0.1, 1e-5), (0.99, 0.4, 1e-3), (0.02, 0.01, 0.0)):
        epsilon = shown_budget(found, accused, delta)
        assert membership_ceiling(((epsilon, delta),), accused) == pytest.approx(found)
    assert shown_budget(0.01, 0.02, 0.0) == 0.0


def test_the_drawn_ceiling_bounds_a_gaussian_mechanism_and_meets_its_exact_value() -> None:
    shown = checked(sample.sample_results()).trade_off
    assert shown is not None
    ceiling = next(
        c for c in sample.sample_results().ceilings if (c.question, c.setting) == ("membership", "dp_sgd(epsilon=2)")
    )
    mu = sample.gaussian_mu(2.0)
    drawn_there = dict(shown.ceiling)
    assert drawn_there[ceiling.at] == pytest.approx(ceiling.rate)
    for place, value in shown.ceiling:
        assert value >= gdp_membership_ceiling(mu, place) - 1e-9
    assert [value for _, value in shown.ceiling] == sorted(value for _, value in shown.ceiling)


def test_audited_budgets_follow_from_the_counts() -> None:
    audit = checked(sample.sample_results()).audit
    assert audit is not None
    assert [mark.label for mark in audit.marks] == ["0.5", "1", "2", "4", "8", "16"]
    mark = audit.marks[2]
    tpr, fpr = sample.MEMBERS_FOUND[2.0] / sample.MEMBERS, sample.FALSE_ACCUSATIONS[2.0] / sample.NON_MEMBERS
    assert mark.point == pytest.approx(log((tpr - sample.DELTA) / fpr))
    assert mark.low < mark.point
    assert not audit.contradicted
    assert "does not prove the claim" in checked(sample.sample_results()).caption


def test_sizes_of_a_sweep_become_a_table_of_batches_and_parameters() -> None:
    results = sample.sample_results()
    first = next(m for m in results.measurements if m.reconstruction and m.setting == "none")
    assert first.reconstruction is not None
    larger = replace(
        first, variant="b", success=sample.rate(0, 2560),
        reconstruction=replace(first.reconstruction, unknowns=32, equations=24, rank=24),
    )  # fmt: skip
    variants = (*results.variants, Variant(id="b", values={"federation.batch_size": 8}, shown=False))
    heat = checked(replace(results, variants=variants, measurements=(*results.measurements, larger))).heat
    assert heat is not None
    assert (heat.rows, heat.columns) == (("36", "24"), ("4", "8"))
    known = [[cell and (cell.text, cell.hatched) for cell in row] for row in heat.cells]
    assert known == [[("88", False), None], [None, ("0.0", True)]]


def test_without_a_sweep_features_are_told_and_the_figure_is_drawn_in_one_font() -> None:
    shown = checked(sample.sample_results())
    assert shown.heat is not None
    assert shown.heat.columns == ("1", "2", "3", "4", "all")
    svg = draw_checks(shown)
    assert svg == draw_checks(shown)
    families = re.findall(r"font-family: '?([^;\"']+)|font: [^;\"]*'([^']+)'", svg)
    assert {name for pair in families for name in pair if name} == {FAMILY}
    assert "claim would be wrong" in svg


def test_checks_follow_what_was_measured() -> None:
    results = sample.sample_results()
    assert checks(Selection(results=sample.nothing_measured(results))) is None
    assert checks(Selection(results=sample.all_failed(results))) is None
    bare = checked(sample.without_dp(results))
    assert bare.audit is None
    assert bare.trade_off is not None
    assert bare.trade_off.ceiling == ()
    assert draw_checks(bare).rstrip().endswith("</svg>")


def test_a_label_too_wide_is_cut_to_its_room() -> None:
    assert fitted("no DP", 40, 7.4) == "no DP"
    assert fitted("W" * 40, 40, 7.4).endswith("W…")
    assert len(fitted("i" * 400, 40, 7.4)) > len(fitted("W" * 400, 40, 7.4))
