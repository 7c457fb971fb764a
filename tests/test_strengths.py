"""Defenses that claim nothing are drawn against their own strength, never against a budget."""

from dataclasses import dataclass, replace
from itertools import pairwise
from math import log2
from typing import ClassVar

import pytest
import sample_results as sample

from qfl_sec import plugins
from qfl_sec.contracts import Defense, Guarantee, Setup
from qfl_sec.defenses import DpSgd, GradientPruning, NoDefense, SecureAggregation, Stack
from qfl_sec.reports import document
from qfl_sec.reports.axes import Axis, axes
from qfl_sec.reports.charts import figures
from qfl_sec.reports.figures import draw
from qfl_sec.reports.pdf import render
from qfl_sec.reports.selection import Selection
from qfl_sec.results import PairedDifference, Results, Setting, Strength, Utility, dumps
from qfl_sec.setting_entries import describe_settings

SHARES = (0.05, 0.1, 0.3, 0.6)


@dataclass(frozen=True, kw_only=True)
class Wobble(Defense):
    """Two numbers, none of them declared; one is called epsilon and is no budget."""

    name: ClassVar[str] = "wobble"
    epsilon: float = 1.0
    seed: int = 0
    fast: bool = False


@dataclass(frozen=True, kw_only=True)
class Boasting(Wobble):
    """The same, with a guarantee."""

    name: ClassVar[str] = "boasting"
    epsilon: float = 1.0
    seed: int = 0
    fast: bool = False

    def guarantees(self, setup: Setup) -> tuple[Guarantee, ...]:
        return ()


def described(*defenses: Defense, claiming: tuple[str, ...] = (), trained: tuple[str, ...] = ()) -> list[Setting]:
    return list(describe_settings(defenses, defenses[-1], claiming=claiming, trained=trained))


def test_a_declared_field_is_the_strength() -> None:
    none, first, second = described(NoDefense(), GradientPruning(share=0.1), GradientPruning(share=0.5))
    assert none.strength is None
    assert first.strength == Strength(name="share", value=0.1, unit="of the coordinates", neutral=1.0)
    assert (first.label, first.epsilon, second.audited) == ("share = 0.1", None, True)


def test_else_the_one_number_that_is_swept() -> None:
    lone = described(Wobble(epsilon=2.0, seed=3))[0]
    assert lone.strength is None
    swept = described(Wobble(epsilon=2.0), Wobble(epsilon=4.0), Wobble(epsilon=4.0, fast=True))
    assert [one.strength for one in swept[:2]] == [
        Strength(name="epsilon", value=value, unit="", neutral=None) for value in (2.0, 4.0)
    ]
    assert {one.strength for one in described(Wobble(seed=1), Wobble(seed=2, epsilon=3.0))} == {None}


def test_a_field_called_epsilon_is_no_budget_without_a_guarantee() -> None:
    assert described(Wobble(epsilon=2.0))[0].epsilon is None
    boast = Boasting(epsilon=2.0)
    assert described(boast)[0].epsilon == 2.0  # not trained: its class says that it claims something
    ids = (described(boast)[0].id,)
    assert described(boast, trained=ids)[0].epsilon is None
    assert described(boast, trained=ids, claiming=ids)[0].epsilon == 2.0
    assert described(DpSgd(epsilon=4.0))[0].strength is None


def test_labels_that_two_settings_would_share_are_written_out() -> None:
    stack = Stack(defenses=(GradientPruning(share=0.1), SecureAggregation()))
    alone, both = described(GradientPruning(share=0.1), stack)
    assert (alone.label, both.label) == ("share = 0.1", "gradient_pruning.share = 0.1")
    assert both.strength is not None and both.strength.name == "gradient_pruning.share"
    one, two = described(Wobble(epsilon=2.0), Wobble(epsilon=2.0, fast=True))
    assert one.label == one.id != two.label


def test_a_strength_that_is_no_field_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Typo(Defense):
        """Misspelt."""

        name: ClassVar[str] = "typo"
        strength_field: ClassVar[str | None] = "shar"
        share: float = 0.5

    with pytest.raises(plugins.PluginError, match="strength_field='shar' to name one of its fields"):
        plugins.register(Typo)


def pruned(results: Results, shares: tuple[float, ...] = SHARES) -> Results:
    """Return results with a pruning sweep beside: what was measured without a defense, a little less of it."""
    settings, measurements, utility, pairs = list(results.settings), [*results.measurements], [*results.utility], []
    for place, share in enumerate(shares):
        identifier = f"gradient_pruning(share={share:g})"
        settings.append(
            Setting(
                id=identifier, label=f"share = {share:g}", defense="gradient_pruning", description="Prunes.",
                parameters={"share": share}, epsilon=None, delta=None, audited=False,
                strength=Strength(name="share", value=share, unit="of the coordinates", neutral=1.0),
            )
        )  # fmt: skip
        for entry in results.measurements:
            if entry.setting == "none" and entry.success is not None:
                less = sample.clustered(entry.success.k * (place + 1) // 6, entry.success.n)
                measurements.append(replace(entry, setting=identifier, success=less))
                pairs.append(
                    PairedDifference(
                        variant="default", setting=identifier, measure="success", adversary=entry.adversary,
                        attack=entry.attack, trainings=8, shared=("split", "batches"), difference=-0.3, low=-0.35,
                        high=-0.25, method="means of subsets over 8 clusters, gained and lost trials", gained=1,
                        lost=385, trials=1280,
                    )
                )  # fmt: skip
        utility.append(Utility(variant="default", setting=identifier, accuracy=sample.rate(900 + 30 * place, 1144),
                               majority=sample.rate(717, 1144), trainings=8))  # fmt: skip
        pairs.append(replace(pairs[-1], measure="accuracy", adversary=None, attack=None, difference=-0.02,
                             low=-0.04, high=0.001))  # fmt: skip
    return replace(results, settings=tuple(settings), measurements=tuple(measurements), utility=tuple(utility),
                   paired=tuple(pairs))  # fmt: skip


def test_a_strength_gets_a_figure_of_its_own_and_no_place_on_the_budget_axis() -> None:
    budget, strength = axes(Selection(results=pruned(sample.sample_results())))
    assert [entry.epsilon for entry in budget.swept] == list(sample.EPSILONS)
    assert [entry.id for entry in budget.alone] == ["none"]
    assert strength.values == SHARES
    assert [entry.id for entry in strength.alone] == ["none"]
    assert strength.label == "share of the coordinates (log scale; 1 does nothing)"
    assert [strength.positions[entry.id] for entry in strength.swept] == [log2(share) for share in SHARES]


def test_the_strengths_figure_shows_the_measured_and_no_ceiling() -> None:
    _, figure = figures(Selection(results=pruned(sample.sample_results())))
    assert [tick.label for tick in figure.columns] == ["0.05", "0.1", "0.3", "0.6", "none"]
    assert len(figure.grey) == 5 and figure.broken_at is not None
    panel = figure.panels[0]
    found = sample.MEMBERS_FOUND[None]
    assert [mark.value for mark in panel.line] == [found * (place + 1) // 6 / sample.MEMBERS for place in range(4)]
    assert [mark.value for mark in panel.alone] == [found / sample.MEMBERS]
    assert all(panel.ceiling == () for panel in figure.panels)
    assert "claims no guarantee" in figure.caption and "ε" not in figure.caption + figure.axis_label
    assert draw(figure).rstrip().endswith("</svg>")


def test_without_budgets_the_strength_is_figure_1() -> None:
    made = pruned(sample.without_dp(sample.sample_results()))
    (figure,) = figures(Selection(results=made))
    assert figure.axis_label.startswith("share of the coordinates")
    assert "4 strengths of gradient_pruning and 1 setting without a strength" in figure.caption
    text = document(made, sample.environment(), sample.timings())
    assert text.budget.title == "Attack success against strength"
    assert text.decision.budgets.columns[2].title == "share 0.05"


def test_a_lone_strength_keeps_a_column_beside_the_budgets() -> None:
    (budget,) = axes(Selection(results=pruned(sample.sample_results(), shares=(0.1,))))
    assert [entry.label for entry in budget.alone] == ["no DP", "share = 0.1"]


def test_a_defense_that_claims_something_is_not_drawn_as_if_it_did_not() -> None:
    made = pruned(sample.sample_results())
    claim = replace(made.guarantees[0], setting="gradient_pruning(share=0.1)")
    selection = Selection(results=replace(made, guarantees=(*made.guarantees, claim)))
    assert [entry.label for entry in axes(selection)[1].swept] == ["share = 0.05", "share = 0.3", "share = 0.6"]


def axis(*values: float) -> Axis:
    settings = [sample.setting(value, audited=False) for value in values]
    return Axis(swept=tuple(settings), values=values, alone=(), defense="any", name="size")


@pytest.mark.parametrize("values", [(0.0, 0.1, 0.2), (-1.0, 1.0), (1.0, 1.1, 64.0)])
def test_values_that_a_log_scale_cannot_hold_are_spaced_equally(values: tuple[float, ...]) -> None:
    made = axis(*values)
    places = list(made.positions.values())
    assert {right - left for left, right in pairwise(places)} == {1.0}
    assert made.label == "size (equally spaced)"


def test_the_budget_page_tells_what_the_strongest_changes() -> None:
    says = document(pruned(sample.without_dp(sample.sample_results())), sample.environment(), sample.timings())
    told = [one for one in says.budget.says if "gradient_pruning" in one.lead]
    assert [one.lead.replace("\u00a0", " ") for one in told] == [
        "gradient_pruning at share = 0.05 lowers the share of records rebuilt."
    ]
    assert "−30.00 points (95% interval −35.00 to −25.00); accuracy −2.00 points" in told[0].rest


def test_both_figures_are_set() -> None:
    made = pruned(sample.sample_results())
    text = document(made, sample.environment(), sample.timings())
    assert text.budget.title == "Attack success against privacy budget and strength"
    assert render(text, dumps(made)).startswith(b"%PDF")
