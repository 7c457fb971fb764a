"""What the verdicts rest on, as tables: accuracy and baselines, guarantees, premises, instrument checks."""

from qfl_sec.contracts import ADVERSARIES
from qfl_sec.reports import wording as w
from qfl_sec.reports.channels import channel_premises
from qfl_sec.reports.phrases import inside
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.selection import BASELINES, BROADCAST, INSTEAD, SUM, Selection
from qfl_sec.reports.tables import Column, Group, Row, Table, variant_label
from qfl_sec.results import AdversaryEntry, GuaranteeEntry, Utility

MOST_THINGS = 5
"""Columns of the matrix of who sees what that fit beside the adversaries."""

_BROADCAST = (BROADCAST, "final model")
_IMPLIED = {"each client's update": (SUM,), BROADCAST: ("final model", SUM)}
"""Whoever sees the first can compute the others."""

INTERCEPTED = "what it intercepts of updates"
"""What an eavesdropper sees, as `AdversaryEntry.sees` says it; whoever sees every update sees it too."""

_ORDER = ("each client's update", INTERCEPTED, SUM, *_BROADCAST)

BASELINE_LABELS = {"classical": "classical model of equal size", "centralised": "same model, not federated"}


def utility_table(selection: Selection) -> Table:
    """Return the accuracy of every setting and baseline."""
    groups: dict[str, list[Row]] = {}
    order = [*(entry.id for entry in (*selection.budgets, *reversed(selection.others))), *BASELINES]
    for entry in sorted(selection.results.utility, key=lambda entry: order.index(entry.setting)):
        note = variant_label(selection, entry.variant) if len(selection.results.variants) > 1 else ""
        groups.setdefault(note, []).append(_utility_row(selection, entry))
    titles = ("Correct / records", "Accuracy", "95% interval", "Majority class", "Seeds")
    return Table(
        caption="Accuracy on unseen records, and the baselines without a defense.",
        columns=(Column(title="Setting", align="left"), *(Column(title=title) for title in titles)),
        groups=tuple(Group(title=note, note="", rows=tuple(rows)) for note, rows in groups.items()),
    )


def _utility_row(selection: Selection, entry: Utility) -> Row:
    known = entry.setting in BASELINES
    label = BASELINE_LABELS[entry.setting] if known else w.label(cut(selection.setting(entry.setting).label, 30))
    cells = (
        label, w.count(entry.accuracy), w.rate(w.share(entry.accuracy), table=True),
        w.ends(entry.accuracy.low, entry.accuracy.high, table=True), w.rate(w.share(entry.majority), table=True),
        w.group(entry.trainings),
    )  # fmt: skip
    return Row(cells=cells, audited=entry.setting == selection.audited.id)


def guarantee_table(selection: Selection) -> Table:
    """Return epsilon for each client and adversary; adversaries with the same guarantees share a row."""
    claims: dict[tuple[str, str], dict[str, list[GuaranteeEntry]]] = {}
    for entry in selection.results.guarantees:
        claims.setdefault((entry.variant, entry.setting), {}).setdefault(entry.adversary, []).append(entry)
    groups = []
    for (variant, setting), by_adversary in claims.items():
        title = w.label(cut(selection.setting(setting).label, 30))
        if len(selection.results.variants) > 1:
            title += f" · {variant_label(selection, variant)}"
        groups.append(_guarantee_group(selection, title, by_adversary))
    return Table(
        caption="Guarantees: ε of each client's records against each adversary, over all releases, worst over seeds, "
        "rounded up. Worst: the largest; beside it the same by RDP.",
        columns=(
            Column(title="Adversary", align="left"),
            Column(title="ε of each client (client: ε)", align="left"),
            Column(title="Worst"),
            Column(title="by RDP"),
            Column(title="δ"),
        ),
        groups=tuple(groups),
        notes=(
            "A setting that is not listed has no formal guarantee.",
            "Noise and keys come from a simulation's generator, seeded so that a run can be repeated: it is not "
            "deployment-grade, and no guarantee carries over to a system that uses it.",
        ),
    )


def _guarantee_group(selection: Selection, title: str, by_adversary: dict[str, list[GuaranteeEntry]]) -> Group:
    merged: dict[tuple[str, ...], list[str]] = {}
    for adversary, entries in by_adversary.items():
        label = next(cut(e.label, 40) for e in selection.results.adversaries if e.id == adversary)
        merged.setdefault(_guarantee_cells(entries), []).append(label)
    worst = max((entry for entries in by_adversary.values() for entry in entries), key=lambda entry: entry.epsilon)
    releases = max(entry.releases for entries in by_adversary.values() for entry in entries)
    note = (
        f"per {cut(worst.unit, 20)}, {cut(worst.adjacency, 20)} neighbours; {cut(worst.sampling, 150)}; "
        f"{cut(worst.mechanism, 150)}; "
        f"{w.plural(releases, 'release')} at most; {cut(worst.accountant, 30)}"
    )
    return Group(
        title=title,
        note=note,
        rows=tuple(Row(cells=(w.listed(labels), *cells)) for cells, labels in merged.items()),
    )


def _guarantee_cells(entries: list[GuaranteeEntry]) -> tuple[str, ...]:
    """Return one adversary's cells."""
    worst = max(entries, key=lambda entry: entry.epsilon)
    clients = " · ".join(
        f"{'every client' if entry.client is None else entry.client}:{w.FIXED}{w.budget(entry.epsilon, up=True)}"
        for entry in sorted(entries, key=lambda entry: (entry.client is not None, entry.client or 0))
    )
    rdp = "–" if worst.epsilon_rdp is None else w.budget(worst.epsilon_rdp, up=True)
    return clients, w.budget(worst.epsilon, up=True), rdp, w.plain(worst.delta)


def promise(selection: Selection) -> str:
    """Return the guarantee of the audited setting as one full sentence, and what it caps."""
    setting = selection.audited
    by_adversary = {entry.id: selection.guarantees(setting, entry.id) for entry in selection.results.adversaries}
    claims = [entry for entries in by_adversary.values() for entry in entries]
    if not claims:
        return f"Nothing is guaranteed at the audited setting ({w.label(cut(setting.label, 40))}): no formal guarantee."
    worst = max(claims, key=lambda entry: entry.epsilon)
    unit = cut(worst.unit, 20)
    part = unit if unit == "client" else f"{unit} of one client"
    differ = f"in which one {part} is replaced" if worst.adjacency == "replace-one" else f"that differ in one {part}"
    covered = w.listed(inside(selection, name) for name, entries in by_adversary.items() if entries)
    budget = f"({w.budget(worst.epsilon, up=True)}, {w.plain(worst.delta)})"
    return (
        f"For any two training sets {differ} ({cut(worst.adjacency, 20)}), whatever {covered} can compute from all "
        f"{w.plural(selection.results.subject.rounds, 'round')} satisfies (ε,{w.FIXED}δ){w.FIXED}={w.FIXED}{budget} "
        f"differential privacy.{_caps(selection)} The statement holds against every attack, known or not, as long as "
        "each line below holds."
    )


def _caps(selection: Selection) -> str:
    """Return what the guarantee caps at the audited setting, for the adversary that sees most."""
    for adversary in ADVERSARIES:
        ceiling = selection.ceiling(selection.audited, (adversary, "membership"))
        if ceiling is not None:
            return (
                f" While {w.rate(ceiling.at, up=True)} of outsiders are wrongly accused, it caps the members that "
                f"{inside(selection, adversary)} finds at {w.rate(ceiling.rate, up=True)}."
            )
    return ""


def sight_table(selection: Selection) -> Table:
    """Return what each adversary sees: a column for each thing, or a list where there are too many things."""
    things = _things(selection)
    entries = selection.results.adversaries
    if len(things) > MOST_THINGS:
        columns = tuple(Column(title=title, align="left") for title in ("Adversary", "Sees"))
        rows = [Row(cells=(cut(one.label, 60), cut("; ".join(one.sees), 200) or "nothing")) for one in entries]
    else:
        columns = tuple(Column(title=cut(title, 30), align="left") for title in ("Adversary", *things))
        rows = [Row(cells=(cut(one.label, 40), *(_sees(selection, one, thing) for thing in things))) for one in entries]
    return Table(
        caption="What enters each adversary's view; whoever sees the parts can compute the whole.",
        columns=columns,
        groups=(Group(title="", note="", rows=tuple(rows)),),
    )


def _things(selection: Selection) -> list[str]:
    """Return everything that some adversary sees, the most telling first."""
    found = {
        thing: None
        for entry in selection.results.adversaries
        for thing in (*(text for text in entry.sees if not text.startswith(INSTEAD)), *selection.narrowed(entry.id))
        if thing != "nothing"
    }
    for thing in list(found):
        found.update(dict.fromkeys(_IMPLIED.get(thing, ())))
    return sorted(found, key=lambda thing: _ORDER.index(thing) if thing in _ORDER else len(_ORDER))


def _sees(selection: Selection, entry: AdversaryEntry, thing: str) -> str:
    """Return whether an adversary sees a thing, and under which defenses it does not."""
    usual = {text for text in entry.sees if not text.startswith(INSTEAD)}
    usual |= {part for text in usual for part in _IMPLIED.get(text, ())}
    usual |= {INTERCEPTED} if "each client's update" in usual else set()
    narrowed = selection.narrowed(entry.id)
    if thing not in usual:
        under = narrowed.get(thing, ())
        return f"under {cut(', '.join(under), 40)}" if under else "no"
    # What stays is the thing itself, whatever it implies, and the broadcasts that every one of these views holds.
    lost = [
        defense
        for left, defenses in narrowed.items()
        if thing not in (left, *_IMPLIED.get(left, ())) and (left == "nothing" or thing not in (SUM, *_BROADCAST))
        for defense in defenses
    ]
    return f"not under {cut(', '.join(lost), 40)}" if lost else "yes"


def premise_table(selection: Selection) -> Table:
    """Return the premises of the audited setting, and every one that did not hold elsewhere."""
    shown = [
        entry
        for entry in selection.results.premises
        if selection.on_first_page(entry.variant, entry.setting) or entry.passed is False
    ]
    rows = []
    for entry in shown:
        elsewhere = not selection.on_first_page(entry.variant, entry.setting)
        where = f" ({w.label(cut(selection.setting(entry.setting).label, 30))})" if elsewhere else ""
        status = f"{entry.status}: failed" if entry.passed is False else entry.status
        rows.append(
            Row(
                cells=(cut(entry.premise, 90) + where, cut(entry.how, 110), status),
                alarm=2 if entry.passed is False else -1,
            )
        )
    rows += (carried := channel_premises(selection))
    rest = len(selection.results.premises) - len(shown)
    note = f"The same was looked at for the other settings: {w.plural(rest, 'premise')}, none failed, in results.json."
    return Table(
        caption=f"Premises of {'guarantee and channels' if carried else 'the guarantee'} at the audited setting "
        f"({cut(selection.audited.label, 30)}).",
        columns=tuple(Column(title=title, align="left") for title in ("Premise", "How we know", "Status")),
        groups=(Group(title="", note="", rows=tuple(rows)),) if rows else (),
        notes=(note,) if rest else (),
    )


def instrument_table(selection: Selection) -> Table:
    """Return the checks of the workbench itself."""
    rows = tuple(
        Row(
            cells=(
                cut(entry.label, 70),
                cut(w.readable(entry.result), 80),
                cut(w.readable(entry.required), 70),
                "held" if entry.passed else "failed",
            ),
            alarm=-1 if entry.passed else 3,
        )
        for entry in selection.results.instruments
    )
    return Table(
        caption="Instrument checks of this run: if one fails, every verdict is withdrawn.",
        columns=tuple(Column(title=title, align="left") for title in ("Check", "Seen", "Required", "Status")),
        groups=(Group(title="", note="", rows=rows),) if rows else (),
    )
