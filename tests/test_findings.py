import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
import sample_results as sample

from qfl_sec.plugins import get
from qfl_sec.reports import advice, chapters, document, findings, grounds, trends
from qfl_sec.reports import wording as w
from qfl_sec.reports.selection import BROADCAST, INSTEAD, SUM, Selection
from qfl_sec.results import Results, Variant
from qfl_sec.verdicts import judge

BANNED = re.compile(r"\b(safe|safely|secure|secured|private|anonymous|unhackable|patient)\b", re.IGNORECASE)


def select(results: Results) -> Selection:
    return Selection(results=results)


def undefended() -> Results:
    return sample.audited_at(sample.sample_results(), "none")


def with_verdicts(results: Results, **changes: object) -> Results:
    return replace(results, verdicts=tuple(replace(entry, **changes) for entry in results.verdicts))  # type: ignore[arg-type]


def broken_instrument(results: Results) -> Results:
    first, *rest = results.instruments
    return sample.judged(replace(results, instruments=(replace(first, passed=False), *rest)))


VERSIONS: dict[str, Callable[[], Results]] = {
    "sample": sample.sample_results,
    "undefended": undefended,
    "without_dp": lambda: sample.without_dp(sample.sample_results()),
    "failed": lambda: sample.all_failed(sample.sample_results()),
    "nothing": lambda: sample.nothing_measured(sample.sample_results()),
    "instrument": lambda: broken_instrument(sample.sample_results()),
}


def plain(text: str) -> str:
    return text.replace(w.FIXED, " ").replace(w.NARROW, " ")


def test_headline_counts_findings_above_tolerance() -> None:
    answer = findings.headline(select(undefended()))
    assert (answer.text, answer.tone) == ("Two findings lie above the agreed tolerance of 5%", "alarm")
    one = undefended()
    rows = tuple(replace(e, verdict="open") if e.question == "membership" else e for e in one.verdicts)
    assert (
        findings.headline(select(replace(one, verdicts=rows))).text
        == "One finding lies above the agreed tolerance of 5%"
    )


def test_headline_without_findings() -> None:
    answer = findings.headline(select(sample.sample_results()))
    assert (answer.text, answer.tone) == ("No finding lies above the agreed tolerance of 5%", "calm")


def test_headline_leaves_out_tolerances_that_differ() -> None:
    results = undefended()
    questions = (results.questions[0], replace(results.questions[1], tolerance=0.1))
    assert (
        findings.headline(select(replace(results, questions=questions))).text
        == "Two findings lie above the agreed tolerance"
    )


def test_a_failed_instrument_withdraws_everything() -> None:
    selection = select(broken_instrument(undefended()))
    answer = findings.headline(selection)
    assert (answer.text, answer.tone) == ("No verdicts: an instrument check failed", "none")
    said = " ".join([*findings.lead(selection), findings.bounded(selection), *advice.do_next(selection)])
    assert "Membership control stays at chance" in said
    assert "protected" not in said
    assert "Keep" not in said


def test_a_contradicted_guarantee_stops_the_report() -> None:
    results = sample.sample_results()
    lower = tuple(replace(ceiling, rate=0.001) for ceiling in results.ceilings)
    selection = select(sample.judged(replace(results, ceilings=lower)))
    assert findings.headline(selection).text == "No verdicts: a measurement contradicts a guarantee"
    assert findings.headline(selection).tone == "none"
    assert "0.1%" in findings.lead(selection)[0]
    assert any("contradicted" in step for step in advice.do_next(selection))


def test_worst_findings_say_who_what_how_often_and_why() -> None:
    first, second = map(plain, findings.lead(select(undefended())))
    assert first == (
        "The curious server rebuilds 881 of 1 000 records, because one update fixes them (rank 16 for 16 unknowns); "
        "guessing rebuilds 4."
    )
    assert second == (
        "The curious server finds 568 of 1 000 members while wrongly accusing 9 of 1 000 outsiders, because updates "
        "are sent as they are; guessing finds 9."
    )


def test_the_bound_is_told_in_natural_frequencies_rounded_up() -> None:
    results = sample.sample_results()
    ceiling = next(c for c in results.ceilings if c.setting == "dp_sgd(epsilon=2)" and c.question == "membership")
    said = plain(findings.bounded(select(results)))
    most = -int(-1000 * ceiling.rate // 1)
    at = -int(-1000 * ceiling.at // 1)
    assert f"at ε = 2 it finds at most {most} of 1 000 members while wrongly accusing at most {at} of 1 000" in said
    assert "our best attack found 23 (95% interval 16 to 31), and guessing finds 9" in said
    assert "protected up to 4.0% against the curious server, per record, at ε = 2, δ = 0.00001" in said


def test_protected_stands_only_where_the_verdict_is_within_tolerance() -> None:
    results = sample.sample_results()
    assert "protected" in findings.bounded(select(results))
    for verdict in ("open", "tested only"):
        assert "rotected" not in findings.bounded(select(with_verdicts(results, verdict=verdict)))
    assert "rotected" not in findings.bounded(select(undefended()))


def test_without_a_guarantee_the_report_says_so() -> None:
    said = findings.bounded(select(sample.without_dp(sample.sample_results())))
    assert said.startswith("No formal guarantee covers this setting")


def test_do_next_quotes_only_measured_effects() -> None:
    steps = [plain(step) for step in advice.do_next(select(undefended()))]
    assert steps[0] == (
        "Train with dp_sgd at ε = 2. In this run records rebuilt went from 881 to 0 of 1 000 and members found went "
        "from 568 to 23 of 1 000, accuracy from 90% to 78%."
    )
    alone = advice.do_next(select(sample.without_dp(sample.sample_results())))
    assert alone[0] == "Add differential privacy (defense dp_sgd) and audit again; this run did not measure its effect."


def test_do_next_keeps_a_budget_that_holds_and_tells_its_price() -> None:
    steps = [plain(step) for step in advice.do_next(select(sample.sample_results()))]
    assert "Keep ε = 2. It costs 11 points of accuracy (78% against 90%)." in steps
    assert steps[0].startswith("Run an attack for the user of the released model")


def test_failed_cells_are_the_first_step_and_the_first_limit() -> None:
    selection = select(sample.all_failed(sample.sample_results()))
    assert findings.headline(selection).text == "No verdicts: nothing was measured at the audited setting"
    assert advice.do_next(selection)[0].startswith("Run the audit again: 112 cells have no result")
    assert advice.not_shown(selection)[0] == "112 cells failed, and there is no rate."
    assert not any("Keep" in step for step in advice.do_next(selection))


def test_not_identifiable_shows_the_rank_and_its_limit() -> None:
    results = undefended()
    short = tuple(
        replace(m, success=sample.rate(5, 1280), reconstruction=replace(m.reconstruction, rank=15))
        if m.reconstruction is not None
        else m
        for m in results.measurements
    )
    selection = select(sample.judged(replace(results, measurements=short)))
    shown = document(selection.results, sample.environment(), sample.timings()).decision.findings
    assert "rank 15, needs 16" in [row.figures for row in shown]
    assert any("more rounds or side knowledge may change this" in limit for limit in advice.not_shown(selection))


def test_not_visible_reads_by_protocol() -> None:
    results = with_verdicts(
        sample.sample_results(), evidence="not visible", verdict="conditional", ceiling=None, attack=None
    )
    results = replace(results, measurements=())
    made = document(results, sample.environment(), sample.timings()).decision
    assert {(row.figures, row.mark) for row in made.findings} == {("by protocol", "conditional")}


def test_at_most_nine_rows_and_the_rest_counted() -> None:
    results = sample.sample_results()
    rows = [entry for entry in results.verdicts if entry.setting == "dp_sgd(epsilon=2)"]
    made = document(replace(results, verdicts=tuple(rows * 4)), sample.environment(), sample.timings()).decision
    assert len(made.findings) == 9
    assert made.more == "and 3 more in the attached results.json"


def test_rows_come_worst_first() -> None:
    shown = [row.mark for row in document(undefended(), sample.environment(), sample.timings()).decision.findings]
    assert shown == ["above tolerance", "above tolerance", "open"]


def test_the_figure_page_has_three_findings_with_numbers() -> None:
    said = [plain(f"{says.lead} {says.rest}") for says in trends.figure_says(select(sample.sample_results()))]
    assert len(said) == 3
    assert said[0].startswith("Without DP the curious server rebuilds 881 of 1 000 records.")
    assert "the two intervals overlap" in said[0]
    measured = sample.MEMBERS_FOUND[2.0] / sample.MEMBERS - sample.FALSE_ACCUSATIONS[2.0] / sample.NON_MEMBERS
    bound = next(
        c.rate
        for c in sample.sample_results().ceilings
        if (c.question, c.setting) == ("membership", "dp_sgd(epsilon=2)")
    )
    room = bound - sample.FALSE_ACCUSATIONS[2.0] / sample.NON_MEMBERS
    assert f"uses {100 * measured / room:.0f}% of what the proof allows at ε = 2" in said[1]
    assert said[2].startswith("ε = 2 costs 11 points of accuracy.")


@pytest.mark.parametrize("version", VERSIONS)
def test_limits_hold_and_words_are_not_stronger_than_the_evidence(version: str) -> None:
    results = VERSIONS[version]()
    selection = select(results)
    assert len(advice.do_next(selection)) <= 3
    assert 1 <= len(advice.not_shown(selection)) <= 4
    assert len(trends.figure_says(selection)) <= 3
    made = asdict(document(results, sample.environment(), sample.timings()))
    told = json.dumps([made["decision"], made["budget"]], ensure_ascii=False)
    assert BANNED.search(told) is None
    assert not re.search(r"≈|±|p <|\bp-value", told)


def test_a_sweep_shows_the_marked_variant_on_the_first_page() -> None:
    results = sample.sample_results()
    variants = (
        Variant(id="a", values={"model.layers": 1}, shown=False),
        Variant(id="default", values={"model.layers": 3}, shown=True),
    )
    extra = tuple(replace(entry, variant="a") for entry in results.measurements if entry.membership is not None)
    swept = replace(results, variants=variants, measurements=(*results.measurements, *extra))
    made = document(swept, sample.environment(), sample.timings())
    notes = [group.note for group in made.measurements.counts[0].groups]
    assert "curious server · model.layers = 1" in notes
    assert "curious server · model.layers = 3" in notes
    assert len(made.decision.findings) == 3


def test_every_reason_of_a_verdict_has_its_step() -> None:
    listed = (judge.__doc__ or "").split("Reason codes")[1]
    assert set(re.findall(r"`([a-z_]+)`", listed)) == set(advice.CATALOGUE)


@pytest.mark.parametrize("reason", sorted(advice.CATALOGUE))
def test_every_step_is_a_sentence_or_nothing(reason: str) -> None:
    selection = select(undefended())
    for row in selection.rows:
        step = advice.CATALOGUE[reason](selection, replace(row, reason=reason, ceiling=0.2))
        assert step == "" or (step[0].isupper() and step[-1] in ".?" and len(step) < 260)


def test_a_premise_that_failed_is_named() -> None:
    results = sample.sample_results()
    broken = tuple(replace(p, passed=False) if p.premise.startswith("Every record") else p for p in results.premises)
    selection = select(sample.judged(replace(results, premises=broken)))
    assert {row.reason for row in selection.rows} >= {"tested_premise_failed"}
    assert any("Repair the premise that did not hold: Every record's gradient" in s for s in advice.do_next(selection))
    assert "rotected" not in findings.bounded(selection)


def of_sums(results: Results) -> Results:
    """Return the same results with a server that sees only sums, whatever the setting."""
    defenses = ", ".join(dict.fromkeys(entry.defense for entry in results.settings))
    sees = ("global model of each round", "each client's update", f"{INSTEAD}{SUM} under {defenses}")
    server, *rest = results.adversaries
    return replace(results, adversaries=(replace(server, sees=sees), *rest))


def test_attacks_on_sums_are_told_as_such() -> None:
    said = findings.lead(select(of_sums(undefended())))[0]
    assert "because one round's sum fixes them (rank 16 for 16 unknowns)" in said
    made = document(of_sums(undefended()), sample.environment(), sample.timings())
    assert "records rebuilt from one round's sum;" in made.measurements.counts[1].caption
    alone = document(undefended(), sample.environment(), sample.timings())
    assert "records rebuilt from one update;" in alone.measurements.counts[1].caption


def test_not_identifiable_from_a_sum_speaks_of_the_sum() -> None:
    results = with_verdicts(of_sums(undefended()), evidence="not identifiable", reason="not_identifiable")
    selection = select(replace(results, verdicts=tuple(v for v in results.verdicts if v.question == "reconstruction")))
    assert "“Not identifiable” speaks of one round's sum" in " ".join(advice.not_shown(selection))
    assert "one round's sum alone does not determine" in " ".join(advice.do_next(selection))


def test_a_client_is_told_to_attack_the_difference_of_two_broadcasts() -> None:
    results = undefended()
    server = replace(results.adversaries[0], sees=(BROADCAST,))
    results = replace(results, adversaries=(server, *results.adversaries[1:]))
    said = findings.lead(select(results))[0]
    assert "because the difference of two broadcasts fixes them (rank 16 for 16 unknowns)" in said
    made = document(results, sample.environment(), sample.timings())
    assert "records rebuilt from the difference of two broadcasts;" in made.measurements.counts[1].caption
    selection = select(results)
    assert selection.sums(results.settings[0], "server")
    (row, *_) = grounds.sight_table(selection).groups[0].rows
    seen = dict(zip((column.title for column in grounds.sight_table(selection).columns), row.cells, strict=True))
    assert (seen[SUM], seen[BROADCAST], seen["final model"]) == ("yes", "yes", "yes")


def test_broadcasts_are_known_by_the_words_of_the_assembly() -> None:
    from qfl_sec.assembly import _adversary

    (_, *rest) = sample.sample_results().adversaries
    results = replace(sample.sample_results(), adversaries=(_adversary("client", []), *rest))
    assert select(results).broadcasts_only(results.settings[0], "client")
    listening = replace(_adversary("eavesdropper", [get("defense", "anonymous_forwarding")()]), id="server")
    results = replace(results, adversaries=(listening, *rest))
    hidden = replace(results.settings[0], defense="anonymous_forwarding")
    assert select(results).broadcasts_only(hidden, "server")
    assert not select(results).broadcasts_only(results.settings[0], "server")


def test_sums_are_known_by_the_words_of_the_assembly() -> None:
    from qfl_sec.assembly import _adversary
    from qfl_sec.defenses.secure_aggregation import SecureAggregation

    (_, *rest) = sample.sample_results().adversaries
    entry = _adversary("server", [SecureAggregation()])
    results = replace(sample.sample_results(), adversaries=(entry, *rest))
    masked = replace(results.settings[0], defense="secure_aggregation")
    assert select(results).sums(masked, "server")
    assert not select(results).sums(results.settings[0], "server")
    (row, *_) = grounds.sight_table(select(results)).groups[0].rows
    titles = [column.title for column in grounds.sight_table(select(results)).columns]
    seen = dict(zip(titles, row.cells, strict=True))
    assert seen["each client's update"] == "not under secure_aggregation"
    assert seen["the sum of the updates"] == seen["final model"] == "yes"


def test_the_guarantee_is_one_sentence_and_its_absence_is_told() -> None:
    said = plain(grounds.promise(select(sample.sample_results())))
    assert said.startswith("For any two training sets that differ in one record of one client (add-remove)")
    assert "whatever the curious server and the user of the released model can compute from all 20 rounds" in said
    assert "satisfies (ε, δ) = (2.00, 0.00001) differential privacy" in said
    assert "finds at 4.0%" in said
    assert "no formal guarantee" in grounds.promise(select(undefended()))


def test_each_attack_has_a_chapter_with_control_and_source() -> None:
    found = chapters.chapters(select(sample.sample_results()))
    assert [chapter.title for chapter in found] == ["update_membership", "gradient_inversion"]
    inversion = found[1]
    assert "knows the defense and the labels" in inversion.assumes
    assert "6 / 1280" in inversion.control.replace(w.NARROW, "")
    assert [source.name for source in inversion.sources] == ["arXiv 1906.08935"]
    assert [len(table.groups[0].rows) for table in inversion.tables] == [7, 7]


def test_the_curve_reads_the_most_members_found_at_each_share_of_outsiders() -> None:
    (curve, *_) = chapters.chapters(select(sample.sample_results()))[0].tables
    entry = next(m for m in sample.sample_results().measurements if m.membership and m.setting == "none")
    game = entry.membership
    assert game is not None
    counts = zip(game.false_positives_curve, game.true_positives_curve, strict=True)
    expected = max(found for accused, found in counts if accused <= 0.5 * sample.NON_MEMBERS)
    assert curve.groups[0].rows[-1].cells[6].replace(w.NARROW, "") == str(expected)


@pytest.mark.parametrize("name", sorted(chapters.ATTACK_SOURCES))
def test_sources_stand_in_the_attacks_own_documentation(name: str) -> None:
    documented = " ".join((get("attack", name).__doc__ or "").split())
    for text, number in chapters.ATTACK_SOURCES[name]:
        assert number in documented
        assert text.split(" ")[0] in documented
