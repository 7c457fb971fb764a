"""Several runs side by side: the types of `comparison.json`, its only schema."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal

from qfl_sec.contracts import Adversary, Question
from qfl_sec.intervals import Rate
from qfl_sec.reports.comparison_contrast import Contrast
from qfl_sec.results import PairedDifference, Results

SCHEMA: Final = "qfl-sec/comparison-1"

Level = Literal["audited", "undefended"]
"""Which setting of each run: the one of its first page, or the one without a defense."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that is to be compared.

    Attributes:
        name: Unique among them.
        results: The bytes of its `results.json`.
        found: The same, read.
        keys: Its resolved experiment in one level; None if its file is gone.
        paired: Its differences from the first run at each level, as far as the two share seeds.
        unpaired_reason: Why its raw scores, or the first run's, cannot be paired; None where they were read.
    """

    name: str
    results: bytes
    found: Results
    keys: Mapping[str, str] | None
    paired: Mapping[Level, tuple[PairedDifference, ...]]
    unpaired_reason: str | None


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One run as a whole.

    Attributes:
        name: In this comparison.
        run_id: sha256 of its `results.json`.
        title: Of its report.
        package_version: That made it.
        date: Of its tolerances.
        sample: Whether its numbers are invented.
        seeds: Of its trainings.
        dataset: Its data's name.
        data_fingerprint: Of its data.
        model_summary: What was trained.
        setting: Label of the audited setting.
        tolerances: By question.
        failed_instruments: Labels of the checks that failed: its verdicts are withdrawn.
        unpaired_reason: Why it cannot be paired with the first run; None where it can, and for the first.
    """

    name: str
    run_id: str
    title: str
    package_version: str
    date: str | None
    sample: bool
    seeds: tuple[int, ...]
    dataset: str
    data_fingerprint: str
    model_summary: str
    setting: str
    tolerances: Mapping[str, float]
    failed_instruments: tuple[str, ...]
    unpaired_reason: str | None


@dataclass(frozen=True, kw_only=True)
class Change:
    """A key of the experiments that is not the same in all of them; one value a run, None where it has no such key."""

    key: str
    values: tuple[str | None, ...]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One run's answer to one question; as far as there is one.

    Attributes:
        run: Its name.
        setting: Label of the setting.
        status: Whether there are figures, and if not, why in kind; "absent" where the run has no such question,
            adversary, attack or setting.
        reason: Why there are none; None when measured.
        success: Of the attack.
        control: The same attack without signal.
        guess: The best guess without any view.
        ceiling: The most that theory allows; None without a formal guarantee.
        unit: Unit and neighbours of the guarantee; None without one.
        measure: What counts as a success.
        evidence: Of the verdict; None where the verdict rests on another attack.
        verdict: Of the run, as it stands there.
        rests_on: The attack that the run's verdict rests on.
        accuracy: On unseen records, at this setting.
        contrast: Difference from the first run.
        no_contrast: Why there is none; None for the first run and where there is one.
    """

    run: str
    setting: str
    status: Literal["measured", "failed", "not tested", "not visible", "absent"]
    reason: str | None
    success: Rate | None
    control: Rate | None
    guess: Rate | None
    ceiling: float | None
    unit: str | None
    measure: str
    evidence: str | None
    verdict: str | None
    rests_on: str | None
    accuracy: Rate | None
    contrast: Contrast | None
    no_contrast: str | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One question by one adversary, asked with one attack, in every run; in the order of the runs."""

    level: Level
    question: Question
    question_label: str
    adversary: Adversary
    adversary_label: str
    attack: str | None
    entries: tuple[Entry, ...]


@dataclass(frozen=True, kw_only=True)
class AccuracyEntry:
    """One run's accuracy on unseen records.

    Attributes:
        run: Its name.
        setting: Label of the setting.
        accuracy: Correct answers; None if there are none.
        majority: Correct answers of always naming the largest class.
        trainings: Seeds.
        contrast: Difference from the first run.
        no_contrast: Why there is none; None for the first run and where there is one.
    """

    run: str
    setting: str
    accuracy: Rate | None
    majority: Rate | None
    trainings: int
    contrast: Contrast | None
    no_contrast: str | None


@dataclass(frozen=True, kw_only=True)
class Accuracies:
    """The accuracy of every run at one level."""

    level: Level
    entries: tuple[AccuracyEntry, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that a comparison shows: `comparison.json`.

    Attributes:
        schema: Its id.
        runs: In the order given; differences are from the first.
        without_experiment: Names of the runs whose experiment is gone.
        differing: The keys in which the other experiments differ.
        lines: Every question, adversary and attack at every level.
        accuracies: One a level.
    """

    schema: Literal["qfl-sec/comparison-1"]
    runs: tuple[ComparedRun, ...]
    without_experiment: tuple[str, ...]
    differing: tuple[Change, ...]
    lines: tuple[Line, ...]
    accuracies: tuple[Accuracies, ...]


def dumps(comparison: Comparison) -> bytes:
    """Return the canonical bytes of `comparison.json`: sorted keys, two spaces, one final newline."""
    return (json.dumps(asdict(comparison), sort_keys=True, indent=2, allow_nan=False) + "\n").encode()
