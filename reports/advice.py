"""What to do next, from a fixed catalogue, and what this report does not show."""

from collections.abc import Callable, Iterable

from qfl_sec.contracts import Adversary, Question
from qfl_sec.reports import wording as w
from qfl_sec.reports.entry_names import accuracy_of, shown_computations
from qfl_sec.reports.findings import findings_above, withdrawn
from qfl_sec.reports.phrases import HITS, inside, question, source
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Pair, Selection
from qfl_sec.results import Setting, Verdict

DO_NEXT = 3
NOT_SHOWN = 4


def do_next(selection: Selection) -> list[str]:
    """Return at most three steps, the most urgent first, each from the catalogue below."""
    steps: list[str] = []
    for entry in selection.results.instruments:
        if not entry.passed:
            steps.append(f"Explain the failed check before reading any number: {cut(entry.label, 60)}.")
    failed = _failed_cells(selection)
    if failed:
        were = "cell has" if failed == 1 else "cells have"
        steps.append(f"Run the audit again: {w.group(failed)} {were} no result. What is finished is reused.")
    for row in (*findings_above(selection), *(row for row in selection.rows if row.verdict != "above tolerance")):
        step = CATALOGUE.get(row.reason, _nothing)(selection, row)
        if step and step not in steps:
            steps.append(step)
    if not withdrawn(selection):
        steps.extend(_keep(selection))
    if not selection.rows:
        steps.append("Run an attack first: there is nothing to judge.")
    return steps[:DO_NEXT]


def _nothing(selection: Selection, row: Verdict) -> str:
    return ""


def _contain(selection: Selection, row: Verdict) -> str:
    """Name the largest tested budget that ends the findings above tolerance, with what this run measured of it.

    Where no budget ends all of them, each finding gets its own.
    """
    if row.adversary in HIDING:
        return HIDING[row.adversary](selection)
    every: list[Pair] = [(other.adversary, other.question) for other in findings_above(selection)]
    for pairs in (every, [(row.adversary, row.question)]):
        tested = [entry for entry in selection.budgets if entry.id != selection.audited.id]
        better = [entry for entry in tested if all(_within(selection, entry, pair) for pair in pairs)]
        if better and pairs:
            return _effect(selection, better[-1], pairs)
    if not selection.budgets:
        return "Add differential privacy (defense dp_sgd) and audit again; this run did not measure its effect."
    return f"{question(selection, row)} No setting tested here ends this: try a smaller ε and larger batches."


def _hide_circuits(selection: Selection) -> str:
    """Recommend blind computing, with what this run measured of it."""
    step = 'Have the circuits run blindly ([compute] name = "blind"): noise on updates does not hide them'
    blind = next((entry for entry in shown_computations(selection) if entry.pattern is not None), None)
    here, there = selection.utility(selection.audited.id), None if blind is None else accuracy_of(selection, blind)
    if here is None or there is None:
        return f"{step}. This run did not measure what that costs."
    before, after = w.share(here.accuracy) or 0.0, w.share(there) or 0.0
    return f"{step}. In this run the server then sees sizes alone, accuracy from {w.rate(before)} to {w.rate(after)}."


def _encrypt(selection: Selection) -> str:
    return 'Encrypt what travels ([channel] name = "bb84"): whoever taps it then sees sizes alone, while the key holds.'


def _effect(selection: Selection, setting: Setting, pairs: list[Pair]) -> str:
    """Recommend a setting, with its measured effect on at most two findings and on accuracy."""
    found = []
    for pair in pairs[:2]:
        before, after = selection.strongest(selection.audited, pair), selection.strongest(setting, pair)
        if before is not None and after is not None:
            found.append((HITS[pair[1]], w.share(before.success) or 0.0, w.share(after.success) or 0.0))
    whole = w.denominator(share for _, *shares in found for share in shares)
    effects = [f"{noun} went from {w.of(first, whole)} to {w.out_of(last, whole)}" for noun, first, last in found]
    verb = "Train with" if selection.audited.epsilon is None else "Lower the budget:"
    name = f"{verb} {cut(setting.defense, 30)} at {w.epsilon(setting.epsilon)}."
    return f"{name} In this run {w.listed(effects)}{_price(selection, setting)}." if effects else name


def _within(selection: Selection, setting: Setting, pair: Pair) -> bool:
    verdict = selection.verdict(setting, pair)
    return verdict is not None and verdict.verdict in ("within tolerance", "tested only")


def _price(selection: Selection, setting: Setting) -> str:
    """Return what another setting costs in accuracy against the audited one, as measured."""
    here, there = selection.utility(selection.audited.id), selection.utility(setting.id)
    if here is None or there is None:
        return ""
    before, after = w.share(here.accuracy) or 0.0, w.share(there.accuracy) or 0.0
    return f", accuracy from {w.rate(before)} to {w.rate(after)}"


def _decide(selection: Selection, row: Verdict) -> str:
    label, reason = cut(selection.question(row.question).label, 40), w.inside(cut(row.evidence_reason, 110))
    asks = f"Add seeds to decide “{label}” for {inside(selection, row.adversary)}"
    return asks + (f": {reason}." if reason else ".")


def _test_it(selection: Selection, row: Verdict) -> str:
    if row.attack is not None:
        reasons = [
            m.reason for m in selection.measurements(selection.audited, (row.adversary, row.question)) if m.reason
        ]
        return f"Change what kept an attack from running: {w.inside(cut(reasons[0], 110))}." if reasons else ""
    untested = [other for other in selection.rows if other.reason == row.reason and other.attack is None]
    who = dict.fromkeys(inside(selection, other.adversary) for other in untested)
    if len(who) == 1:
        return f"Run an attack for {w.listed(who)}: what it learns was not tested."
    return f"Run attacks for {w.listed(who)}: what they learn was not tested."


def _prove(selection: Selection, row: Verdict) -> str:
    label, name = cut(selection.question(row.question).label, 40), inside(selection, row.adversary)
    return f"Do not rely on “{label}”: what {name} gains was measured within tolerance, but no guarantee covers it."


def _tighten(selection: Selection, row: Verdict) -> str:
    label = cut(selection.question(row.question).label, 40)
    return f"Lower ε if “{label}” has to be bounded: the proof allows {w.rate(row.ceiling, up=True)} at this setting."


def _look_wider(selection: Selection, row: Verdict) -> str:
    label = cut(selection.question(row.question).label, 40)
    measured = selection.strongest(selection.audited, (row.adversary, row.question))
    alone = source(selection, measured) if measured is not None else "one update"
    return f"Attack several rounds together: {alone} alone does not determine the answer to “{label}”."


def _give_control(selection: Selection, row: Verdict) -> str:
    return "Audit with at least two clients: without an unrelated update there is no control to compare with."


def _explain(selection: Selection, row: Verdict) -> str:
    return (
        f"Find out why the claimed budget is contradicted before using it: {w.inside(cut(row.evidence_reason, 110))}."
    )


def _check_premises(selection: Selection, row: Verdict) -> str:
    failed = [entry.premise for entry in selection.results.premises if entry.passed is False]
    if failed:
        return f"Repair the premise that did not hold: {cut(failed[0], 80)}."
    return ""


HIDING: dict[Adversary, Callable[[Selection], str]] = {"quantum_server": _hide_circuits, "eavesdropper": _encrypt}
"""What takes its view from an adversary that a protocol can blind, which no budget does."""

Step = Callable[[Selection, Verdict], str]

CATALOGUE: dict[str, Step] = {
    # Failed instruments and cells are steps of their own, before all others.
    "instrument_failed": _nothing,
    "attack_failed": _nothing,
    "guarantee_contradicted": _explain,
    "above_without_guarantee": _contain,
    "above_despite_guarantee": _contain,
    "bounded_by_guarantee": _nothing,
    "tested_without_guarantee": _prove,
    "tested_guarantee_too_weak": _tighten,
    "tested_premise_failed": _check_premises,
    "not_visible": _nothing,
    "premise_failed": _check_premises,
    "not_tested": _test_it,
    "too_few_non_members": _decide,
    "no_control": _give_control,
    "leak_below_tolerance_undecided": _decide,
    "not_identifiable": _look_wider,
    "interval_too_wide": _decide,
}
"""One step for each reason code of `qfl_sec.verdicts.judge`."""


def _keep(selection: Selection) -> Iterable[str]:
    """Name the price of the audited budget, where it has one and no finding speaks against it."""
    setting, bare = selection.audited, selection.undefended
    here = selection.utility(setting.id)
    there = selection.utility(bare.id) if bare else None
    measured = any(selection.strongest(setting, (row.adversary, row.question)) for row in selection.rows)
    if setting.epsilon is None or here is None or there is None or findings_above(selection) or not measured:
        return
    with_dp, without = w.share(here.accuracy) or 0.0, w.share(there.accuracy) or 0.0
    cost = without - with_dp
    price = f"It costs {w.points(cost)} of accuracy" if cost > 0 else "It costs no accuracy here"
    yield f"Keep {w.epsilon(setting.epsilon)}. {price} ({w.rate(with_dp)} against {w.rate(without)})."


def _failed_cells(selection: Selection) -> int:
    return sum(len(entry.failed) for entry in selection.results.measurements)


def not_shown(selection: Selection) -> list[str]:
    """Return at most four limits of this report, those that this run adds first."""
    return list(_limits(selection))[:NOT_SHOWN]


def _limits(selection: Selection) -> Iterable[str]:
    failed = _failed_cells(selection)
    if failed:
        rest = "; rates rest on the remaining seeds" if selection.measured_pairs else ", and there is no rate"
        yield f"{w.plural(failed, 'cell')} failed{rest}."
    untested: dict[Question, list[str]] = {}
    for row in selection.rows:
        if row.evidence == "not tested":
            untested.setdefault(row.question, []).append(inside(selection, row.adversary))
    for name, who in untested.items():
        yield f"“{cut(selection.question(name).label, 40)}” asked by {w.listed(who[:4])}: not tested."
    for row in selection.rows:
        measured = selection.strongest(selection.audited, (row.adversary, row.question))
        if row.evidence == "not identifiable" and measured is not None:
            alone = source(selection, measured)
            yield f"“Not identifiable” speaks of {alone}; more rounds or side knowledge may change this."
            break
    if any(row.evidence == "no leak seen" for row in selection.rows):
        yield "“No leak seen” speaks of the attacks we ran, not of all attacks."
    units = {entry.unit for entry in selection.results.guarantees if entry.setting == selection.audited.id}
    if units == {"record"}:
        yield "The budget covers one record, not a client's statistics."
    if len(selection.budgets) > 1:
        yield "Choosing ε by looking at these results is not covered by the proof."
    yield "A server that sends a crafted model, and clients that collude, were not tried."
    yield "Other data and other models: all numbers are of this one federation."
