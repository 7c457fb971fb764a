"""The command line, one file a subcommand.

Nothing here imports the workbench before a command needs it, so that `qfl-sec --help` answers at once. `options` holds
what several commands share, `progress` what is shown while they work, `errors` what is said when they cannot.

Exit status: 0 done; 1 some cell failed, or we did; 2 the user's mistake; 3 a `--fail-if` rule holds; 130 interrupted.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import click
import typer

from qfl_sec import __version__
from qfl_sec.cli import attack, audit, init, listing, protocol, report, train, verify, verify_plugin
from qfl_sec.cli.errors import describe

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: What follows the program's name; None takes this process's.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = typer.main.get_command(_app())(given or ["--help"], prog_name="qfl-sec", standalone_mode=False)
    except click.ClickException as error:
        print(f"Error: {error.format_message()} {_help_hint(error)}", file=sys.stderr)
        return 2
    except Exception as error:
        message, code = describe(error)
        print(message, file=sys.stderr)
        return code
    if status == 130:
        print("Interrupted.", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _app() -> typer.Typer:
    app = typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        suggest_commands=False,  # click does so itself
        help="Security and privacy evaluation workbench for quantum federated learning.",
    )
    app.callback()(_root)
    app.command("audit")(audit.audit)
    app.command("train")(train.train)
    app.command("attack")(attack.attack)
    app.command("report")(report.report)
    app.command("protocol", context_settings=protocol.RAW)(protocol.protocol)
    app.command("verify")(verify.verify)
    app.command("verify-plugin")(verify_plugin.verify_plugin)
    app.command("list")(listing.list_)
    app.command("init")(init.init)
    return app


def _root(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, help="Print the version and exit.", callback=lambda on: _tell(on)),
    ] = False,
) -> None:
    pass


def _tell(version: bool) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def _help_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"See `{context.command_path if context else 'qfl-sec'} --help`."
