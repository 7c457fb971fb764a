"""The clients' optimizers against torch's own."""

import pytest
import torch

from qfl_sec.optimizers import LocalOptimizer


@pytest.mark.parametrize(("name", "peer"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam)])
def test_steps_equal_torchs_optimizer(name: str, peer: type[torch.optim.Optimizer]) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    gradients = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    ours = start.clone()
    optimizer = LocalOptimizer(name, 0.1)  # type: ignore[arg-type]
    theirs = torch.nn.Parameter(start.clone())
    reference = peer([theirs], lr=0.1)
    for gradient in gradients:
        ours = optimizer.step(ours, gradient)
        theirs.grad = gradient.clone()
        reference.step()
    assert torch.allclose(ours, theirs, atol=1e-12, rtol=0)
