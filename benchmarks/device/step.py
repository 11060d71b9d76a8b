"""Training steps of base and large: ours at each ZeRO stage, ours without DeepSpeed, and transformers' ModernBERT."""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.verify.self_test import VOCABULARY
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.training.planning.flops import flops
from clinical_modernbert.training.planning.hardware import peak_flops

from .bench import Bench, errors_as_rows
from .shapes import HEADS, WIDTHS, mixes

LAYERS = {"base": 22, "large": 28}
PACKS = {"base": 8, "large": 4}
"""Packs of 8,192 tokens in a micro-batch."""
MASKED, STEPS, RATE = 0.3, 8, 1e-4
PERSISTENT = {"stage3_param_persistence_threshold": 10**9}
_LINEAR = torch.nn.functional.linear
"""ZeRO-3 replaces it in the whole process, also for the contenders that come after."""
Step = Callable[[], torch.Tensor]
Batch = tuple[torch.Tensor, PackedBatch, torch.Tensor, torch.Tensor]


def run(bench: Bench) -> None:
    for model in HEADS:
        config, tokens = model_config(bench, model), bench.size(8192, 256) * bench.size(PACKS[model], 2)
        for documents, lengths in list(mixes(bench, tokens).items())[: bench.size(3, 1)]:
            batch = random_batch(bench, config, lengths)
            work = flops(config, np.array(lengths), len(batch[3]))
            for name, start in contenders(bench, config, batch):
                if bench.out_of_time():
                    bench.note("step", "ended: no time left")
                    return
                labels = {"model": model, "documents": documents, "by": name}
                torch.nn.functional.linear = _LINEAR
                with errors_as_rows(bench, "step", **labels):
                    bench.row("step", **labels, **measure(bench, start(), tokens, work))
                gc.collect()
                if not bench.simulate:
                    torch.cuda.empty_cache()


def model_config(bench: Bench, model: str) -> ModelConfig:
    hidden, intermediate = WIDTHS[model]
    return ModelConfig(
        vocab_size=bench.size(VOCABULARY, 512),
        hidden_size=bench.size(hidden, 64 * HEADS[model] // 4),
        intermediate_size=bench.size(intermediate, 96),
        num_hidden_layers=bench.size(LAYERS[model], 2),
        num_attention_heads=bench.size(HEADS[model], HEADS[model] // 4),
        pad_token_id=0,
        cls_token_id=1,
        sep_token_id=2,
    )


def random_batch(bench: Bench, config: ModelConfig, lengths: list[int]) -> Batch:
    draw, tokens = torch.Generator().manual_seed(1), sum(lengths)
    ids = torch.randint(3, config.vocab_size, (tokens,), generator=draw)
    positions = torch.randperm(tokens, generator=draw)[: round(MASKED * tokens)].sort().values
    targets = torch.randint(3, config.vocab_size, positions.shape, generator=draw)
    moved = (each.to(bench.device) for each in (ids, positions, targets))
    ids, positions, targets = moved
    return ids, PackedBatch.from_lengths(lengths, bench.device), positions, targets


def contenders(bench: Bench, config: ModelConfig, batch: Batch) -> Iterator[tuple[str, Callable[[], Step]]]:
    """(name, function that builds the model and returns its step)."""
    yield "ours, no ZeRO", lambda: plain(bench, config, batch)
    if find_spec("deepspeed") is None:
        yield "ours, ZeRO", missing("deepspeed")
    else:
        for stage, options in ((1, {}), (3, {}), (3, PERSISTENT)):
            name = f"ours, ZeRO-{stage}{', persistent' if options else ''}"
            yield name, lambda stage=stage, options=options: zero(bench, config, batch, stage, options)  # type: ignore[misc]
    if find_spec("transformers") is None:
        yield "transformers", missing("transformers")
        return
    for attention in ("sdpa", *(["flash_attention_2"] if find_spec("flash_attn") else [])):
        yield f"transformers, {attention}", lambda name=attention: transformers(bench, config, batch, name)  # type: ignore[misc]


def missing(package: str) -> Callable[[], Step]:
    def start() -> Step:
        raise ModuleNotFoundError(f"{package} is not installed")

    return start


def plain(bench: Bench, config: ModelConfig, batch: Batch) -> Step:
    model = MaskedLM(config)
    initialize(model, seed=1)
    model.to(bench.device, bench.dtype)
    return with_adamw(bench, model, lambda: model(*batch)[0] / len(batch[3]))


def with_adamw(bench: Bench, model: torch.nn.Module, loss: Step) -> Step:
    """A step on weights of the benchmark's type, without fp32 copies of them."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, fused=not bench.simulate)

    def step() -> torch.Tensor:
        value = loss()
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
        return value.detach()

    return step


def zero(bench: Bench, config: ModelConfig, batch: Batch, stage: int, options: dict[str, int]) -> Step:
    from clinical_modernbert.training.recipe.config import OptimizerConfig
    from clinical_modernbert.training.recipe.engine_config import EngineConfig
    from clinical_modernbert.training.zero.engine import join_ranks, start_engine

    join_ranks(timeout_minutes=2)
    model = MaskedLM(config)
    initialize(model, seed=1)
    precision = "fp32" if bench.simulate else "bf16"
    settings = EngineConfig(precision=precision, zero_stage=stage, zero_optimization=options)
    engine = start_engine(model, settings, OptimizerConfig(lr=RATE), 1, bench.device)

    def step() -> torch.Tensor:
        loss = engine(*batch)[0] / len(batch[3])
        engine.backward(loss, scale_wrt_gas=False)
        engine.step()
        return loss.detach()

    return step


def transformers(bench: Bench, config: ModelConfig, batch: Batch, attention: str) -> Step:
    """The same documents and masks, padded to the longest, with the same initial weights."""
    from transformers import ModernBertForMaskedLM

    from clinical_modernbert.model.hugging_face import save_pretrained

    ours = MaskedLM(config)
    initialize(ours, seed=1)
    with tempfile.TemporaryDirectory() as directory:
        save_pretrained(ours.state_dict(), config, Path(directory))
        model: Any = ModernBertForMaskedLM.from_pretrained(
            directory, attn_implementation=attention, trust_remote_code=False
        )
    model = model.to(bench.device, bench.dtype).train()
    ids, packed, positions, targets = batch
    labels = torch.full_like(ids, -100).index_copy(0, positions, targets)
    rows, masks, answers = (
        torch.nn.utils.rnn.pad_sequence(list(each.split(packed.lengths)), batch_first=True, padding_value=value)
        for each, value in ((ids, config.pad_token_id), (torch.ones_like(ids), 0), (labels, -100))
    )
    mask = None if masks.all() else masks
    return with_adamw(bench, model, lambda: model(input_ids=rows, attention_mask=mask, labels=answers).loss)


def measure(bench: Bench, step: Step, tokens: int, work: int) -> dict[str, str | float]:
    """Device and host time of a step, and what follows from them."""
    first = step().item()
    if not bench.simulate:
        torch.cuda.reset_peak_memory_stats()
    steps = bench.size(STEPS, 1)
    host = []

    def timed() -> None:
        started = time.perf_counter()
        step()
        host.append(1e3 * (time.perf_counter() - started))

    milliseconds = bench.milliseconds(timed, steps)
    speed = tokens / milliseconds * 1e3
    name = "CPU" if bench.simulate else torch.cuda.get_device_name(bench.device)
    peak = peak_flops(name, "bf16")
    memory = 0.0 if bench.simulate else torch.cuda.max_memory_allocated() / 2**30
    return {
        "ms": milliseconds,
        "until the host is free, ms": float(np.median(host)),
        "tokens/s": f"{speed:,.0f}",
        "MFU": f"{work / milliseconds * 1e3 / peak:.1%}" if peak else "",
        "GiB": memory,
        "first loss": first,
    }
