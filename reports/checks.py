"""Figure 2 as data: the trade-off curve, the budget by audit against the accountant's, and what is identifiable."""

from dataclasses import dataclass
from itertools import pairwise
from math import log

from qfl_sec.ceilings import membership_ceiling
from qfl_sec.contracts import Adversary
from qfl_sec.intervals import Rate, clopper_pearson
from qfl_sec.reports import wording as w
from qfl_sec.reports.heat import Heat, heat
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Pair, Selection
from qfl_sec.results import Ceiling, Measurement, Membership, Setting

LOWEST = 0.001
"""Lowest rate of the trade-off's axes."""

SMALLEST_BUDGET = 0.03
"""Lowest budget of the audit's axis; a smaller one stands on it as a triangle."""

CURVES = 2

POINTS = 151


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Members found against outsiders wrongly accused.

    Attributes:
        label: Whose curve.
        points: (false positive rate, true positive rate), rising.
        band: (false positive rate, low, high) along the curve; empty where trainings differ.
        bars: The same at the reported rates.
    """

    label: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...]
    bars: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True, kw_only=True)
class TradeOff:
    """The trade-off at the audited setting.

    Attributes:
        title: With its letter.
        subtitle: What the values' axis shows.
        curves: The strongest attack of each adversary.
        ceiling: The most that is proven possible.
        exact: Where the mechanism's whole curve was read.
        ruled_out: Words in the hatched region.
        axis_label: Below the axis.
        trend: In words with numbers.
    """

    title: str
    subtitle: str
    curves: tuple[Curve, ...]
    ceiling: tuple[tuple[float, float], ...]
    exact: tuple[float, float] | None
    ruled_out: str
    axis_label: str
    trend: str


@dataclass(frozen=True, kw_only=True)
class Audited:
    """One budget: as claimed, as the counts bound it from below, and as they estimate it."""

    label: str
    claimed: float
    low: float
    point: float
    audited: bool


@dataclass(frozen=True, kw_only=True)
class BudgetAudit:
    """Budgets by audit against budgets by accountant.

    Attributes:
        title: With its letter.
        subtitle: What the values' axis shows, and by which marks.
        marks: By rising claim.
        impossible: Words in the region where a claim would be wrong.
        axis_label: Below the axis.
        trend: In words with numbers.
    """

    title: str
    subtitle: str
    marks: tuple[Audited, ...]
    impossible: str
    axis_label: str
    trend: str

    @property
    def contradicted(self) -> bool:
        """Whether a lower bound exceeds its claim."""
        return any(mark.low > mark.claimed for mark in self.marks)


@dataclass(frozen=True, kw_only=True)
class Checks:
    """Figure 2: up to three panels, of which at least one is there.

    Attributes:
        title: Above the figure.
        trade_off: Panel a.
        audit: Panel b.
        heat: Panel c.
        alt: The trends of all panels.
        caption: Below the figure.
    """

    title: str
    trade_off: TradeOff | None
    audit: BudgetAudit | None
    heat: Heat | None
    alt: str
    caption: str


def checks(selection: Selection) -> Checks | None:
    """Return the figure of checks; None where nothing that it shows was measured."""
    pairs = [pair for pair in selection.measured_pairs if pair[1] == "membership"]
    trade_off = _trade_off(selection, pairs)
    audit = _audit(selection, pairs[0]) if pairs else None
    drawn = heat(selection)
    panels = [panel for panel in (trade_off, audit, drawn) if panel is not None]
    if not panels:
        return None
    return Checks(
        title="Checks behind the numbers" if len(panels) < 3 else "Three checks behind the numbers",
        trade_off=trade_off,
        audit=audit,
        heat=drawn,
        alt=" ".join(f"{panel.title}: {panel.trend}" for panel in panels),
        caption=_caption(trade_off, audit, drawn),
    )


def _trade_off(selection: Selection, pairs: list[Pair]) -> TradeOff | None:
    found: list[tuple[Pair, Measurement, Membership]] = []
    for pair in pairs[:CURVES]:
        measured = selection.strongest(selection.audited, pair)
        if measured is not None and measured.membership is not None:
            found.append((pair, measured, measured.membership))
    if not found:
        return None
    ceiling = selection.ceiling(selection.audited, found[0][0])
    claim = _claim(selection, selection.audited, found[0][0][0])
    return TradeOff(
        title=f"a Trade-off, {w.label(cut(selection.audited.label, 18))}",
        subtitle="members found (y), 95% intervals",
        curves=tuple(
            _curve(cut(selection.adversary(pair[0]).label, 26), measured, game) for pair, measured, game in found
        ),
        ceiling=() if ceiling is None or claim is None else _most(claim, ceiling),
        exact=None if ceiling is None else (ceiling.at, ceiling.rate),
        ruled_out="ruled out by proof",
        axis_label="outsiders wrongly accused",
        trend=_trade_off_trend(selection, found, ceiling),
    )


def _curve(label: str, measured: Measurement, game: Membership) -> Curve:
    members = measured.success.n if measured.success is not None else 0
    counts = list(zip(game.false_positives_curve, game.true_positives_curve, strict=False))
    points = tuple((false / game.non_members, true / members) for false, true in counts)
    return Curve(
        label=label,
        points=points,
        band=_band(measured.success, counts, game.non_members) if measured.success is not None else (),
        bars=tuple(
            (false / game.non_members, rate.low, rate.high)
            for false, rate in (
                (game.false_positives, measured.success),
                (game.false_positives_at_ten_percent, game.at_ten_percent),
            )
            if rate is not None and false
        ),
    )


def _band(success: Rate, counts: list[tuple[int, int]], outsiders: int) -> tuple[tuple[float, float, float], ...]:
    """Return exact intervals along the curve where trainings may be pooled, nothing where they differ."""
    if "pooled" not in success.method and "independent" not in success.method:
        return ()
    return tuple((false / outsiders, *clopper_pearson(true, success.n)) for false, true in counts)


def _claim(selection: Selection, setting: Setting, adversary: Adversary) -> tuple[float, float] | None:
    """Return the largest claimed epsilon with its delta."""
    claims = [(entry.epsilon, entry.delta) for entry in selection.guarantees(setting, adversary)]
    return max(claims, default=None)


def _most(claim: tuple[float, float], ceiling: Ceiling) -> tuple[tuple[float, float], ...]:
    """Return an upper bound on the members that any attack finds, at rising shares of outsiders accused.

    The least of what (epsilon, delta) allows and of what the exact value at one rate implies, since each client's
    trade-off is concave: below the line through the origin and that value to its right, below the line through that
    value and (1, 1) to its left.

    Reference: Kairouz, Oh, Viswanath 2015, arXiv 1311.0776, Theorem 2.1; Dong, Roth, Su 2019, arXiv 1905.02383,
        Proposition 1 (trade-off functions are convex).
    """
    at, rate = ceiling.at, ceiling.rate
    places = sorted({LOWEST ** (1 - index / (POINTS - 1)) for index in range(POINTS)} | {at})
    points = []
    for place in places:
        beyond = rate * place / at if at > 0 else 1.0
        before = rate - (1 - rate) / (1 - at) * (at - place) if at < 1 else rate
        chord = beyond if place >= at else before
        points.append((place, min(1.0, chord, membership_ceiling((claim,), min(place, 1.0)))))
    return tuple(points)


def _trade_off_trend(
    selection: Selection, found: list[tuple[Pair, Measurement, Membership]], ceiling: Ceiling | None
) -> str:
    texts = []
    for pair, measured, game in found:
        name = cut(selection.adversary(pair[0]).label, 26)
        strict = game.false_positives / game.non_members
        lenient = game.false_positives_at_ten_percent / game.non_members
        texts.append(
            f"{name} finds {w.interval(measured.success)} of members while {w.rate(strict)} of outsiders are accused, "
            f"and {w.interval(game.at_ten_percent)} while {w.rate(lenient)} are"
        )
    if ceiling is not None:
        texts.append(
            f"the proof allows {w.rate(ceiling.rate, up=True)} while {w.rate(ceiling.at, up=True)} of outsiders are"
        )
    return "; ".join(texts) + "."


def audited_budgets(selection: Selection, pair: Pair) -> tuple[Audited, ...]:
    """Return what the membership counts show of each budget.

    The lower bound is the larger of ln((t - delta) / f) and ln((1 - delta - f) / (1 - t)), at least 0, where t is the
    lower end of members found and f the upper end of outsiders accused: it holds with 95 % confidence, since each end
    fails with 2.5 %. The estimate takes the rates themselves.

    Reference: Kairouz, Oh, Viswanath 2015, arXiv 1311.0776, Theorem 2.1; Nasr et al. 2021, arXiv 2101.04535.
    """
    marks = []
    for setting in selection.budgets:
        measured = selection.strongest(setting, pair)
        game = measured.membership if measured is not None else None
        claim = _claim(selection, setting, pair[0])
        if measured is None or measured.success is None or game is None or claim is None:
            continue
        rates = measured.success.k / measured.success.n, game.false_positives / game.non_members
        marks.append(
            Audited(
                label=w.plain(setting.epsilon or 0.0),
                claimed=claim[0],
                low=shown_budget(measured.success.low, game.false_positive_rate_high, claim[1]),
                point=shown_budget(*rates, claim[1]),
                audited=setting.id == selection.audited.id,
            )
        )
    return tuple(marks)


def shown_budget(found: float, accused: float, delta: float) -> float:
    """Return the least epsilon, at this delta, that allows these rates.

    Example:
        >>> round(shown_budget(0.5, 0.1, 0.0), 3), shown_budget(0.01, 0.02, 0.0)
        (1.609, 0.0)
    """
    bounds = [0.0]
    if found > delta and accused > 0:
        bounds.append(log((found - delta) / accused))
    if found < 1 and accused < 1 - delta:
        bounds.append(log((1 - delta - accused) / (1 - found)))
    return max(bounds)


def _audit(selection: Selection, pair: Pair) -> BudgetAudit | None:
    marks = audited_budgets(selection, pair)
    # Two budgets on one place of the axis could not be told apart.
    if not marks or any(right.claimed < 1.02 * left.claimed for left, right in pairwise(marks)):
        return None
    texts = [
        f"claimed ε{w.FIXED}={w.FIXED}{w.budget(mark.claimed, up=True)}, shown at least {w.at_least(mark.low)}, "
        f"estimate {w.decimals(mark.point)}"
        for mark in marks
    ]
    return BudgetAudit(
        title="b Is the claimed ε contradicted?",
        subtitle="ε shown (y): bar 95% lower bound, ring estimate",
        marks=marks,
        impossible="above the line: claim would be wrong",
        axis_label="ε by accountant (upper bound)",
        trend="; ".join(texts) + ".",
    )


def _caption(trade_off: TradeOff | None, audit: BudgetAudit | None, drawn: Heat | None) -> str:
    parts = []
    if trade_off is not None:
        limits = "bands and bars" if any(curve.band for curve in trade_off.curves) else "bars"
        proof = (
            " Square: the mechanism's exact ceiling at the reported rate; black: what it and (ε, δ) allow elsewhere."
            if trade_off.ceiling
            else ""
        )
        parts.append(f"a Trade-off curve at the audited setting, ties kept; {limits}: 95% intervals.{proof}")
    if audit is not None:
        parts.append(
            "b A lower bound exceeds the accountant's ε: claim or measurement is wrong."
            if audit.contradicted
            else "b No lower bound exceeds the accountant's ε; this does not prove the claim. Triangle: nothing shown."
        )
    if drawn is not None:
        parts.append(f"c {drawn.says}")
    return " ".join(parts)
