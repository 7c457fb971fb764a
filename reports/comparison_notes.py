"""How far runs can be compared: what differs between them that a figure alone would hide."""

from collections.abc import Iterable, Mapping

from qfl_sec.reports import wording as w
from qfl_sec.reports.comparison import Comparison, Line
from qfl_sec.reports.sanitising import cut


def notes(comparison: Comparison) -> tuple[str, ...]:
    """Return everything that limits the comparison, the gravest first."""
    return tuple(
        note
        for group in (
            _withdrawn(comparison),
            _empty(comparison),
            _identical(comparison),
            _tolerances(comparison),
            _units(comparison),
            _measures(comparison),
            _data(comparison),
            _unpaired(comparison),
            _experiments(comparison),
            _versions(comparison),
            _methods(comparison),
        )
        for note in group
    )


def _withdrawn(comparison: Comparison) -> Iterable[str]:
    for index, run in enumerate(comparison.runs):
        name = cut(run.name, 24)
        if run.failed_instruments:
            failed = w.listed(cut(label, 60) for label in run.failed_instruments[:3])
            yield (
                f"{name}: verdicts withdrawn, an instrument check failed ({failed}). Its figures are printed as they "
                "were taken, nothing is concluded from them, and no difference is drawn to or from them."
            )
        elif any(line.entries[index].verdict == "no verdict" for line in comparison.lines):
            yield f"{name}: no verdict where a measurement contradicts a guarantee; its report says which."


def _empty(comparison: Comparison) -> Iterable[str]:
    for index, run in enumerate(comparison.runs):
        figures = [line.entries[index].success for line in comparison.lines]
        if not any(rate is not None and rate.n for rate in figures):
            yield f"{cut(run.name, 24)}: no attack has a result, so nothing is known of what it lets through."
    both = [line for line in comparison.lines if sum(_measured(line)) > 1]
    if not both:
        yield "No attack by the same adversary has figures in two of these runs: nothing can be set side by side."


def _measured(line: Line) -> list[bool]:
    return [entry.success is not None and entry.success.n > 0 for entry in line.entries]


def _identical(comparison: Comparison) -> Iterable[str]:
    """Name runs that are one and the same."""
    for names in _by({run.name: run.run_id for run in comparison.runs}).values():
        if len(names) > 1:
            yield f"{_names(names)} are the same run, byte for byte: there is no difference to measure between them."


def _by(values: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names that share each value."""
    found: dict[str, list[str]] = {}
    for name, value in values.items():
        found.setdefault(value, []).append(name)
    return found


def _names(names: Iterable[str]) -> str:
    return w.listed(cut(name, 24) for name in names)


def _spread(values: Mapping[str, str]) -> str:
    """Say which runs have which value: a and b 5%, c 1%."""
    return "; ".join(f"{_names(names)}: {value}" for value, names in _by(values).items())


def _tolerances(comparison: Comparison) -> Iterable[str]:
    for question in dict.fromkeys(key for run in comparison.runs for key in run.tolerances):
        asked = {run.name: w.agreed(run.tolerances[question]) for run in comparison.runs if question in run.tolerances}
        if len(set(asked.values())) > 1:
            yield (
                f"{question.capitalize()}: the tolerances differ ({_spread(asked)}). Each verdict holds at its own "
                "run's tolerance, and verdicts of different tolerances do not rank runs."
            )
        absent = [run.name for run in comparison.runs if question not in run.tolerances]
        if absent:
            yield f"{question.capitalize()} is not asked in {_names(absent)}."


def _units(comparison: Comparison) -> Iterable[str]:
    units: dict[str, str] = {}
    for line in comparison.lines:
        for entry in line.entries:
            if entry.unit is not None:
                units.setdefault(entry.run, cut(entry.unit, 60))
    if len(set(units.values())) > 1:
        yield (
            f"The guarantees protect different units or neighbours ({_spread(units)}): their ceilings do not rank runs."
        )


def _measures(comparison: Comparison) -> Iterable[str]:
    for question in dict.fromkeys(line.question for line in comparison.lines):
        measures = {
            entry.run: cut(entry.measure, 100)
            for line in comparison.lines
            for entry in line.entries
            if line.question == question and entry.success is not None
        }
        if len(set(measures.values())) > 1:
            yield (
                f"{question.capitalize()}: a success is not the same in all runs ({_spread(measures)}). Between "
                "different measures no difference is drawn."
            )


def _data(comparison: Comparison) -> Iterable[str]:
    data = {run.name: f"{cut(run.dataset, 24)} {w.digits(run.data_fingerprint, 2)}" for run in comparison.runs}
    if len({run.data_fingerprint for run in comparison.runs}) > 1:
        yield (
            f"The data differ ({_spread(data)}): a difference between such runs is one of the data as much as of "
            "anything else, and they are not paired."
        )


def _unpaired(comparison: Comparison) -> Iterable[str]:
    for run in comparison.runs[1:]:
        if run.unpaired_reason is not None:
            yield (
                f"{cut(run.name, 24)}: not paired with {cut(comparison.runs[0].name, 24)}, since "
                f"{cut(run.unpaired_reason, 300).rstrip('.')}. Its differences are taken as of independent samples."
            )


def _experiments(comparison: Comparison) -> Iterable[str]:
    if comparison.without_experiment:
        yield (
            f"{_names(comparison.without_experiment)}: the experiment is gone from the run's folder, so that what "
            "differs from the others cannot be listed."
        )
    elif not comparison.differing:
        yield "The resolved experiments do not differ in any key."


def _versions(comparison: Comparison) -> Iterable[str]:
    versions = {run.name: cut(run.package_version, 20) for run in comparison.runs}
    if len(set(versions.values())) > 1:
        yield f"The runs were made by different versions of qfl-sec ({_spread(versions)})."
    samples = [run.name for run in comparison.runs if run.sample]
    if samples:
        yield f"The numbers of {_names(samples)} are invented."


def _methods(comparison: Comparison) -> Iterable[str]:
    contrasts = [
        *(entry.contrast for line in comparison.lines for entry in line.entries),
        *(entry.contrast for level in comparison.accuracies for entry in level.entries),
    ]
    methods = dict.fromkeys(cut(contrast.method, 110) for contrast in contrasts if contrast is not None)
    if methods:
        yield (
            f"Intervals of differences: {cut('; '.join(methods), 600)}. Each holds with 95% by itself, not all at "
            "once. A change is shown where its interval leaves out zero."
        )
