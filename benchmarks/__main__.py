"""`python -m benchmarks [ROW]...`: measure everything and write what stands in the repository, or look at some rows.

Work of one thread and work of two runs in processes of their own, one after the other.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.document import tables, with_tables
from benchmarks.machine import cores, describe, limited, write_machine
from benchmarks.rows import Row, write_rows
from benchmarks.scaling import read_points, write_points
from benchmarks.workloads import WORKLOADS

FOLDER = Path(__file__).parent
RESULTS, SCALING, MACHINE = (FOLDER / f"{name}.json" for name in ("results", "scaling", "environment"))
DOCUMENT = FOLDER.parent / "docs" / "benchmarks.md"
IMAGE = FOLDER.parent / "docs" / "images" / "scaling.svg"


def main(names: list[str]) -> int:
    """Measure; 1 if a row is missing afterwards, 2 for an unknown name or too few cores."""
    known = [row for workload in WORKLOADS for row in workload.rows]
    if unknown := [name for name in names if name not in known]:
        print(f"Unknown row {unknown[0]!r}. Known: {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [one for one in WORKLOADS if not names or set(names) & set(one.rows)]
    if (most := max(one.threads for one in chosen)) > len(cores()):
        print(f"Expected cores={len(cores())} >= {most}. Run on a machine with more.", file=sys.stderr)
        return 2
    rows, points, failed = [], [], False
    for threads in sorted({one.threads for one in chosen}):
        wanted = [one.rows[0] for one in chosen if one.threads == threads]
        answer, status = _measure(threads, wanted + (["scaling"] if threads == 1 and not names else []))
        rows += [Row.from_json(entry) for entry in answer["rows"]]
        points += answer["points"]
        failed |= status != 0
    if names:
        print(tables(rows, describe()))
    else:
        _write(rows, points)
    return int(failed)


def _measure(threads: int, names: list[str]) -> tuple[dict[str, Any], int]:
    """Run a worker; what it measured, and its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "benchmarks.worker", str(path), *names]
        # A cache of its own, so that what is said of compile times holds for a first run.
        environment = limited(threads) | {"TORCHINDUCTOR_CACHE_DIR": str(Path(folder) / "compiled")}
        status = subprocess.run(command, env=environment, cwd=FOLDER.parent, check=False).returncode
        if not path.exists():
            raise RuntimeError(f"Expected the worker of {', '.join(names)} to answer; it ended with status {status}.")
        return json.loads(path.read_text()), status


def _write(rows: list[Row], points: list[dict[str, Any]]) -> None:
    """Write results, scaling data, machine, figure and the document's tables."""
    from benchmarks.figure import draw

    write_rows(rows, RESULTS)
    write_points(points, SCALING)
    write_machine(MACHINE)
    IMAGE.write_text(draw(read_points(SCALING)))
    machine = json.loads(MACHINE.read_text())
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), rows, machine))
    print(tables(rows, machine))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
