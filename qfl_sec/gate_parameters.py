"""How gate parameters depend on inputs and weights: recorded once, evaluated for whole batches.

A quantum function is an ordinary Python function. It is run once on probe tensors, and the torch operations that lead
to its gate parameters are kept. Parameters that are the same pointwise formula of different elements (the arctangent of
each feature, say) become one vectorised expression over columns; anything else (matrix products, reductions) is
evaluated under `torch.func.vmap`.

The batch axes come last throughout: inputs are (n_features, models, samples), weights (n_weights, models, samples).
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from qfl_sec.checking import InputError

CONSTANT, WEIGHTS, INPUTS = 0, 1, 2
"""What a parameter depends on, by rising cost of a batch; INPUTS may depend on the weights as well."""

Sources = tuple[Tensor, Tensor]
"""Inputs (n_features, models, samples) and weights (n_weights, models, samples)."""

Expression = tuple[Any, ...]
"""("x", i), ("w", i), a constant tensor ("k", value), ("literal", argument), or (operation, expressions, size)."""

_aten = torch.ops.aten
_COPIES = {_aten.clone.default, _aten.lift_fresh_copy.default, _aten.flip.default, _aten.contiguous.default}
_MAX_SYMBOLS = 100_000
_MAX_SIZE = 500


def record(function: Callable[[Tensor, Tensor], list[Tensor]], inputs: Tensor, weights: Tensor) -> fx.GraphModule:
    """Record the torch operations that lead from one sample to its gate parameters.

    Raises:
        InputError: If the function reads the value of a tensor, so that another sample may take another path.
    """
    try:
        return make_fx(function)(inputs, weights)
    except RuntimeError as error:
        if "tracing tensor" not in str(error):
            raise
        raise InputError(
            "The quantum function turns an input or weight into a Python number (an if, float(), .item(), math.*). "
            "Its gates must not depend on values; compute with torch or qml.math functions."
        ) from error


class ParameterMap:
    """The gate parameters as a batched torch function of inputs and weights.

    Args:
        graph: The recorded operations; its outputs are the parameters.

    Attributes:
        levels: What each parameter depends on.
        mixed: Whether each depends on inputs and weights together.
    """

    levels: list[int]
    mixed: list[bool]

    def __init__(self, graph: fx.GraphModule) -> None:
        nodes = list(graph.graph.nodes)
        self._graph = graph
        self._outputs: list[fx.Node] = list(nodes[-1].args[0])
        self._shapes = [tuple(node.meta["val"].shape) for node in nodes if node.op == "placeholder"]
        self._kinds = [(tuple(node.meta["val"].shape), node.meta["val"].dtype) for node in self._outputs]
        symbols = _Symbols(graph)
        self._expressions = [symbols.scalar(node) for node in self._outputs]
        depends = _dependencies(nodes)
        sources = [
            depends[node] if expression is None else frozenset(_leaves(expression, 0))
            for node, expression in zip(self._outputs, self._expressions, strict=True)
        ]
        self.levels = [INPUTS if "x" in names else WEIGHTS if "w" in names else CONSTANT for names in sources]
        self.mixed = [len(names) == 2 for names in sources]
        for node in nodes:
            node.meta.clear()  # the probes' fake tensors cannot be copied or pickled

    def bank(self, slots: Sequence[int], device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the function that evaluates these scalar parameters, repeated ones included.

        Returns:
            A function of inputs (n_features, *batch) and weights (n_weights, *batch), giving (len(slots), *batch);
            batch axes that no parameter depends on have length one.
        """
        pieces: list[tuple[list[int], Callable[[Tensor, Tensor], Tensor]]] = []
        for key, members in self._groups(slots).items():
            if key[0] == "opaque":
                pieces.append((members, self._opaque_scalar(members[0])))
            else:
                leaves = [_leaves(self._scalar_expression(slot), 1) for slot in members]
                pieces.append((members, _vectorised(key, list(zip(*leaves, strict=True)), len(members), device)))
        columns = {slot: column for column, slot in enumerate(slot for members, _ in pieces for slot in members)}
        gather = _selector([columns[slot] for slot in slots], len(columns), device)

        def evaluate(inputs: Tensor, weights: Tensor) -> Tensor:
            values = [function(inputs, weights) for _, function in pieces]
            if len(values) > 1:
                if len({value.shape[1:] for value in values}) > 1:
                    batch = broadcast_shapes(*(value.shape[1:] for value in values))
                    values = [value.expand(-1, *batch) for value in values]
                values = [torch.cat(values)]
            return gather(values[0])

        return evaluate

    def weight(self, slot: int) -> int | None:
        """Return which weight a parameter is, unchanged; None if it is something else."""
        expression = self._expressions[slot]
        return int(expression[1]) if expression is not None and expression[0] == "w" else None

    def features(self, slot: int, n_features: int) -> frozenset[int]:
        """Return which inputs a parameter depends on; all of them where it is not a pointwise formula."""
        expression = self._expressions[slot]
        if expression is None:
            return frozenset(range(n_features)) if self.levels[slot] == INPUTS else frozenset()
        names, positions = _leaves(expression, 0), _leaves(expression, 1)
        return frozenset(i for name, i in zip(names, positions, strict=True) if name == "x")

    def grouped(self, slots: Sequence[int]) -> list[int]:
        """Return these slots, each once, in the order in which `bank` finds them without rearranging."""
        return [slot for members in self._groups(slots).values() for slot in members]

    def _groups(self, slots: Sequence[int]) -> dict[Any, list[int]]:
        """Group slots whose parameters are the same formula of different elements."""
        groups: dict[Any, list[int]] = {}
        for slot in dict.fromkeys(slots):
            expression = self._expressions[slot]
            groups.setdefault(("opaque", slot) if expression is None else _skeleton(expression), []).append(slot)
        return groups

    def array(self, slot: int) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the function that evaluates one parameter of any shape, giving (*shape, models, samples)."""
        graph = _only(self._graph, self._outputs[slot])
        x_shape, w_shape = self._shapes
        level = self.levels[slot]
        shape, dtype = self._kinds[slot]

        def evaluate(inputs: Tensor, weights: Tensor) -> Tensor:
            if level == CONSTANT:
                value: Tensor = graph(inputs.new_ones(x_shape), weights.new_ones(w_shape))
                return value[..., None, None]
            if level == WEIGHTS:
                inputs = torch.ones_like(weights[:1, ..., :1]).expand(inputs.shape[0], -1, -1)
                weights = weights[..., :1]
            batch = broadcast_shapes(inputs.shape[1:], weights.shape[1:])
            if 0 in batch:  # vmap takes no empty batches
                return inputs.new_empty(*shape, *batch, dtype=dtype)
            flat_inputs = inputs.expand(-1, *batch).flatten(1).mT.reshape(-1, *x_shape)
            flat_weights = weights.expand(-1, *batch).flatten(1).mT.reshape(-1, *w_shape)
            values: Tensor = torch.func.vmap(graph, out_dims=-1)(flat_inputs, flat_weights)
            return values.reshape(*values.shape[:-1], *batch)

        return evaluate

    def _scalar_expression(self, slot: int) -> Expression:
        expression = self._expressions[slot]
        assert expression is not None
        return expression

    def _opaque_scalar(self, slot: int) -> Callable[[Tensor, Tensor], Tensor]:
        evaluate = self.array(slot)
        return lambda inputs, weights: evaluate(inputs, weights)[None]


class _Symbols:
    """The formula of every element of every recorded tensor, where it is pointwise."""

    def __init__(self, graph: fx.GraphModule) -> None:
        self._graph = graph
        self._known: dict[fx.Node, Any] = {}
        placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
        for name, node in zip("xw", placeholders, strict=True):
            shape = node.meta["val"].shape
            self._known[node] = _array([(name, i) for i in range(shape.numel())], shape)
        calls = [node.target for node in graph.graph.nodes if node.op == "call_function"]
        # A tensor that is written to later has no formula of its own; then everything is left to vmap.
        self._pure = not any(getattr(getattr(call, "_schema", None), "is_mutable", False) for call in calls)

    def scalar(self, node: fx.Node) -> Expression | None:
        """Return the formula of a scalar; None where there is no pointwise one."""
        if not self._pure or node.meta["val"].ndim > 0:
            return None
        symbols = self._of(node)
        return None if symbols is None else symbols.item()

    def _of(self, node: fx.Node) -> Any:
        if node not in self._known:
            self._known[node] = self._compute(node)
        return self._known[node]

    def _compute(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            return self._constant(getattr(self._graph, str(node.target)))
        target: Any = node.target
        if target is operator.getitem:
            parts = self._of(node.args[0])  # type: ignore[arg-type]
            return None if parts is None else parts[node.args[1]]
        arguments = [self._argument(argument) for argument in node.args]
        if any(argument is None and given is not None for argument, given in zip(arguments, node.args, strict=True)):
            return None
        if target is _aten.stack.default:
            return np.stack(arguments[0], *arguments[1:])
        if target is _aten.cat.default:
            return np.concatenate(arguments[0], *arguments[1:])
        if target in _COPIES or target.is_view:
            return _rearranged(target, arguments, node.kwargs)
        if torch.Tag.pointwise in target.tags and not node.kwargs:
            return _pointwise(target, arguments)
        return None

    def _argument(self, argument: Any) -> Any:
        if isinstance(argument, fx.Node):
            return self._of(argument)
        if isinstance(argument, list | tuple) and any(isinstance(item, fx.Node) for item in argument):
            items = [self._argument(item) for item in argument]
            return None if any(item is None for item in items) else items
        return argument

    @staticmethod
    def _constant(value: Tensor) -> Any:
        if value.is_complex() or value.numel() > _MAX_SYMBOLS:
            return None
        return _array([("k", item) for item in value.flatten().tolist()], value.shape)


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """Return the shape that tensors of these shapes broadcast to.

    Raises:
        RuntimeError: If they do not.
    """
    return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]


def _array(expressions: Sequence[Expression], shape: Sequence[int]) -> Any:
    """Return an array of expressions; numpy must not take the tuples for rows."""
    result = np.empty(len(expressions), dtype=object)
    for i, expression in enumerate(expressions):
        result[i] = expression
    return result.reshape(tuple(shape))


def _rearranged(target: Any, arguments: list[Any], keywords: dict[str, Any]) -> Any:
    """Apply a view or copy to an array of expressions by applying it to positions."""
    source = arguments[0]
    positions = torch.arange(source.size).view(source.shape)
    moved = target(positions, *arguments[1:], **keywords)
    flat = source.reshape(-1)
    single = isinstance(moved, Tensor)
    parts = [_array([flat[i] for i in part.flatten().tolist()], part.shape) for part in ([moved] if single else moved)]
    return parts[0] if single else parts


def _pointwise(target: Any, arguments: list[Any]) -> Any:
    """Write a pointwise operation down, element by element."""
    tensors = [argument for argument in arguments if isinstance(argument, np.ndarray)]
    shape = np.broadcast_shapes(*(tensor.shape for tensor in tensors))
    if np.prod(shape) > _MAX_SYMBOLS:
        return None
    columns = [
        np.broadcast_to(argument, shape).reshape(-1) if isinstance(argument, np.ndarray) else None
        for argument in arguments
    ]
    elements = []
    for i in range(int(np.prod(shape))):
        operands = tuple(
            ("literal", argument) if column is None else column[i]
            for argument, column in zip(arguments, columns, strict=True)
        )
        size = 1 + sum(_size(operand) for operand in operands)
        if size > _MAX_SIZE:
            return None
        elements.append((target, operands, size))
    return _array(elements, shape)


def _size(expression: Expression) -> int:
    """Return how many operations a formula takes, repeated ones included."""
    return int(expression[2]) if len(expression) == 3 else 1


def _skeleton(expression: Expression) -> Expression:
    """Return the formula without the positions of its leaves."""
    head = expression[0]
    if head in ("x", "w"):
        return (head,)
    if head in ("k", "literal"):
        return expression
    return (head, tuple(_skeleton(operand) for operand in expression[1]))


def _leaves(expression: Expression, part: int) -> list[Any]:
    """Return the names (part 0) or the positions (part 1) of the leaves, from left to right."""
    head = expression[0]
    if head in ("x", "w"):
        return [expression[part]]
    if head in ("k", "literal"):
        return []
    return [leaf for operand in expression[1] for leaf in _leaves(operand, part)]


def _vectorised(
    skeleton: Expression, leaves: list[tuple[int, ...]], count: int, device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function that evaluates one formula for all its members at once."""
    pending = iter(leaves)

    def build(part: Expression) -> Callable[[Tensor, Tensor], Any]:
        head = part[0]
        if head in ("x", "w"):
            columns = list(next(pending))
            which = 0 if head == "x" else 1
            # The length of the source is not known here; a contiguous run is a view all the same.
            gather = _selector(columns, None, device)
            return lambda *sources: gather(sources[which])
        if head == "k":
            value = part[1]
            return lambda inputs, weights: torch.full((1, 1, 1), value, dtype=inputs.dtype, device=inputs.device)
        if head == "literal":
            literal = part[1]
            return lambda inputs, weights: literal
        operands = [build(operand) for operand in part[1]]
        return lambda inputs, weights: head(*(operand(inputs, weights) for operand in operands))

    function = build(skeleton)

    def evaluate(inputs: Tensor, weights: Tensor) -> Tensor:
        value: Tensor = function(inputs, weights)
        return value if len(value) == count else value.expand(count, *value.shape[1:])

    return evaluate


def _selector(columns: list[int], length: int | None, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the function that picks rows, as a view where the rows follow each other."""
    first = columns[0]
    if columns == list(range(first, first + len(columns))):
        if length == len(columns):
            return lambda values: values
        return lambda values: values.narrow(0, first, len(columns))
    index = torch.tensor(columns, device=device)
    return lambda values: values.index_select(0, index)


def _dependencies(nodes: list[fx.Node]) -> dict[fx.Node, frozenset[str]]:
    """Return which of inputs "x" and weights "w" each recorded value depends on."""
    placeholders = [node for node in nodes if node.op == "placeholder"]
    sources = dict(zip(placeholders, (frozenset("x"), frozenset("w")), strict=True))
    for node in nodes:
        if node not in sources:
            sources[node] = frozenset().union(*(sources[source] for source in node.all_input_nodes))
    return sources


def _only(graph: fx.GraphModule, output: fx.Node) -> fx.GraphModule:
    """Return the part of a recording that leads to one output."""
    pruned = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.graph.nodes:
        if node.op != "output":
            copies[node] = pruned.node_copy(node, copies.__getitem__)
    pruned.output(copies[output])
    if not any(getattr(getattr(node.target, "_schema", None), "is_mutable", False) for node in pruned.nodes):
        pruned.eliminate_dead_code()
    return fx.GraphModule(graph, pruned)
