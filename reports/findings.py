"""Sentences: the headline, what is worst, what is bounded, what to do next, what is not shown, what the figure says.

Nothing is concluded here. Verdicts come from the results; every number is one of theirs, in words.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from qfl_sec.contracts import Question
from qfl_sec.reports import wording as w
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Pair, Selection
from qfl_sec.results import Measurement, Setting, Verdict

Tone = Literal["alarm", "none", "calm"]

DO_NEXT = 3
NOT_SHOWN = 4
SAYS = 3


_VERBS: dict[Question, tuple[str, str]] = {"membership": ("finds", "members"), "reconstruction": ("rebuilds", "records")}


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The answer, and the colour of the rule above it.

    Attributes:
        text: One line.
        tone: "alarm" if a finding lies above tolerance, "none" without verdicts, else "calm".
    """

    text: str
    tone: Tone


@dataclass(frozen=True, kw_only=True)
class Says:
    """One finding of the budget page.

    Attributes:
        lead: Its point.
        rest: Its numbers.
    """

    lead: str
    rest: str


def withdrawn(selection: Selection) -> bool:
    """Return whether this report draws no conclusions: an instrument failed, or a guarantee is contradicted."""
    return bool(selection.failed_instruments) or any(row.verdict == "no verdict" for row in selection.rows)


def headline(selection: Selection) -> Headline:
    """Return the report's answer in one line."""
    if selection.failed_instruments:
        return Headline(text="No verdicts: an instrument check failed", tone="none")
    if withdrawn(selection):
        return Headline(text="No verdicts: a measurement contradicts a guarantee", tone="none")
    if not any(row.evidence not in ("not tested", "not visible") for row in selection.rows):
        return Headline(text="No verdicts: nothing was measured at the audited setting", tone="none")
    tolerances = {selection.question(row.question).tolerance for row in selection.rows}
    agreed = "the agreed tolerance" + (f" of {w.agreed(tolerances.pop())}" if len(tolerances) == 1 else "")
    above = len(_above(selection))
    if above == 0:
        return Headline(text=f"No finding lies above {agreed}", tone="calm")
    verb = "finding lies" if above == 1 else "findings lie"
    return Headline(text=f"{w.number_word(above)} {verb} above {agreed}", tone="alarm")


def _above(selection: Selection) -> list[Verdict]:
    """Return the rows above tolerance, the one with the highest proven success first."""

    def success(row: Verdict) -> float:
        measured = selection.strongest(selection.audited, (row.adversary, row.question))
        return measured.success.low if measured and measured.success else 0.0

    return sorted((row for row in selection.rows if row.verdict == "above tolerance"), key=success, reverse=True)


def lead(selection: Selection) -> list[str]:
    """Return the two sentences under the headline."""
    if selection.failed_instruments:
        return _failed_instruments(selection)
    if withdrawn(selection):
        return [_contradicted(selection, row) for row in selection.rows if row.verdict == "no verdict"][:2]
    above = _above(selection)
    if above:
        return [_found(selection, (row.adversary, row.question)) for row in above[:2]]
    return _quiet(selection)


def _failed_instruments(selection: Selection) -> list[str]:
    failed = [entry for entry in selection.results.instruments if not entry.passed]
    first = failed[0]
    more = f", and {w.group(len(failed) - 1)} more" if len(failed) > 1 else ""
    return [
        f"This check did not hold: {cut(first.label, 70)} (seen: {cut(first.result, 70)}; required: "
        f"{cut(first.required, 70)}){more}.",
        "The measurements are printed as they were taken, and nothing is concluded from them.",
    ]


def _contradicted(selection: Selection, row: Verdict) -> str:
    measured = selection.strongest(selection.audited, (row.adversary, row.question))
    if measured is None or measured.success is None or row.ceiling is None:
        return f"{_question(selection, row)}: {cut(row.evidence_reason, 120)}."
    return (
        f"{_who(selection, row.adversary)} succeeds in {w.interval(measured.success)} of cases, and the guarantee allows "
        f"at most {w.rate(row.ceiling, up=True)}: the claimed budget or this measurement is wrong."
    )


def _found(selection: Selection, pair: Pair) -> str:
    """Tell what one adversary found at the audited setting: who, what, how often, why."""
    measured = selection.strongest(selection.audited, pair)
    if measured is None or measured.success is None:
        return f"{_who(selection, pair[0])}: {cut(selection.question(pair[1]).label, 60)}."
    found, guess = w.share(measured.success) or 0.0, w.share(measured.guess)
    whole = w.denominator((found, guess))
    who = _who(selection, pair[0])
    if pair[1] == "membership":
        accused = _false_share(measured)
        accusing = f" while wrongly accusing {w.out_of(accused, whole)} outsiders" if accused is not None else ""
        text = f"{who} finds {w.out_of(found, whole)} members{accusing}{_because(selection, measured)}"
    else:
        text = f"{who} rebuilds {w.out_of(found, whole)} records{_because(selection, measured)}"
    return text + (f"; guessing {_VERBS[pair[1]][0]} {w.of(guess, whole)}." if guess is not None else ".")


def _because(selection: Selection, measured: Measurement) -> str:
    """Name the reason that the figures themselves give; nothing where they give none."""
    inversion = measured.reconstruction
    if inversion is not None and inversion.rank >= inversion.unknowns and 2 * inversion.not_identifiable < inversion.targets:
        return f", because one update fixes them (rank {w.half(inversion.rank)} for {w.half(inversion.unknowns)} unknowns)"
    if selection.setting(measured.setting).defense == "none":
        return ", because updates are sent as they are"
    return ""


def _false_share(measured: Measurement) -> float | None:
    """Return the realised false positive rate."""
    game = measured.membership
    return game.false_positives / game.non_members if game is not None and game.non_members else None


def _quiet(selection: Selection) -> list[str]:
    """Tell what the setting ends, else the strongest result, and what stays open."""
    sentences = []
    tested = [row for row in selection.rows if selection.strongest(selection.audited, (row.adversary, row.question))]
    if tested:
        bare = selection.undefended if selection.audited.epsilon is not None else None
        setting = bare or selection.audited
        best = max(tested, key=lambda row: _low(selection.strongest(setting, (row.adversary, row.question))))
        pair = (best.adversary, best.question)
        sentences.append((_contrast(selection, bare, pair) if bare else "") or _found(selection, pair))
    else:
        sentences.append("No attack has a result at the audited setting, so nothing is known of what it lets through.")
    opened = [row for row in selection.rows if row.verdict == "open"]
    if opened and tested:
        number = f"{w.number_word(len(opened))} of the {w.plural(len(selection.rows), 'question')} below"
        sentences.append(f"{number} {'stays' if len(opened) == 1 else 'stay'} open.")
    return sentences


def _contrast(selection: Selection, bare: Setting, pair: Pair) -> str:
    """Set the same attack without and with the audited defense side by side."""
    before, after = selection.strongest(bare, pair), selection.strongest(selection.audited, pair)
    if before is None or after is None:
        return ""
    shares = w.share(before.success) or 0.0, w.share(after.success) or 0.0
    guess = w.share(after.guess)
    whole = w.denominator((*shares, guess))
    verb, noun = _VERBS[pair[1]]
    guessing = f", and guessing {verb} {w.of(guess, whole)}" if guess is not None else ""
    return (
        f"Without a defense {_inside(selection, pair[0])} {verb} {w.out_of(shares[0], whole)} {noun}; at the audited "
        f"setting it {verb} {w.of(shares[1], whole)}{guessing}."
    )


def _low(measured: Measurement | None) -> float:
    return measured.success.low if measured and measured.success else 0.0


def bounded(selection: Selection) -> str:
    """Return what is proven of the audited setting, in natural frequencies."""
    setting = selection.audited
    sentences = [_bound(selection, row) for row in selection.rows if row.ceiling is not None]
    kept = [sentence for sentence in sentences if sentence]
    if withdrawn(selection):
        return "No bound is claimed before the failed check is explained."
    if kept:
        return kept[0] + _protected(selection)
    if setting.epsilon is None:
        return "No formal guarantee covers this setting: what no attack found is not shown to be out of reach."
    return f"At {w.epsilon(setting.epsilon)} no accountant result covers what these adversaries see."


def _bound(selection: Selection, row: Verdict) -> str:
    setting, pair = selection.audited, (row.adversary, row.question)
    measured, ceiling = selection.strongest(setting, pair), selection.ceiling(setting, pair)
    if setting.epsilon is None or row.ceiling is None or measured is None or measured.success is None:
        return ""
    success = measured.success
    found, guess = w.share(success) or 0.0, w.share(measured.guess)
    whole = w.denominator((found, guess, row.ceiling, success.low, success.high))
    accusing = ""
    if ceiling is not None and pair[1] == "membership":
        accusing = f" while wrongly accusing at most {w.out_of(ceiling.at, whole, up=True)} outsiders"
    verb, noun = _VERBS[pair[1]]
    past = {"finds": "found", "rebuilds": "rebuilt"}[verb]
    guessing = f", and guessing {verb} {w.of(guess, whole)}" if guess is not None else ""
    return (
        f"What {_inside(selection, pair[0])} can learn is bounded: at {w.epsilon(setting.epsilon)} it {verb} at most "
        f"{w.out_of(row.ceiling, whole, up=True)} {noun}{accusing}; our best attack {past} {w.of(found, whole)} "
        f"(95% interval {w.of(success.low, whole)} to {w.of(success.high, whole)}){guessing}."
    )


def _protected(selection: Selection) -> str:
    """Return the one sentence that may say "protected": of rows whose verdict is within tolerance."""
    setting = selection.audited
    within = [row for row in selection.rows if row.verdict == "within tolerance" and row.ceiling is not None]
    if not within or setting.epsilon is None or setting.delta is None:
        return ""
    row = within[0]
    units = {entry.unit for entry in selection.guarantees(setting, row.adversary)} or {"record"}
    return (
        f" {row.question.capitalize()}: protected up to {w.rate(row.ceiling, up=True)} against "
        f"{_inside(selection, row.adversary)}, per {w.listed(sorted(units))}, at {w.epsilon(setting.epsilon)}, "
        f"{w.delta(setting.delta)}."
    )


def _who(selection: Selection, adversary: str) -> str:
    return w.subject(cut(next(e.label for e in selection.results.adversaries if e.id == adversary), 44))


def _inside(selection: Selection, adversary: str) -> str:
    """Return an adversary's name inside a sentence."""
    name = _who(selection, adversary)
    return name[:1].lower() + name[1:]


def _question(selection: Selection, row: Verdict) -> str:
    label = cut(selection.question(row.question).label, 50)
    return label if label.endswith("?") else f"{label}."


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
    for row in (*_above(selection), *(row for row in selection.rows if row.verdict != "above tolerance")):
        step = _CATALOGUE.get(row.reason, _by_verdict(row))(selection, row)
        if step and step not in steps:
            steps.append(step)
    if not withdrawn(selection):
        steps.extend(_keep(selection))
    if not selection.rows:
        steps.append("Run an attack first: there is nothing to judge.")
    return steps[:DO_NEXT]


def _by_verdict(row: Verdict) -> "Step":
    """Return the step of a reason without an entry of its own."""
    if row.evidence == "not tested":
        return _test_it
    return _BY_VERDICT.get(row.verdict, _nothing)


def _nothing(selection: Selection, row: Verdict) -> str:
    return ""


def _contain(selection: Selection, row: Verdict) -> str:
    """Name the largest tested budget that ends the findings above tolerance, with what this run measured of it.

    Where no budget ends all of them, each finding gets its own.
    """
    every: list[Pair] = [(other.adversary, other.question) for other in _above(selection)]
    for pairs in (every, [(row.adversary, row.question)]):
        tested = [entry for entry in selection.budgets if entry.id != selection.audited.id]
        better = [entry for entry in tested if all(_within(selection, entry, pair) for pair in pairs)]
        if better and pairs:
            return _effect(selection, better[-1], pairs)
    if not selection.budgets:
        return "Add differential privacy (defense dp_sgd) and audit again; this run did not measure its effect."
    return f"{_question(selection, row)} No setting tested here ends this: try a smaller ε and larger batches."


def _effect(selection: Selection, setting: Setting, pairs: list[Pair]) -> str:
    """Recommend a setting, with its measured effect on at most two findings and on accuracy."""
    effects = []
    for pair in pairs[:2]:
        before, after = selection.strongest(selection.audited, pair), selection.strongest(setting, pair)
        if before is not None and after is not None:
            found = w.share(before.success) or 0.0, w.share(after.success) or 0.0
            whole = w.denominator(found)
            noun = "members found" if pair[1] == "membership" else "records rebuilt"
            effects.append(f"{noun} went from {w.of(found[0], whole)} to {w.out_of(found[1], whole)}")
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
    reason = w.inside(cut(row.evidence_reason, 110))
    return f"Add seeds to decide “{cut(selection.question(row.question).label, 40)}”" + (f": {reason}." if reason else ".")


def _test_it(selection: Selection, row: Verdict) -> str:
    if row.attack is not None:
        # An attack was chosen and gave nothing: it failed, which is a step of its own, or has no meaning here.
        return "" if _failed_cells(selection) else f"Change what kept the attack from running: {w.inside(cut(row.evidence_reason, 110))}."
    untested = [other for other in selection.rows if other.evidence == "not tested" and other.attack is None]
    who = dict.fromkeys(_inside(selection, other.adversary) for other in untested)
    if len(who) == 1:
        return f"Run an attack for {w.listed(who)}: what it learns was not tested, so nothing is known of it."
    return f"Run attacks for {w.listed(who)}: what they learn was not tested, so nothing is known of it."


def _prove(selection: Selection, row: Verdict) -> str:
    label = cut(selection.question(row.question).label, 40)
    return f"Do not rely on “{label}” staying unanswered: attacks failed, and no guarantee covers {_inside(selection, row.adversary)}."


def _explain(selection: Selection, row: Verdict) -> str:
    if selection.failed_instruments:
        return ""
    return f"Find out why the claimed budget is contradicted before using it: {w.inside(cut(row.evidence_reason, 110))}."


def _check_premises(selection: Selection, row: Verdict) -> str:
    failed = [entry.premise for entry in selection.results.premises if entry.passed is False]
    if failed:
        return f"Repair the premise that did not hold: {cut(failed[0], 80)}."
    return ""


Step = Callable[[Selection, Verdict], str]

_BY_VERDICT: dict[str, Step] = {
    "no verdict": _explain,
    "above tolerance": _contain,
    "open": _decide,
    "tested only": _prove,
}
_CATALOGUE: dict[str, Step] = {}


def _keep(selection: Selection) -> Iterable[str]:
    """Name the price of the audited budget, where it has one and no finding speaks against it."""
    setting, bare = selection.audited, selection.undefended
    here = selection.utility(setting.id)
    there = selection.utility(bare.id) if bare else None
    measured = any(selection.strongest(setting, (row.adversary, row.question)) for row in selection.rows)
    if setting.epsilon is None or here is None or there is None or _above(selection) or not measured:
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
    untested = dict.fromkeys(_inside(selection, row.adversary) for row in selection.rows if row.evidence == "not tested")
    if untested:
        yield f"What {w.listed(list(untested)[:2])} learns: not tested."
    if any(row.evidence == "not identifiable" for row in selection.rows):
        yield "“Not identifiable” speaks of one update; more rounds or side knowledge may change this."
    if any(row.evidence == "no leak seen" for row in selection.rows):
        yield "“No leak seen” speaks of the attacks we ran, not of all attacks."
    units = {entry.unit for entry in selection.results.guarantees if entry.setting == selection.audited.id}
    if units == {"record"}:
        yield "The budget covers one record, not a client's statistics."
    if len(selection.budgets) > 1:
        yield "Choosing ε by looking at these results is not covered by the proof."
    yield "A server that sends a crafted model, and clients that collude, were not tried."
    yield "Other data and other models: all numbers are of this one federation."


def figure_says(selection: Selection) -> list[Says]:
    """Return three findings on the budget page, each in one sentence with its numbers."""
    candidates = (
        *(_trend(selection, pair) for pair in selection.measured_pairs if pair[1] == "reconstruction"),
        *(_used(selection, pair) for pair in selection.measured_pairs),
        _cost(selection),
        *(_trend(selection, pair) for pair in selection.measured_pairs if pair[1] == "membership"),
        _classical(selection),
        _unproven(selection),
    )
    return [says for says in candidates if says is not None][:SAYS]


def _trend(selection: Selection, pair: Pair) -> Says | None:
    """Compare no defense with the largest budget."""
    bare = selection.undefended
    measured = selection.strongest(bare, pair) if bare else None
    if measured is None or measured.success is None:
        return None
    found = w.share(measured.success) or 0.0
    verb, noun = _VERBS[pair[1]]
    largest = selection.strongest(selection.budgets[-1], pair) if selection.budgets else None
    name = _inside(selection, pair[0])
    if largest is None or largest.success is None or largest.control is None:
        whole = w.denominator((found, w.share(measured.control)))
        return Says(
            lead=f"Without DP {name} {verb} {w.out_of(found, whole)} {noun}.",
            rest=f"The same attack without signal {verb} {w.of(w.share(measured.control) or 0.0, whole)}.",
        )
    rate, control = w.share(largest.success) or 0.0, w.share(largest.control) or 0.0
    whole = w.denominator((found, rate, control))
    overlap = largest.success.low <= largest.control.high and largest.control.low <= largest.success.high
    beside = "the two intervals overlap" if overlap else "the two intervals do not overlap"
    return Says(
        lead=f"Without DP {name} {verb} {w.out_of(found, whole)} {noun}.",
        rest=f"At {w.epsilon(selection.budgets[-1].epsilon)}, the largest budget here, it {verb} "
        f"{w.of(rate, whole)}; its control {verb} {w.of(control, whole)}, and {beside}.",
    )


def _used(selection: Selection, pair: Pair) -> Says | None:
    """Tell how much of what the proof allows the strongest attack uses, at the audited or the largest budget."""
    setting = selection.audited if selection.audited.epsilon is not None else (selection.budgets or (None,))[-1]
    measured = selection.strongest(setting, pair) if setting else None
    ceiling = selection.ceiling(setting, pair) if setting else None
    if setting is None or measured is None or ceiling is None or measured.guess is None or pair[1] != "membership":
        return None
    found, guess = w.share(measured.success) or 0.0, w.share(measured.guess) or 0.0
    room, used = ceiling.rate - guess, found - guess
    at = f"at {w.epsilon(setting.epsilon)}"
    if room <= 0 or used <= 0:
        return Says(
            lead=f"The strongest membership attack gains nothing over guessing {at}.",
            rest=f"The proof allows up to {w.rate(ceiling.rate, up=True)}; guessing reaches {w.rate(guess)}.",
        )
    return Says(
        lead=f"The strongest membership attack uses {w.rate(used / room)} of what the proof allows {at}",
        rest=f"(excess over guessing: {w.percent(used)} of {w.percent(room)} points). A better attack can gain at most "
        "the rest.",
    )


def _cost(selection: Selection) -> Says | None:
    """Tell the accuracy that the audited, else the strictest, budget costs."""
    bare = selection.undefended
    setting = selection.audited if selection.audited.epsilon is not None else (selection.budgets or (None,))[-1]
    here = selection.utility(setting.id) if setting else None
    there = selection.utility(bare.id) if bare else None
    if setting is None or here is None or there is None:
        return None
    with_dp, without, majority = (w.share(r) or 0.0 for r in (here.accuracy, there.accuracy, here.majority))
    cost = without - with_dp
    name = f"{w.epsilon(setting.epsilon)}"
    lead = f"{name} costs {w.points(cost)} of accuracy." if cost > 0 else f"{name} costs no accuracy here."
    useless = here.accuracy.low <= majority
    note = f"its interval includes that of always naming the majority class ({w.rate(majority)})"
    beyond = f"always naming the majority class gives {w.rate(majority)}"
    return Says(lead=lead, rest=f"It reaches {w.interval(here.accuracy)} against {w.rate(without)}; {note if useless else beyond}.")


def _classical(selection: Selection) -> Says | None:
    """Compare the quantum model with a classical one of equal size, both without a defense."""
    bare = selection.undefended
    quantum = selection.utility(bare.id) if bare else None
    classical = selection.utility("classical")
    if quantum is None or classical is None:
        return None
    return Says(
        lead="The classical model of equal size is the yardstick.",
        rest=f"It reaches {w.interval(classical.accuracy)} where the quantum model reaches {w.interval(quantum.accuracy)}.",
    )


def _unproven(selection: Selection) -> Says | None:
    if selection.undefended is None or not selection.measured_pairs:
        return None
    return Says(
        lead="Without DP nothing is proven.",
        rest="A low number there is an observation about the attacks that were run and carries no guarantee.",
    )
