"""The roofline's counts against those of PyTorch's profiler for a real forward and backward on a CPU."""

from typing import Any

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from clinical_modernbert.kernels import logit_chunks
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.training.planning import trace
from clinical_modernbert.training.planning.calls import Call, count_calls
from clinical_modernbert.training.planning.devices import GPUS, Gpu
from clinical_modernbert.training.planning.flops import flops
from clinical_modernbert.training.planning.roofline import ASSUMED, MUON_LAUNCHES, roofline, times
from clinical_modernbert.training.recipe.config import OptimizerConfig
from clinical_modernbert.training.recipe.engine_config import EngineConfig
from clinical_modernbert.training.zero.matrices import hidden_elements
from clinical_modernbert.training.zero.muon import Muon

LENGTHS, MASKED = [130, 7, 1, 62], 60
TOKENS = sum(LENGTHS)
GPU = Gpu("test", peak=1e12, memory=1e9, bandwidth=1e9, architecture="sm90", link=1e9, source="")


def config(layers: int = 4) -> ModelConfig:
    sizes = {"vocab_size": 160, "hidden_size": 64, "intermediate_size": 80, "num_attention_heads": 1}
    special = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 32}
    return ModelConfig.model_validate({**sizes, **special, "num_hidden_layers": layers})


def calls_of(layers: int = 4, size: int = 2) -> list[Call]:
    return count_calls(config(layers), LENGTHS, MASKED, "sm90", size)


@pytest.mark.parametrize(("size", "chunks"), [(4, 1), (2, 1), (2, 4)], ids=["fp32", "bf16", "bf16 in chunks"])
def test_matrix_products_are_those_that_the_profiler_sees(
    monkeypatch: pytest.MonkeyPatch, size: int, chunks: int
) -> None:
    if chunks > 1:
        monkeypatch.setattr(logit_chunks, "CHUNK_BYTES", 16 * 160 * size)
        monkeypatch.setattr(logit_chunks, "FEW", 1)  # so that the weight's gradient is summed in fp32
    model = MaskedLM(config()).to({4: torch.float32, 2: torch.bfloat16}[size])
    ids = torch.arange(TOKENS) % 160

    def step() -> None:
        model(ids, PackedBatch.from_lengths(LENGTHS, "cpu"), torch.arange(MASKED), ids[:MASKED])[0].backward()

    with FlopCounterMode(display=False) as counter:
        step()
    counted = counter.get_flop_counts()["Global"]
    matmuls = {torch.ops.aten.mm, torch.ops.aten.addmm}
    missing = 2 * MASKED * 64 * 160 * (chunks == 1)  # of addmm_, which it does not count
    expected = sum(value for operator, value in counted.items() if operator in matmuls) + missing
    products = [call for call in calls_of(size=size) if call.kind == "matrix product"]
    assert sum(call.flops for call in products) == expected
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    seen = {event.key: event.count for event in profiler.key_averages()}
    assert len(products) == sum(seen.get(f"aten::{name}", 0) for name in ("mm", "addmm", "addmm_"))


def test_flops_are_those_of_the_plan_and_the_masked_pairs_of_tiles() -> None:
    """With tiles that sequences fill exactly and no windows, only what backward recomputes is added."""
    lengths = [256, 128]
    model = config().model_copy(update={"global_attn_every_n_layers": 1})
    calls = count_calls(model, lengths, MASKED, "sm90")
    pairs = sum(length**2 for length in lengths)
    recomputed = 3 * 2 * 64 * pairs * 4  # backward has seven products, of which four are counted as useful
    assert sum(call.flops for call in calls) == flops(model, np.array(lengths), MASKED) + recomputed


def test_causal_attention_has_the_tiles_up_to_the_diagonal() -> None:
    model = config().model_copy(update={"global_attn_every_n_layers": 1})

    def flops_of(kind: str, causal: bool) -> float:
        calls = count_calls(model, [256, 128], MASKED, "sm90", causal=causal)
        return sum(call.flops for call in calls if call.kind == kind)

    pairs = {False: 256**2 + 128**2, True: 128 * 128 + 128 * 256 + 128 * 128}  # tiles of 128 queries
    for causal in (False, True):
        assert flops_of("attention forward", causal) == 4 * 64 * pairs[causal] * model.num_hidden_layers
        assert flops_of("attention backward", causal) == 14 * 64 * pairs[causal] * model.num_hidden_layers
    assert flops_of("matrix product", True) > flops_of("matrix product", False)  # all rows of the last layer


@pytest.mark.parametrize("size", [2, 4])
def test_bytes_of_the_fused_operators(size: int) -> None:
    by_name = {(call.phase, call.name): call for call in calls_of(size=size)}
    rows = {"forward": 3, "backward": 5}  # in units of the intermediate size; the last layer has masked rows only
    for phase, units in rows.items():
        assert {call.bytes for call in calls_of(size=size) if call.name == "GeGLU" and call.phase == phase} == {
            units * 80 * size * TOKENS,
            units * 80 * size * MASKED,
        }
    norm = by_name["forward", "residual + norm"]  # the last one, on masked rows
    assert norm.bytes == 4 * 64 * size * MASKED + 2 * 4 * MASKED


@pytest.mark.parametrize(("architecture", "layers"), [("sm90", 2), ("sm80", 4), ("gfx950", 4)])
def test_rope_reads_and_writes_q_and_k_once_per_layer_that_does_not_fuse_it(architecture: str, layers: int) -> None:
    calls = [call for call in count_calls(config(), LENGTHS, MASKED, architecture) if call.name == "RoPE"]
    assert [(call.phase, call.bytes) for call in calls] == [("forward", 4 * 64 * 2 * TOKENS)] * layers


def test_every_layer_adds_the_same_launches_and_no_separate_sum() -> None:
    def launches(layers: int) -> int:
        return sum(call.launches for call in calls_of(layers))

    global_layer, local_layer = launches(7) - launches(6), launches(6) - launches(5)
    assert global_layer == local_layer + 1  # RoPE, once: backward reads the rotated q and k
    # Forward: 4 matrix products, attention, GeGLU, 2 norms. Backward: 8 products, 2 of attention, GeGLU, 2 norms, each
    # with a sum of its weight's gradient.
    assert local_layer == (4 + 1 + 1 + 2) + (8 + 2 + 1 + 2 * 2)
    assert not {call.name for call in calls_of() if call.phase == "forward"} & {"add", "mul", "cat", "clone"}
    assert not {call.name for call in calls_of() if call.phase == "backward"} & {"copy_", "clone", "stack"}


def test_the_floor_is_below_the_expected_time_and_the_longest_comes_first() -> None:
    operations = roofline(config(), EngineConfig(zero_stage=1), LENGTHS, MASKED, GPU, ranks=2)
    assert all(operation.floor < operation.expected or not operation.bytes for operation in operations)
    expected = [operation.expected for operation in operations]
    assert expected == sorted(expected, reverse=True)
    calls = calls_of()
    assert sum(o.floor for o in operations) > sum(max(c.bytes / 1e9, c.flops / 1e12) for c in calls)
    update = next(operation for operation in operations if operation.phase == "update")
    assert update.bytes == 36 * config().num_parameters / 2
    assert {call.kind for call in calls} == set(ASSUMED)


def test_muon_adds_the_products_of_newton_schulz_and_its_launches() -> None:
    """Launches are those of its operators on one matrix."""
    weight = torch.nn.Parameter(torch.ones(12, 8))
    weight.grad = torch.ones(12, 8)
    optimizer = Muon([{"params": [weight], "blocks": 3, "weight_decay": 0.0}], lr=1e-3)
    optimizer.step()
    with LaunchCounter() as counter:
        optimizer.step()
    # The count of steps and the momentum are one launch each per flat tensor.
    assert counter.launches - 2 == MUON_LAUNCHES
    muon = OptimizerConfig(lr=1e-3, name="muon")
    for ranks in (1, 2):
        arguments = (config(), EngineConfig(zero_stage=1), LENGTHS, MASKED, GPU, ranks)
        by_name = {o.name: o for o in roofline(*arguments, optimizer=muon) if o.phase == "update"}
        assert by_name["Newton-Schulz"].launches == MUON_LAUNCHES * 4 * config().num_hidden_layers / ranks
        rest = config().num_parameters - hidden_elements(config())
        assert by_name["StableAdamW"].bytes == 36 * rest / ranks
        operations = roofline(*arguments, optimizer=muon)
        floor, expected = times(config(), EngineConfig(zero_stage=1), operations).update
        assert floor < expected
        assert expected >= by_name["Newton-Schulz"].launches * 23e-6


class LaunchCounter(TorchDispatchMode):
    """Counts the operators that are no views."""

    launches = 0

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operator.overloadpacket.__name__
        self.launches += operator.namespace == "aten" and name not in trace._NO_LAUNCH
        return operator(*args, **(kwargs or {}))


def test_devices_have_a_bandwidth_and_an_architecture() -> None:
    for gpu in GPUS:
        assert 1e11 < gpu.bandwidth < 1e13
        assert gpu.architecture.startswith(("sm", "gfx"))
