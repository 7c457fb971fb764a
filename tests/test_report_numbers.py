"""Every number that the PDF prints stands in the run's three files, or follows from them by a derivation listed here.

The derivations are written anew, without the modules that write the report: a rounding error there is an error here.
"""

import math
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pypdf
import pytest
import sample_results as sample

from qfl_sec.provenance import Environment, Timings
from qfl_sec.reports import write_report
from qfl_sec.results import Measurement, Membership, Results, dumps, run_id

NUMBER = re.compile(r"(?<![\w.])[<>]?\d+(?:\.\d+)?(?:%|(?![\w%]))")

FIXED_WORDS = (
    r"page \d+ of \d+", r"\(page \d+\)", r"(?:Table|Figure) \d+", r"No\. \d+",
    r"arXiv \d{4}\.\d{5}", r"doi 10\.\S+?(?=\))", r"(?:19|20)\d\d(?=, )",
    r"(?<!\()95% (?:intervals?|lower bound)", r"\(95%\)",
    r"at a target of 1% (?=outsiders)", r"a target of 10% false", r"Found at 10%",
    r"at 1% false accusations", r"every feature within 10⁻⁶ of its range", r"Skill: 1 − MSE", r"; 0\.5 is guessing",
    r"0\.1% 1% 10% 100%(?= Evidence)", r"Per 1000(?= members)", r"Setting 0\.1% 0\.5% 2% 5% 20% 50%",
    r"schema qfl-sec/report-1", r"holds with 95% by itself",
)  # fmt: skip
"""Numbers of the report's own sentences and headings, which no run changes."""

AXES = re.compile(r"(?:100|[1-9]0|[1-9])%|0(?:\.1)?%|0\.\d|1\.0|10|1|0\.1")
"""Labels of a figure's axes; only lines of the figure pages that hold nothing else may be such labels."""


def normal(text: str) -> str:
    """Return a text with plain single spaces, thousands without spaces."""
    text = text.replace("\u200b", "").replace("\u00a0", " ").replace("\u00ad", "")
    # Poppler drops or widens the narrow space; only the denominator of a frequency is widened.
    return re.sub(r"(?<=\d)\u202f(?=\d{3})", "", text).replace("1 000", "1000")


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from strings(child)
            yield str(key)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from strings(child)


def near(shown: str, true: float, *, scale: float = 1.0, up: bool = False) -> bool:
    """Return whether a printed number is this value, rounded to its own decimals, or up."""
    shown = shown.rstrip("%").replace("−", "-").replace("+", "")
    value, true = float(shown.lstrip("<>")), true * scale
    if shown[0] in "<>":
        return 0 < true < value if shown[0] == "<" else value < true < 100
    unit = 10.0 ** -len(shown.partition(".")[2])
    return -1e-6 <= value - true < unit + 1e-6 if up else abs(value - true) <= unit / 2 + 1e-6


class Known:
    """What a run's files hold, and what may be derived from it."""

    def __init__(self, results: Results, environment: Environment, timings: Timings) -> None:
        self.results, self.timings = results, timings
        self.measured = [entry for entry in results.measurements if entry.success is not None]
        rates = [rate for entry in self.measured for rate in self._rates(entry)]
        self.rates = [*rates, *(rate for entry in results.utility for rate in (entry.accuracy, entry.majority))]
        self.games = [entry.membership for entry in self.measured if entry.membership is not None]
        self.inversions = [entry.reconstruction for entry in self.measured if entry.reconstruction is not None]
        self.pairs = self._pairs()
        self.shares = [rate.k / rate.n for rate in self.rates if rate.n]
        self.shares += [game.false_positives / game.non_members for game in self.games]
        self.shares += [game.false_positives_at_ten_percent / game.non_members for game in self.games]
        self.shares += [one.rmse for one in self.inversions if one.rmse is not None]
        self.shares += [
            hits / entry.success.n
            for entry in self.measured
            if entry.reconstruction is not None and entry.success is not None
            for hits in entry.reconstruction.feature_hits
        ]
        self.bounds = [value for ceiling in results.ceilings for value in (ceiling.rate, ceiling.at)]
        self.bounds += [rate.high for rate in self.rates if rate.k == 0]
        self.agreed = [entry.tolerance for entry in results.questions] + [one.hit_tolerance for one in self.inversions]
        self.areas = [
            (value, low, high)
            for game in self.games
            for value, low, high in (
                (game.auc, game.auc_low, game.auc_high),
                (game.control_auc, game.control_auc_low, game.control_auc_high),
            )
        ]
        self.audits = list(self._audits())
        self.gains = list(self._gains())
        self.quotes = self._quotes(environment)
        self.whole = self._whole(environment)

    @staticmethod
    def _rates(entry: Measurement) -> Iterator[Any]:
        yield from (rate for rate in (entry.success, entry.control, entry.guess) if rate is not None)
        if entry.membership is not None:
            yield entry.membership.at_ten_percent
        if entry.reconstruction is not None:
            yield from (entry.reconstruction.oracle_best, entry.reconstruction.exact)

    def _pairs(self) -> set[tuple[int, int]]:
        """Return the pairs that may stand as k / n."""
        found = {(rate.k, rate.n) for rate in self.rates}
        found |= {(game.false_positives, game.non_members) for game in self.games}
        found |= {(game.false_positives_at_ten_percent, game.non_members) for game in self.games}
        found |= {pair for one in self.inversions for pair in
                  ((one.rank, one.unknowns), (one.not_identifiable, one.targets))}  # fmt: skip
        return found | {(p.gained, p.lost) for p in self.results.paired if p.gained is not None and p.lost is not None}

    def _audits(self) -> Iterator[float]:
        """Derivation: the least epsilon that allows the rates, at the limits and at the rates themselves."""
        deltas = {guarantee.delta for guarantee in self.results.guarantees}
        for entry in self.measured:
            game, rate = entry.membership, entry.success
            if game is None or rate is None:
                continue
            for delta in deltas:
                for found, accused in (
                    (rate.low, game.false_positive_rate_high),
                    (rate.k / rate.n, game.false_positives / game.non_members),
                ):
                    yield max(
                        0.0,
                        math.log(max(found - delta, 1e-12) / accused),
                        math.log(max(1 - delta - accused, 1e-12) / (1 - found)),
                    )

    def _gains(self) -> Iterator[float]:
        """Derivation: excess over guessing and its share of the room under the ceiling; accuracy lost."""
        bare = next((entry.accuracy for entry in self.results.utility if entry.setting == "none"), None)
        if bare is not None:
            yield from (abs(bare.k / bare.n - e.accuracy.k / e.accuracy.n) for e in self.results.utility)
        for ceiling in self.results.ceilings:
            for entry in self.measured:
                same = (entry.setting, entry.question, entry.adversary)
                if (
                    same != (ceiling.setting, ceiling.question, ceiling.adversary)
                    or not entry.guess
                    or not entry.guess.n
                ):
                    continue
                guess, success = entry.guess.k / entry.guess.n, entry.success
                assert success is not None
                used, room = success.k / success.n - guess, ceiling.rate - guess
                yield from (used, room, used / room)

    def _quotes(self, environment: Environment) -> list[str]:
        """Derivation: texts as they stand, numbers with exponents rewritten, hashes cut into blocks."""
        files = [asdict(self.results), asdict(environment), asdict(self.timings)]
        texts = {normal(" ".join(text.split())) for text in strings(files) if re.search(r"\d", text)}
        texts |= {setting.label.replace(" = ", "=") for setting in self.results.settings}
        hashes = (run_id(dumps(self.results)), self.results.subject.data_fingerprint, self.results.experiment_sha256)
        texts |= {" ".join(text[at : at + 4] for at in range(0, size, 4)) for text in hashes for size in (16, 64)}
        texts |= {hashes[0][:8], (environment.commit or "")[:7]} - {""}
        texts |= {self._rewritten(text) for text in texts if re.search(r"\de-\d", text)}
        return sorted(texts, key=len, reverse=True)

    @staticmethod
    def _rewritten(text: str) -> str:
        def shown(found: re.Match[str]) -> str:
            value = float(found[0])
            if value >= 1e-6:
                return f"{value:.10f}".rstrip("0").rstrip(".")
            digits, exponent = found[0].split("e-")
            raised = str(int(exponent)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
            return f"{digits.removesuffix('.0')} × 10⁻{raised}"

        return re.sub(r"\d(?:\.\d+)?e-\d\d", shown, text)

    def _whole(self, environment: Environment) -> set[int]:
        """Return what may stand as a number of its own: counts of the files, and how many entries they have."""
        results, subject, timings = self.results, self.results.subject, self.timings
        found = {
            subject.records,
            subject.features,
            subject.classes,
            subject.parameters,
            subject.clients,
            subject.rounds,
        }
        found |= {environment.cores, timings.workers, timings.trainings, timings.cells, timings.reused}
        found |= {*results.seeds, len(results.seeds), len(results.instruments), len(self.results.settings)}
        found |= {entry.trainings for entry in (*results.utility, *self.measured)}
        found |= {len({entry.attack for entry in results.measurements if entry.attack})}
        found |= {entry.clusters for entry in self.rates} | {entry.n for entry in self.rates}
        found |= {game.non_members for game in self.games} | {hits for game in self.games for hits in _read_off(game)}
        found |= {
            value for one in self.inversions for value in (one.targets, one.rank, one.unknowns, *one.feature_hits)
        }
        found |= {entry.success.k for entry in self.measured if entry.success is not None}
        found |= {value for entry in results.paired for value in (entry.trials, entry.trainings)}
        budgets = sum(setting.epsilon is not None for setting in results.settings)
        found |= {
            budgets,
            len(results.settings) - budgets,
            len(results.verdicts),
            sum(i.passed for i in results.instruments),
        }
        found |= {sum(premise.setting != self._audited for premise in results.premises)}
        found |= {max((entry.releases for entry in results.guarantees if entry.setting == s.id), default=0)
                  for s in results.settings}  # fmt: skip
        found |= {len(entry.failed) for entry in results.measurements if entry.failed}
        untested = [entry for entry in results.measurements if entry.success is None]
        return found | {sum(entry.adversary == who for entry in untested) for who in {e.adversary for e in untested}}

    @property
    def _audited(self) -> str:
        return next(setting.id for setting in self.results.settings if setting.audited)

    def _frequency(self, shown: str) -> bool:
        """Derivation: shares of 100 or 1 000."""
        return any(near(shown, share, scale=whole) for share in self.shares for whole in (100, 1000))

    def _most(self, shown: str, *scales: int) -> bool:
        """Derivation: ceilings in percent or of 100 or 1 000, rounded up."""
        return any(near(shown, bound, scale=scale, up=True) for bound in self.bounds for scale in scales)

    def _counted(self, m: re.Match[str]) -> bool:
        """Derivation: how many of a kind there are."""
        results, subject, timings = self.results, self.results.subject, self.timings
        trained = {entry.trainings for entry in (*results.utility, *self.measured)}
        known = {
            "seed": {len(results.seeds), *trained},
            "round": {subject.rounds},
            "client": {subject.clients},
            "feature": {subject.features},
            "class": {subject.classes},
            "worker": {timings.workers},
            "training": {timings.trainings},
            "cell": {timings.cells, sum(len(entry.failed) for entry in results.measurements)},
        }
        return int(m[1]) in known[m[2]]

    def _percentage(self, shown: str) -> bool:
        return any(near(shown, share, scale=100) for share in (*self.shares, *self.agreed)) or self._most(shown, 100)

    def rules(self) -> Iterable[tuple[str, Callable[[re.Match[str]], bool]]]:
        """Return what a number looks like in its place, and whether it is known, the most telling first."""
        n, p = r"([<>]?\d+(?:\.\d+)?)", r"([<>]?\d+(?:\.\d+)?)%"
        s = r"([+−]?<?\d+\.\d\d)"
        yield rf"{p} \({n}–{n}\)", self._rate
        yield rf"{n} \({n}–{n}\)", self._area
        yield rf"(?:found|rebuilt) {n} \(95% interval {n} to {n}\)", self._frequency_interval
        yield rf"{s} points \(95% interval {s} to {s}\)", self._paired
        yield rf"(?<!\S){s} {s} to {s}(?!\S)", self._paired
        yield rf"\d+ of \d+ \(to {p}\)", lambda m: self._percentage(m[1])
        yield r"(\d+) / (\d+)", lambda m: (int(m[1]), int(m[2])) in self.pairs
        yield r"0 of (\d+)(?! ?\d)", lambda m: (0, int(m[1])) in self.pairs
        yield r"at most (\d+) of (100|1000)(?!\d)", lambda m: self._most(m[1], int(m[2]))
        yield rf"(?:at most|allows|allows up to|bounds? it at|protected up to) {p}", lambda m: self._most(m[1], 100)
        yield rf"uses {p} of what the proof allows", lambda m: self._gain(m[1])
        yield r"([<>]?\d+) of (100|1000)(?!\d)", lambda m: self._frequency(m[1])
        yield r"(\d+) (seed|round|client|feature|class|worker|training|cell)(?:e?s)?(?!\w)", self._counted
        yield r"rank (\d+)(?:, needs| for) (\d+)", lambda m: (int(m[1]), int(m[2])) in self.pairs
        yield rf"(?<!\S){n}–{n}(?!\S)", self._ends
        yield r"(\d+): (\d+\.\d\d)", self._client
        yield rf"{n} of {n} points", lambda m: all(self._gain(m[i]) for i in (1, 2))
        yield rf"{n} points?", lambda m: self._gain(m[1])
        yield r"× (\d+(?:\.\d)?) records", lambda m: near(m[1], self.results.subject.records_per_client)
        yield r"(?:(\d+) h )?(\d+) min(?: (\d+) s)?|(\d+\.\d) s", self._duration
        yield r"\b[a-z] (\d+) \((\d\.\d\d)\)", self._clusters
        yield r"shown at least (\d+(?:\.\d\d)?)", lambda m: any(0 <= a - float(m[1]) < 0.0101 for a in self.audits)
        yield r"ε=ε? ?(\d+\.\d\d)", lambda m: self._epsilon(m[1])

    def _rate(self, m: re.Match[str]) -> bool:
        return any(
            near(m[1], rate.k / rate.n, scale=100)
            and near(m[2], rate.low, scale=100)
            and near(m[3], rate.high, scale=100)
            for rate in self.rates
            if rate.n
        )

    def _area(self, m: re.Match[str]) -> bool:
        return any(all(near(m[i + 1], area[i]) for i in range(3)) for area in self.areas)

    def _frequency_interval(self, m: re.Match[str]) -> bool:
        return any(
            all(near(m[i], v, scale=w) for i, v in ((1, rate.k / rate.n), (2, rate.low), (3, rate.high)))
            for rate in self.rates
            for w in (100, 1000)
            if rate.n
        )

    def _paired(self, m: re.Match[str]) -> bool:
        return any(
            all(near(m[i], v, scale=100) for i, v in ((1, one.difference), (2, one.low), (3, one.high)))
            for one in self.results.paired
        )

    def _ends(self, m: re.Match[str]) -> bool:
        rates = any(near(m[1], r.low, scale=100) and near(m[2], r.high, scale=100) for r in self.rates)
        return rates or any(near(m[1], area[1]) and near(m[2], area[2]) for area in self.areas)

    def _client(self, m: re.Match[str]) -> bool:
        guarantees = self.results.guarantees
        return any(one.client == int(m[1]) and near(m[2], one.epsilon, up=True) for one in guarantees)

    def _gain(self, shown: str) -> bool:
        return any(near(shown, gain, scale=100) for gain in self.gains)

    def _duration(self, m: re.Match[str]) -> bool:
        hours, minutes, seconds = (float(part or 0) for part in m.groups()[:3])
        total = float(m[4]) if m[4] else 3600 * hours + 60 * minutes + seconds
        slack = 0.051 if m[4] else 0.51 if m[3] else 60
        return any(abs(total - true) <= slack for true in (self.timings.wall_seconds, self.timings.cpu_seconds))

    def _clusters(self, m: re.Match[str]) -> bool:
        """Derivation: clusters of an interval, and p out of its method's words."""
        for rate in self.rates:
            p = re.search(r"p = (\d\.\d+)", rate.method)
            if p and rate.clusters == int(m[1]) and near(m[2], float(p[1])):
                return True
        return False

    def _epsilon(self, shown: str) -> bool:
        epsilons = [value for one in self.results.guarantees for value in (one.epsilon, one.epsilon_rdp) if value]
        return any(near(shown, epsilon, up=True) for epsilon in epsilons)

    def _alone(self, shown: str) -> bool:
        """Return whether a number without a telling place is known."""
        if shown.endswith("%"):
            return self._percentage(shown[:-1])
        kinds = ("skill_prior_mean", "skill_random_record", "skill_control")
        skills = [value for one in self.inversions for kind in kinds if (value := getattr(one, kind)) is not None]
        if "." in shown:
            places = len(shown.partition(".")[2])
            values = [area[0] for area in self.areas] + ([abs(skill) for skill in skills] if places == 2 else [])
            budgets = [value for s in self.results.settings for value in (s.epsilon, s.delta) if value is not None]
            return (
                (places in (2, 3) and any(near(shown, value) for value in (*values, *self.audits)))
                or self._epsilon(shown)
                or any(float(shown) == budget for budget in budgets)
                or (places == 1 and any(near(shown, share, scale=100) for share in self.shares))
            )
        return (
            int(shown.lstrip("<>")) in self.whole
            or self._frequency(shown)
            or self._most(shown, 1000)
            or any(float(shown.lstrip("<>")) == setting.epsilon for setting in self.results.settings)
        )

    def unknown(self, text: str) -> list[str]:
        """Return the numbers of a text that follow from nothing."""
        flat = " ".join(normal(text).split())
        for quote in self.quotes:
            if quote in flat:
                flat = re.sub(rf"(?<![\w.]){re.escape(quote)}(?![\w]|\.\d)", " ¶ ", flat)
        for words in FIXED_WORDS:
            flat = re.sub(words, " ¶ ", flat)
        strange = []
        for pattern, holds in self.rules():
            whole = re.compile(rf"(?<![\w.]){pattern}")
            strange += [match[0] for match in whole.finditer(flat) if not holds(match)]
            flat = whole.sub(" ¶ ", flat)
        return strange + [shown for shown in NUMBER.findall(flat) if not self._alone(shown)]


def _read_off(game: Membership) -> Iterator[int]:
    """Derivation: the most members found at some shares of outsiders."""
    for share in (0.001, 0.005, 0.02, 0.05, 0.2, 0.5):
        counts = zip(game.false_positives_curve, game.true_positives_curve, strict=True)
        yield max((found for accused, found in counts if accused <= share * game.non_members), default=0)


def without_axes(page: str) -> str:
    """Return a page without the lines that are nothing but labels of axes."""
    return "\n".join(
        line for line in normal(page).splitlines() if not all(AXES.fullmatch(word) for word in line.split()) or not line
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numbers")
    return write_report(dumps(sample.sample_results()), sample.environment(), sample.timings(), folder, ("pdf",))[0]


@pytest.fixture(scope="module")
def known() -> Known:
    return Known(sample.sample_results(), sample.environment(), sample.timings())


def by_pypdf(path: Path) -> list[str]:
    return [page.extract_text() for page in pypdf.PdfReader(path).pages]


def by_poppler(path: Path) -> list[str]:
    command = ["pdftotext", "-raw", "-enc", "UTF-8", str(path), "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\f")[:-1]


READERS = [
    pytest.param(by_pypdf, id="pypdf"),
    pytest.param(
        by_poppler, id="pdftotext", marks=pytest.mark.skipif(not shutil.which("pdftotext"), reason="needs poppler")
    ),
]


@pytest.mark.parametrize("read", READERS)
def test_every_number_follows_from_the_runs_files(
    written: Path, known: Known, read: Callable[[Path], list[str]]
) -> None:
    for index, page in enumerate(read(written)):
        text = without_axes(page) if index == 1 else page
        assert known.unknown(text) == [], f"page {index + 1}"
        assert len(NUMBER.findall(normal(page))) > 20


def planted(page: str, generator: random.Random) -> Iterator[tuple[str, str]]:
    """Yield pages in which one number's last digit is another one, with what the number was."""
    found = [match for match in NUMBER.finditer(page) if len(match[0].strip("<>%")) > 2]
    for match in generator.sample(found, 16):
        digits = match[0].rstrip("%")
        wrong = digits[:-1] + str((int(digits[-1]) + generator.randrange(1, 10)) % 10) + match[0][len(digits) :]
        yield match[0], page[: match.start()] + wrong + page[match.end() :]


@pytest.fixture(scope="module")
def pages(written: Path) -> list[str]:
    return [normal(page) for page in by_pypdf(written)]


def test_a_planted_wrong_number_is_found(pages: list[str], known: Known) -> None:
    generator = random.Random(5)
    missed = []
    for index in (0, 1, 3):
        text = without_axes(pages[index]) if index == 1 else pages[index]
        missed += [number for number, page in planted(text, generator) if not known.unknown(page)]
    # A wrong number may by chance be another true one, as many of one or two digits would be; most are not.
    assert len(missed) <= 48 // 4, missed


@pytest.mark.parametrize(
    ("true", "wrong"),
    [
        ("2.3% (1.6–3.1)", "2.3% (1.6–3.2)"),
        ("at most 4.0%", "at most 3.9%"),
        ("at most 40 of 1000 members", "at most 39 of 1000 members"),
        ("found 23 (95% interval 16 to 31)", "found 23 (95% interval 16 to 30)"),
        ("costs 11 points", "costs 12 points"),
        ("20 rounds", "21 rounds"),
        ("uses 45% of what the proof allows", "uses 46% of what the proof allows"),
        ("1.3 of 3.0 points", "1.3 of 3.1 points"),
        ("39 / 1704", "38 / 1704"),
        ("a 8 (0.21)", "a 8 (0.22)"),
        ("0.591 0.574–0.607", "0.591 0.574–0.608"),
        ("10 min 42 s", "10 min 43 s"),
        ("0: 2.00", "0: 1.99"),
        ("8 seeds", "9 seeds each"),
    ],
)
def test_a_wrong_number_of_each_kind_is_found(pages: list[str], known: Known, true: str, wrong: str) -> None:
    assert true in " ".join(" ".join(pages).split())
    assert known.unknown(true) == []
    assert known.unknown(wrong) != []
