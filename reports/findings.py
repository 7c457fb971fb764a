"""The answer in sentences: the headline, what is worst, what is bounded.

Nothing is concluded here. Verdicts come from the results; every number is one of theirs, in words.
"""

from dataclasses import dataclass
from typing import Literal

from qfl_sec.reports import wording as w
from qfl_sec.reports.phrases import VERBS, false_share, inside, question, source, who
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Pair, Selection
from qfl_sec.results import Measurement, Setting, Verdict

Tone = Literal["alarm", "none", "calm"]


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The answer, and the colour of the rule above it.

    Attributes:
        text: One line.
        tone: "alarm" if a finding lies above tolerance, "none" without verdicts, else "calm".
    """

    text: str
    tone: Tone


def withdrawn(selection: Selection) -> bool:
    """Return whether this report draws no conclusions: an instrument failed, or a guarantee is contradicted."""
    return bool(selection.failed_instruments) or any(row.verdict == "no verdict" for row in selection.rows)


def headline(selection: Selection) -> Headline:
    """Return the report's answer in one line."""
    if selection.failed_instruments:
        return Headline(text="No verdicts: an instrument check failed", tone="none")
    if withdrawn(selection):
        return Headline(text="No verdicts: a measurement contradicts a guarantee", tone="none")
    if all((row.evidence, row.verdict) == ("not tested", "open") for row in selection.rows):
        return Headline(text="No verdicts: nothing was measured at the audited setting", tone="none")
    tolerances = {selection.question(row.question).tolerance for row in selection.rows}
    agreed = "the agreed tolerance" + (f" of {w.agreed(tolerances.pop())}" if len(tolerances) == 1 else "")
    above = len(findings_above(selection))
    if above == 0:
        return Headline(text=f"No finding lies above {agreed}", tone="calm")
    verb = "finding lies" if above == 1 else "findings lie"
    return Headline(text=f"{w.number_word(above)} {verb} above {agreed}", tone="alarm")


def findings_above(selection: Selection) -> list[Verdict]:
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
        return [_contradicted(selection, row) for row in selection.rows if row.evidence == "guarantee contradicted"][:2]
    above = findings_above(selection)
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
        return f"{question(selection, row)}: {cut(row.evidence_reason, 120)}."
    return (
        f"{who(selection, row.adversary)} succeeds in {w.interval(measured.success)} of cases, and the proof allows "
        f"at most {w.rate(row.ceiling, up=True)}: the claimed budget or this measurement is wrong."
    )


def _found(selection: Selection, pair: Pair) -> str:
    """Tell what one adversary found at the audited setting: who, what, how often, why."""
    measured = selection.strongest(selection.audited, pair)
    if measured is None or measured.success is None:
        return f"{who(selection, pair[0])}: {cut(selection.question(pair[1]).label, 60)}."
    found, guess = w.share(measured.success) or 0.0, w.share(measured.guess)
    whole = w.denominator((found, guess))
    name = who(selection, pair[0])
    if pair[1] == "membership":
        accused = false_share(measured)
        accusing = f" while wrongly accusing {w.out_of(accused, whole)} outsiders" if accused is not None else ""
        text = f"{name} finds {w.out_of(found, whole)} members{accusing}{_because(selection, measured)}"
    else:
        verb, noun = VERBS[pair[1]]
        text = f"{name} {verb} {w.out_of(found, whole)} {noun}{_because(selection, measured)}"
    return text + (f"; guessing {VERBS[pair[1]][0]} {w.of(guess, whole)}." if guess is not None else ".")


def _because(selection: Selection, measured: Measurement) -> str:
    """Name the reason that the figures themselves give; nothing where they give none."""
    success, control = measured.success, measured.control
    if success is not None and control is not None and success.low <= control.high:
        return ", which does not stand out from its signal-free control"
    found = measured.reconstruction
    if found is not None and found.rank >= found.unknowns and 2 * found.not_identifiable < found.targets:
        figures = f"rank {w.group(found.rank)} for {w.group(found.unknowns)} unknowns"
        return f", because {source(selection, measured)} fixes them ({figures})"
    if selection.setting(measured.setting).defense == "none":
        return ", because updates are sent as they are"
    return ""


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
        asked = f"{w.spelled(len(selection.rows), 'question')} below"
        number = "All" if len(opened) == len(selection.rows) else f"{w.number_word(len(opened))} of the"
        sentences.append(f"{number} {asked} {'stays' if len(opened) == 1 else 'stay'} open.")
    return sentences


def _contrast(selection: Selection, bare: Setting, pair: Pair) -> str:
    """Set the same attack without and with the audited defense side by side."""
    before, after = selection.strongest(bare, pair), selection.strongest(selection.audited, pair)
    if before is None or after is None:
        return ""
    shares = w.share(before.success) or 0.0, w.share(after.success) or 0.0
    guess = w.share(after.guess)
    whole = w.denominator((*shares, guess))
    verb, noun = VERBS[pair[1]]
    guessing = f", and guessing {verb} {w.of(guess, whole)}" if guess is not None else ""
    return (
        f"Without a defense {inside(selection, pair[0])} {verb} {w.out_of(shares[0], whole)} {noun}; at the audited "
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
    verb, noun = VERBS[pair[1]]
    past = {"finds": "found", "rebuilds": "rebuilt", "names": "named"}[verb]
    guessing = f", and guessing {verb} {w.of(guess, whole)}" if guess is not None else ""
    return (
        f"What {inside(selection, pair[0])} can learn is bounded: at {w.epsilon(setting.epsilon)} it {verb} at most "
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
        f"{inside(selection, row.adversary)}, per {cut(w.listed(sorted(units)), 30)}, at {w.epsilon(setting.epsilon)}, "
        f"{w.delta(setting.delta)}."
    )
