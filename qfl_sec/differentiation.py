"""Whether somebody differentiates through a computation, which decides how it may be carried out."""

import torch
from torch import Tensor


def is_transformed() -> bool:
    """Return whether a torch.func transform, forward-mode differentiation or torch.compile is looking on."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
        or torch.compiler.is_compiling()
    )


def is_followed(*tensors: Tensor) -> bool:
    """Return whether derivatives of what is computed from these tensors may be asked for."""
    return is_transformed() or (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
