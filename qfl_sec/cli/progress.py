"""What is shown while a command works: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from qfl_sec.cli.errors import Interrupted

if TYPE_CHECKING:
    from qfl_sec.runner import Progress


@contextmanager
def shown(folder: Path) -> Iterator[Callable[["Progress"], None]]:
    """Show progress on standard error.

    Args:
        folder: Where the run's results are kept, for the message when the user interrupts it.

    Yields:
        What has to be told of progress.

    Raises:
        Interrupted: If the user presses Ctrl-C.
    """
    latest: list[Progress] = []
    draw = _bar if sys.stderr.isatty() else _lines
    try:
        with draw() as show:

            def listen(progress: "Progress") -> None:
                latest[:] = [progress]
                show(progress)

            yield listen
    except KeyboardInterrupt:
        kept = f"{_counts(latest[0])} are kept" if latest else "Nothing was computed yet; what was there is kept"
        raise Interrupted(f"Interrupted. {kept} in {folder}. Run the same command again to go on.") from None


@contextmanager
def _lines() -> Iterator[Callable[["Progress"], None]]:
    def show(progress: "Progress") -> None:
        print(f"[{_done(progress)}/{_total(progress)}] {progress.message}", file=sys.stderr, flush=True)

    yield show


@contextmanager
def _bar() -> Iterator[Callable[["Progress"], None]]:
    from rich import progress as rich_progress
    from rich.console import Console
    from rich.markup import escape

    columns = (
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        rich_progress.TextColumn("time left"),
        rich_progress.TimeRemainingColumn(),
        rich_progress.TextColumn("{task.description}"),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("starting", total=None)

        def show(progress: "Progress") -> None:
            failed = f", {progress.failed} failed" if progress.failed else ""
            text = escape(f"{progress.message}{failed}")
            bar.update(task, completed=_done(progress), total=_total(progress), description=text)

        yield show


def _done(progress: "Progress") -> int:
    return progress.trainings_done + progress.cells_done


def _total(progress: "Progress") -> int:
    return progress.trainings + progress.cells


def _counts(progress: "Progress") -> str:
    cells = f" and {progress.cells_done} of {progress.cells} cells" if progress.cells else ""
    return f"{progress.trainings_done} of {progress.trainings} trainings{cells}"
