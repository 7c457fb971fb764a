"""What an audit found: the types of `results.json`, its only schema.

Counts, not rates: rates and display strings are derived by the reports. A number that does not exist is None, with the
reason beside it. Nothing here is a path, a time, a command or a worker count.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from qfl_sec.checking import InputError, parse_json
from qfl_sec.contracts import Adversary, Question
from qfl_sec.intervals import Rate
from qfl_sec.protocol_results import ChannelEntry, ComputationEntry
from qfl_sec.verdicts import EvidenceWord, VerdictWord

SCHEMA: Final = "qfl-sec/report-1"

Scalar = str | int | float | bool
"""A parameter's value in a setting or a variant."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What was audited.

    Attributes:
        title: The report's title, raw.
        dataset: Its registered name, or that of the user's file.
        data_fingerprint: sha256 of the raw features and labels, or of the user's file.
        records: Records in all splits together.
        features: Features a record has for the model.
        classes: Number of labels.
        model: Its registered name.
        model_summary: Encoding, qubits, layers, in words.
        parameters: Length of the weight vector.
        clients: Number of clients.
        records_per_client: Expected number, mean over clients.
        rounds: Rounds of federation.
        federation_summary: Batches, steps, optimizer, partition, in words.
    """

    title: str
    dataset: str
    data_fingerprint: str
    records: int
    features: int
    classes: int
    model: str
    model_summary: str
    parameters: int
    clients: int
    records_per_client: float
    rounds: int
    federation_summary: str


@dataclass(frozen=True, kw_only=True)
class Strength:
    """How strong a defense without a guarantee is set.

    Attributes:
        name: Of the field that says so, with its defense's in a stack.
        value: At this setting.
        unit: What the value counts, in words; empty if not stated.
        neutral: The value at which the defense does nothing; None if it states no finite one.
    """

    name: str
    value: float
    unit: str
    neutral: float | None


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One defense setting.

    Attributes:
        id: Unique in the file: "none", or the defense's name with its parameters.
        label: As shown at an axis: "no DP" for none.
        defense: Registered name.
        description: First line of the defense's docstring.
        parameters: Its fields.
        epsilon: Budget it claims, at `delta`; None without a formal guarantee.
        delta: None without a formal guarantee.
        audited: Whether it is the setting of the first page.
        strength: What it is drawn against where it claims no guarantee; None if its fields do not tell.
    """

    id: str
    label: str
    defense: str
    description: str
    parameters: Mapping[str, Scalar]
    epsilon: float | None
    delta: float | None
    audited: bool
    strength: Strength | None = None


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One point of the experiment's sweep; an experiment without a sweep has the one variant "default".

    Attributes:
        id: Unique in the file.
        values: Swept key to value.
        shown: Whether the first two pages show it.
    """

    id: str
    values: Mapping[str, Scalar]
    shown: bool


@dataclass(frozen=True, kw_only=True)
class AdversaryEntry:
    """Who looks, and at what.

    Attributes:
        id: Its name.
        label: In words.
        sees: Kinds of view it holds, in words.
    """

    id: Adversary
    label: str
    sees: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class QuestionEntry:
    """What an attacker asks.

    Attributes:
        id: Its name.
        label: As a short question or task.
        measure: What counts as a success, in words.
        tolerance: Highest acceptable success rate.
    """

    id: Question
    label: str
    measure: str
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Membership:
    """The figures of a membership measurement, pooled over trainings.

    Attributes:
        false_positives: False accusations at the threshold.
        non_members: Non-members, n0.
        false_positive_rate_high: Upper limit of the realised false positive rate, at a confidence of 95 % for all
            attacks on the setting together.
        threshold: Lowest score that counts as an accusation at a target of 1 %.
        at_ten_percent: Success at a target of 10 %.
        false_positives_at_ten_percent: False accusations there.
        auc: Area under the curve, ties counted half.
        auc_low: Lower 95 % limit.
        auc_high: Upper 95 % limit.
        control_auc: Of the control.
        control_auc_low: Lower 95 % limit.
        control_auc_high: Upper 95 % limit.
        control_false_positives: False accusations of the control at its own threshold.
        false_positives_curve: Counts at each kept threshold, rising.
        true_positives_curve: Counts at the same thresholds.
    """

    false_positives: int
    non_members: int
    false_positive_rate_high: float
    threshold: float | None
    at_ten_percent: Rate
    false_positives_at_ten_percent: int
    auc: float
    auc_low: float
    auc_high: float
    control_auc: float
    control_auc_low: float
    control_auc_high: float
    control_false_positives: int
    false_positives_curve: tuple[int, ...]
    true_positives_curve: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """The figures of a reconstruction measurement, pooled over trainings.

    Attributes:
        targets: Attacked updates.
        hit_tolerance: A record counts as rebuilt when every feature lies within this share of its reference range.
        equations: Parameters of one update.
        unknowns: Unknown features behind the target that is the median by rank minus unknowns.
        unknowns_max: The most behind any target.
        rank: Rank of the system's Jacobian at that median target's answer.
        not_identifiable: Targets whose rank is below their unknowns.
        rmse: Root mean squared error over the feature's range, median over records; None if no record was scored.
        skill_prior_mean: 1 - MSE / MSE of guessing the prior mean; None where it is undefined.
        skill_random_record: The same against a random reference record of the class.
        skill_control: The same against the control.
        oracle_best: Success if the best restart were chosen by the truth; never a finding.
        exact: Records with an error below 1e-6 of every feature's range.
        feature_hits: Hits of each feature alone, of `success.n` records.
        guess_probability_high: Upper bound on the probability that fixed guesses, as many as the attack made, hit a
            record: kappa of the ceiling, and what a control may reach.
    """

    targets: int
    hit_tolerance: float
    equations: int
    unknowns: int
    unknowns_max: int
    rank: int
    not_identifiable: int
    rmse: float | None
    skill_prior_mean: float | None
    skill_random_record: float | None
    skill_control: float | None
    oracle_best: Rate
    exact: Rate
    feature_hits: tuple[int, ...]
    guess_probability_high: float


@dataclass(frozen=True, kw_only=True)
class FailedCell:
    """A cell that has no result.

    Attributes:
        seed: Of its training.
        reason: The error, in one line.
    """

    seed: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One attack by one adversary on one setting, pooled over seeds.

    Attributes:
        variant: Id of the variant.
        setting: Id of the setting.
        adversary: Id of the adversary.
        question: Id of the question.
        attack: Registered name; None where no attack was run.
        attack_description: First line of the attack's docstring, with what it knows.
        status: Whether there are figures, and if not, why in kind.
        reason: Why not, in words; None when measured.
        trainings: Seeds whose cells are done.
        success: Members found at 1 % false accusations, or records rebuilt.
        control: The same attack without signal.
        guess: The best guess without any view.
        membership: Figures of a membership question.
        reconstruction: Figures of a reconstruction question.
        failed: Cells without a result.
        scores_sha256: Hash of each seed's raw scores, in the order of the seeds.
    """

    variant: str
    setting: str
    adversary: Adversary
    question: Question
    attack: str | None
    attack_description: str
    status: Literal["measured", "failed", "not tested", "not visible"]
    reason: str | None
    trainings: int
    success: Rate | None
    control: Rate | None
    guess: Rate | None
    membership: Membership | None
    reconstruction: Reconstruction | None
    failed: tuple[FailedCell, ...]
    scores_sha256: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Utility:
    """Accuracy on the test split of one setting or baseline, pooled over seeds.

    Attributes:
        variant: Id of the variant.
        setting: Id of the setting, or "centralised" (the same model, not federated) or "classical" (a classical model
            of equal size in the same federation), both without a defense.
        accuracy: Correct answers.
        majority: Correct answers of always naming the reference split's largest class.
        trainings: Seeds.
    """

    variant: str
    setting: str
    accuracy: Rate
    majority: Rate
    trainings: int


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """What a setting changes against no defense, training by training of the same seed.

    Attributes:
        variant: Id of the variant.
        setting: Id of the setting.
        measure: Attack success, or accuracy on the test split.
        adversary: Id of the adversary; None for accuracy.
        attack: Registered name; None for accuracy.
        trainings: Seeds with a result on both sides.
        shared: What the two trainings of every such seed have in common, as found in their records.
        difference: Rate of the setting minus rate without a defense, over these seeds.
        low: Lower end of its 95 % interval.
        high: Upper end.
        method: How the interval was computed, in words.
        gained: Trials that succeed under the setting alone; None where trials have no partners.
        lost: Trials that succeed without a defense alone; None where trials have no partners.
        trials: Of the setting, over these seeds.
    """

    variant: str
    setting: str
    measure: Literal["success", "accuracy"]
    adversary: Adversary | None
    attack: str | None
    trainings: int
    shared: tuple[str, ...]
    difference: float
    low: float
    high: float
    method: str
    gained: int | None
    lost: int | None
    trials: int


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The most that theory allows any attack of one question at one setting.

    Attributes:
        variant: Id of the variant.
        setting: Id of the setting.
        question: Id of the question.
        adversary: Id of the adversary.
        rate: Highest success rate, in [0, 1].
        at: The false positive rate, or the guess's success, at which the mechanism's curve was read.
    """

    variant: str
    setting: str
    question: Question
    adversary: Adversary
    rate: float
    at: float


@dataclass(frozen=True, kw_only=True)
class CeilingCurve:
    """A ceiling between the tested budgets, for drawing.

    Attributes:
        variant: Id of the variant.
        defense: Registered name.
        question: Id of the question.
        adversary: Id of the adversary.
        epsilon: At least 150 budgets, rising, from the lowest to the highest tested one.
        rate: The ceiling at each.
    """

    variant: str
    defense: str
    question: Question
    adversary: Adversary
    epsilon: tuple[float, ...]
    rate: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class GuaranteeEntry:
    """A guarantee as claimed in one training; one entry for each setting, adversary and client, worst over seeds."""

    variant: str
    setting: str
    adversary: Adversary
    client: int | None
    epsilon: float
    delta: float
    unit: str
    adjacency: str
    sampling: str
    mechanism: str
    releases: int
    accountant: str
    epsilon_rdp: float | None


@dataclass(frozen=True, kw_only=True)
class Premise:
    """A premise of a setting's guarantee, over all its trainings."""

    variant: str
    setting: str
    premise: str
    how: str
    status: Literal["machine-checked", "assumed", "declared"]
    passed: bool | None


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """A check of the workbench itself, made in this very run.

    Attributes:
        id: Its name.
        label: What is checked, in words.
        result: What was seen, in words.
        required: What had to be seen, in words.
        passed: Whether it was.
    """

    id: str
    label: str
    result: str
    required: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The strongest attack by one half of the targets, and what it did on the other half.

    Attributes:
        attack: Registered name of the attack with the highest lower limit on the choosing half.
        chosen_at: Its success there.
        success: Its success on the other half.
        control: Its control's success on the other half.
    """

    attack: str
    chosen_at: Rate
    success: Rate
    control: Rate | None


@dataclass(frozen=True, kw_only=True)
class Basis:
    """The rates that a verdict rests on, with limits that hold together at 95 % for all verdicts of its setting.

    Attributes:
        success: Of the attack that the verdict names: on all targets if no other competes, else on the half that did
            not choose it, with the highest upper limit of any attack on all targets.
        control: The same attack without signal, on the same targets.
        comparisons: Over which the error is spread: at a setting, one for each question and adversary with one attack,
            two, for the two halves, where several compete.
        confidence: Of each limit: 1 - 0.05 / comparisons.
        choices: By the first and by the second half; empty where only one attack was measured.
    """

    success: Rate
    control: Rate | None
    comparisons: int
    confidence: float
    choices: tuple[Choice, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The conclusion about one question and adversary at one setting.

    Attributes:
        variant: Id of the variant.
        setting: Id of the setting.
        question: Id of the question.
        adversary: Id of the adversary.
        attack: The strongest attack, None where none was run.
        evidence: What was measured, in a word.
        evidence_reason: Why this word, with figures.
        ceiling: The proven ceiling; None where there is no formal guarantee.
        verdict: The conclusion, in a word.
        reason: Machine-readable code of why.
        basis: The rates it rests on; None where nothing was measured, or where an earlier version judged the
            measurement's own.
    """

    variant: str
    setting: str
    question: Question
    adversary: Adversary
    attack: str | None
    evidence: EvidenceWord
    evidence_reason: str
    ceiling: float | None
    verdict: VerdictWord
    reason: str
    basis: Basis | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingRecord:
    """Which saved transcript a training is, so that a later reader can tell that it is still the same.

    Attributes:
        variant: Id of the variant.
        setting: Id of the setting or baseline.
        seed: Of its random streams.
        key: sha256 of everything that decides it.
        transcript_sha256: Over metadata, tensors and model.
        truth_sha256: Of the truth's file.
    """

    variant: str
    setting: str
    seed: int
    key: str
    transcript_sha256: str
    truth_sha256: str


@dataclass(frozen=True, kw_only=True)
class Results:
    """Everything that an audit found: `results.json`.

    Attributes:
        schema: Its id.
        sample: Whether the numbers are invented.
        package_version: Version of this package.
        date: Of the experiment's tolerances, ISO 8601; the day that the report bears. None if not stated.
        seeds: The trainings' seeds.
        experiment_sha256: Of the resolved experiment, files without their folders.
    """

    schema: Literal["qfl-sec/report-1"]
    sample: bool
    package_version: str
    date: str | None
    seeds: tuple[int, ...]
    experiment_sha256: str
    subject: Subject
    variants: tuple[Variant, ...]
    settings: tuple[Setting, ...]
    adversaries: tuple[AdversaryEntry, ...]
    questions: tuple[QuestionEntry, ...]
    measurements: tuple[Measurement, ...]
    utility: tuple[Utility, ...]
    ceilings: tuple[Ceiling, ...]
    ceiling_curves: tuple[CeilingCurve, ...]
    guarantees: tuple[GuaranteeEntry, ...]
    premises: tuple[Premise, ...]
    instruments: tuple[Instrument, ...]
    verdicts: tuple[Verdict, ...]
    paired: tuple[PairedDifference, ...] = ()
    trainings: tuple[TrainingRecord, ...] = ()
    channels: tuple[ChannelEntry, ...] = ()
    computations: tuple[ComputationEntry, ...] = ()


def dumps(results: Results) -> bytes:
    """Return the canonical bytes of `results.json`: sorted keys, two spaces, one final newline.

    Raises:
        ValueError: If a number is not finite.
    """
    return (json.dumps(asdict(results), sort_keys=True, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode()


def loads(text: bytes, *, source: str = "results.json", judged: bool = False) -> Results:
    """Read and check the bytes of a `results.json`.

    Args:
        text: The file's content.
        source: Its name, for messages.
        judged: Whether to refuse verdicts that do not follow from the rest of the file, as a reader of runs must.

    Raises:
        qfl_sec.checking.InputError: If the text is no JSON, not of this schema, or contradicts itself.
    """
    from qfl_sec.judging import check_verdicts  # it needs the types above

    _check_schema(text, source)
    results = parse_json(Results, text, source=source)
    if judged:
        check_verdicts(results, source=source)
    return results


def _check_schema(text: bytes, source: str) -> None:
    """Refuse another schema by its name, before every key of it is found wrong; what is no JSON is left to others."""
    try:
        found = json.loads(text.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: not UTF-8 ({error.reason}). Use the file that the audit wrote.") from None
    except (ValueError, RecursionError):
        return
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        shown = "no results of qfl-sec" if not isinstance(schema, str) else f"schema = {schema!r:.80}"
        raise InputError(f"{source}: {shown}. Expected {SCHEMA!r}: use the version of qfl-sec that wrote the file.")


def run_id(text: bytes) -> str:
    """Return the run's id: the sha256 of the bytes of its `results.json`."""
    return hashlib.sha256(text).hexdigest()


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of `results.json`, generated from the types above: unknown keys are refused."""
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA,
        **TypeAdapter(Results).json_schema(),
    }
    for described in (schema, *schema["$defs"].values()):
        described["additionalProperties"] = False
    return schema
