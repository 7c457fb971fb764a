"""`qfl-sec init`: write a commented experiment file to start from."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer


def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="The file to write.")] = Path("experiment.toml"),
) -> None:
    """Write a commented experiment file to start from; an existing file is left alone."""
    from qfl_sec.checking import InputError

    text = (files("qfl_sec.cli") / "init.toml").read_text(encoding="utf-8")
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise InputError(f"{file}: exists already. Name another file, or remove this one.") from None
    except FileNotFoundError:
        raise InputError(f"{file}: its folder does not exist. Make it, or name another file.") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}). Name another file.") from None
    print(file)
