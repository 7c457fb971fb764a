"""A process with a fixed number of threads that measures some of the work.

`python -m benchmarks.worker FILE [NAME]...`: names are those of workloads' first rows, or `scaling`; the answer
is written to the file, as JSON.
"""

import json
import sys
import traceback
from pathlib import Path
from typing import Any

from benchmarks.machine import limit_this_process


def main(arguments: list[str]) -> int:
    """Measure what is named; 1 if anything failed."""
    threads = limit_this_process()
    import torch

    torch.set_num_threads(threads)
    from benchmarks.scaling import measure_scaling
    from benchmarks.workloads import WORKLOADS

    path, *names = arguments
    answer: dict[str, list[Any]] = {"rows": [], "points": []}
    failed = False
    for workload in WORKLOADS:
        if workload.rows[0] not in names:
            continue
        print(f"{workload.rows[0]} ...", file=sys.stderr, flush=True)
        try:
            answer["rows"] += [row.as_json() for row in workload.run()]
        except Exception:
            # One peer that fails must not cost the other rows; the exit status tells.
            traceback.print_exc()
            failed = True
        # After each: what was measured stays measured if the process dies, for want of memory for example.
        Path(path).write_text(json.dumps(answer))
    if "scaling" in names:
        answer["points"] = [point.as_json() for point in measure_scaling()]
        Path(path).write_text(json.dumps(answer))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
