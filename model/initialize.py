"""Megatron-style initial weights, each a pure function of (seed, parameter name).

No parameter's value depends on which others were made before it, so every rank, world size and order agrees.
Standard deviations are those of ModernBERT's training code (`full_megatron`): `initializer_range` everywhere but the
matrices that write into the residual stream (`Wo`), which get 1 / sqrt(2 * layers) of it so that the stream's variance
does not grow with depth. transformers differs in one tensor: it also shrinks `head.dense`.
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
    """The fp32 CPU tensor with which parameter `name` of a MaskedLM starts.

    Biases are 0, norms 1, matrices normal, truncated at `initializer_cutoff_factor` standard deviations.
    """
    shape = tuple(shape)
    if name.endswith("bias"):
        return torch.zeros(shape)
    if len(shape) == 1:
        return torch.ones(shape)
    std = config.initializer_range
    if name.endswith(".Wo.weight"):
        std /= math.sqrt(2 * config.num_hidden_layers)
    # Inverse-transform sampling from numpy's Philox, whose stream is fixed: torch's trunc_normal_ draws differently
    # from one release to the next, and its CPU generator keeps only 32 bits of a seed.
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    uniform = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
    value = torch.from_numpy(uniform.random(shape, dtype=np.float32))
    cutoff = config.initializer_cutoff_factor
    value.mul_(2).sub_(1).mul_(math.erf(cutoff / math.sqrt(2))).erfinv_().mul_(math.sqrt(2))
    return value.clamp_(-cutoff, cutoff).mul_(std)


@torch.no_grad()
def initialize(model: MaskedLM, seed: int) -> None:
    """Fill `model` in place with the initial weights that belong to `seed`.

    Raises ValueError for a parameter that ZeRO-3 has partitioned: writing to it would be lost in silence.
    """
    for name, parameter in model.named_parameters():
        if parameter.numel() == 0:
            raise ValueError(
                f"parameter {name} is partitioned: call initialize inside "
                "deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0)"
            )
        parameter.copy_(initial_value(name, parameter.shape, model.config, seed))
