"""The optimizer that a recipe names, over the parameters of a model."""

import torch

from ..recipe.config import OptimizerConfig
from .matrices import row_blocks
from .muon import Muon
from .optimizer import StableAdamW

_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def make_optimizer(model: torch.nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The configured optimizer over the model's parameters, with weight decay on matrices only.

    Norms and biases are the one-dimensional parameters. Each kind of parameter is a group of its own, so that a flat
    tensor of ZeRO holds one kind.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    blocks = {name: row_blocks(name, config.muon.split_fused) if config.name == "muon" else 0 for name, _ in named}
    groups = [
        {"params": [p for name, p in named if blocks[name] == count], "weight_decay": config.weight_decay}
        | {"blocks": count}
        for count in sorted(set(blocks.values()) - {0})
    ]
    others = [parameter for name, parameter in named if not blocks[name]]
    groups += [
        {"params": [p for p in others if p.dim() >= 2], "weight_decay": config.weight_decay, "blocks": 0},
        {"params": [p for p in others if p.dim() < 2], "weight_decay": 0.0, "blocks": 0},
    ]
    if config.name == "muon":
        muon = config.muon
        return Muon(
            groups,
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            momentum=muon.momentum,
            dtype=_DTYPES[muon.dtype],
            split_fused=muon.split_fused,
        )
    kind = StableAdamW if config.name == "stable_adamw" else torch.optim.AdamW
    return kind(groups, lr=config.lr, betas=config.betas, eps=config.eps)
