"""Megatron-style initial weights, each a pure function of (seed, parameter name).

A parameter's value does not depend on the parameters that were initialized before it, so all ranks, world sizes and
orders give equal weights. Standard deviations are those of ModernBERT's training code (`full_megatron`):
`initializer_range`, except for the matrices that write into the residual stream (`Wo`). These have 1 / sqrt(2 * layers)
of it, so that the variance of the stream does not grow with depth. transformers differs in one tensor: it also scales
down `head.dense`.
"""

import hashlib
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .config import ModelConfig
from .masked_lm import MaskedLM


def initial_value(name: str, shape: Sequence[int], config: ModelConfig, seed: int) -> Tensor:
    """The initial value of parameter `name` of a MaskedLM, as an fp32 CPU tensor.

    Biases are 0 and norms 1. Matrices are normal, truncated at `initializer_cutoff_factor` standard deviations.
    """
    shape = tuple(shape)
    if name.endswith("bias"):
        return torch.zeros(shape)
    if len(shape) == 1:
        return torch.ones(shape)
    std = config.initializer_range
    if name.endswith(".Wo.weight"):
        std /= math.sqrt(2 * config.num_hidden_layers)
    # Inverse-transform sampling from numpy's Philox, whose stream is fixed. torch's trunc_normal_ changes between
    # releases, and its CPU generator uses only 32 bits of a seed.
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    uniform = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
    value = torch.from_numpy(uniform.random(shape, dtype=np.float32))
    cutoff = config.initializer_cutoff_factor
    value.mul_(2).sub_(1).mul_(math.erf(cutoff / math.sqrt(2))).erfinv_().mul_(math.sqrt(2))
    return value.clamp_(-cutoff, cutoff).mul_(std)


@torch.no_grad()
def initialize(model: MaskedLM, seed: int) -> None:
    """Fill `model` in place with the initial weights of `seed`.

    Raises ValueError for a parameter that ZeRO-3 has partitioned: a write to it would be lost silently.
    """
    for name, parameter in model.named_parameters():
        if parameter.numel() == 0:
            raise ValueError(
                f"parameter {name} is partitioned: call initialize inside "
                "deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0)"
            )
        parameter.copy_(initial_value(name, parameter.shape, model.config, seed))
