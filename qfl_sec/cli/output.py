"""Standard output belongs to a command's answer: whatever else is printed meanwhile goes to standard error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress


@contextmanager
def answers_only() -> Iterator[None]:
    """Send to standard error what plug-ins, their libraries and processes print while a command works."""
    sys.stdout.flush()
    try:
        kept = os.dup(1)
        os.dup2(2, 1)
    except OSError:  # one of the two is closed
        kept = None
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if kept is not None:
            with suppress(OSError):
                os.dup2(kept, 1)
            os.close(kept)
