import math

import numpy as np
import pennylane as qml
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap

from qfl_sec.checking import InputError, parse_value
from qfl_sec.gradients import losses, per_example_gradients
from qfl_sec.models import (
    MODELS,
    MlpClassifier,
    VariationalClassifier,
    architecture,
    equal_size_mlp,
    flat_weights,
    load_flat_weights,
)

DOUBLE = torch.float64


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _build(spec, n_features=4, n_classes=2, dtype=DOUBLE, seed=0):
    return spec.build(n_features, n_classes, generator=_generator(seed), dtype=dtype)


def _inputs(*shape, dtype=DOUBLE, seed=3):
    return 2 * torch.rand(shape, generator=_generator(seed), dtype=dtype) - 1


def _sequential():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).to(DOUBLE)


VARIATIONAL = VariationalClassifier(qubits=4, layers=2)
SPECS = {
    "variational": VARIATIONAL,
    "amplitude": VariationalClassifier(encoding="amplitude", qubits=2, layers=2),
    "padded": VariationalClassifier(encoding="amplitude", qubits=3, layers=2),
    "basis": VariationalClassifier(encoding="basis", qubits=4, layers=2),
    "reuploading": VariationalClassifier(encoding="angle", qubits=4, layers=2, frequencies=(1, 2.5)),
}
MODULES = {
    **{name: (lambda spec=spec: _build(spec)) for name, spec in SPECS.items()},
    "mlp": lambda: _build(MlpClassifier(hidden=5)),
    "sequential": _sequential,
}


def _qnode(spec, n_classes, diff_method="backprop"):
    """The classifier as one would write it in PennyLane, one record at a time."""
    neighbours = [(i, i + 1) for i in range(spec.qubits - 1)]
    if spec.entangler == "ring" and spec.qubits > 2:
        neighbours.append((spec.qubits - 1, 0))

    @qml.qnode(qml.device("default.qubit", wires=spec.qubits), interface="torch", diff_method=diff_method)
    def circuit(record, weights):
        wires = range(spec.qubits)
        if spec.encoding == "arctan":
            for wire in wires:
                qml.RY(torch.arctan(record[wire]), wires=wire)
                qml.RZ(torch.arctan(record[wire] ** 2), wires=wire)
        elif spec.encoding == "amplitude":
            qml.AmplitudeEmbedding(record, wires=wires, pad_with=1.0, normalize=True)
        elif spec.encoding == "basis":
            qml.BasisEmbedding([int(feature > 0) for feature in record], wires=wires)
        elif not spec.frequencies:
            qml.AngleEmbedding(record, wires=wires, rotation="Y")
        for layer in range(spec.layers):
            if spec.frequencies:
                qml.AngleEmbedding(spec.frequencies[layer] * record, wires=wires, rotation="Y")
            for pair in neighbours:
                qml.CNOT(wires=pair)
            for wire in range(spec.qubits):
                qml.Rot(*weights[layer, wire], wires=wire)
        return [qml.expval(qml.PauliZ(wire)) for wire in range(n_classes)]

    return lambda record, weights: torch.stack(circuit(record, weights))


@pytest.mark.parametrize("encoding", ["arctan", "angle"])
@pytest.mark.parametrize("entangler", ["ring", "linear"])
@pytest.mark.parametrize(("qubits", "layers", "classes"), [(1, 2, 1), (2, 1, 2), (3, 3, 2), (5, 2, 4)])
def test_variational_logits_match_pennylane(encoding, entangler, qubits, layers, classes):
    spec = VariationalClassifier(encoding=encoding, entangler=entangler, qubits=qubits, layers=layers)
    module = _build(spec, qubits, classes)
    inputs, qnode = 2 * _inputs(6, qubits), _qnode(spec, classes)
    expected = torch.stack([qnode(record, module.weights) for record in inputs])
    got = module(inputs)
    assert got.shape == (6, classes)
    assert torch.allclose(got, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", [name for name in SPECS if name != "variational"])
def test_logits_of_every_encoding_match_pennylane(name):
    module, inputs, qnode = MODULES[name](), 2 * _inputs(6, 4), _qnode(SPECS[name], 2)
    expected = torch.stack([qnode(record, module.weights) for record in inputs])
    assert torch.allclose(module(inputs), expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    ("name", "diff_method"),
    [("variational", "adjoint"), ("variational", "parameter-shift"), *((name, "backprop") for name in SPECS)],
)
def test_per_example_gradients_match_pennylane_record_by_record(name, diff_method):
    module = MODULES[name]()
    inputs, labels = _inputs(4, 4), torch.tensor([0, 1, 1, 0])
    qnode = _qnode(SPECS[name], 2, diff_method)
    expected = []
    for record, label in zip(inputs, labels, strict=True):
        weights = module.weights.detach().clone().requires_grad_()
        loss = nn.functional.cross_entropy(qnode(record, weights)[None], label[None])
        expected.append(torch.autograd.grad(loss, weights)[0].reshape(-1))
    got = per_example_gradients(architecture(module, 4, 2), flat_weights(module), inputs, labels)
    assert torch.allclose(got, torch.stack(expected), atol=1e-12, rtol=0)


def test_initial_angles_cover_the_circle_evenly():
    weights = _build(VariationalClassifier(qubits=8, layers=200), 8, 2).weights.detach()
    assert weights.shape == (200, 8, 3)
    assert weights.min() > -math.pi
    assert weights.max() <= math.pi
    counts = torch.histc(weights, bins=10, min=-math.pi, max=math.pi)
    assert (counts - 480).abs().max() < 5 * math.sqrt(480 * 0.9)


@pytest.mark.parametrize("spec", [VARIATIONAL, MlpClassifier(hidden=5)])
def test_initial_weights_depend_on_the_seed_alone_and_not_on_the_precision(spec):
    assert torch.equal(flat_weights(_build(spec)), flat_weights(_build(spec)))
    assert not torch.equal(flat_weights(_build(spec)), flat_weights(_build(spec, seed=1)))
    single = flat_weights(_build(spec, dtype=torch.float32))
    assert single.dtype == torch.float32
    assert torch.equal(single, flat_weights(_build(spec)).float())


def test_a_whole_turn_of_any_wrapped_angle_changes_nothing():
    module = _build(VARIATIONAL)
    arch = architecture(module, 4, 2)
    assert arch.wrapped.shape == (24,)
    assert arch.wrapped.all()
    weights, inputs = flat_weights(module), _inputs(5, 4)
    turned = weights + 2 * math.pi * torch.diag(arch.wrapped.to(DOUBLE)).unsqueeze(1)  # (parameters, 1, parameters)
    assert torch.allclose(arch.outputs(turned, inputs), arch.outputs(weights, inputs).expand(24, 5, 2), atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "sequential"])
def test_no_weight_of_a_classical_model_is_wrapped(name):
    module = MODULES[name]()
    assert not architecture(module, 4, 2).wrapped.any()


def test_mlp_is_the_stated_formula_without_biases():
    module, inputs = _build(MlpClassifier(hidden=5)), _inputs(7, 4)
    w1, w2 = (weight.detach().numpy() for weight in (module.w1, module.w2))
    assert np.allclose(module(inputs).detach().numpy(), np.tanh(inputs.numpy() @ w1) @ w2, atol=1e-14)
    assert sum(parameter.numel() for parameter in module.parameters()) == (4 + 2) * 5
    assert np.abs(w1).max() <= 0.5
    assert np.abs(w2).max() <= 1 / math.sqrt(5)


@pytest.mark.parametrize("spec", [VARIATIONAL, MlpClassifier(hidden=5)])
def test_parameters_carry_leading_dimensions_through_functional_call(spec):
    """Clients first: each client's weights on its own records."""
    module, inputs = _build(spec), _inputs(3, 6, 4)
    stacked = {
        name: torch.stack([dict(_build(spec, seed=client).named_parameters())[name].detach() for client in range(3)])
        for name, _ in module.named_parameters()
    }
    got = functional_call(module, {name: value.unsqueeze(1) for name, value in stacked.items()}, (inputs,))
    for client in range(3):
        assert torch.allclose(got[client], _build(spec, seed=client)(inputs[client]), atol=1e-14)


@pytest.mark.parametrize("spec", [VARIATIONAL, MlpClassifier(hidden=5)])
def test_state_dict_restores_a_model(spec):
    module, other = _build(spec), _build(spec, seed=1)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(_inputs(2, 4)), module(_inputs(2, 4)))


@pytest.mark.parametrize("name", MODULES)
def test_outputs_at_the_modules_own_weights_are_the_modules(name):
    module = MODULES[name]()
    arch = architecture(module, 4, 2)
    assert arch.n_parameters == len(flat_weights(module)) == len(arch.wrapped)
    assert torch.allclose(arch.outputs(flat_weights(module), _inputs(3, 4)), module(_inputs(3, 4)), atol=1e-14)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize(
    ("weights_lead", "inputs_lead"),
    [((), ()), ((), (5,)), ((3,), ()), ((3, 1), (5,)), ((3, 1), (3, 5)), ((2, 1, 1), (3, 5)), ((1,), (1,))],
)
def test_leading_dimensions_broadcast(name, weights_lead, inputs_lead):
    module = MODULES[name]()
    arch = architecture(module, 4, 2)
    weights = torch.randn((*weights_lead, arch.n_parameters), generator=_generator(1), dtype=DOUBLE)
    inputs = _inputs(*inputs_lead, 4)
    got = arch.outputs(weights, inputs)
    lead = torch.broadcast_shapes(weights_lead, inputs_lead)
    assert got.shape == (*lead, 2)
    for index in np.ndindex(*lead):
        load_flat_weights(module, weights.expand(*lead, -1)[index])
        assert torch.allclose(got[index], module(inputs.expand(*lead, -1)[index][None])[0], atol=1e-13)


@pytest.mark.parametrize("name", MODULES)
def test_losses_are_the_cross_entropies(name):
    module = MODULES[name]()
    arch, labels = architecture(module, 4, 2), torch.tensor([0, 1, 1, 0, 1])
    got = losses(arch, flat_weights(module), _inputs(5, 4), labels)
    assert torch.allclose(got, nn.functional.cross_entropy(module(_inputs(5, 4)), labels, reduction="none"))
    many = losses(arch, flat_weights(module).expand(3, 1, -1), _inputs(5, 4), labels)
    assert torch.allclose(many, got.expand(3, 5))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_per_example_gradients_match_a_loop(name, dtype):
    module = MODULES[name]().to(dtype)
    arch = architecture(module, 4, 2)
    weights = torch.randn((3, 1, arch.n_parameters), generator=_generator(1), dtype=dtype)
    inputs, labels = _inputs(3, 5, 4, dtype=dtype), torch.arange(15).reshape(3, 5) % 2
    got = per_example_gradients(arch, weights, inputs, labels)
    assert got.dtype == dtype
    assert got.shape == (3, 5, arch.n_parameters)
    for client, record in np.ndindex(3, 5):
        load_flat_weights(module, weights[client, 0])
        loss = nn.functional.cross_entropy(module(inputs[client, record][None]), labels[client, record][None])
        expected = torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, list(module.parameters()))])
        tolerance = 1e-5 if dtype is torch.float32 else 1e-13
        assert torch.allclose(got[client, record], expected, atol=tolerance)


@pytest.mark.parametrize("name", MODULES)
def test_per_example_gradients_compose_with_the_transforms(name):
    """What an inversion needs: derivatives of gradients with respect to the records, by every mode."""
    module = MODULES[name]()
    arch, weights = architecture(module, 4, 2), flat_weights(module)
    inputs, labels = _inputs(3, 4), torch.tensor([0, 1, 1])

    def mean_gradient(records):
        return per_example_gradients(arch, weights, records, labels).mean(0)

    forward, reverse = jacfwd(mean_gradient)(inputs), jacrev(mean_gradient)(inputs)  # (parameters, records, features)
    assert torch.allclose(forward, reverse, atol=1e-12)
    direction, step = _inputs(3, 4, seed=9), 1e-5
    difference = (mean_gradient(inputs + step * direction) - mean_gradient(inputs - step * direction)) / (2 * step)
    assert torch.allclose((forward * direction).sum((1, 2)), difference, atol=1e-8)
    assert torch.allclose(jvp(mean_gradient, (inputs,), (direction,))[1], difference, atol=1e-8)
    mapped = vmap(lambda record, label: per_example_gradients(arch, weights, record, label))(inputs, labels)
    assert torch.allclose(mapped, per_example_gradients(arch, weights, inputs, labels), atol=1e-14)
    gradient = grad(lambda records: mean_gradient(records).square().sum())(inputs)
    required = inputs.clone().requires_grad_()
    (plain,) = torch.autograd.grad(mean_gradient(required).square().sum(), required)
    assert torch.allclose(gradient, plain, atol=1e-12)


@pytest.mark.parametrize("name", MODULES)
def test_flat_weights_round_trip(name):
    module = MODULES[name]()
    weights = torch.arange(len(flat_weights(module)), dtype=DOUBLE)
    load_flat_weights(module, weights)
    assert torch.equal(flat_weights(module), weights)
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_frozen_parameters_are_left_out_and_keep_their_values():
    module = _sequential()
    module[0].weight.requires_grad_(False)
    kept = module[0].weight.clone()
    arch = architecture(module, 4, 2)
    assert arch.n_parameters == 3 + 6 + 2
    load_flat_weights(module, torch.zeros(arch.n_parameters, dtype=DOUBLE))
    assert torch.equal(module[0].weight, kept)
    assert torch.equal(arch.outputs(torch.zeros(11, dtype=DOUBLE), _inputs(2, 4)), torch.zeros(2, 2, dtype=DOUBLE))


@pytest.mark.parametrize("shape", [(23,), (25,), (1, 24), ()])
def test_weights_of_another_shape_are_refused(shape):
    with pytest.raises(InputError, match=r"\(24,\)"):
        load_flat_weights(_build(VARIATIONAL), torch.zeros(shape, dtype=DOUBLE))


def test_a_module_with_another_number_of_outputs_is_refused():
    module = _sequential()
    with pytest.raises(InputError, match="2 outputs to be classes=3"):
        architecture(module, 4, 3).outputs(flat_weights(module), _inputs(2, 4))


@pytest.mark.parametrize(
    ("n_features", "n_classes", "n_parameters", "hidden"),
    [(4, 2, 36, 6), (4, 2, 24, 4), (4, 2, 27, 4), (4, 2, 28, 5), (3, 2, 27, 5), (10, 2, 1, 1), (4, 2, 100, 17)],
)
def test_equal_size_mlp_is_the_nearest(n_features, n_classes, n_parameters, hidden):
    spec = equal_size_mlp(n_features, n_classes, n_parameters)
    assert spec.hidden == hidden
    gaps = [abs((n_features + n_classes) * width - n_parameters) for width in range(1, 40)]
    assert gaps[hidden - 1] == min(gaps)


def test_every_model_has_a_name_a_description_and_a_summary():
    own = {"user_circuit", "user_module"}  # they have no summary without a file: see test_user_model
    assert set(MODELS) == {"variational_classifier", "mlp_classifier"} | own
    for name, model in MODELS.items():
        assert model.name == name
        assert model.__doc__.splitlines()[0].endswith(".")
        assert name in own or model().summary()
    assert VariationalClassifier(layers=1, qubits=1).summary().startswith("arctan encoding, 1 qubit, 1 layer of ring")


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (VariationalClassifier, {"encoding": "arctn"}, "encoding = 'arctn'.*'arctan', 'angle', 'amplitude' or 'basis'"),
        (VariationalClassifier, {"entangler": "star"}, "entangler = 'star'.*'ring' or 'linear'"),
        (VariationalClassifier, {"qubits": 0}, "qubits=0"),
        (VariationalClassifier, {"qubits": 17}, "qubits=17 <= 16"),
        (VariationalClassifier, {"layers": 0}, "layers=0 >= 1"),
        (VariationalClassifier, {"layers": 1001}, "layers=1001 <= 1000, the most with qubits=4"),
        (VariationalClassifier, {"layers": 17, "qubits": 16}, "layers=17 <= 16, the most with qubits=16"),
        (VariationalClassifier, {"frequencies": [1, 2, 3]}, "encoding='arctan' to be 'angle'.*or remove frequencies"),
        (VariationalClassifier, {"encoding": "angle", "frequencies": [1, 2]}, "as many as layers=3, one a layer"),
        (VariationalClassifier, {"encoding": "angle", "frequencies": [1, 0, 2]}, "finite and not 0"),
        (VariationalClassifier, {"encoding": "angle", "frequencies": [1, math.nan, 2]}, r"frequencies\[1\] = nan"),
        (VariationalClassifier, {"encoding": "angle", "frequencies": ["1"]}, "frequencies.0 = '1'"),
        (VariationalClassifier, {"encoding": "angle", "frequencies": 3}, "frequencies = 3"),
        (VariationalClassifier, {"layers": 1.5}, r"layers = 1\.5"),
        (VariationalClassifier, {"qbits": 4}, "unknown key qbits"),
        (MlpClassifier, {"hidden": 0}, "hidden=0 >= 1"),
        (MlpClassifier, {"hidden": "6"}, "hidden = '6'"),
    ],
)
def test_impossible_specs_are_refused_at_the_boundary(model, values, message):
    with pytest.raises(InputError, match=message):
        parse_value(model, values, source="experiment.toml")


def test_unknown_names_are_refused_in_python_too():
    with pytest.raises(ValueError, match=r"encoding='arctn'.*arctan, angle"):
        VariationalClassifier(encoding="arctn")
    with pytest.raises(ValueError, match=r"entangler='star'.*ring, linear"):
        VariationalClassifier(entangler="star")


def test_frequencies_are_read_as_a_list_of_numbers():
    given = {"encoding": "angle", "frequencies": [1, 2.5, -4]}
    spec = parse_value(VariationalClassifier, given, source="experiment.toml")
    assert spec == VariationalClassifier(encoding="angle", frequencies=[1, 2.5, -4])
    assert spec.frequencies == (1.0, 2.5, -4.0)
    assert hash(spec) == hash(VariationalClassifier(encoding="angle", frequencies=(1.0, 2.5, -4.0)))
    assert spec.summary().startswith("angle encoding before each layer at frequencies 1, 2.5, -4, 4 qubits, 3 layers")


@pytest.mark.parametrize(
    ("options", "n_features", "n_classes", "message"),
    [
        ({"qubits": 5}, 4, 2, "qubits=5 and .*features=4.*Set .*qubits = 4 or .*features = 5"),
        ({"qubits": 3}, 4, 2, "qubits=3 and .*features=4"),
        ({"qubits": 5, "encoding": "basis"}, 4, 2, "qubits=5 and .*features=4, with basis encoding"),
        ({"qubits": 4}, 30, 2, r"Set \[data\] features = 4\."),  # not qubits = 30, which would be refused
        ({"qubits": 2, "encoding": "amplitude"}, 5, 2, r"2\^qubits >= features.*Set .*qubits = 3 or .*features = 4"),
        ({"qubits": 2}, 2, 3, "qubits=2 >= 3, one for each class"),
        ({"qubits": 1, "encoding": "amplitude"}, 2, 2, "qubits=1 >= 2, one for each class.*Set more qubits"),
    ],
)
def test_qubits_that_do_not_fit_are_refused(options, n_features, n_classes, message):
    with pytest.raises(InputError, match=message):
        _build(VariationalClassifier(**options), n_features, n_classes)


@pytest.mark.parametrize("qubits", [2, 3, 4])
def test_amplitudes_take_more_qubits_than_they_need(qubits):
    assert _build(VariationalClassifier(encoding="amplitude", qubits=qubits))(_inputs(3, 4)).shape == (3, 2)
