"""Several runs side by side: what is compared, how, and what is not."""

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pypdf
import pytest
import sample_results as sample
from scipy import stats

from qfl_sec import plugins
from qfl_sec.attacks.gradient_inversion import GradientInversion
from qfl_sec.attacks.update_membership import UpdateMembership
from qfl_sec.checking import InputError, parse_json
from qfl_sec.cli import main
from qfl_sec.contracts import Attack
from qfl_sec.datasets import DataSpec
from qfl_sec.experiment import Experiment
from qfl_sec.federation import FederationSpec
from qfl_sec.intervals import clustered_rate
from qfl_sec.models import MlpClassifier
from qfl_sec.reports.comparison import Comparison, Entry, Run, dumps
from qfl_sec.reports.comparison_contrast import hybrid, unpaired, wilson
from qfl_sec.reports.comparison_lines import compare, unique_names
from qfl_sec.reports.comparison_text import Sheet, sheet
from qfl_sec.reports.comparison_writer import write_comparison
from qfl_sec.results import Results, loads
from qfl_sec.results import dumps as dump_results
from qfl_sec.side_by_side import Trial, pair_runs, read_keys, read_trials
from qfl_sec.tables import RunSpec
from qfl_sec.workbench import run_audit

PLACE = ("default", "none")
MEMBERSHIP = ("server", "update_membership")


def run(results: Results, name: str, keys: Mapping[str, str] | None = None) -> Run:
    return Run(
        name=name, results=dump_results(results), found=results, keys=keys or {}, paired={},
        unpaired_reason=None,
    )  # fmt: skip


def compared(*results: Results) -> Comparison:
    return compare([run(one, f"run-{index}") for index, one in enumerate(results)])


def other(results: Results, found: int = 60) -> Results:
    """Return the sample with other figures: so many members found at the audited setting."""
    measurements = tuple(
        replace(one, success=sample.clustered(found, sample.MEMBERS), scores_sha256=("ab" * 32,))
        if (one.setting, one.attack) == ("dp_sgd(epsilon=2)", "update_membership")
        else replace(one, scores_sha256=tuple(f"{text[1:]}f" for text in one.scores_sha256))
        for one in results.measurements
    )
    return sample.judged(replace(results, measurements=measurements))


def entries(comparison: Comparison, attack: str, level: str = "audited") -> tuple[Entry, ...]:
    return next(line.entries for line in comparison.lines if (line.attack, line.level) == (attack, level))


def words(comparison: Comparison) -> Sheet:
    return sheet(comparison, "0" * 64)


def test_the_hybrid_score_interval_is_the_published_one() -> None:
    # Newcombe 1998, Stat. Med. 17, 873, table II, method 10: examples (a), (c) and (e).
    for k1, n1, k2, n2, low, high in (
        (56, 70, 48, 80, 0.0524, 0.3339),
        (6, 7, 2, 7, 0.0582, 0.8062),
        (0, 10, 0, 20, -0.1611, 0.2775),
    ):
        found = hybrid(k1 / n1, wilson(k1, n1), k2 / n2, wilson(k2, n2))
        assert found == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("k", "n"), [(0, 10), (3, 10), (10, 10), (97, 4000)])
def test_score_limits_are_scipys(k: int, n: int) -> None:
    peer = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((peer.low, peer.high), abs=1e-12)


def test_unpaired_intervals_cover_clustered_trials() -> None:
    # Eight seeds of 100 trials each whose rates spread: the interval must come from the rates' own limits.
    rng = np.random.default_rng(5)
    inside = naive = 0
    for _ in range(100):
        sides = []
        for _ in range(2):
            rates = rng.beta(4.0, 16.0, size=8)
            hits = rng.random((8, 100)) < rates[:, None]
            sides.append(clustered_rate(hits.ravel(), np.repeat(np.arange(8), 100), rng=rng))
        found = unpaired(sides[0], sides[1])
        assert found.kind == "unpaired"
        inside += found.low <= 0 <= found.high
        one, two = sides
        low, high = hybrid(one.k / one.n, wilson(one.k, one.n), two.k / two.n, wilson(two.k, two.n))
        naive += low <= 0 <= high
    assert inside >= 92
    assert naive < 70


def test_every_run_answers_with_its_own_figures_and_verdict() -> None:
    first = sample.sample_results()
    second = other(first)
    comparison = compared(first, second)
    left, right = entries(comparison, "update_membership")
    assert left.success == sample.clustered(39, sample.MEMBERS)
    assert right.success == sample.clustered(60, sample.MEMBERS)
    for entry, results in ((left, first), (right, second)):
        verdict = next(
            one for one in results.verdicts if (one.setting, one.attack) == ("dp_sgd(epsilon=2)", "update_membership")
        )
        assert (entry.verdict, entry.evidence, entry.ceiling) == (verdict.verdict, verdict.evidence, verdict.ceiling)
        assert entry.accuracy == sample.rate(897, sample.TEST_RECORDS)
    assert left.contrast is None
    assert left.no_contrast is None
    assert right.contrast == unpaired(sample.clustered(60, sample.MEMBERS), sample.clustered(39, sample.MEMBERS))
    assert {line.level for line in comparison.lines} == {"audited", "undefended"}
    unattacked = [line for line in comparison.lines if line.attack is None]
    assert {(line.adversary, entry.status) for line in unattacked for entry in line.entries} == {
        ("recipient", "not tested")
    }


def test_a_verdict_stands_in_the_row_it_rests_on_and_nowhere_else() -> None:
    first = sample.sample_results()
    more = tuple(replace(one, attack="another") for one in first.measurements if one.attack == "update_membership")
    comparison = compared(first, replace(other(first), measurements=(*other(first).measurements, *more)))
    entry = entries(comparison, "another")[1]
    assert (entry.evidence, entry.rests_on) == (None, "update_membership")
    cells = [row.cells for table in words(comparison).sections[0].tables for group in table.groups
             if group.note == "another" for row in group.rows]  # fmt: skip
    assert cells[1][-1] == "rests on update_membership"
    assert cells[0][2].startswith("not asked: the run has no such attack")


def test_failed_instruments_withdraw_verdicts_and_differences() -> None:
    first = sample.sample_results()
    broken = replace(first.instruments[1], passed=False)
    second = sample.judged(replace(other(first), instruments=(broken,)))
    comparison = compared(first, second)
    entry = entries(comparison, "update_membership")[1]
    assert (entry.verdict, entry.contrast, entry.no_contrast) == ("no verdict", None, "an instrument check failed")
    assert any("run-1: verdicts withdrawn" in note and "Planted leak" in note for note in words(comparison).notes)
    assert "run-1: no verdicts" in words(comparison).lead


def changed_question(results: Results, **values: Any) -> Results:
    questions = tuple(replace(one, **values) if one.id == "membership" else one for one in results.questions)
    return sample.judged(replace(other(results), questions=questions))


def test_other_tolerances_measures_units_and_data_are_told() -> None:
    first = sample.sample_results()
    told = words(compared(first, changed_question(first, tolerance=0.01))).notes
    assert any("Membership: the tolerances differ (run-0: 5%; run-1: 1%)" in note for note in told)
    comparison = compared(first, changed_question(first, measure="members found at 5% false accusations"))
    assert entries(comparison, "update_membership")[1].no_contrast == "another measure"
    assert entries(comparison, "gradient_inversion")[1].contrast is not None
    assert any("a success is not the same in all runs" in note for note in words(comparison).notes)
    units = tuple(replace(one, unit="client") for one in first.guarantees)
    told = words(compared(first, replace(other(first), guarantees=units))).notes
    assert any("different units or neighbours (run-0: record" in note for note in told)
    subject = replace(first.subject, data_fingerprint="ef" * 32, dataset="others")
    comparison = compared(first, replace(other(first), subject=subject))
    assert any("The data differ" in note for note in words(comparison).notes)
    assert entries(comparison, "update_membership")[1].contrast is not None


def test_identical_runs_have_no_difference_to_measure() -> None:
    first = sample.sample_results()
    comparison = compared(first, first)
    for line in comparison.lines:
        assert line.entries[1].contrast is None
    assert {one.no_contrast for level in comparison.accuracies for one in level.entries} == {
        None,
        "the same results.json",
    }
    assert any("run-0 and run-1 are the same run, byte for byte" in note for note in words(comparison).notes)
    assert "could be compared" in words(comparison).lead


def test_runs_without_a_common_question_give_an_honest_page(tmp_path: Path) -> None:
    first = sample.sample_results()

    def only(results: Results, question: str) -> Results:
        def kept(ones: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(one for one in ones if one.question == question)

        return replace(
            results, questions=tuple(one for one in results.questions if one.id == question),
            measurements=kept(results.measurements), verdicts=kept(results.verdicts), ceilings=kept(results.ceilings),
            ceiling_curves=kept(results.ceiling_curves),
        )  # fmt: skip

    comparison = compared(only(first, "membership"), only(first, "reconstruction"))
    told = words(comparison).notes
    assert any("nothing can be set side by side" in note for note in told)
    assert any("Membership is not asked in run-1" in note for note in told)
    assert entries(comparison, "update_membership")[1].reason == "the run does not ask this question"


@pytest.mark.parametrize("broken", [sample.all_failed, sample.nothing_measured])
def test_a_run_without_finished_cells_gives_an_honest_page(
    broken: Callable[[Results], Results], tmp_path: Path
) -> None:
    first = sample.sample_results()
    for pair in ((first, broken(first)), (broken(first), first), (broken(first), replace(broken(first), seeds=(1,)))):
        runs = [run(one, f"run-{index}") for index, one in enumerate(pair)]
        assert any("no attack has a result" in note for note in words(compare(runs)).notes)
        assert len(write_comparison(runs, tmp_path)) == 3


def test_the_number_of_runs_is_limited() -> None:
    results = sample.sample_results()
    with pytest.raises(InputError, match="Expected 2 to 12 runs to compare, got 13: more cannot be told apart"):
        compared(*[results] * 13)
    with pytest.raises(InputError, match="got 1: one run has a report of its own"):
        compared(results)


def test_names_are_unique_and_short() -> None:
    names = unique_names(["a" * 40, "a" * 40, "a" * 24, "", "x y\n z"])
    assert names == ("a" * 24, "a" * 20 + " (2)", "a" * 20 + " (3)", "run", "x y z")
    assert max(map(len, names)) == 24


class _Page(HTMLParser):
    """Every tag, attribute and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def flat(text: str) -> str:
    return "".join(text.replace("\u200b", "").split())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    first = sample.sample_results()
    runs = [
        run(first, "first", {"model.layers": "1", "run.seeds": "0, 1"}),
        run(other(first), "second", {"model.layers": "2", "run.seeds": "0, 1", "channel.loss": "0.2"}),
        run(sample.without_dp(first), "third", {"model.layers": "1", "run.seeds": "0, 1"}),
    ]
    write_comparison(runs, folder)
    return folder


def test_all_formats_say_the_same(written: Path) -> None:
    found = json.loads((written / "comparison.json").read_bytes())
    assert found["schema"] == "qfl-sec/comparison-1"
    assert [one["key"] for one in found["differing"]] == ["model.layers", "channel.loss"]
    reader = pypdf.PdfReader(written / "comparison.pdf")
    pdf = flat("".join(page.extract_text() for page in reader.pages))
    html = flat("".join(_Page((written / "comparison.html").read_text()).texts))
    shown = words(_comparison(written))
    for table in (shown.runs, shown.differing, *(table for section in shown.sections for table in section.tables)):
        for text in (table.caption, *(cell for group in table.groups for row in group.rows for cell in row.cells)):
            assert flat(text) in html
            assert flat(text) in pdf, text
    for text in (shown.title, shown.lead, *shown.notes, shown.closing):
        assert flat(text) in html
        assert flat(text) in pdf


def _comparison(folder: Path) -> Comparison:
    return parse_json(Comparison, (folder / "comparison.json").read_bytes(), source="comparison.json")


def test_the_json_is_its_schemas_and_is_attached_to_the_pdf(written: Path) -> None:
    content = (written / "comparison.json").read_bytes()
    assert dumps(_comparison(written)) == content
    reader = pypdf.PdfReader(written / "comparison.pdf")
    assert reader.attachments["comparison.json"] == [content]
    metadata = reader.trailer["/Root"]["/Metadata"].get_data().decode()  # type: ignore[index]
    assert "<pdfaid:part>3</pdfaid:part>" in metadata
    assert "<pdfuaid:part>1</pdfuaid:part>" in metadata


def test_the_page_asks_for_nothing_and_runs_nothing(written: Path) -> None:
    page = _Page((written / "comparison.html").read_text())
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe", "object", "form", "a")]
    attributes = [(name, value) for _, found in page.tags for name, value in found.items()]
    assert not [name for name, _ in attributes if name in ("style", "src", "href") or name.startswith("on")]
    policy = next(str(found["content"]) for tag, found in page.tags if found.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_shows_it_with_its_style(written: Path) -> None:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=2000",
               "--enable-logging=stderr", f"--user-data-dir={written / 'profile'}", (written / "comparison.html").as_uri()]  # noqa: E501  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "Three audits side by side" in done.stdout
    assert "CONSOLE" not in done.stderr
    assert "Content Security Policy" not in done.stderr


def test_the_same_runs_give_the_same_bytes(written: Path, tmp_path: Path) -> None:
    first = sample.sample_results()
    runs = [
        run(first, "first", {"model.layers": "1", "run.seeds": "0, 1"}),
        run(other(first), "second", {"model.layers": "2", "run.seeds": "0, 1", "channel.loss": "0.2"}),
        run(sample.without_dp(first), "third", {"model.layers": "1", "run.seeds": "0, 1"}),
    ]
    for path in write_comparison(runs, tmp_path):
        assert path.read_bytes() == (written / path.name).read_bytes()


HOSTILE = ("<script>alert(1)</script> #panic() \"' & $x$ *b*", "\u202eabc\x00\ud7ff東京 😀 \ue000", "x" * 5000, "")


@pytest.mark.parametrize("text", HOSTILE, ids=["markup", "controls", "long", "empty"])
def test_no_text_breaks_the_build_or_becomes_markup(text: str, tmp_path: Path) -> None:
    first = sample.sample_results()
    hostile = replace(
        first, package_version=text, subject=replace(first.subject, title=text, model_summary=text, dataset=text),
        settings=tuple(replace(one, label=text) for one in first.settings),
        questions=tuple(replace(one, label=text, measure=text) for one in first.questions),
        adversaries=tuple(replace(one, label=text) for one in first.adversaries),
        guarantees=tuple(replace(one, unit=text) for one in first.guarantees),
    )  # fmt: skip
    name = unique_names([text])[0]
    runs = [run(first, "first", {"a": "1", text: text}), run(hostile, name, {"a": text})]
    assert len(write_comparison(runs, tmp_path)) == 3
    page = _Page((tmp_path / "comparison.html").read_text())
    assert not [tag for tag, _ in page.tags if tag == "script"]


def test_twelve_runs_fit(tmp_path: Path) -> None:
    results = sample.sample_results()
    runs = [run(other(results, 20 + index), f"run number {index}", {"a": str(index)}) for index in range(12)]
    write_comparison(runs, tmp_path, ("pdf",))
    reader = pypdf.PdfReader(tmp_path / "comparison.pdf")
    assert len(reader.pages) < 10
    assert "run number 11" in reader.pages[0].extract_text()


SEEDS = (0, 1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def audits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small runs: two of different learning rates, one of other seeds and features, one of another split."""
    folder = tmp_path_factory.mktemp("runs")
    small: dict[str, Any] = {"clients": 2, "clients_per_round": 2, "rounds": 2, "batch_size": 2}

    def audited(name: str, rate: float, seeds: tuple[int, ...], data: DataSpec, *attacks: Attack) -> None:
        experiment = Experiment(
            data=data, model=MlpClassifier(), federation=FederationSpec(**small, learning_rate=rate),
            attacks=(UpdateMembership(), *attacks), run=RunSpec(seeds=seeds),
        )  # fmt: skip
        run_audit(experiment, out=folder / name, inline=True, command="qfl-sec audit")

    audited("first", 1.0, SEEDS, DataSpec())
    audited("second", 0.1, SEEDS, DataSpec())
    inversion = GradientInversion(targets=1, restarts=2, iterations=5)
    audited("shifted", 0.1, (4, 5, 6), DataSpec(features=3), inversion)
    audited("elsewhere", 0.1, (4, 5), DataSpec(test_fraction=0.3))
    return folder


def results_of(folder: Path) -> Results:
    return loads((folder / "results.json").read_bytes())


def test_trials_are_those_that_were_counted(audits: Path) -> None:
    results = results_of(audits / "shifted")
    trials = read_trials(audits / "shifted", results, {PLACE})
    found = {(one.adversary, one.attack): one.success for one in results.measurements if one.success is not None}
    assert set(trials) == {(PLACE, None), *((PLACE, key) for key in found)}
    for asked, rate in found.items():
        assert rate is not None
        assert sum(int(one.hits.sum()) for one in trials[PLACE, asked].values()) == rate.k  # type: ignore[index]
    assert ("server", "gradient_inversion") in found
    assert set(trials[PLACE, None]) == {4, 5, 6}


def test_runs_of_the_same_seeds_are_paired_trial_by_trial(audits: Path) -> None:
    first, second = (results_of(audits / name) for name in ("first", "second"))
    trials = [read_trials(audits / name, one, {PLACE}) for name, one in (("first", first), ("second", second))]
    found = list(pair_runs(trials[0], trials[1], (PLACE, PLACE)))
    by_attack = {one.attack: one for one in found}
    for attack in (None, "update_membership"):
        assert by_attack[attack].trainings == len(SEEDS)
        assert by_attack[attack].shared == ("split", "trials")
        gained, lost, trials_ = by_attack[attack].gained, by_attack[attack].lost, by_attack[attack].trials
        assert gained is not None
        assert lost is not None
        assert by_attack[attack].difference == pytest.approx((gained - lost) / trials_)
    rates = [one.utility[0].accuracy for one in (first, second)]
    assert by_attack[None].difference == pytest.approx(rates[1].k / rates[1].n - rates[0].k / rates[0].n)
    # What the seeds share cancels: as independent samples the same rates are told apart less sharply.
    apart = unpaired(rates[1], rates[0])
    assert by_attack[None].high - by_attack[None].low < apart.high - apart.low


def test_only_shared_seeds_with_the_same_split_are_paired(audits: Path) -> None:
    def trials(name: str) -> Any:
        return read_trials(audits / name, results_of(audits / name), {PLACE})

    first, shifted = trials("first"), trials("shifted")
    paired = {one.attack: one for one in pair_runs(first, shifted, (PLACE, PLACE))}
    assert paired[None].trainings == 2
    mine = np.concatenate([shifted[PLACE, None][seed].hits for seed in (4, 5)])
    theirs = np.concatenate([first[PLACE, None][seed].hits for seed in (4, 5)])
    assert paired[None].difference == pytest.approx(mine.mean() - theirs.mean())
    assert not list(pair_runs(first, trials("elsewhere"), (PLACE, PLACE)))


def test_trials_with_other_names_are_paired_by_seed_alone() -> None:
    hits = np.array([True, False, True])
    names = np.arange(3).reshape(-1, 1)
    first = {(PLACE, None): {0: Trial(hits=hits, names=names, split="s"), 1: Trial(hits=hits, names=names, split="s")}}
    moved = {seed: replace(one, names=names + 1) for seed, one in first[PLACE, None].items()}
    found = next(pair_runs(first, {(PLACE, None): moved}, (PLACE, PLACE)))
    assert (found.shared, found.gained, found.trainings) == (("split",), None, 2)


Answer = tuple[int, str, str]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    monkeypatch.setattr(plugins, "_registry", plugins._Registry())

    def answer(*arguments: object) -> Answer:
        status = main([str(one) for one in arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return answer


def test_the_command_pairs_what_it_can_and_says_the_rest(
    audits: Path, call: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("first", "second", "elsewhere")
    status, out, err = call("report", *(audits / name for name in names), "--format", "json", "--format", "html")
    assert (status, err) == (0, "")
    assert out == "runs/comparison/comparison.json\nruns/comparison/comparison.html\n"
    found = _comparison(tmp_path / "runs" / "comparison")
    assert tuple(one.name for one in found.runs) == names
    assert [one.key for one in found.differing] == ["data.test_fraction", "federation.learning_rate", "run.seeds"]
    for level in (found.accuracies[0].entries, entries(found, "update_membership")):
        assert [one.contrast.kind for one in level if one.contrast is not None] == ["paired", "unpaired"]
    assert found.runs[2].unpaired_reason == "they share no seed with the same data and split"


def test_without_records_differences_are_unpaired_and_say_so(audits: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(audits / "first", kept)
    results = results_of(kept)
    shutil.rmtree(kept / "transcripts")
    with pytest.raises(InputError, match="holds no transcripts"):
        read_trials(kept, results, {PLACE})
    shutil.copytree(audits / "second" / "transcripts", kept / "transcripts")
    with pytest.raises(InputError, match="another version"):
        read_trials(kept, results, {PLACE})
    with pytest.raises(InputError, match=r"is not the one of its results\.json"):
        read_trials(audits / "second", results, {PLACE})
    fewer = replace(results, utility=tuple(
        replace(one, accuracy=replace(one.accuracy, k=one.accuracy.k - 1)) for one in results.utility
    ))  # fmt: skip
    with pytest.raises(InputError, match="raw scores give"):
        read_trials(audits / "first", fewer, {PLACE})


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda run: (run / "results.json").unlink(), "results.json: no such file"),
        (lambda run: (run / "results.json").write_text("{"), "results.json: "),
        (lambda run: (run / "experiment.toml").write_text("= ="), "not a readable experiment"),
    ],
    ids=["gone", "damaged", "experiment"],
)
def test_a_damaged_run_is_refused_by_name(
    break_it: Callable[[Path], None], message: str, audits: Path, call: Callable[..., Answer], tmp_path: Path
) -> None:
    shutil.copytree(audits / "second", tmp_path / "second")
    break_it(tmp_path / "second")
    status, out, err = call("report", audits / "first", tmp_path / "second", "--out", tmp_path / "out")
    assert (status, out) == (2, "")
    assert "second" in err
    assert message in err
    assert not (tmp_path / "out").exists()


def test_thirteen_runs_and_unknown_formats_are_refused(audits: Path, call: Callable[..., Answer]) -> None:
    status, _, err = call("report", *[audits / "first"] * 13)
    assert (status, "Expected 2 to 12 runs" in err) == (2, True)
    status, _, err = call("report", audits / "first", audits / "second", "--format", "docx")
    assert (status, "Unknown report format 'docx'" in err) == (2, True)


def test_experiments_are_read_in_one_level(tmp_path: Path) -> None:
    (tmp_path / "experiment.toml").write_text(
        'defenses = [{name = "none"}, {name = "dp_sgd", epsilon = 1.0, delta = 0.001},'
        ' {name = "dp_sgd", epsilon = 2.0, delta = 0.001}]\n'
        '[data]\nfile = "/secret/place/clinics.csv"\n[model]\nlayers = 3\ntied = true\n[run]\nseeds = [0, 1]\n'
        '[[attacks]]\nname = "gradient_inversion"\nrestarts = 4\n'
    )
    assert read_keys(tmp_path) == {
        "defenses.none.name": "none", "defenses.dp_sgd.epsilon": "1.0; 2.0", "defenses.dp_sgd.delta": "0.001",
        "data.file": "clinics.csv", "model.layers": "3", "model.tied": "true", "run.seeds": "0, 1",
        "attacks.gradient_inversion.restarts": "4",
    }  # fmt: skip
