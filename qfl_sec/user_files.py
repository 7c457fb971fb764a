"""Objects in the user's own Python files: named as FILE.py:NAME, told apart by the file's content, run when needed."""

import hashlib
import inspect
import linecache
import sys
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from qfl_sec.checking import InputError
from qfl_sec.plugins import nearest

FILE_MODULE = "qfl_sec_model_"
"""A file runs as a module of this name and its content's hash, apart from whatever else imports it."""


def settled(reference: str, what: str) -> str:
    """Return FILE.py:NAME with an absolute path; the file is not run.

    Args:
        reference: As the user wrote it.
        what: The key that holds it, for messages.

    Raises:
        InputError: If it is not of this form, or the file does not exist.

    Example:
        >>> settled("my_model.py", "circuit")
        Traceback (most recent call last):
        ...
        qfl_sec.checking.InputError: Expected circuit='my_model.py' to be "FILE.py:NAME". Name what the file defines.
    """
    file, _, name = reference.rpartition(":")
    if not file.endswith(".py") or not name.isidentifier():
        raise InputError(f'Expected {what}={reference!r} to be "FILE.py:NAME". Name what the file defines.')
    path = Path(file).absolute()
    if not path.is_file():
        fault = "not a file" if path.exists() else "no such file"
        remedy = f"Correct [model] {what}; in an experiment file a relative path counts from that file's folder"
        raise InputError(f"{what}: {path}: {fault}. {remedy}.")
    return f"{path}:{name}"


def title(reference: str) -> str:
    """Return FILE.py:NAME without folders."""
    return Path(reference).name


def content_hash(path: Path) -> str:
    """Return the sha256 of a file's bytes, as `sha256sum` prints it.

    Raises:
        InputError: If the file cannot be read.
    """
    return hashlib.sha256(_read(path)).hexdigest()


def load_object(reference: str, sha256: str, what: str) -> Any:
    """Run a file, once for each content, and return what a name in it means.

    The file runs with the user's rights: it is the user's own. Its folder is not searched for modules that it imports.

    Args:
        reference: As `settled` returned it.
        sha256: Of the content that is meant.
        what: The key that holds the reference, for messages.

    Raises:
        InputError: If the file has changed, raises when it is run, or does not define a callable of this name.
    """
    file, _, name = reference.rpartition(":")
    content = _read(Path(file))
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"{what}: {file} has changed since this run began. Run it again.")
    known = vars(_run(content, file))
    if name not in known:
        own = [key for key, value in known.items() if callable(value) and not key.startswith("_")]
        remedy = f"{nearest(name, own)}It has: {', '.join(own) or 'nothing to call'}"
        raise InputError(f"{what}: {file} defines no {name!r}. {remedy}.")
    if not callable(known[name]):
        kind = type(known[name]).__name__
        raise InputError(f"{what}: {name} in {file} is of type {kind}. Expected something to call: name a function.")
    return known[name]


def reference_to(function: Callable[..., Any]) -> str:
    """Return FILE.py:NAME of a function or class at the top level of a file, for use in an experiment.

    Workers and later runs load the file by this name, so code beyond definitions belongs under
    `if __name__ == "__main__":`.

    Raises:
        InputError: If it is a lambda, a local function, or typed into a notebook.
    """
    name, module = getattr(function, "__qualname__", ""), sys.modules.get(getattr(function, "__module__", ""))
    file = getattr(module, "__file__", None)
    if file is None or getattr(module, name, None) is not function:
        raise InputError(f"{function!r} stands at the top level of no file. Define it there, so that workers find it.")
    return f"{Path(inspect.getsourcefile(function) or file).absolute()}:{name}"


def first_line(error: BaseException) -> str:
    """Return an error's kind and first line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no message'])[0][:200]}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Correct the path or its permissions.") from None


@lru_cache(maxsize=32)
def _run(content: bytes, file: str) -> ModuleType:
    """Run the very bytes that were hashed, as a module of their own that stays in `sys.modules`."""
    module = ModuleType(FILE_MODULE + hashlib.sha256(content).hexdigest()[:16])
    module.__file__ = file
    sys.modules[module.__name__] = module
    linecache.checkcache(file)
    try:
        exec(compile(content, file, "exec"), vars(module))
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise InputError(f"{_place(error, file)}: {first_line(error)}. Mend the file.") from error
    return module


def _place(error: BaseException, file: str) -> str:
    """Return the file with the line in it at which an error arose."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = lines[-1] if lines else getattr(error, "lineno", None)
    return file if line is None else f"{file}: line {line}"
