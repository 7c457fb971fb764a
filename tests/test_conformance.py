import dataclasses

import pennylane as qml
import pytest
import torch
from opacus.grad_sample import GradSampleModule
from torch import nn

from qfl_sec.checking import InputError
from qfl_sec.conformance import GradientConformanceError, check_gradients
from qfl_sec.contracts import Records
from qfl_sec.models import MlpClassifier, VariationalClassifier, architecture

FEATURES, CLASSES = 3, 2


def _records(count=8, dtype=torch.float64):
    generator = torch.Generator().manual_seed(5)
    features = 2 * torch.rand((count, FEATURES), generator=generator, dtype=dtype) - 1
    return Records(features=features, labels=torch.arange(count) % CLASSES)


def _check(module, records=None, arch=None):
    records = records or _records()
    return check_gradients(module, arch or architecture(module, FEATURES, CLASSES), records)


def _mlp(dtype=torch.float64):
    return MlpClassifier(hidden=4).build(FEATURES, CLASSES, generator=torch.Generator().manual_seed(1), dtype=dtype)


def _variational(dtype=torch.float64):
    spec = VariationalClassifier(qubits=FEATURES, layers=2)
    return spec.build(FEATURES, CLASSES, generator=torch.Generator().manual_seed(1), dtype=dtype)


def _sequential(dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(FEATURES, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, CLASSES)).to(dtype)


def _torch_layer(diff_method="backprop"):
    @qml.qnode(qml.device("default.qubit", wires=FEATURES), interface="torch", diff_method=diff_method)
    def circuit(inputs, weights):
        qml.AngleEmbedding(inputs, wires=range(FEATURES), rotation="Y")
        qml.StronglyEntanglingLayers(weights, wires=range(FEATURES))
        return [qml.expval(qml.PauliZ(wire)) for wire in range(CLASSES)]

    angles = 3 * torch.rand((2, FEATURES, 3), generator=torch.Generator().manual_seed(4))
    return qml.qnn.TorchLayer(circuit, {"weights": angles.shape}, init_method=lambda tensor: tensor.copy_(angles))


class _Plain(nn.Module):
    """A linear model that subclasses spoil."""

    def __init__(self):
        super().__init__()
        start = torch.rand((FEATURES, CLASSES), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
        self.weight = nn.Parameter(start)

    def forward(self, inputs):
        return inputs @ self.weight


class _Detached(_Plain):
    def forward(self, inputs):
        return inputs @ self.weight.detach() + 0 * self.weight.sum()


class _Mixing(_Plain):
    def forward(self, inputs):
        return (inputs + inputs.mean(0)) @ self.weight


class _Normalising(_Plain):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(FEATURES, dtype=torch.float64)

    def forward(self, inputs):
        return self.norm(inputs) @ self.weight


class _HalfHidden(_Plain):
    """Reads a parameter from a dictionary of its own, and has another that matters to nobody."""

    def __init__(self):
        super().__init__()
        self.idle = nn.Parameter(torch.ones(2, dtype=torch.float64))
        self.bias = nn.Parameter(torch.ones(CLASSES, dtype=torch.float64))
        self.kept = {"bias": self.bias}

    def forward(self, inputs):
        return super().forward(inputs) + self.kept["bias"] * torch.tensor([1.0, -1.0], dtype=torch.float64)


class _NotFinite(_Plain):
    def forward(self, inputs):
        return torch.sqrt(inputs.abs() @ self.weight - 1e3)


class _DataDependent(_Plain):
    """Branches on values, which cannot be mapped."""

    def forward(self, inputs):
        return inputs @ self.weight if float(inputs.sum()) < 1e9 else inputs @ -self.weight


class _OwnGradient(torch.autograd.Function):
    """Old-style function without `setup_context`, which `torch.func` cannot transform."""

    @staticmethod
    def forward(ctx, values):
        return values.clone()

    @staticmethod
    def backward(ctx, gradients):
        return gradients


class _OldStyle(_Plain):
    def forward(self, inputs):
        return _OwnGradient.apply(inputs @ self.weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("build", [_mlp, _variational, _sequential])
def test_correct_models_pass(build, dtype):
    found = _check(build(dtype))
    assert found.largest_gap <= (1e-5 if dtype is torch.float32 else 1e-12)
    assert found.smallest_norm > 1e-3
    assert found.records == 8


def test_the_figures_are_those_of_a_linear_model_in_closed_form():
    # The gradient of log-softmax regression is x (softmax(x W) - onehot(y))^T.
    module, records = _Plain(), _records(6)
    error = torch.softmax(records.features @ module.weight.detach(), -1) - nn.functional.one_hot(records.labels)
    norms = torch.einsum("ri,rj->rij", records.features, error).flatten(1).norm(dim=1)
    found = _check(module, records)
    assert found.smallest_norm == pytest.approx(float(norms.min()), rel=1e-12)
    assert found.records == 6


def test_opacus_gives_silent_zeros_for_a_torch_layer():
    """The trap that the gate exists for, as a user would walk into it."""
    wrapped = GradSampleModule(_torch_layer(), force_functorch=True)
    records = _records(dtype=torch.float32)
    inputs = records.features.requires_grad_()  # else torch warns about Opacus's hooks
    nn.functional.cross_entropy(wrapped(inputs), records.labels).backward()
    (parameter,) = wrapped.parameters()
    assert parameter.grad.abs().max() > 1e-3
    assert parameter.grad_sample.shape[0] == 8
    assert not parameter.grad_sample.any()


@pytest.mark.parametrize("diff_method", ["backprop", "adjoint", "parameter-shift"])
def test_a_torch_layer_is_refused_and_the_cause_named(diff_method):
    """Under backprop the zeros are silent, under the other methods vmap raises: both must stop the training."""
    with pytest.raises(
        GradientConformanceError, match=r"TorchLayer does not read its parameters through functional_call"
    ):
        _check(_torch_layer(diff_method), _records(4, torch.float32))


def test_a_torch_layer_that_claims_to_broadcast_is_refused():
    class Claiming(qml.qnn.TorchLayer):
        broadcasts_parameters = True

    module = _torch_layer()
    module.__class__ = Claiming
    with pytest.raises(GradientConformanceError, match=r"substituting weights changes nothing.*compile_circuit"):
        _check(module, _records(4, torch.float32))


def test_a_single_hidden_parameter_is_named():
    with pytest.raises(GradientConformanceError, match=r"substituting bias changes nothing"):
        _check(_HalfHidden())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (_Detached(), r"gradient of 8 of 8 records is zero"),
        (_Mixing(), r"records of one batch influence each other.*LayerNorm"),
        (_Normalising(), r"cannot be differentiated on one record.*LayerNorm"),
        (_NotFinite(), r"not finite"),
        (_DataDependent(), r"cannot be computed.*vmap"),
        (_OldStyle(), r"cannot be computed.*setup_context"),
    ],
)
def test_planted_faults_are_refused_with_their_cause(module, message):
    with pytest.raises(GradientConformanceError, match=message):
        _check(module)


def test_normalisation_with_fixed_statistics_passes():
    assert _check(_Normalising().eval()).largest_gap < 1e-12


@pytest.mark.parametrize("factor", [2.0, 1.0001])
def test_gradients_scaled_by_a_hook_are_refused(factor):
    module = _Plain()
    module.weight.register_hook(lambda gradient: factor * gradient)
    with pytest.raises(GradientConformanceError, match=rf"about {1 / factor:.3g} times as long"):
        _check(module)


def test_an_architecture_that_does_not_match_its_module_is_refused():
    module = _mlp()
    arch = architecture(module, FEATURES, CLASSES)
    silent = dataclasses.replace(arch, outputs=lambda weights, inputs: arch.outputs(weights.detach(), inputs))
    with pytest.raises(GradientConformanceError, match="all zero where a plain loop's are not"):
        _check(module, arch=silent)
    tripled = dataclasses.replace(arch, outputs=lambda weights, inputs: 3 * arch.outputs(weights, inputs))
    with pytest.raises(GradientConformanceError, match="differ from those of a plain loop"):
        _check(module, arch=tripled)
    broken = dataclasses.replace(arch, outputs=lambda weights, inputs: torch.nan * arch.outputs(weights, inputs))
    with pytest.raises(GradientConformanceError, match="not finite where a plain loop's are"):
        _check(module, arch=broken)


def test_one_wrong_record_among_many_is_found():
    module = _mlp()
    arch = architecture(module, FEATURES, CLASSES)
    scale = torch.ones(8, 1, dtype=torch.float64)
    scale[5] = 1.01
    one_wrong = dataclasses.replace(arch, outputs=lambda weights, inputs: scale * arch.outputs(weights, inputs))
    with pytest.raises(GradientConformanceError, match="differ from those of a plain loop"):
        _check(module, arch=one_wrong)


def test_a_single_record_is_refused():
    with pytest.raises(InputError, match="records=1 >= 2"):
        _check(_mlp(), _records(1))
