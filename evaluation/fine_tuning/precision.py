"""The precision in which training computes. The weights that it changes are always fp32."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..models.protocol import Protocol


def precision_of(protocol: Protocol) -> Literal["fp32", "bf16"]:
    """What `auto` is on this machine."""
    if protocol.precision != "auto":
        return protocol.precision
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"


def in_precision(model: nn.Module, precision: Literal["fp32", "bf16"]) -> Callable[..., Tensor]:
    """What computes the output of the model in a precision.

    In bf16 the model computes with its weights rounded, as pretraining does, so every kernel that serves pretraining
    serves here. Gradients reach the fp32 weights, which take updates too small for bf16.
    """
    if precision == "fp32":
        return model

    def rounded(sequences: Sequence[Tensor], positions: Tensor | None = None) -> Tensor:
        weights = {name: value.bfloat16() for name, value in model.named_parameters()}
        output: Tensor = functional_call(model, weights, (sequences, positions))
        return output

    return rounded
