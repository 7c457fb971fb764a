"""Gradients by closed forms, by autograd and compiled: the same numbers."""

import shutil
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from qfl_sec.contracts import Architecture
from qfl_sec.gradients import batch_gradients, compiled_batch_gradients, losses, per_example_gradients
from qfl_sec.models import MlpClassifier, VariationalClassifier, architecture

DOUBLE = torch.float64
CASES = [
    (VariationalClassifier(qubits=4, layers=2), 2),
    (VariationalClassifier(qubits=3, layers=2, encoding="angle"), 3),
]


def built(spec: VariationalClassifier | MlpClassifier, classes: int, features: int) -> Architecture:
    generator = torch.Generator().manual_seed(0)
    module = spec.build(features, classes, generator=generator, dtype=DOUBLE)
    return architecture(module, features, classes)


def batch(arch: Architecture, models: int, samples: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(models, arch.n_parameters, generator=generator, dtype=DOUBLE)
    inputs = torch.randn(models, samples, arch.n_features, generator=generator, dtype=DOUBLE)
    labels = torch.randint(0, arch.n_classes, (models, samples), generator=generator)
    return weights, inputs, labels


def close(value: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("spec", "classes"), CASES)
def test_closed_forms_agree_with_autograd(spec: VariationalClassifier, classes: int) -> None:
    arch = built(spec, classes, spec.qubits)
    assert arch.kernel is not None
    plain = replace(arch, kernel=None)
    for models, samples in ((1, 5), (3, 4), (2, 40)):
        weights, inputs, labels = batch(arch, models, samples)
        expected = per_example_gradients(plain, weights.unsqueeze(1), inputs, labels)
        close(arch.kernel.example_gradients(weights, inputs, labels), expected)
        close(per_example_gradients(arch, weights.unsqueeze(1), inputs, labels), expected)
        found, gradients = batch_gradients(arch, weights, inputs, labels)
        close(found, losses(plain, weights.unsqueeze(1), inputs, labels).mean(1))
        close(gradients, expected.mean(1))
        close(batch_gradients(plain, weights, inputs, labels)[1], expected.mean(1))


@pytest.mark.parametrize(("spec", "classes"), CASES)
def test_slopes_are_the_gradients_derivatives_in_the_records(spec: VariationalClassifier, classes: int) -> None:
    arch = built(spec, classes, spec.qubits)
    assert arch.kernel is not None
    weights, inputs, labels = batch(arch, 3, 4)
    prepared = arch.kernel.prepare(weights)
    assert prepared is not None
    which = torch.tensor([0, 2, 2, 1, 0])
    gradients, slopes = arch.kernel.slopes(prepared, which, inputs[which], labels[which])
    plain = replace(arch, kernel=None)
    for place, model in enumerate(which.tolist()):
        for sample in range(4):
            label = labels[model, sample]

            def gradient(record: Tensor, model: int = model, label: Tensor = label) -> Tensor:
                return per_example_gradients(plain, weights[model], record, label)

            record = inputs[model, sample]
            close(gradients[place, sample], gradient(record))
            close(slopes[:, place, sample].mT, torch.func.jacrev(gradient)(record))


def test_the_choice_follows_the_count_of_operations() -> None:
    """One model on many records pays, many models on few records each do not; sizes alone decide."""
    small, large = built(CASES[0][0], 2, 4).kernel, built(VariationalClassifier(qubits=6, layers=3), 2, 6).kernel
    assert small is not None and large is not None
    assert small.pays(1, 4) and small.pays(1, 4096) and small.pays(5, 32)
    assert not small.pays(512, 4) and not large.pays(64, 4)


def test_models_without_closed_forms_have_no_kernel() -> None:
    assert built(MlpClassifier(hidden=3), 2, 4).kernel is None
    assert (
        built(VariationalClassifier(qubits=2, layers=2, encoding="angle", frequencies=(1.0, 2.0)), 2, 2).kernel is None
    )
    assert built(VariationalClassifier(qubits=7, layers=1), 2, 7).kernel is None


def test_systems_that_would_not_fit_are_not_prepared() -> None:
    kernel = built(VariationalClassifier(qubits=6, layers=3), 2, 6).kernel
    assert kernel is not None
    assert kernel.prepare(torch.zeros(1000, 54, dtype=DOUBLE)) is None


@pytest.mark.parametrize("spec", [CASES[0][0], MlpClassifier(hidden=3)])
def test_gradients_follow_the_caller_who_differentiates(spec: VariationalClassifier | MlpClassifier) -> None:
    arch = built(spec, 2, 4)
    weights, inputs, labels = batch(arch, 2, 3)
    moving = weights.clone().requires_grad_()
    _, gradients = batch_gradients(arch, moving, inputs, labels)
    (seen,) = torch.autograd.grad(gradients.square().sum(), moving)
    step = 1e-5 * torch.randn(weights.shape, dtype=DOUBLE, generator=torch.Generator().manual_seed(2))
    after, before = (batch_gradients(arch, weights + sign * step, inputs, labels)[1] for sign in (1, -1))
    numerical = (after.square().sum() - before.square().sum()) / 2
    torch.testing.assert_close((seen * step).sum(), numerical, rtol=1e-6, atol=1e-12)


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_the_compiled_step_agrees() -> None:
    arch = built(CASES[0][0], 2, 4)
    weights, inputs, labels = batch(arch, 1, 8)
    compiled = compiled_batch_gradients(arch)
    for value, expected in zip(
        compiled(weights, inputs, labels), batch_gradients(arch, weights, inputs, labels), strict=True
    ):
        close(value, expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_agrees() -> None:
    arch = built(CASES[0][0], 2, 4)
    arguments = batch(arch, 3, 8)
    for value, expected in zip(
        batch_gradients(arch, *(part.cuda() for part in arguments)), batch_gradients(arch, *arguments), strict=True
    ):
        close(value.cpu(), expected)
