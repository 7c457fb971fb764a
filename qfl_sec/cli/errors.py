"""What is said when a command cannot go on, and the exit status that goes with it."""

import errno
import os
import traceback

REMEDIES = {
    errno.ENOSPC: "Free some space, or choose another place with --out",
    errno.EDQUOT: "Free some of your quota, or choose another place with --out",
    errno.EACCES: "Change its permissions, or choose another place with --out",
    errno.EPERM: "Change its permissions, or choose another place with --out",
    errno.EROFS: "Choose a place that can be written with --out",
    errno.ENOTDIR: "Something on the way there is no folder: choose another place with --out",
    errno.EEXIST: "Something else bears this name: choose another place with --out",
}
"""What helps against an error of the operating system."""

TRACEBACK = "QFL_SEC_TRACEBACK"
"""Environment variable that asks for tracebacks."""


class Interrupted(Exception):  # noqa: N818 - it is the user's wish, no error
    """The user has interrupted a command; the message says what is kept. Exit status 130."""


def describe(error: Exception) -> tuple[str, int]:
    """Return the message for an exception that ended a command, and the exit status."""
    # Imported here because it brings pydantic along, which no other path to a short answer needs.
    from qfl_sec.checking import InputError

    if isinstance(error, Interrupted):
        return str(error), 130
    if isinstance(error, InputError):
        return f"Error: {error}" + _traceback(error), 2
    if isinstance(error, OSError) and error.errno is not None:
        place = error.filename or "a file of this run"
        remedy = REMEDIES.get(error.errno, "Check the place, or choose another with --out")
        return f"Error: {place}: {error.strerror}. {remedy}." + _traceback(error), 2
    kind, cause = type(error).__name__, " ".join(str(error).split()).removesuffix(".") or "no message"
    shown = _traceback(error) or f" Set {TRACEBACK}=1 and run it again to see where, and please report it."
    return f"Error: qfl-sec itself has failed, not your input: {kind}: {cause}.{shown}", 1


def _traceback(error: Exception) -> str:
    return "\n" + "".join(traceback.format_exception(error)) if os.environ.get(TRACEBACK) else ""
