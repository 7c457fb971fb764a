"""Where the time goes: the statevector program differentiated by autograd, and the closed forms of the Pauli program.

Run it as `python -m benchmarks.profile`; docs/design/kernel.md reads its table.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import ours
from benchmarks.problems import CLASSES
from qfl_sec.contracts import Architecture
from qfl_sec.gradients import batch_gradients, per_example_gradients

QUBITS, LAYERS = 4, 2
_VIEWS = {"alias", "as_strided", "detach", "expand", "flatten", "lift_fresh", "narrow", "permute", "reshape", "select"}
_VIEWS |= {"slice", "split", "squeeze", "t", "transpose", "unbind", "unflatten", "unsqueeze", "view"}


def main() -> None:
    """Print one line for each way and batch."""
    torch.set_num_threads(1)
    closed = ours.model(qubits=QUBITS, layers=LAYERS, dtype=torch.float32)
    differentiated = replace(closed, kernel=None)
    print(f"{'work':34} {'way':16} {'ms':>8} {'kernels':>8} {'views':>6} {'us a kernel':>12}  longest kernels")
    for models, samples in ((1, 32), (1, 4096), (1024, 32)):
        for name, arch in (("statevector", differentiated), ("closed forms", closed)):
            _line(f"gradient, {models} x {samples}", name, _batch(arch, models, samples))
    for name, arch in (("statevector", differentiated), ("closed forms", closed)):
        _line("per-example gradients, 1 x 256", name, _each(arch, 256))


def _batch(arch: Architecture, models: int, samples: int) -> Callable[[], object]:
    weights, inputs, labels = _drawn(arch, models, samples)
    return lambda: batch_gradients(arch, weights, inputs, labels)


def _each(arch: Architecture, samples: int) -> Callable[[], object]:
    weights, inputs, labels = _drawn(arch, 1, samples)
    return lambda: per_example_gradients(arch, weights.unsqueeze(1), inputs, labels)


def _drawn(arch: Architecture, models: int, samples: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(models, arch.n_parameters, generator=generator)
    inputs = torch.randn(models, samples, arch.n_features, generator=generator)
    return weights, inputs, torch.randint(0, CLASSES, (models, samples), generator=generator)


def _line(work: str, way: str, function: Callable[[], object]) -> None:
    for _ in range(3):
        function()
    seconds = []
    for _ in range(15):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    with profile(activities=[ProfilerActivity.CPU]) as record:
        function()
    events = [event for event in record.key_averages() if event.key.startswith("aten::")]
    views = [event for event in events if event.key.removeprefix("aten::").strip("_") in _VIEWS]
    kernels = [event for event in events if event not in views and event.self_cpu_time_total > 0]
    count = sum(event.count for event in kernels)
    longest = sorted(kernels, key=lambda event: -event.self_cpu_time_total)[:4]
    total = sum(event.self_cpu_time_total for event in events)
    named = ", ".join(f"{e.key.removeprefix('aten::')} {100 * e.self_cpu_time_total / total:.0f} %" for e in longest)
    median = statistics.median(seconds)
    print(
        f"{work:34} {way:16} {1e3 * median:8.2f} {count:8} {sum(e.count for e in views):6} "
        f"{1e6 * median / count:12.1f}  {named}"
    )


if __name__ == "__main__":
    main()
