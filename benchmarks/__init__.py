"""Benchmarks against the simulators that a fast user would pick: `python -m benchmarks`, or `make bench`.

- `workloads`, `protocols`, `blind`: what is timed; `composing`: the goal of each row, and how rows are made of timings.
- `problems`, `inversion`: the data of the work; `ours`: our side of it, the only module that calls the kernel.
- `peers`: the other side, one module a peer; SeQUeNCe runs in an environment of its own.
- `timing`, `agreement`: medians over alternating runs, and the check that both sides answered the same.
- `rows`: one line of `results.json`; `scaling`, `figure`: cost against qubits, batch and models.
- `document`: the table in `docs/benchmarks.md`; `machine`: what it was measured on.
"""
