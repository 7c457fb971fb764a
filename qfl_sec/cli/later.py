"""What a later version brings: not in `--help`, and refused by name when asked for."""

from collections.abc import Sequence

COMMANDS = ("protocol", "verify")


def refuse_later_commands(arguments: Sequence[str]) -> None:
    """Refuse a command that this version does not have yet.

    Raises:
        InputError: If the first argument is such a command.
    """
    if arguments and arguments[0] in COMMANDS:
        refuse_later(f"qfl-sec {arguments[0]}")


def refuse_later(what: str) -> None:
    """Refuse something that this version does not have yet.

    Raises:
        InputError: Always.
    """
    from qfl_sec import __version__
    from qfl_sec.checking import InputError

    raise InputError(f"{what}: this version ({__version__}) does not have it yet. `qfl-sec --help` lists what works.")
