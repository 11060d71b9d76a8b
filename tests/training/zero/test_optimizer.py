"""StableAdamW compared with a published implementation, on whole parameters and on ZeRO's flat partitions."""

from collections.abc import Iterator
from typing import TypedDict

import pytest
import torch
from optimi import StableAdamW as Published

from clinical_modernbert.training.recipe.config import OptimizerConfig
from clinical_modernbert.training.zero.make_optimizer import make_optimizer
from clinical_modernbert.training.zero.optimizer import StableAdamW
from clinical_modernbert.training.zero.parameter_shards import ParameterShard

STEPS = 100
SHAPES = {"embedding.weight": (31, 8), "layer.weight": (8, 24), "norm.weight": (8,), "bias": (31,)}


class Settings(TypedDict):
    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float


SETTINGS: Settings = {"lr": 1e-2, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 1e-3}


def gradients() -> Iterator[dict[str, torch.Tensor]]:
    """Gradients of very different sizes, some far too large, so that clipping acts on some parameters only."""
    draw = torch.Generator().manual_seed(3)
    for step in range(STEPS):
        yield {
            name: torch.randn(shape, generator=draw) * 10.0 ** (-number) * (50 if (step + number) % 9 == 8 else 1)
            for number, (name, shape) in enumerate(SHAPES.items())
        }


def start() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    parameters = {name: torch.nn.Parameter(value) for name, value in start().items()}
    optimizer = Published(list(parameters.values()), decouple_lr=True, triton=False, **SETTINGS)
    run(optimizer, parameters)
    return {name: parameter.detach() for name, parameter in parameters.items()}


def run(optimizer: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter]) -> None:
    for step, grads in enumerate(gradients()):
        for name, parameter in parameters.items():
            parameter.grad = grads[name].clone()
        set_rate(optimizer, step)
        optimizer.step()


def set_rate(optimizer: torch.optim.Optimizer, step: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] = SETTINGS["lr"] * (step + 1) / STEPS


def test_whole_parameters_match_the_published_optimizer(published: dict[str, torch.Tensor]) -> None:
    parameters = {name: torch.nn.Parameter(value) for name, value in start().items()}
    run(StableAdamW(list(parameters.values()), **SETTINGS), parameters)
    for name, parameter in parameters.items():
        torch.testing.assert_close(parameter.detach(), published[name], rtol=1e-6, atol=1e-6)


def test_concatenated_parameters_with_padding_match_the_published_optimizer(
    published: dict[str, torch.Tensor], process_group: None
) -> None:
    """Two flat tensors as ZeRO makes them. Each ends in padding."""
    flats, shards = [], []
    for names in (["embedding.weight", "norm.weight"], ["layer.weight", "bias"]):
        parts = [start()[name].flatten() for name in names]
        flat = torch.nn.Parameter(torch.cat([*parts, torch.full((5,), 7.0)]))
        offset = 0
        for name, part in zip(names, parts, strict=True):
            shards.append(ParameterShard(name, SHAPES[name], 0, len(part), flat, offset))
            offset += len(part)
        flats.append(flat)
    optimizer = StableAdamW(flats, **(SETTINGS | {"weight_decay": 0.0}))
    optimizer.param_groups[0]["weight_decay"] = SETTINGS["weight_decay"]
    optimizer.bind(flats, shards, list(SHAPES))
    for step, grads in enumerate(gradients()):
        for flat in flats:
            flat.grad = torch.zeros_like(flat)
        for shard in shards:
            assert shard.flat.grad is not None
            shard.view_in(shard.flat.grad).copy_(grads[shard.name].flatten())
        set_rate(optimizer, step)
        optimizer.step()
    for shard in shards:
        value = shard.view_in(shard.flat.detach()).view(shard.shape)
        torch.testing.assert_close(value, published[shard.name], rtol=1e-5, atol=1e-6)


def test_only_matrices_decay() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4), torch.nn.Embedding(3, 4))
    groups = make_optimizer(model, OptimizerConfig(lr=1.0, weight_decay=0.5)).param_groups
    assert [[p.dim() for p in group["params"]] for group in groups] == [[2, 2], [1, 1, 1]]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
