"""What `qfl-sec protocol` answers: a result's figures as plain values, and as a table with a small chart."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qfl_sec.protocol_contracts import AdversaryReport, EpsilonLedger, ProtocolResult

BAR = 40
"""Characters of a whole bar."""

FULL_RATE = 0.5
"""Error rate of a whole bar: that of guessing."""

LONG = ("seed", "parameters", "cost", "epsilon", "adversary", "checks", "protocol")


def figures(result: "ProtocolResult") -> dict[str, Any]:
    """Return a result as plain values: every field and property of its class but bits, which are secret.

    A figure that does not exist is None, and the reason stands beside it.
    """
    found: dict[str, Any] = {}
    for name in _names(type(result)):
        value = _plain(getattr(result, name))
        if value is not _SECRET:
            found[name] = value
    reason = f"aborted: {result.abort_reason}" if result.aborted else "there was nothing to compute it from"
    gaps = [name for name, value in found.items() if value is None or _not_finite(value)]
    return {
        **{name: None if name in gaps else value for name, value in found.items()},
        **{f"{name}_reason": reason for name in gaps},
        "aborted": result.aborted,
        "abort_reason": result.abort_reason,
        "cost": asdict(result.cost),
        "epsilon": _epsilon(result.ledger),
        "adversary": _adversary(result.adversary),
    }


def _names(cls: type) -> Iterator[str]:
    """Yield the public fields and properties that a result adds to those of all results."""
    from qfl_sec.protocol_contracts import ProtocolResult

    shared = {one.name for one in fields(ProtocolResult)} | {"aborted", "error_rate"}
    own = [one.name for one in fields(cls)]
    own += [name for each in reversed(cls.__mro__) for name, value in vars(each).items() if isinstance(value, property)]
    yield from (name for name in dict.fromkeys(own) if name not in shared and not name.startswith("_"))


_SECRET = object()


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; arrays are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {one.name: getattr(value, one.name) for one in fields(value)}
    if isinstance(value, Mapping):
        plain = {str(key): _plain(one) for key, one in value.items()}
        return {key: one for key, one in plain.items() if one is not _SECRET}
    if isinstance(value, tuple | list):
        return [one for one in map(_plain, value) if one is not _SECRET]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return _SECRET


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _epsilon(ledger: "EpsilonLedger") -> dict[str, Any]:
    return {
        "correctness": ledger.correctness,
        "secrecy": ledger.secrecy,
        "total": ledger.total,
        "consumed_key_bits": ledger.consumed_key_bits,
        "terms": [asdict(term) for term in ledger.terms],
    }


def _adversary(report: "AdversaryReport") -> dict[str, Any]:
    unit = "_".join(report.unit.removeprefix("bits ").split()) or "bits"
    found: dict[str, Any] = {"name": report.name, "power": report.power, f"information_{unit}": report.information}
    if report.information is None:
        found[f"information_{unit}_reason"] = "no formula or estimate applies"
    if "known" in report.held:
        found["message_bits_known"] = int(report.held["known"].sum())
    return found


def show(found: Mapping[str, Any]) -> None:
    """Print figures as a table, and error rates as a chart."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=found["protocol"], title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("", overflow="fold")
    for name, value in _lines(found):
        table.add_row(name.replace("_", " "), value)
    console.print(table, markup=False)
    bars = list(_bars(found))
    if bars:
        width = max(len(name) for name, _ in bars)
        console.print(f"\nerror rates; a whole bar is {FULL_RATE:.0%}, guessing", style="bold")
        for name, rate in bars:
            filled = min(BAR, round(BAR * rate / FULL_RATE))
            console.print(f"{name:<{width}}  {'█' * filled}{'·' * (BAR - filled)}  {rate:.2%}", markup=False)


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in found.items():
        if name not in LONG and value is not None and not isinstance(value, Mapping | list):
            yield name, _shown(value)
    for name, value in found["adversary"].items():
        if value is not None:
            yield f"adversary {name}", _shown(value)
    for name, value in found["cost"].items():
        yield f"cost {name}", _shown(value)
    for term in found["epsilon"]["terms"]:
        yield f"epsilon {term['aspect']}", f"{term['epsilon']:.3g}: {term['theorem']}"
    yield "consumed key bits", _shown(found["epsilon"]["consumed_key_bits"])


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def _bars(found: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name in ("qber", "bit_error_rate"):
        if isinstance(found.get(name), float):
            yield name.replace("_", " "), found[name]
    for name, rate in (found.get("check_error_rates") or {}).items():
        if rate is not None:
            yield name.replace("_", " "), rate
