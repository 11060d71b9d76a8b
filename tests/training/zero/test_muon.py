"""Muon compared with PyTorch's own, on whole matrices and on partitions of real ranks."""

import inspect
import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import optimizer_ranks
import pytest
import torch
from optimi import StableAdamW
from optimizer_ranks import CLIPPING, ENGINES, HALF, LR, MODEL, STEPS, micro_batches, rate

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.training.checkpoint.save_load import consolidate_with_optimizer
from clinical_modernbert.training.zero.matrices import (
    Matrix,
    deal,
    hidden_matrices,
    iteration_flops,
    partitioned_matrices,
    row_blocks,
    sent_elements,
)
from clinical_modernbert.training.zero.muon import Muon, _Exchange, _layout
from clinical_modernbert.training.zero.newton_schulz import orthogonalize, step_scale
from clinical_modernbert.training.zero.parameter_shards import ParameterShard

DECAY = 1e-3
FP32 = {"name": "muon", "weight_decay": DECAY, "muon": {"dtype": "fp32"}}


def published(blocks: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """PyTorch's Muon; its weight decay is a multiple of the rate, ours of the rate's share of the peak."""
    return torch.optim.Muon(blocks, lr=LR, weight_decay=DECAY / LR, momentum=0.95, adjust_lr_fn="match_rms_adamw")


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_whole_matrices_match_the_published_optimizer(blocks: int) -> None:
    """In bf16, the only precision that it has. A block of rows is a matrix of its own."""
    draw = torch.Generator().manual_seed(1)
    for shape in [(12, 12), (24, 6), (6, 30)]:
        start = torch.randn(shape, generator=draw)
        ours = torch.nn.Parameter(start.clone())
        optimizer = Muon([{"params": [ours], "blocks": blocks, "weight_decay": DECAY}], lr=LR)
        theirs = [torch.nn.Parameter(part.clone()) for part in start.chunk(blocks)]
        reference = published(theirs)
        for step in range(10):
            ours.grad = torch.randn(shape, generator=draw) * 10.0 ** (step % 3)
            for parameter, part in zip(theirs, ours.grad.chunk(blocks), strict=True):
                parameter.grad = part.clone()
            for group in (*optimizer.param_groups, *reference.param_groups):
                group["lr"] = rate(step)
            optimizer.step()
            reference.step()
        moved = (ours - start).abs().max()
        assert (ours - torch.cat([*theirs])).abs().max() < 1e-2 * moved, shape


def test_orthogonalization_keeps_singular_vectors_and_zeros() -> None:
    draw = torch.Generator().manual_seed(2)
    for shape in [(1, 8, 8), (3, 5, 40), (2, 40, 5), (1, 1, 7)]:
        matrices = torch.randn(shape, generator=draw)
        u, singular, v = torch.linalg.svd(orthogonalize(matrices, torch.float32), full_matrices=False)
        assert singular.min() > 0.3
        assert singular.max() < 1.3
        expected = torch.linalg.svd(matrices, full_matrices=False)
        torch.testing.assert_close((u @ v).abs(), (expected[0] @ expected[2]).abs(), atol=1e-3, rtol=1e-3)
        low = orthogonalize(matrices, torch.bfloat16).float()
        assert (low - u * singular[:, None] @ v).norm() < 0.05 * low.norm()
    assert not orthogonalize(torch.zeros(1, 4, 6), torch.bfloat16).any()


def test_every_update_has_the_size_of_adamw() -> None:
    draw = torch.Generator().manual_seed(3)
    for rows, columns in [(64, 64), (64, 256), (256, 64)]:
        update = orthogonalize(torch.randn(1, rows, columns, generator=draw), torch.float32)
        assert update.square().mean().sqrt() * step_scale(rows, columns) == pytest.approx(0.2, rel=0.25)


def test_the_flops_of_an_orthogonalization_are_those_of_its_products() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for rows, columns in [(32, 32), (8, 40), (40, 8)]:
        with FlopCounterMode(display=False) as counter:
            orthogonalize(torch.ones(1, rows, columns), torch.float32)
        assert counter.get_total_flops() == iteration_flops(rows, columns)


def test_only_the_matrices_of_hidden_layers_are_orthogonalized() -> None:
    named = {name: tuple(parameter.shape) for name, parameter in MaskedLM(MODEL).named_parameters()}
    assert list(hidden_matrices(MODEL).items()) == [item for item in named.items() if row_blocks(item[0], True)]
    rest = [name for name, shape in named.items() if len(shape) == 2 and not row_blocks(name, True)]
    assert sorted(rest) == ["head.dense.weight", "model.embeddings.tok_embeddings.weight"]
    assert {name.split(".")[-2]: row_blocks(name, True) for name in hidden_matrices(MODEL)} == {
        "Wqkv": 3,
        "Wo": 1,
        "Wi": 2,
    }
    assert {row_blocks(name, False) for name in hidden_matrices(MODEL)} == {1}


def test_work_is_dealt_evenly_and_to_ranks_that_hold_the_matrix() -> None:
    ranks = 8
    config = MODEL.model_copy(update={"num_hidden_layers": 22})
    for stage in (1, 3):
        matrices = partitioned_matrices(config, stage, ranks, split_fused=True)
        for matrix in matrices:
            assert sum(numel for _, numel in matrix.slices) == matrix.shape[0] * matrix.shape[1]
        owners = deal(matrices)
        work = [0.0] * ranks
        for matrix, owner in zip(matrices, owners, strict=True):
            assert 2 * matrix.slices[owner][1] >= max(numel for _, numel in matrix.slices)
            work[owner] += matrix.blocks * min(matrix.block) * matrix.block[0] * matrix.block[1]
        assert max(work) < (1.15 if stage == 3 else 2) * sum(work) / ranks
    alone = Matrix("layers.0.mlp.Wo.weight", (4, 4), 1, ((0, 0), (0, 16), (0, 0)))
    assert deal([alone]) == [1]
    assert sent_elements([alone]) == 0


def test_all_ranks_agree_on_what_they_exchange_also_those_without_a_slice() -> None:
    """With many ranks some hold nothing of a matrix that travels, and must enter the exchange all the same."""
    first_alone = [
        Matrix("layers.0.attn.Wo.weight", (4, 4), 1, ((0, 16), (0, 0), (0, 0))),
        Matrix("layers.1.attn.Wo.weight", (4, 4), 1, ((0, 0), (0, 8), (8, 8))),
    ]
    assert [bool(one.pieces) for one in exchanges_of(first_alone, 3)] == [False, True, True]
    assert not exchanges_of(first_alone[:1], 3)
    for stage, ranks, layers in itertools.product((1, 3), range(1, 14), (1, 3, 4)):
        config = MODEL.model_copy(update={"num_hidden_layers": layers})
        partitioned = partitioned_matrices(config, stage, ranks, split_fused=True)
        for blocks in (1, 2, 3):  # each in a flat tensor of its own
            exchanges_of([matrix for matrix in partitioned if matrix.blocks == blocks], ranks)


def exchanges_of(matrices: list[Matrix], ranks: int) -> list[_Exchange]:
    """How all ranks exchange the matrices of a flat tensor, checked for agreement; empty if nothing travels."""
    dealt = list(zip(matrices, deal(matrices), strict=True))
    layouts = [_layout(dealt, shards_of(matrices, rank), rank, ranks) for rank in range(ranks)]
    exchanges = [layout.exchange for layout in layouts if layout.exchange is not None]
    assert len(exchanges) in (0, ranks)
    for rank, one in enumerate(exchanges):
        assert one.sizes == [other.received[rank] for other in exchanges]
        for matrix, places in one.owned:
            assert sum(place.stop - place.start for place in places) == matrix.shape[0] * matrix.shape[1]
    pieces = [p for x in layouts for p in (*x.here, *(x.exchange.pieces if x.exchange else ()))]
    elements = sum(piece.part.stop - piece.part.start for piece in pieces)
    assert elements == sum(matrix.shape[0] * matrix.shape[1] for matrix in matrices)
    return exchanges


def shards_of(matrices: list[Matrix], rank: int) -> dict[str, ParameterShard]:
    """What a rank holds, in a flat tensor without gaps."""
    shards, offset = {}, 0
    for matrix in matrices:
        start, numel = matrix.slices[rank]
        if numel:
            shards[matrix.name] = ParameterShard(matrix.name, matrix.shape, start, numel, torch.empty(0), offset)
            offset += numel
    return shards


@pytest.fixture(scope="module")
def plain() -> dict[str, torch.Tensor]:
    """Weights and momentum after a plain loop of one process, with published optimizers, in fp32."""
    import torch.optim._muon as published_module

    model = MaskedLM(MODEL)
    initialize(model, 5)
    named = dict(model.named_parameters())
    blocks = {name: [*parameter.detach().chunk(row_blocks(name, True))] for name, parameter in named.items()
              if row_blocks(name, True)}  # fmt: skip
    views = {name: [torch.nn.Parameter(part) for part in parts] for name, parts in blocks.items()}
    muon = published([part for parts in views.values() for part in parts])
    rest = [parameter for name, parameter in named.items() if name not in views]
    settings: Any = {"lr": LR, "betas": (0.9, 0.98), "eps": 1e-6, "decouple_lr": True, "triton": False}
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": DECAY},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    adam = StableAdamW(groups, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published_module, "_zeropower_via_newtonschulz", in_fp32(published_module))
        for step in range(STEPS):
            batches = list(micro_batches(step))
            masked = sum(len(batch.targets) for batch in batches)
            model.zero_grad()
            for batch in batches:
                packed = PackedBatch.from_lengths(batch.lengths, "cpu")
                loss, _ = model(batch.input_ids, packed, batch.masked_positions, batch.targets)
                (loss / masked).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIPPING)
            for name, parts in views.items():
                grad = named[name].grad
                assert grad is not None
                for part, of_part in zip(parts, grad.chunk(len(parts)), strict=True):
                    part.grad = of_part.clone()
            for group in (*muon.param_groups, *adam.param_groups):
                group["lr"] = rate(step)
            muon.step()
            adam.step()
    result = {f"{name}/fp32": parameter.detach() for name, parameter in named.items()}
    for name, parts in views.items():
        result[f"{name}/momentum"] = torch.cat([muon.state[part]["momentum_buffer"] for part in parts])
    return result


def in_fp32(module: ModuleType) -> Callable[..., torch.Tensor]:
    """PyTorch's Newton-Schulz iteration without its conversion to bf16."""
    source = inspect.getsource(module._zeropower_via_newtonschulz)
    assert ".bfloat16()" in source
    names: dict[str, Any] = dict(vars(module))
    exec(source.replace(".bfloat16()", ".clone()"), names)
    function: Callable[..., torch.Tensor] = names["_zeropower_via_newtonschulz"]
    return function


def state(run: Path, step: int = STEPS) -> dict[str, torch.Tensor]:
    return consolidate_with_optimizer(run / f"checkpoints/step{step:08d}")


@pytest.mark.slow
@pytest.mark.ranks
def test_one_two_three_and_four_ranks_train_the_same_at_every_stage(
    plain: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Each is also continued by a new engine, bit-equal; and from checkpoints of other stages and numbers of ranks."""
    engines = {
        1: ["0", "1"],
        2: ["0", "1", "2", "3", "3, gathered", "1, offloaded", "1, bf16"],
        3: ["1"],
        4: ["3", "3, small groups"],
    }
    continued = {1: {}, 2: {"3": (1, "0")}, 3: {"2": (2, "3"), "3": (1, "1")}, 4: {"2": (3, "1"), "0": (2, "3")}}
    model = MaskedLM(MODEL)
    initialize(model, 5)
    start = {f"{name}/fp32": parameter.detach() for name, parameter in model.named_parameters()}
    for ranks, names in engines.items():
        from_others = {
            name: tmp_path / f"{other}/{engine}/checkpoints/step{HALF:08d}"
            for name, (other, engine) in continued[ranks].items()
        }
        sent = optimizer_ranks.train(ranks, tmp_path / str(ranks), FP32, names, from_others)
        runs = {name: name for name in names} | {f"{name}, continued": name for name in from_others}
        for run, engine in runs.items():
            result = state(tmp_path / str(ranks) / run)
            for name, value in plain.items():
                difference = (result[name] - value).norm()
                moved = value.norm() if name.endswith("momentum") else (value - start[name]).norm()
                bound = 0.1 if "bf16" in engine else 2e-5
                assert difference < bound * moved, f"{ranks}, {run}: {name}"
            kinds: dict[str, set[str]] = {name: set() for name in hidden_matrices(MODEL)}
            for key in result:
                name, kind = key.rsplit("/", 1)
                kinds.get(name, set()).add(kind)
            assert all(each == {"fp32", "momentum"} for each in kinds.values())
        for name in names:
            again, straight = state(tmp_path / str(ranks) / f"{name}, again"), state(tmp_path / str(ranks) / name)
            assert all(torch.equal(again[key], value) for key, value in straight.items()), f"{ranks}, {name}"
            stage = ENGINES[name]["zero_stage"]
            expected = sent_elements(partitioned_matrices(MODEL, stage, ranks, split_fused=True)) if stage else 0
            assert sent[name]["elements"] == expected, f"{ranks}, {name}"
