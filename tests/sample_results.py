"""A realistic `Results` with invented numbers, and ways to change it: the report's test subject."""

import math
from dataclasses import replace

from scipy.stats import beta, norm

from qfl_sec.intervals import Rate
from qfl_sec.provenance import Environment, Timings
from qfl_sec.results import (
    AdversaryEntry,
    Ceiling,
    CeilingCurve,
    FailedCell,
    GuaranteeEntry,
    Instrument,
    Measurement,
    Membership,
    Premise,
    QuestionEntry,
    Reconstruction,
    Results,
    Setting,
    Subject,
    Utility,
    Variant,
    Verdict,
)
from qfl_sec.verdicts import VerdictInputs, judge

SEEDS = tuple(range(8))
DELTA = 1e-5
EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
AUDITED = 2.0
MEMBERS, NON_MEMBERS, RECORDS = 1704, 1688, 1280
MEMBERS_FOUND = {0.5: 20, 1.0: 24, 2.0: 39, 4.0: 82, 8.0: 236, 16.0: 702, None: 968}
FALSE_ACCUSATIONS = {0.5: 16, 1.0: 15, 2.0: 16, 4.0: 16, 8.0: 14, 16.0: 16, None: 15}
RECORDS_REBUILT = {0.5: 5, 1.0: 4, 2.0: 0, 4.0: 6, 8.0: 5, 16.0: 9, None: 1128}
CORRECT = {0.5: 726, 1.0: 803, 2.0: 897, 4.0: 945, 8.0: 978, 16.0: 990, None: 1028}
TEST_RECORDS = 1144
METHOD = "cluster bootstrap and design effect over 320 clusters (homogeneity p = 0.214)"
MEMBERSHIP_AUC = {0.5: 0.527, 1.0: 0.548, 2.0: 0.591, 4.0: 0.667, 8.0: 0.781, 16.0: 0.902, None: 0.951}


def rate(k: int, n: int, *, method: str = "Clopper–Pearson", clusters: int | None = None) -> Rate:
    """Return a rate with its exact binomial interval."""
    low = float(beta.ppf(0.025, k, n - k + 1)) if k else 0.0
    high = float(beta.ppf(0.975, k + 1, n - k)) if k < n else 1.0
    return Rate(k=k, n=n, low=low, high=high, method=method, clusters=n if clusters is None else clusters)


def clustered(k: int, n: int) -> Rate:
    return rate(k, n, method=METHOD.replace("320", "8"), clusters=len(SEEDS))


def gaussian_mu(epsilon: float) -> float:
    """Return a mu whose Gaussian mechanism has about this epsilon at the sample's delta."""
    return math.sqrt(2 * epsilon + 2 * math.log(1 / DELTA)) - math.sqrt(2 * math.log(1 / DELTA))


def bound(kappa: float, epsilon: float) -> float:
    return float(norm.cdf(norm.ppf(kappa) + gaussian_mu(epsilon)))


def setting_id(epsilon: float | None) -> str:
    return "none" if epsilon is None else f"dp_sgd(epsilon={epsilon:g})"


def setting(epsilon: float | None, *, audited: bool) -> Setting:
    if epsilon is None:
        return Setting(
            id="none", label="no DP", defense="none", description="No defense: updates are sent as they are.",
            parameters={}, epsilon=None, delta=None, audited=audited,
        )  # fmt: skip
    return Setting(
        id=setting_id(epsilon), label=f"ε = {epsilon:g}", defense="dp_sgd",
        description="Differentially private SGD: each record's gradient is clipped, Gaussian noise is added.",
        parameters={"epsilon": epsilon, "delta": DELTA, "clip_norm": 0.5},
        epsilon=epsilon, delta=DELTA, audited=audited,
    )  # fmt: skip


def membership_measurement(epsilon: float | None) -> Measurement:
    found, false = MEMBERS_FOUND[epsilon], FALSE_ACCUSATIONS[epsilon]
    auc = MEMBERSHIP_AUC[epsilon]
    curve_false = tuple(range(0, NON_MEMBERS + 1, 211))
    curve_true = tuple(round(MEMBERS * (k / NON_MEMBERS) ** (1 / (1 + 4 * (auc - 0.5)))) for k in curve_false)
    return Measurement(
        variant="default", setting=setting_id(epsilon), adversary="server", question="membership",
        attack="update_membership",
        attack_description="Likelihood ratio of each client update with and without the record, summed over rounds.",
        status="measured", reason=None, trainings=len(SEEDS),
        success=clustered(found, MEMBERS), control=clustered(17, MEMBERS), guess=rate(false, NON_MEMBERS),
        membership=Membership(
            false_positives=false, non_members=NON_MEMBERS,
            false_positive_rate_high=rate(false, NON_MEMBERS).high, threshold=3.25,
            at_ten_percent=clustered(round(MEMBERS * 0.1 * (1 + 8 * (auc - 0.5))), MEMBERS),
            false_positives_at_ten_percent=168,
            auc=auc, auc_low=auc - 0.017, auc_high=min(1.0, auc + 0.016),
            control_auc=0.497, control_auc_low=0.481, control_auc_high=0.514, control_false_positives=16,
            false_positives_curve=curve_false, true_positives_curve=curve_true,
        ),
        reconstruction=None, failed=(), scores_sha256=tuple(f"{seed:064x}" for seed in SEEDS),
    )  # fmt: skip


def reconstruction_measurement(epsilon: float | None) -> Measurement:
    rebuilt = RECORDS_REBUILT[epsilon]
    return Measurement(
        variant="default", setting=setting_id(epsilon), adversary="server", question="reconstruction",
        attack="gradient_inversion",
        attack_description="Multistart least squares on one client update; knows the defense and the labels.",
        status="measured", reason=None, trainings=len(SEEDS),
        success=rate(rebuilt, RECORDS, method=METHOD, clusters=320),
        control=rate(6, RECORDS, method=METHOD, clusters=320), guess=rate(5, RECORDS),
        membership=None,
        reconstruction=Reconstruction(
            targets=320, hit_tolerance=0.05, equations=36, unknowns=16, unknowns_max=16, rank=16,
            not_identifiable=3, rmse=0.0312 if epsilon is None else 0.274,
            skill_prior_mean=0.91 if epsilon is None else -0.62, skill_random_record=0.95 if epsilon is None else 0.04,
            skill_control=0.95 if epsilon is None else 0.02,
            oracle_best=rate(min(RECORDS, rebuilt + 21), RECORDS), exact=rate(max(0, rebuilt - 31), RECORDS),
            feature_hits=(max(rebuilt, 310), max(rebuilt, 322), max(rebuilt, 301), max(rebuilt, 296)),
            guess_probability_high=rate(5, RECORDS).high,
        ),
        failed=(), scores_sha256=tuple(f"{seed + 16:064x}" for seed in SEEDS),
    )  # fmt: skip


def unmeasured(epsilon: float | None, adversary: str, question: str, status: str, reason: str) -> Measurement:
    return Measurement(
        variant="default", setting=setting_id(epsilon), adversary=adversary, question=question,  # type: ignore[arg-type]
        attack=None, attack_description="", status=status, reason=reason, trainings=0,  # type: ignore[arg-type]
        success=None, control=None, guess=None, membership=None, reconstruction=None, failed=(), scores_sha256=(),
    )  # fmt: skip


def _ceiling(epsilon: float, question: str) -> Ceiling:
    at = rate(FALSE_ACCUSATIONS[epsilon], NON_MEMBERS).high if question == "membership" else rate(5, RECORDS).high
    return Ceiling(
        variant="default", setting=setting_id(epsilon), question=question, adversary="server",  # type: ignore[arg-type]
        rate=bound(at, epsilon), at=at,
    )  # fmt: skip


def _curve(question: str) -> CeilingCurve:
    at = rate(16, NON_MEMBERS).high if question == "membership" else rate(5, RECORDS).high
    epsilons = tuple(0.5 * 32 ** (index / 199) for index in range(200))
    return CeilingCurve(
        variant="default", defense="dp_sgd", question=question, adversary="server",  # type: ignore[arg-type]
        epsilon=epsilons, rate=tuple(bound(at, epsilon) for epsilon in epsilons),
    )  # fmt: skip


def _guarantee(epsilon: float, adversary: str, client: int) -> GuaranteeEntry:
    releases = (12, 9, 11, 10, 8, 12, 7, 10, 11, 10)[client]
    realised = epsilon * math.sqrt(releases / 12)
    return GuaranteeEntry(
        variant="default", setting=setting_id(epsilon), adversary=adversary, client=client,  # type: ignore[arg-type]
        epsilon=realised, delta=DELTA, unit="record", adjacency="add-remove",
        sampling="Poisson, rate 0.14", mechanism=f"Gaussian, noise multiplier {5 / epsilon:.2f}", releases=releases,
        accountant="PLD (dp-accounting)", epsilon_rdp=realised * 1.11,
    )  # fmt: skip


def _premises(epsilon: float) -> tuple[Premise, ...]:
    rows = (
        ("Every record's gradient is clipped to norm 0.5", "checked in each of 20 rounds, largest norm 0.5000",
         "machine-checked", True),
        ("Gaussian noise is added inside the client", "36 000 residuals, standard deviation within 0.4% of the claim",
         "machine-checked", True),
        ("Batches are Poisson samples", "sampler named in the transcript", "machine-checked", True),
        ("Clients follow the protocol and hide their noise", "not testable from inside the run", "assumed", None),
        ("ε was fixed before looking at results", "stated in the experiment file", "declared", None),
    )  # fmt: skip
    return tuple(
        Premise(variant="default", setting=setting_id(epsilon), premise=premise, how=how, status=status, passed=passed)  # type: ignore[arg-type]
        for premise, how, status, passed in rows
    )


def judged(results: Results) -> Results:
    """Return the same results with the verdicts that follow from them, as the workbench gives them."""
    verdicts = []
    for entry in results.measurements:
        ceiling = next(
            (
                bound.rate
                for bound in results.ceilings
                if (bound.setting, bound.question, bound.adversary) == (entry.setting, entry.question, entry.adversary)
            ),
            None,
        )
        inputs = VerdictInputs.of(
            entry,
            ceiling=ceiling,
            tolerance=next(question.tolerance for question in results.questions if question.id == entry.question),
            instruments_passed=all(instrument.passed for instrument in results.instruments),
            premises_passed=all(premise.passed is not False for premise in results.premises),
        )
        word = judge(inputs)
        verdicts.append(
            Verdict(
                variant=entry.variant,
                setting=entry.setting,
                question=entry.question,
                adversary=entry.adversary,
                attack=entry.attack,
                evidence=word.evidence,
                evidence_reason=word.evidence_reason,
                ceiling=ceiling,
                verdict=word.verdict,
                reason=word.reason,
            )
        )
    return replace(results, verdicts=tuple(verdicts))


def sample_results() -> Results:
    """Return the whole sample: six budgets and none, a server that attacks, a recipient that was not tested."""
    settings = (*EPSILONS, None)
    return judged(Results(
        schema="qfl-sec/report-1", sample=True, package_version="0.1.0", date="2026-11-21", seeds=SEEDS,
        experiment_sha256="4b" * 32,
        subject=Subject(
            title="Tumour grading with a federated quantum classifier", dataset="breast_cancer",
            data_fingerprint="9b1c44e07d21" + "5" * 52, records=569, features=4, classes=2,
            model="variational_classifier", model_summary="VQC, arctan encoding, 4 qubits, 3 layers, 36 parameters",
            parameters=36, clients=10, records_per_client=21.4, rounds=20,
            federation_summary="batches of 4, 1 local step, SGD at 1.0, iid, 5 clients a round",
        ),
        variants=(Variant(id="default", values={}, shown=True),),
        settings=tuple(setting(epsilon, audited=epsilon == AUDITED) for epsilon in (None, *EPSILONS)),
        adversaries=(
            AdversaryEntry(id="server", label="curious server", sees=("each update", "global models")),
            AdversaryEntry(id="recipient", label="user of the released model", sees=("final model",)),
        ),
        questions=(
            QuestionEntry(id="membership", label="Is this record in the data?",
                          measure="members found at 1% false accusations", tolerance=0.05),
            QuestionEntry(id="reconstruction", label="Rebuild a record",
                          measure="records rebuilt to within 5% of every feature's range", tolerance=0.05),
        ),
        measurements=(
            *(membership_measurement(epsilon) for epsilon in settings),
            *(reconstruction_measurement(epsilon) for epsilon in settings),
            *(unmeasured(epsilon, "recipient", "membership", "not tested", "no attack on the released model was run")
              for epsilon in settings),
        ),
        utility=(
            *(Utility(variant="default", setting=setting_id(epsilon), accuracy=rate(CORRECT[epsilon], TEST_RECORDS),
                      majority=rate(717, TEST_RECORDS), trainings=len(SEEDS)) for epsilon in settings),
            Utility(variant="default", setting="classical", accuracy=rate(1006, TEST_RECORDS),
                    majority=rate(717, TEST_RECORDS), trainings=len(SEEDS)),
            Utility(variant="default", setting="centralised", accuracy=rate(1041, TEST_RECORDS),
                    majority=rate(717, TEST_RECORDS), trainings=len(SEEDS)),
        ),
        ceilings=tuple(_ceiling(epsilon, question) for question in ("membership", "reconstruction")
                       for epsilon in EPSILONS),
        ceiling_curves=(_curve("membership"), _curve("reconstruction")),
        guarantees=tuple(_guarantee(epsilon, adversary, client) for epsilon in EPSILONS
                         for adversary in ("server", "recipient") for client in range(10)),
        premises=tuple(premise for epsilon in EPSILONS for premise in _premises(epsilon)),
        instruments=(
            Instrument(id="null-membership", label="Membership control stays at chance",
                       result="AUC 0.497 (0.481–0.514)", required="interval contains 0.5", passed=True),
            Instrument(id="planted", label="Planted leak is found", result="20 of 20", required="at least 18 of 20",
                       passed=True),
            Instrument(id="gradients", label="Per-record gradients equal the loop", result="largest gap 6 × 10⁻⁸",
                       required="below 10⁻⁵, non-zero", passed=True),
            Instrument(id="accountants", label="Two accountants agree", result="PLD 2.00, RDP 2.21",
                       required="PLD ≤ RDP", passed=True),
            Instrument(id="unrelated", label="Unrelated update rebuilds nothing", result="6 of 1 280",
                       required="near the best fixed guess", passed=True),
        ),
        verdicts=(),
    ))  # fmt: skip


def environment() -> Environment:
    return Environment(
        command="qfl-sec audit examples/breast_cancer.toml", package_version="0.1.0", commit="0" * 40, dirty=False,
        python="3.11.7", pennylane="0.45.1", torch="2.13.0", numpy="2.4.6", operating_system="Linux x86_64",
        processor="Invented CPU 3000", cores=2,
    )  # fmt: skip


def timings() -> Timings:
    return Timings(
        started="2026-11-21T09:30:00+00:00", wall_seconds=642.0, cpu_seconds=1198.5, workers=2, trainings=72,
        cells=112, reused=0,
    )  # fmt: skip


def audited_at(results: Results, identifier: str) -> Results:
    """Return the same results with another audited setting."""
    return replace(
        results, settings=tuple(replace(entry, audited=entry.id == identifier) for entry in results.settings)
    )


def without_dp(results: Results) -> Results:
    """Return only what belongs to the setting without a defense."""

    def kept(entries: tuple, *also: str) -> tuple:  # type: ignore[type-arg]
        return tuple(entry for entry in entries if entry.setting in ("none", *also))

    return replace(
        audited_at(results, "none"),
        settings=tuple(
            replace(entry, audited=True) for entry in results.settings if entry.id == "none"
        ),
        measurements=kept(results.measurements), utility=kept(results.utility, "classical", "centralised"),
        ceilings=(), ceiling_curves=(), guarantees=(), premises=(), verdicts=kept(results.verdicts),
    )  # fmt: skip


def all_failed(results: Results) -> Results:
    """Return results in which no cell ended."""
    failed = tuple(FailedCell(seed=seed, reason="RuntimeError: the simulator stopped") for seed in SEEDS)
    return judged(replace(
        results,
        measurements=tuple(
            replace(entry, status="failed", reason="every cell failed", trainings=0, success=None, control=None,
                    guess=None, membership=None, reconstruction=None, failed=failed, scores_sha256=())
            for entry in results.measurements if entry.attack
        ),
        ceilings=(), ceiling_curves=(),
    ))  # fmt: skip


def nothing_measured(results: Results) -> Results:
    """Return results without any measurement, accuracy, guarantee or verdict."""
    return replace(
        results, measurements=(), utility=(), ceilings=(), ceiling_curves=(), guarantees=(), premises=(), verdicts=()
    )
