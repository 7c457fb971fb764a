"""Three findings under Figure 1, each with its numbers."""

from dataclasses import dataclass

from qfl_sec.reports import wording as w
from qfl_sec.reports.pairs import in_words, shown
from qfl_sec.reports.phrases import HITS, VERBS, inside
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import Pair, Selection
from qfl_sec.results import Setting

SAYS = 3


@dataclass(frozen=True, kw_only=True)
class Says:
    """One finding of the budget page.

    Attributes:
        lead: Its point.
        rest: Its numbers.
    """

    lead: str
    rest: str


def figure_says(selection: Selection) -> list[Says]:
    """Return three findings on the budget page, each in one sentence with its numbers."""
    candidates = (
        *(_trend(selection, pair) for pair in selection.measured_pairs if pair[1] == "reconstruction"),
        *(_used(selection, pair) for pair in selection.measured_pairs),
        _changed(selection),
        _cost(selection),
        *(_trend(selection, pair) for pair in selection.measured_pairs if pair[1] in ("membership", "linkage")),
        _classical(selection),
        _unproven(selection),
    )
    return [says for says in candidates if says is not None][:SAYS]


def _trend(selection: Selection, pair: Pair) -> Says | None:
    """Compare no defense with the largest budget."""
    bare = selection.undefended
    measured = selection.strongest(bare, pair) if bare else None
    if measured is None or measured.success is None:
        return None
    found = w.share(measured.success) or 0.0
    verb, noun = VERBS[pair[1]]
    largest = selection.strongest(selection.budgets[-1], pair) if selection.budgets else None
    name = inside(selection, pair[0])
    if largest is None or largest.success is None or largest.control is None:
        whole = w.denominator((found, w.share(measured.control)))
        return Says(
            lead=f"Without DP {name} {verb} {w.out_of(found, whole)} {noun}.",
            rest=f"The same attack without signal {verb} {w.of(w.share(measured.control) or 0.0, whole)}.",
        )
    rate, control = w.share(largest.success) or 0.0, w.share(largest.control) or 0.0
    whole = w.denominator((found, rate, control))
    overlap = largest.success.low <= largest.control.high and largest.control.low <= largest.success.high
    beside = "the two intervals overlap" if overlap else "the two intervals do not overlap"
    return Says(
        lead=f"Without DP {name} {verb} {w.out_of(found, whole)} {noun}.",
        rest=f"At {w.epsilon(selection.budgets[-1].epsilon)}, the largest budget here, it {verb} "
        f"{w.of(rate, whole)}; its control {verb} {w.of(control, whole)}, and {beside}.",
    )


def _used(selection: Selection, pair: Pair) -> Says | None:
    """Tell how much of what the proof allows the strongest attack uses, at the audited or the largest budget."""
    setting = selection.audited if selection.audited.epsilon is not None else (selection.budgets or (None,))[-1]
    measured = selection.strongest(setting, pair) if setting else None
    ceiling = selection.ceiling(setting, pair) if setting else None
    if setting is None or measured is None or ceiling is None or measured.guess is None or pair[1] != "membership":
        return None
    found, guess = w.share(measured.success) or 0.0, w.share(measured.guess) or 0.0
    room, used = ceiling.rate - guess, found - guess
    at = f"at {w.epsilon(setting.epsilon)}"
    if room <= 0 or used <= 0:
        return Says(
            lead=f"The strongest membership attack gains nothing over guessing {at}.",
            rest=f"The proof allows up to {w.rate(ceiling.rate, up=True)}; guessing reaches {w.rate(guess)}.",
        )
    return Says(
        lead=f"The strongest membership attack uses {w.rate(used / room)} of what the proof allows {at}",
        rest=f"(excess over guessing: {w.percent(used)} of {w.percent(room)} points). A better attack can gain at most "
        "the rest.",
    )


def _changed(selection: Selection) -> Says | None:
    """Tell what the strongest setting of a defense without a guarantee changes, seed by seed."""
    family = selection.strengths[0] if selection.strengths else ()
    setting = selection.audited if selection.audited in family else _strongest(family)
    if setting is None or not selection.measured_pairs:
        return None
    pairs = selection.measured_pairs
    pair = next((pair for pair in pairs if pair[1] == "reconstruction"), pairs[0])
    found = selection.paired(setting, selection.strongest(setting, pair))
    price = selection.paired(setting, None)
    if found is None or price is None:
        return None
    name = f"{cut(setting.defense, 30)} at {w.label(cut(setting.label, 24))}"
    turn = ("raises" if found.difference > 0 else "lowers") if shown(found) else "shows no effect on"
    return Says(
        lead=f"{name} {turn} the share of {HITS[pair[1]]}.",
        rest=f"Against the same {w.plural(found.trainings, 'seed')} without it: {in_words(found)}; accuracy "
        f"{in_words(price)}. It proves nothing.",
    )


def _strongest(family: tuple[Setting, ...]) -> Setting | None:
    """Return the setting farthest from where its defense does nothing, else the one of the largest value."""

    def distance(entry: Setting) -> float:
        strength = entry.strength
        if strength is None:
            return 0.0
        return strength.value if strength.neutral is None else abs(strength.value - strength.neutral)

    return max(family, key=distance, default=None)


def _cost(selection: Selection) -> Says | None:
    """Tell the accuracy that the audited, else the strictest, budget costs."""
    bare = selection.undefended
    setting = selection.audited if selection.audited.epsilon is not None else (selection.budgets or (None,))[-1]
    here = selection.utility(setting.id) if setting else None
    there = selection.utility(bare.id) if bare else None
    if setting is None or here is None or there is None:
        return None
    with_dp, without, majority = (w.share(r) or 0.0 for r in (here.accuracy, there.accuracy, here.majority))
    cost = without - with_dp
    name = f"{w.epsilon(setting.epsilon)}"
    lead = f"{name} costs {w.points(cost)} of accuracy." if cost > 0 else f"{name} costs no accuracy here."
    useless = here.accuracy.low <= majority
    note = f"its interval includes that of always naming the majority class ({w.rate(majority)})"
    beyond = f"always naming the majority class gives {w.rate(majority)}"
    paired = selection.paired(setting, None)
    by_seed = f" Seed by seed the change is {in_words(paired)}." if paired is not None else ""
    return Says(
        lead=lead,
        rest=f"It reaches {w.interval(here.accuracy)} against {w.rate(without)}; {note if useless else beyond}."
        + by_seed,
    )


def _classical(selection: Selection) -> Says | None:
    """Compare the quantum model with a classical one of equal size, both without a defense."""
    bare = selection.undefended
    quantum = selection.utility(bare.id) if bare else None
    classical = selection.utility("classical")
    if quantum is None or classical is None:
        return None
    return Says(
        lead="The classical model of equal size is the yardstick.",
        rest=f"It reaches {w.interval(classical.accuracy)}, the quantum model {w.interval(quantum.accuracy)}, both "
        "without a defense.",
    )


def _unproven(selection: Selection) -> Says | None:
    if selection.undefended is None or not selection.measured_pairs:
        return None
    return Says(
        lead="Without DP nothing is proven.",
        rest="A low number there is an observation about the attacks that were run and carries no guarantee.",
    )
