"""What carried the updates, as a section of the appendix: what arrived, what leaked, what it cost; and in figures."""

from collections.abc import Iterable, Mapping, Sequence

from qfl_sec.protocol_results import Abort, ChannelEntry
from qfl_sec.reports import wording as w
from qfl_sec.reports.channel_charts import channel_figure
from qfl_sec.reports.entry_names import channel_label, shown_channels
from qfl_sec.reports.sanitising import cut
from qfl_sec.reports.sections import Section
from qfl_sec.reports.selection import Selection
from qfl_sec.reports.tables import Column, Group, Row, Table

MOST_ROWS = 40
"""Channels beyond these are counted, and stand in `results.json`."""

HIDDEN: Mapping[str, str] = {"none": "nothing", "direct": "the protocol itself"}
"""What hid an update, where the name of the cipher does not say it."""


def channels(selection: Selection) -> Section | None:
    """Return the section; None where every channel was plain and nobody tapped it."""
    entries = shown_channels(selection)
    if not entries:
        return None
    return Section(
        title="Protocols: what carried the updates",
        says=tuple(_says(entries)),
        tables=(_arrival_table(selection, entries), _cost_table(selection, entries)),
        figure=channel_figure(selection),
    )


def channel_premises(selection: Selection) -> list[Row]:
    """Return what the channels' promises rest on at the audited setting, one group of rows a protocol."""
    found: dict[str, list[ChannelEntry]] = {}
    for entry in shown_channels(selection):
        if entry.kind != "plain":
            found.setdefault(entry.name, []).append(entry)
    return [row for name, entries in found.items() for row in _premises(cut(name, 30), entries)]


def _premises(name: str, entries: list[ChannelEntry]) -> Iterable[Row]:
    if entries[0].kind == "direct":
        yield Row(
            cells=(
                f"What {name} carries stays secret: its sources give no composable proof, only capacities",
                "the simulated eavesdropper alone shows what leaks; other attacks were not tried",
                "assumed",
            )
        )
    else:
        bounds = [entry.epsilon for entry in entries if entry.epsilon is not None and entry.authenticated]
        if bounds:
            yield Row(
                cells=(
                    f"Keys of {name} are equal and secret, except with probability {w.upper(max(bounds))}",
                    "union bound over every run of a setting; devices behave as they are modelled",
                    "assumed",
                )
            )
        aes, delivered = (
            sum(entry.ciphers.get("AES-256-GCM", 0) for entry in entries),
            sum(entry.delivered for entry in entries),
        )
        if aes:
            yield Row(
                cells=(
                    f"AES-256-GCM holds ({w.fraction(aes, delivered)} updates over {name}): secrecy is computational",
                    "where the key does not last for one-time pads",
                    "assumed",
                )
            )
    trusted = all(entry.authenticated for entry in entries)
    yield Row(
        cells=(
            f"What the parties of {name} say in public is authenticated",
            "a key from before, renewed in each run" if trusted else "switched off: the partner may be anybody",
            "assumed" if trusted else "declared: failed",
        ),
        alarm=-1 if trusted else 2,
    )


def _says(entries: list[ChannelEntry]) -> Iterable[str]:
    kinds = {entry.kind for entry in entries}
    if "plain" in kinds:
        yield "On the plain channel whoever taps a message reads it and may change it: nothing tells the parties."
    if "key" in kinds:
        names = w.listed(dict.fromkeys(cut(entry.name, 30) for entry in entries if entry.kind == "key"))
        yield (
            f"{names}: each client and the server distribute key once a round. It encrypts broadcast and update "
            "with one-time pads as long as it lasts, else with AES-256-GCM, which is computational, and tags both. "
            "The eavesdropper sees sizes and who sends, and learns the key with probability ε at most."
        )
    if "direct" in kinds:
        names = w.listed(dict.fromkeys(cut(entry.name, 30) for entry in entries if entry.kind == "direct"))
        yield (
            f"{names}: the bits of an update travel themselves; the broadcast is public. The sources prove no "
            "composable secrecy of a delivered message, so that ε is 1: what leaked is what the simulated eavesdropper "
            "holds for certain, and a better one may hold more."
        )
    if any(entry.delivered < entry.messages for entry in entries):
        yield "An update that does not arrive is missing from its round, and the federation goes on without it."


def _arrival_table(selection: Selection, entries: list[ChannelEntry]) -> Table:
    titles = ("Aborted because", "Hidden by", "Error rate seen", "Theory", "Leaked bits", "Leaking")
    rows = [
        (
            channel_label(selection, entry), w.fraction(entry.delivered, entry.messages), _aborted(entry.aborts),
            _ciphers(entry), _error_rate(entry), _theory(entry), w.group(entry.leaked_bits),
            w.fraction(entry.leaking, entry.messages),
        )
        for entry in entries
    ]  # fmt: skip
    return _table(
        selection,
        "Updates that arrived, and what the eavesdropper has of them for certain, at the audited setting. Error rate: "
        "median over messages and range; of direct communication the largest check, which lies above its mean.",
        (
            Column(title="Channel", align="left"),
            Column(title="Arrived"),
            *(Column(title=title, align="left" if index < 2 else "right") for index, title in enumerate(titles)),
        ),
        rows,
        entries,
    )


def _cost_table(selection: Selection, entries: list[ChannelEntry]) -> Table:
    titles = ("Bits needed", "Available", "Least", "By theory", "Signals", "Public bits", "Seconds", "ε")
    rows = [
        (
            channel_label(selection, entry), _median(entry, "needed_bits"), _median(entry, "secret_bits"),
            "–" if entry.kind == "plain" or entry.secret_bits is None else w.group(round(entry.secret_bits.least)),
            "–" if entry.expected_secret_bits is None else w.group(entry.expected_secret_bits),
            w.group(entry.qubits), w.group(entry.classical_bits), w.plain(entry.seconds),
            "–" if entry.epsilon is None else w.upper(entry.epsilon),
        )
        for entry in entries
    ]  # fmt: skip
    return _table(
        selection,
        "What carrying them cost. Secret bits a message and round, median: needed for one-time pads and tags of both "
        "directions, or for the update itself, and available; signals on the quantum channel, public discussion and "
        "modelled time of all seeds together; ε bounds the failure of any of their proofs.",
        (Column(title="Channel", align="left"), *(Column(title=title) for title in titles)),
        rows,
        entries,
    )


def _table(
    selection: Selection,
    caption: str,
    columns: tuple[Column, ...],
    rows: Sequence[tuple[str, ...]],
    entries: list[ChannelEntry],
) -> Table:
    here = [Row(cells=cells, audited=entry.variant == selection.variant.id)
            for cells, entry in zip(rows, entries, strict=True)]  # fmt: skip
    rest = len(selection.results.channels) - len(entries[:MOST_ROWS])
    note = f"{w.plural(rest, 'further entry')} in results.json.".replace("entrys", "entries")
    return Table(
        caption=caption,
        columns=columns,
        groups=(Group(title="", note="", rows=tuple(here[:MOST_ROWS])),),
        notes=(note,) if rest else (),
    )


def _aborted(aborts: tuple[Abort, ...]) -> str:
    return cut("; ".join(f"{abort.reason} ({w.group(abort.count)})" for abort in aborts), 60) or "–"


def _ciphers(entry: ChannelEntry) -> str:
    if len(entry.ciphers) == 1:
        return next(HIDDEN.get(name, name) for name in entry.ciphers)
    return ", ".join(f"{HIDDEN.get(name, name)} ({w.group(count)})" for name, count in entry.ciphers.items()) or "–"


def _error_rate(entry: ChannelEntry) -> str:
    seen = entry.error_rate
    if seen is None:
        return "–"
    return f"{w.rate(seen.median, table=True)} ({w.ends(seen.least, seen.most, table=True)})"


def _theory(entry: ChannelEntry) -> str:
    return w.rate(entry.expected_error_rate, table=True)


def _median(entry: ChannelEntry, name: str) -> str:
    found = getattr(entry, name)
    return "–" if found is None or entry.kind == "plain" else w.group(round(found.median))
