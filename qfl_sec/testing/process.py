"""The conformance kit in a process of its own: a plug-in that hangs or dies there takes nothing along.

This module imports nothing heavy, and neither does the process that waits: only the one that is waited for loads the
plug-in.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qfl_sec.checking import InputError, parse_value
from qfl_sec.executors import THREAD_VARIABLES, single_thread
from qfl_sec.testing.scorecard import FALSE_ALARM, Check, Scorecard, shown

if TYPE_CHECKING:
    from qfl_sec.plugins import Plugin

TIME_LIMIT = 60.0
"""Seconds that loading a plug-in, or one check of it, may take."""

START_LIMIT = 300.0
"""Seconds that a process may take to load the workbench, before any plug-in runs."""

EXAMPLES = {"epsilon": 4.0}
"""Values of parameters that have no default; others have to be given."""


def verify(
    target: str, *, changes: Sequence[str] = (), time_limit: float = TIME_LIMIT, seed: int = 0
) -> tuple[Scorecard, ...]:
    """Check every plug-in of a file, or the registered plug-ins of a name.

    Args:
        target: A Python file, or a name.
        changes: Parameters to check at, each "key=value".
        time_limit: Seconds that the import, and each check, may take.
        seed: Of everything that is drawn.

    Raises:
        InputError: If there is no such plug-in, it fails or hangs on import, or a parameter is wrong.
    """
    if not 0 < time_limit <= 86_400:
        raise InputError(f"--time-limit {time_limit:g}: Expected more than 0 seconds, and at most a day.")
    parameters = dict(_change(text) for text in changes)
    cards: list[Scorecard] = []
    while True:
        session = _Session(target, time_limit)
        total = session.run(parameters, start=len(cards), seed=seed)
        cards += session.cards
        if len(cards) >= total:
            return tuple(cards)


def _change(text: str) -> tuple[str, Any]:
    """Read one "key=value", the value as TOML or else as a word."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {text}: Expected key=value, such as epsilon=4.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except ValueError:
        return key.strip(), value.strip()


@dataclass
class _Session:
    """One process, and what it has told.

    Attributes:
        target: What is checked.
        time_limit: Seconds that it may be silent.
        cards: Scorecards of the plug-ins that are done.
        current: What is known of the one in work: kind, name, parameters, names of its checks; empty before.
        checks: Its checks so far.
        running: The check in work.
    """

    target: str
    time_limit: float
    cards: list[Scorecard] = field(default_factory=list)
    current: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    running: str = ""

    def run(self, parameters: Mapping[str, Any], *, start: int, seed: int) -> int:
        """Check plug-ins from number `start` on, until all are done or one hangs or dies; return how many there are."""
        context = multiprocessing.get_context("spawn")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(writer, self.target, dict(parameters), start, seed), daemon=True)
        process.start()
        writer.close()
        try:
            return self._listen(reader, process)
        finally:
            _kill(process)
            reader.close()

    def _listen(self, reader: Connection, process: BaseProcess) -> int:
        total: int = 0
        limit = START_LIMIT
        while True:
            try:
                message = json.loads(reader.recv_bytes()) if reader.poll(limit) else None
            except (EOFError, OSError):
                process.join(self.time_limit)
                self._give_up(f"the process died with exit code {process.exitcode}", "a live process", "It dies")
                return total
            if message is None:
                within = f"within {limit:g} s"
                self._give_up(f"no answer {within}", f"an answer {within}", "It hangs, or is too slow (--time-limit)")
                return total
            limit = self.time_limit
            total = int(message.get("total", total))
            if self._told(message):
                return total

    def _told(self, message: dict[str, Any]) -> bool:
        """Note a message; return whether it was the last."""
        if "refused" in message:
            raise InputError(message["refused"])
        if "failed" in message:
            raise RuntimeError(message["failed"])
        if "plugin" in message:
            self.current, self.checks = message, []
        if "begun" in message:
            self.running = message["begun"]
        if "check" in message:
            self.checks.append(parse_value(Check, message["check"], source="the kit's process"))
        if "false_alarm" in message:
            self._finish(message["false_alarm"])
        return "done" in message

    def _finish(self, false_alarm: float) -> None:
        names = {name: self.current[name] for name in ("plugin", "kind", "parameters")}
        self.cards.append(Scorecard(**names, checks=tuple(self.checks), false_alarm=false_alarm))
        self.current = {}

    def _give_up(self, measured: str, expected: str, verdict: str) -> None:
        """Fail the check in work, and list those that were not reached.

        Raises:
            InputError: If no check had begun.
        """
        if not self.current:
            raise InputError(f"Plug-in {self.target}: {verdict} on import: {measured}. Mend it.")
        self.checks.append(
            Check(name=self.running, status="failed", measured=measured, expected=expected, reason=f"{verdict}.")
        )
        reached = {check.name for check in self.checks}
        for name in self.current["names"]:
            if name not in reached:
                reason = f"Not reached: see {self.running}."
                self.checks.append(Check(name=name, status="not applicable", measured="", expected="", reason=reason))
        self._finish(FALSE_ALARM if self.current["kind"] == "defense" else 0.0)


def _kill(process: BaseProcess) -> None:
    """End the process with every copy it has made of itself."""
    if process.pid is not None and hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == process.pid:
                os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _work(writer: Connection, target: str, parameters: dict[str, Any], start: int, seed: int) -> None:
    """Load the plug-in and check it, telling every step; what it prints goes to standard error."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))

    def tell(message: dict[str, Any]) -> None:
        writer.send_bytes(json.dumps(message).encode())

    try:
        from qfl_sec.testing import defense  # noqa: F401 - may take long, and is not the plug-in's time

        tell({})
        with single_thread():
            _check_all(tell, target, parameters, start, seed)
        tell({"done": True})
    except InputError as error:
        tell({"refused": str(error)})
    except Exception as error:
        tell({"failed": f"{type(error).__name__}: {error}"})


def _check_all(tell: Any, target: str, parameters: dict[str, Any], start: int, seed: int) -> None:
    from qfl_sec.contracts import Defense
    from qfl_sec.protocol_contracts import DelegatedComputation, KeySource, MessageCarrier
    from qfl_sec.testing import defense

    found = _load(target)
    plugins = [_build(cls, parameters, found) for cls in found]
    tell({"total": len(plugins)})

    def listen(name: str, check: Check | None) -> None:
        tell({"begun": name} if check is None else {"check": asdict(check)})

    for plugin in plugins[start:]:
        if isinstance(plugin, Defense):
            kind, names, check = (
                "defense",
                [*defense.BEHAVIOUR, *defense.NOISE, *defense.PRIVACY],
                defense.check_defense,
            )
        elif isinstance(plugin, KeySource | MessageCarrier | DelegatedComputation):
            from qfl_sec.testing import protocol

            kind, names, check = "protocol", [*protocol.CHECKS], cast(Any, protocol.check_protocol)
        else:
            from qfl_sec.testing import attack  # brings the models along

            kind, names, check = "attack", [*attack.CHECKS], cast(Any, attack.check_attack)
        tell({"plugin": plugin.name, "kind": kind, "parameters": repr(plugin), "names": names})
        tell({"false_alarm": check(plugin, seed=seed, listen=listen).false_alarm})


def _load(target: str) -> "list[Plugin]":
    """Return the classes of a file, or the registered ones of a name."""
    from qfl_sec import plugins

    known = {kind: plugins.names(kind) for kind in plugins.KINDS}  # so that installed ones are met before the file's
    if target.endswith(".py") or Path(target).exists() or os.sep in target:
        return plugins.load_file(target)
    found: list[Plugin] = [plugins.get(kind, target) for kind in plugins.KINDS if target in known[kind]]
    if not found:
        names = [name for kind in plugins.KINDS for name in known[kind]]
        raise plugins.PluginError(
            f"Unknown plug-in {target!r}. {plugins.nearest(target, names)}Known: {', '.join(names)}. "
            "Or name a Python file."
        )
    return found


def _build(cls: "Plugin", parameters: Mapping[str, Any], found: "Sequence[Plugin]") -> Any:
    """Build a plug-in from the parameters given, and from examples where a value is needed."""
    from qfl_sec.plugins import PluginError

    known = {one.name for other in found for one in fields(cast(Any, other))}
    for key in parameters:
        if key not in known:
            raise InputError(f"--set {key}: unknown. Expected one of: {', '.join(sorted(known)) or 'no parameter'}.")
    own = {one.name: one for one in fields(cast(Any, cls))}
    needed = [name for name, one in own.items() if one.default is MISSING and one.default_factory is MISSING]
    table = {name: EXAMPLES[name] for name in needed if name in EXAMPLES}
    table |= {key: value for key, value in parameters.items() if key in own}
    missing = [name for name in needed if name not in table]
    if missing:
        raise InputError(f"{cls.name}: {missing[0]} has no default. Give a value with --set {missing[0]}=VALUE.")
    try:
        return parse_value(cls, table, source=cls.name)
    except InputError:
        raise
    except Exception as error:
        remedy = "Mend the plug-in or change its parameters with --set"
        raise PluginError(f"{cls.name}: cannot be built: {shown(error)}. {remedy}.") from error
