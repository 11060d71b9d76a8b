"""No kernel is compiled in the middle of a run: all micro-batches have the same variants of all kernels.

Triton compiles a variant for each combination of types, of arguments that are 1 or a multiple of 16, of pointers that
are aligned to 16 bytes, and of constants. The variants are computed by Triton itself, for a GPU that is not there.
"""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from host_waits import HostWaits
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clinical_modernbert.kernels import devices, stable_adamw
from clinical_modernbert.kernels import launch as launching
from clinical_modernbert.kernels.packed import StagedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM

jit = pytest.importorskip("triton.runtime.jit", reason="Triton has no wheel for this platform")
TOKENS = 8192
CPU = torch.device("cpu")
MODEL = ModelConfig(
    vocab_size=128,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=4,
    num_attention_heads=2,
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
)


class Variants:
    """Instead of launching a kernel, records which variant of it Triton would look up."""

    def __init__(self) -> None:
        from triton.backends.compiler import GPUTarget
        from triton.compiler.compiler import make_backend

        self.seen: set[tuple[str, str]] = set()
        self._backend = make_backend(GPUTarget("cuda", 90, 32))
        self._binders: dict[str, Any] = {}

    def launch(self, kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
        if arguments[0].numel():
            if kernel.__name__ not in self._binders:
                binder = jit.create_function_from_signature(kernel.signature, kernel.params, self._backend)
                self._binders[kernel.__name__] = binder
            _, specialization, options = self._binders[kernel.__name__](*arguments, **constants)
            self.seen.add((kernel.__name__, jit.compute_cache_key({}, specialization, options)))


@pytest.fixture(scope="module")
def variants() -> Iterator[Variants]:
    """The kernels of a GPU are chosen, and only recorded."""
    from clinical_modernbert.kernels import (
        architecture,
        geglu_triton,
        mlm_loss_triton,
        norm_triton,
        rope_triton,
        stable_adamw_triton,
    )
    from clinical_modernbert.kernels.attention import dispatch, triton_op

    loaded = (geglu_triton, mlm_loss_triton, norm_triton, rope_triton, stable_adamw_triton, triton_op)
    recorded, launch = Variants(), launching.launch
    with pytest.MonkeyPatch.context() as patch:
        ours = [module for name, module in sys.modules.items() if name.startswith("clinical_modernbert.")]
        users = [module for module in ours if getattr(module, "launch", None) is launch]
        assert set(loaded) <= set(users)
        for module in users:
            patch.setattr(module, "launch", recorded.launch)
        for module in (devices, dispatch):
            patch.setattr(module, "triton_unsupported_reason", lambda _: None)
        for module in (architecture, triton_op):
            patch.setattr(module, "architecture", lambda: "sm90")
        patch.setattr(dispatch, "device_architecture", lambda device: "sm90")
        dispatch._choose_backend.cache_clear()
        yield recorded
    dispatch._choose_backend.cache_clear()


def step(model: MaskedLM, lengths: list[int], masked: int) -> None:
    """Forward and backward of one micro-batch as the loader lays it out. The results are whatever was in memory."""
    positions = np.sort(np.random.default_rng(masked).permutation(sum(lengths))[:masked])
    ids = np.arange(sum(lengths)) % MODEL.vocab_size
    sequences, (input_ids, rows, targets) = StagedBatch.of(lengths, [ids, positions, ids[positions]]).to(CPU)
    model(input_ids, sequences, rows, targets)[0].backward()


@given(st.lists(st.integers(1, 700), max_size=60), st.integers(0, TOKENS))
@example([1, 2], 4097)
@settings(max_examples=25)
def test_all_micro_batches_have_the_variants_of_the_first(variants: Variants, lengths: list[int], masked: int) -> None:
    model = MaskedLM(MODEL)
    variants.seen.clear()
    step(model, [TOKENS // 2] * 2, 2400)
    first = set(variants.seen)
    assert len({name for name, _ in first}) >= 9, "attention, RoPE, norm, GeGLU and loss, forward and backward"
    kept = [length for length, end in zip(lengths, np.cumsum(lengths), strict=True) if end <= TOKENS]
    step(model, [*kept, TOKENS - sum(kept)], masked)
    assert variants.seen == first


def test_the_host_reads_nothing_between_launches(variants: Variants) -> None:
    model, segments = MaskedLM(MODEL), stable_adamw.Segments.of([(0, 64), (64, 100)], CPU)
    weight, grad, mean, square = torch.zeros(4, 128).unbind()
    rates, learning_rates = stable_adamw.Rates(mean=0.1, square=0.1, eps=1e-6, decay=0.0), torch.ones(2)
    ids, rows = torch.zeros(300, dtype=torch.int64), torch.arange(70)
    sequences = StagedBatch.of([200, 99, 1]).to(CPU)[0]
    with HostWaits() as waits:
        model(ids, sequences, rows, ids[:70])[0].backward()
        stable_adamw.squared_updates(grad, square, segments, rates)
        stable_adamw.update_(weight, grad, mean, square, segments, learning_rates, rates)
        assert not waits.counts
        weight.sum().item()
        assert [what for _, _, what in waits.counts] == ["Tensor.item"], "what is read would be counted"


def test_all_steps_of_the_optimizer_have_the_variants_of_the_first(variants: Variants) -> None:
    segments = stable_adamw.Segments.of([(0, 64), (64, 100)], CPU)
    weight, grad, mean, square = torch.zeros(4, 128).unbind()
    variants.seen.clear()
    for number in (1.0, 0.5050505, 0.34, 0.26, 0.02):  # weights of the square at the first steps, and later
        rates = stable_adamw.Rates(mean=number, square=number, eps=1e-6, decay=0.0)
        stable_adamw.squared_updates(grad, square, segments, rates)
        stable_adamw.update_(weight, grad, mean, square, segments, torch.ones(2), rates)
    assert sorted(name for name, _ in variants.seen) == ["segment_sums", "squared_updates", "stable_adamw"]
