"""Outputs and gradients of a circuit by an adjoint sweep: no intermediate state is stored.

The final state and the measurement's derivative are carried backwards through the circuit together, undoing gate by
gate; each parameter's derivative is an inner product of the two on the way. The batch axis is kept, so that every
sample's own gradient costs what the gradient of their sum does. Samples are taken in chunks whose size depends on the
circuit alone: memory stays bounded, and results do not depend on how much there is.

Reference:
    Jones and Gacon, "Efficient calculation of gradients in classical simulations of variational quantum algorithms",
    2020, arXiv:2009.02823, algorithm 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from qfl_sec.fusion import GroupMatrices, group_sizes
from qfl_sec.gate_parameters import ParameterMap, Sources, broadcast_shapes
from qfl_sec.gates import Array
from qfl_sec.readout import Readout
from qfl_sec.sweep_plan import SweepPlan
from qfl_sec.sweep_steps import Given

CHUNK_AMPLITUDES = 2**17
"""How many amplitudes are carried at once: 2 MiB in double precision a copy of the state, so that caches help."""

_CHUNK_ENTRIES = 2**20  # of the matrices that belong to these amplitudes, copies made on the way included
_KEPT_ENTRIES = 2**22  # what is kept for the way back, 64 MiB in double precision; more is computed again
_COPIES = 4  # of each matrix

Gradients = tuple[Tensor | None, Tensor | None]
"""Each sample's gradient in its inputs (n_features, models, samples) and in its weights (n_weights, models, samples);
None for what was not wanted."""


@dataclass(kw_only=True)
class _Run:
    """One chunk of samples that has gone through the circuit."""

    leaves: list[Tensor]  # the wanted ones of inputs (n_features, batch) and weights (n_weights, batch)
    values: Tensor  # (slots, batch), the gates' parameters
    matrices: list[Tensor]  # of each group of wires, (layers, batch, d, d)
    start: Tensor  # (batch, 2^n)
    final: Tensor = field(init=False)  # (batch, 2^n), without its gradient


class Sweep:
    """A circuit whose gates can be undone.

    Args:
        plan: The circuit.
        parameters: Where the gates' parameters come from.
        start: The state that a state preparation leaves, (1 or 2, 2^n, models, samples); unused without one.
        readout: What is measured.
        permutation: (2^n,), which of the amplitudes that `readout` takes is that of basis state b.
        like: A tensor whose dtype and device are those of the state.
    """

    def __init__(
        self,
        plan: SweepPlan,
        parameters: ParameterMap,
        start: Callable[[Sources], Tensor],
        readout: Readout,
        permutation: Array,
        like: Tensor,
    ) -> None:
        self._plan = plan
        self._dimension = 2**plan.n_qubits
        entries = _COPIES * len(plan.layers) * sum(4**size for size in group_sizes(plan.n_qubits))
        self._chunk = max(min(CHUNK_AMPLITUDES // self._dimension, _CHUNK_ENTRIES // max(entries, 1)), 1)
        self._kept = _KEPT_ENTRIES // (3 * self._dimension + entries)  # final state, first state, how that came about
        self._start = start
        self._readout = readout
        self._align = plan.alignment(permutation, like)
        self._bank = parameters.bank(plan.slots, like.device) if plan.slots else None
        self._matrices = GroupMatrices(plan.layers, plan.n_qubits, plan.columns, like)
        self._steps = plan.steps(like)

    def outputs(self, sources: Sources) -> Tensor:
        """Return all measurements, (k, models, samples), without their gradient."""
        with torch.no_grad():
            return self.evaluate(sources, wanted=(False, False))[0]

    def evaluate(self, sources: Sources, *, wanted: tuple[bool, bool]) -> tuple[Tensor, Callable[[Tensor], Gradients]]:
        """Return all measurements, (k, models, samples), and the way back.

        Args:
            sources: Inputs and weights.
            wanted: Whether the gradients in the inputs, and those in the weights, will be asked for.

        Returns:
            The measurements, and the function that takes their cotangents, of the same shape, to the gradients. It may
            be called more than once. Neither can be differentiated.
        """
        shape = broadcast_shapes(sources[0].shape[1:], sources[1].shape[1:])
        total = shape[0] * shape[1]
        chunks = [
            torch.arange(at, min(at + self._chunk, total), device=sources[0].device)
            for at in range(0, total, self._chunk)
        ]
        sources = (sources[0].detach(), sources[1].detach())
        keep = any(wanted) and total <= self._kept
        kept: list[_Run] = []
        outputs = [sources[0].new_zeros(self._readout.count, 0)]
        for chunk in chunks:
            run = self._run(sources, shape, chunk, wanted if keep else (False, False))
            outputs.append(self._read(run.final))
            kept += [run] if keep else []

        def pullback(cotangents: Tensor) -> Gradients:
            columns = cotangents.flatten(1)
            results = [[source.new_zeros(len(source), 0)] for source, want in zip(sources, wanted, strict=True) if want]
            for i, chunk in enumerate(chunks):
                run = kept[i] if keep else self._run(sources, shape, chunk, wanted)
                for result, piece in zip(results, self._back(run, columns[:, chunk], wanted), strict=True):
                    result.append(piece)
            joined = iter([torch.cat(pieces, 1).view(len(pieces[0]), *shape) for pieces in results])
            first, second = (next(joined) if want else None for want in wanted)
            return first, second

        return torch.cat(outputs, 1).view(self._readout.count, *shape), pullback

    def _run(self, sources: Sources, shape: tuple[int, ...], chunk: Tensor, wanted: tuple[bool, bool]) -> _Run:
        """Carry some samples through the circuit, up to their outputs."""
        with torch.set_grad_enabled(any(wanted)):
            pairs = zip(sources, wanted, strict=True)
            columns = [_columns(source, shape, chunk).requires_grad_(want) for source, want in pairs]
            run = self._prepared(columns[0][:, None], columns[1][:, None])
            run.leaves = [column for column, want in zip(columns, wanted, strict=True) if want]
        with torch.no_grad():
            state = run.start.detach()
            given = Given(values=run.values.detach(), matrices=[matrix.detach() for matrix in run.matrices])
            for step in self._steps:
                state = step.forward(state, given)
            run.final = state
        return run

    def _read(self, state: Tensor) -> Tensor:
        """Return the measurements (k, batch) of a final state."""
        aligned = state if self._align is None else state.index_select(1, self._align)
        planes = torch.view_as_real(aligned).permute(2, 1, 0)[:, :, None, :]  # (2, 2^n, 1, batch)
        return self._readout.exact(planes)[:, 0]

    def _prepared(self, inputs: Tensor, weights: Tensor) -> _Run:
        """Return the gates' parameters and matrices, and the state that the steps begin with."""
        batch = inputs.shape[-1]
        values = inputs.new_zeros(0, batch)
        if self._bank is not None:
            values = self._bank(inputs, weights).expand(-1, 1, batch)[:, 0]
        matrices = self._matrices(values)
        if self._plan.product:
            start = torch.ones_like(matrices[0][0, :, :1, 0])
            for matrix in matrices:
                start = (start[:, :, None] * matrix[0, :, None, :, 0]).flatten(1)
        else:
            planes = self._start((inputs, weights))[:, :, 0].expand(-1, -1, batch)
            imaginary = planes[1] if len(planes) > 1 else torch.zeros_like(planes[0])
            start = torch.complex(planes[0], imaginary).mT.contiguous()
        return _Run(leaves=[], values=values, matrices=matrices, start=start)

    def _back(self, run: _Run, cotangents: Tensor, wanted: tuple[bool, bool]) -> Sequence[Tensor]:
        """Return the wanted gradients, (n_features, batch) and (n_weights, batch)."""
        with torch.enable_grad():
            final = run.final.detach().requires_grad_()
            (derivative,) = torch.autograd.grad(self._read(final), final, cotangents)
        slots, through = self._plan.depending(wanted)
        with torch.no_grad():
            given = Given(
                values=run.values.detach(),
                matrices=[matrix.detach() for matrix in run.matrices],
                wanted=slots,
                in_values=torch.zeros_like(run.values),
                in_matrices=[torch.zeros_like(matrix) for matrix in run.matrices],
            )
            state, costate = run.final, derivative.conj().resolve_conj()
            needed = [position for position, step in enumerate(self._steps) if step.slots & slots]
            first = 0 if through else min(needed, default=len(self._steps))
            for position in reversed(range(first, len(self._steps))):
                last = position == first and not through
                state, costate = self._steps[position].backward(state, costate, given, last=last)
        outputs = [run.values, *run.matrices, *([run.start] if through else [])]
        gradients = [given.in_values, *given.in_matrices, *([costate.conj()] if through else [])]
        pairs = [pair for pair in zip(outputs, gradients, strict=True) if pair[0].requires_grad]
        if not pairs:
            return [torch.zeros_like(leaf) for leaf in run.leaves]
        outputs, gradients = map(list, zip(*pairs, strict=True))
        return torch.autograd.grad(outputs, run.leaves, gradients, retain_graph=True, materialize_grads=True)


class Measured(torch.autograd.Function):
    """All measurements, (k, models, samples), with a sweep as their derivative.

    Arguments are inputs, weights, the sweep, and the same function of (inputs, weights) in plain torch operations. The
    last serves a derivative that is to be differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weights: Tensor, sweep: Sweep, plain: Callable[[Sources], Tensor]) -> Tensor:
        """Return the measurements."""
        ctx.save_for_backward(inputs, weights)
        ctx.plain = plain
        outputs, ctx.pullback = sweep.evaluate((inputs, weights), wanted=ctx.needs_input_grad[:2])
        return outputs

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Return the gradients in inputs and weights."""
        sources = ctx.saved_tensors
        if torch.is_grad_enabled():
            wanted = [source for source, want in zip(sources, ctx.needs_input_grad, strict=False) if want]
            plain = ctx.plain(sources).expand_as(cotangents[0])
            found = iter(torch.autograd.grad(plain, wanted, cotangents, create_graph=True, materialize_grads=True))
            first, second = (next(found) if want else None for want in ctx.needs_input_grad[:2])
            return first, second, None, None
        gradients = ctx.pullback(*cotangents)
        first, second = (
            None if gradient is None else gradient.sum_to_size(source.shape)
            for gradient, source in zip(gradients, sources, strict=True)
        )
        return first, second, None, None


def _columns(values: Tensor, shape: tuple[int, ...], chunk: Tensor) -> Tensor:
    """Return some samples' columns, (k, batch), from (k, models, samples)."""
    models, samples = chunk // shape[1], chunk % shape[1]
    return values[:, models if values.shape[1] > 1 else 0 * models, samples if values.shape[2] > 1 else 0 * samples]
