"""`qfl-sec protocol`: run one quantum protocol, or sweep its parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import click
import typer

from qfl_sec.cli.options import answer, load_plugins
from qfl_sec.cli.output import answers_only

if TYPE_CHECKING:
    from qfl_sec.protocol_contracts import DelegatedComputation, KeySource, MessageCarrier, ProtocolResult

RAW = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
"""Leaves every option to the protocol's own command."""

MESSAGE_BITS = "message_bits"


def protocol(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="The protocol: see `qfl-sec list protocols`.")
    ] = None,
) -> None:
    """Run one quantum protocol once, or sweep its parameters. `qfl-sec protocol NAME --help` lists its options."""
    from qfl_sec import plugins
    from qfl_sec.checking import InputError

    arguments = ([name] if name is not None else []) + context.args
    load_plugins(_plugin_files(arguments))
    known = ", ".join(plugins.names("protocol"))
    if name is None or name.startswith("-"):
        if "--help" in arguments:
            print(f"Usage: qfl-sec protocol NAME [OPTIONS]\n\nProtocols: {known}.")
            print("`qfl-sec protocol NAME --help` lists the options of one.")
            return
        raise InputError(f"Expected the name of a protocol first. Known: {known}.")
    command = _command(plugins.get("protocol", name))
    command.main(args=context.args, prog_name=f"qfl-sec protocol {name}", standalone_mode=False)


def _plugin_files(arguments: Sequence[str]) -> list[Path]:
    """Return the files of all --plugin options, which have to be loaded before the protocol's options are known."""
    found = [Path(value) for option, value in pairwise(arguments) if option == "--plugin"]
    return found + [Path(one.partition("=")[2]) for one in arguments if one.startswith("--plugin=")]


def _command(cls: Any) -> click.Command:
    """Return the command of a protocol, with an option for each of its fields."""
    from qfl_sec.plugins import description
    from qfl_sec.protocol_contracts import MessageCarrier

    hints = get_type_hints(cls)
    options = [_option(one, hints[one.name]) for one in fields(cls) if one.init]
    if issubclass(cls, MessageCarrier):
        options.insert(0, click.Option(["--message-bits"], type=click.IntRange(min=1), default=1024, show_default=True))
    shared = [
        click.Option(["--seed"], type=click.IntRange(min=0), default=0, show_default=True, help="Fixes every draw."),
        click.Option(
            ["--sweep"], multiple=True, metavar="NAME=START:STOP:STEP", help="Run over a range; at most twice."
        ),
        click.Option(["--out"], type=click.Path(path_type=Path), metavar="DIR", help="Where a sweep's files go."),
        click.Option(["--plugin"], multiple=True, metavar="FILE", help="Python file that defines protocols."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object on standard output."),
    ]

    def run(**given: Any) -> None:
        _run(cls, given)

    return click.Command(cls.name, params=[*options, *shared], callback=run, help=description(cls))


def _option(one: Any, hint: Any) -> click.Option:
    """Return the option of a field; one without default has to be given."""
    flag = f"--{one.name.replace('_', '-')}"
    needed = one.default is MISSING
    known = None if needed else one.default
    if hint is bool:
        return click.Option([f"{flag}/--no-{flag[2:]}", one.name], default=known, required=needed, show_default=True)
    return click.Option([flag, one.name], type=_type(hint), default=known, required=needed, show_default=True)


def _type(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        options = [one for one in get_args(hint) if one is not NoneType]
        return _type(options[0]) if len(options) == 1 else str
    if get_origin(hint) is Literal:
        return click.Choice(get_args(hint))
    return hint if hint in (int, float) else str


def _run(cls: Any, given: dict[str, Any]) -> None:
    from qfl_sec.cli import protocol_sweep
    from qfl_sec.cli.protocol_answer import show

    seed, as_json, out, sweep = (given.pop(name) for name in ("seed", "as_json", "out", "sweep"))
    given.pop("plugin")
    settings = Settings(cls, given, seed)
    if not sweep:
        with answers_only():
            found = settings.figures()
        if as_json:
            answer(found)
        else:
            show(found)
        return
    axes = protocol_sweep.axes(sweep, settings)
    with answers_only():
        rows = protocol_sweep.rows(settings, axes)
        written = protocol_sweep.write(rows, axes, Path("runs", cls.name) if out is None else out, title=cls.name)
    if as_json:
        answer({"protocol": cls.name, "seed": seed, "files": [str(path) for path in written], "rows": rows})
    else:
        for path in written:
            print(path)


@dataclass(frozen=True)
class Settings:
    """A protocol, and the options it was given.

    Attributes:
        cls: Its class.
        given: Value of each option, the message's length among them.
        seed: Of every draw.
    """

    cls: Any
    given: Mapping[str, Any]
    seed: int

    def figures(self, **changes: Any) -> dict[str, Any]:
        """Run once, with some options changed, and return what is answered.

        Raises:
            InputError: If a value is out of its range, or the message is longer than the run can carry.
        """
        from qfl_sec.checking import parse_value
        from qfl_sec.cli.protocol_answer import figures

        values = {**self.given, **changes}
        bits = values.pop(MESSAGE_BITS, None)
        table = {name: value for name, value in values.items() if value is not None}
        built = parse_value(self.cls, table, source=f"qfl-sec protocol {self.cls.name}")
        shown = values if bits is None else {MESSAGE_BITS: bits, **values}
        head = {"protocol": self.cls.name, "seed": self.seed, "parameters": shown}
        return head | figures(_result(built, bits, self.seed))


def _result(
    protocol: "KeySource | MessageCarrier | DelegatedComputation", message_bits: int | None, seed: int
) -> "ProtocolResult":
    import numpy as np

    from qfl_sec.protocol_contracts import DelegatedComputation, KeySource
    from qfl_sec.randomness import Streams

    streams = Streams(seed)
    if isinstance(protocol, KeySource):
        return protocol.distribute(streams)
    if isinstance(protocol, DelegatedComputation):
        return protocol.compute(streams)
    check_length = getattr(protocol, "check_length", None)
    if check_length is not None:  # before a message is drawn that would not fit anyway
        check_length(message_bits)
    return protocol.send(streams.numpy("message").integers(0, 2, message_bits, np.uint8), streams)
