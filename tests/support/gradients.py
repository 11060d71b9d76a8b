"""The gradient of a tensor that must have one."""

from torch import Tensor


def gradient_of(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad
