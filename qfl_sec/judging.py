"""From measurements to verdicts: which attack is the strongest, what holds of it, and whether a file's verdicts follow.

Choosing the strongest of several attacks by the targets that then score it would flatter the attacker: one half of the
targets chooses, the other one scores, both ways. The limits hold together for all verdicts of a setting.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from qfl_sec.checking import InputError
from qfl_sec.contracts import Adversary, Question
from qfl_sec.intervals import Rate, clopper_pearson
from qfl_sec.measuring import Measured, resampler
from qfl_sec.results import Basis, Ceiling, Choice, Instrument, Measurement, Premise, QuestionEntry, Results, Verdict
from qfl_sec.scoring import Targets
from qfl_sec.verdicts import Judgement, VerdictInputs, judge

ERROR = 0.05
"""Probability that any limit of a setting's verdicts is wrong."""

Place = tuple[str, str, Question, Adversary]
"""Variant, setting, question, adversary: what a verdict is about."""


def place(one: Measurement | Ceiling | Verdict) -> Place:
    """Return what a measurement, ceiling or verdict is about."""
    return one.variant, one.setting, one.question, one.adversary


class _Row(NamedTuple):
    """What a verdict is about and what it rests on."""

    measurement: Measurement
    basis: Basis | None


def verdicts(
    measured: Sequence[Measured],
    ceilings: Sequence[Ceiling],
    premises: Sequence[Premise],
    instruments: Sequence[Instrument],
    questions: Sequence[QuestionEntry],
) -> list[Verdict]:
    """Return one verdict for each variant, setting, question and adversary: about its strongest attack.

    Args:
        measured: Of all attacks, those on one question by one adversary side by side.
        ceilings: At most one for each verdict.
        premises: Of the settings.
        instruments: Of the run.
        questions: With their tolerances.
    """
    spread = comparisons([one.measurement for one in measured])
    rows = []
    for where, group in groupby(measured, key=lambda one: place(one.measurement)):
        rows.append(_strongest(list(group), spread.get(where[:2], 1)))
    judged = _judged(rows, ceilings, premises, instruments, questions)
    bounds = {place(ceiling): ceiling.rate for ceiling in ceilings}
    return [
        Verdict(
            variant=row.measurement.variant,
            setting=row.measurement.setting,
            question=row.measurement.question,
            adversary=row.measurement.adversary,
            attack=row.measurement.attack,
            ceiling=bounds.get(place(row.measurement)),
            basis=row.basis,
            **found._asdict(),
        )
        for row, found in zip(rows, judged, strict=True)
    ]


def comparisons(measurements: Iterable[Measurement]) -> dict[tuple[str, str], int]:
    """Return over how many comparisons the error of each variant and setting is spread.

    One for each question and adversary with one attack, two where several compete, whatever became of them: more
    attacks than two cost nothing, since the targets that score are not those that choose.
    """
    attacks: dict[Place, int] = {}
    for one in measurements:
        if one.attack is not None:
            attacks[place(one)] = attacks.get(place(one), 0) + 1
    found: dict[tuple[str, str], int] = {}
    for (variant, setting, _, _), count in attacks.items():
        found[variant, setting] = found.get((variant, setting), 0) + min(count, 2)
    return found


def _strongest(row: Sequence[Measured], spread: int) -> _Row:
    """Return the measurement that a verdict is about: the attack that does best where it was not chosen."""
    confidence = 1 - ERROR / spread
    rng = resampler(f"verdict {' '.join(place(row[0].measurement))}")

    def rate(targets: Targets | None) -> Rate | None:
        return None if targets is None else targets.rate(rng=rng, confidence=confidence)

    scored = [(one.measurement, one.hits) for one in row if one.hits is not None]
    if not scored:
        return _Row(row[0].measurement, None)
    wholes = [hits.attack.rate(rng=rng, confidence=confidence) for _, hits in scored]
    if len(scored) == 1:
        [(only, hits)] = scored
        basis = Basis(
            success=wholes[0], control=rate(hits.control), comparisons=spread, confidence=confidence, choices=()
        )
        return _Row(only, basis)
    choices = []
    for second in (False, True):
        halves = [hits.attack.half(second).rate(rng=rng, confidence=confidence) for _, hits in scored]
        best = max(range(len(scored)), key=lambda index: _strength(halves[index]))
        other = scored[best][1].attack.half(not second).rate(rng=rng, confidence=confidence)
        control = scored[best][1].control
        choices.append(
            Choice(
                attack=str(scored[best][0].attack),
                chosen_at=halves[best],
                success=other,
                control=None if control is None else rate(control.half(not second)),
            )
        )
    deciding = max(choices, key=lambda one: _strength(one.success))
    success = replace(
        deciding.success,
        high=max(deciding.success.high, *(whole.high for whole in wholes)),
        method=f"{deciding.success.method}; attack chosen on the other half, upper limit of all {len(scored)} attacks",
    )
    basis = Basis(
        success=success,
        control=deciding.control,
        comparisons=spread,
        confidence=confidence,
        choices=tuple(choices),
    )
    return _Row(next(one for one, _ in scored if one.attack == deciding.attack), basis)


def _strength(rate: Rate) -> tuple[float, float]:
    return rate.low, rate.k / max(1, rate.n)


def _judged(
    rows: Sequence[_Row],
    ceilings: Sequence[Ceiling],
    premises: Sequence[Premise],
    instruments: Sequence[Instrument],
    questions: Sequence[QuestionEntry],
) -> list[Judgement]:
    """Judge every row; a contradicted guarantee withdraws every verdict of its setting."""
    bounds = {place(ceiling): ceiling.rate for ceiling in ceilings}
    tolerances = {entry.id: entry.tolerance for entry in questions}
    broken = {(check.variant, check.setting) for check in premises if check.passed is False}
    inputs = [
        VerdictInputs.of(
            row.measurement,
            basis=row.basis,
            ceiling=bounds.get(place(row.measurement)),
            tolerance=tolerances[row.measurement.question],
            instruments_passed=all(instrument.passed for instrument in instruments),
            premises_passed=place(row.measurement)[:2] not in broken,
        )
        for row in rows
    ]
    contradicted = {
        place(row.measurement)[:2]
        for row, given in zip(rows, inputs, strict=True)
        if judge(given).evidence == "guarantee contradicted"
    }
    return [
        judge(replace(given, contradicted=place(row.measurement)[:2] in contradicted))
        for row, given in zip(rows, inputs, strict=True)
    ]


def check_verdicts(results: Results, *, source: str = "results.json") -> None:
    """Check that a file holds exactly the verdicts that follow from the rest of it.

    Raises:
        InputError: If one is missing, is there twice, or disagrees with counts, limits, ceilings, premises, instruments
            or tolerances; the message names the first one.
    """
    found: dict[Place, list[Measurement]] = {}
    for one in results.measurements:
        found.setdefault(place(one), []).append(one)
    places = [place(one) for one in results.verdicts]
    for where in sorted({*found, *places}):
        if places.count(where) != (where in found):
            count = places.count(where)
            raise InputError(f"{source}: {_named(where)}: {count} verdicts. Expected {int(where in found)}: {_REMEDY}")
    known = {entry.id for entry in results.questions}
    for where in found:
        if where[2] not in known:
            raise InputError(f"{source}: questions: {where[2]!r} is missing. {_REMEDY}")
    spread = comparisons(results.measurements)
    rows = []
    for verdict in results.verdicts:
        row = _row(verdict, found[place(verdict)], source)
        _check_basis(verdict, row, spread.get(place(verdict)[:2], 1), source)
        rows.append(row)
    bounds = {place(ceiling): ceiling.rate for ceiling in results.ceilings}
    judged = _judged(rows, results.ceilings, results.premises, results.instruments, results.questions)
    for verdict, follows in zip(results.verdicts, judged, strict=True):
        expected: Mapping[str, object] = {**follows._asdict(), "ceiling": bounds.get(place(verdict))}
        for name, value in expected.items():
            if name != "evidence_reason":
                _expect(verdict, name, getattr(verdict, name), value, source)


_REMEDY = "The file was changed or damaged: run the audit again, which reuses what is stored."


def _named(where: Place) -> str:
    return f"verdict on {where[2]} by {where[3]} at {where[1]:.80} ({where[0]:.80})"


def _expect(verdict: Verdict, name: str, stored: object, follows: object, source: str) -> None:
    if stored != follows:
        shown = f"{name} = {stored!r:.80}. From the rest of the file follows {follows!r:.80}"
        raise InputError(f"{source}: {_named(place(verdict))}: {shown}. {_REMEDY}")


def _row(verdict: Verdict, measurements: Sequence[Measurement], source: str) -> _Row:
    """Return what a verdict of a file rests on."""
    named = [one for one in measurements if one.attack == verdict.attack]
    if not named:
        _expect(verdict, "attack", verdict.attack, measurements[0].attack, source)
    measured = [one for one in measurements if one.success is not None]
    if measured and named[0].success is None:
        _expect(verdict, "attack", verdict.attack, measured[0].attack, source)
    return _Row(named[0], verdict.basis)


def _check_basis(verdict: Verdict, row: _Row, spread: int, source: str) -> None:
    """Check that the rates of a verdict fit the counts of its measurement, and their limits their counts."""
    measurement, basis = row
    rates = [("success", measurement.success, 0.95), ("control", measurement.control, 0.95)]
    if basis is not None:
        _expect(verdict, "basis.comparisons", basis.comparisons, spread, source)
        _expect(verdict, "basis.confidence", basis.confidence, 1 - ERROR / spread, source)
        rates += [
            ("basis.success", basis.success, basis.confidence),
            ("basis.control", basis.control, basis.confidence),
        ]
        for name in ("success", "control"):
            own, whole = getattr(basis, name), getattr(measurement, name)
            if own is None or whole is None or not basis.choices:
                counts = None if own is None else (own.k, own.n)
                _expect(verdict, f"basis.{name}", counts, None if whole is None else (whole.k, whole.n), source)
        chosen = [(one.attack, one.success.k, one.success.n, one.success.low) for one in basis.choices]
        own = (verdict.attack, basis.success.k, basis.success.n, basis.success.low)
        if chosen and own not in chosen:
            _expect(verdict, "basis.success", own, chosen[0], source)
    for name, rate, confidence in rates:
        if rate is not None:
            _check_limits(verdict, name, rate, confidence, source)


def _check_limits(verdict: Verdict, name: str, rate: Rate, confidence: float, source: str) -> None:
    """Check that an interval is none that is narrower than the exact one of independent trials."""
    if not 0 <= rate.k <= rate.n:
        _expect(verdict, f"{name}.k", rate.k, f"0 to {rate.n}", source)
    low, high = clopper_pearson(rate.k, rate.n, confidence=confidence)
    if not (rate.low <= low + 1e-9 and rate.high >= high - 1e-9):
        _expect(verdict, f"{name} of {rate.k} in {rate.n}", (rate.low, rate.high), (low, high), source)
