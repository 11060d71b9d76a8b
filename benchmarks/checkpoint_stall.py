"""Measure how long a checkpoint interrupts training, written at once and behind training.

    python benchmarks/checkpoint_stall.py [--hidden 512] [--layers 12] [--saves 3] [--directory DIRECTORY]

Trains a model with random weights on random tokens, on one rank. `at once` waits until the checkpoint is published, as
earlier versions did; `behind training` continues when the state has been copied to host memory. The time of steps
during which a checkpoint is written is measured too, since writing takes a processor. Prints a Markdown table.
"""

import argparse
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.storage.background import Background
from clinical_modernbert.streaming_data.loader.batches import MicroBatch
from clinical_modernbert.training.checkpoint import save_load
from clinical_modernbert.training.checkpoint.attempts import begin_attempt
from clinical_modernbert.training.checkpoint.manifest import CheckpointManifest, Written
from clinical_modernbert.training.checkpoint.progress import Progress
from clinical_modernbert.training.checkpoint.snapshot import Snapshot, copy_to_host
from clinical_modernbert.training.copies import stage
from clinical_modernbert.training.nodes.node import join_node
from clinical_modernbert.training.objective import accumulate
from clinical_modernbert.training.recipe.config import OptimizerConfig
from clinical_modernbert.training.recipe.engine_config import EngineConfig
from clinical_modernbert.training.zero.engine import join_ranks, start_engine

INTERVAL, TOKENS, MASKED = 100, 512, 154


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--saves", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="on the disk to measure; default: the temporary directory")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.directory) as directory:
        measure(options.hidden, options.layers, options.saves, Path(directory))


def measure(hidden: int, layers: int, saves: int, directory: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    os.environ["MASTER_PORT"] = str(port)
    _, _, device = join_ranks(10)
    precision = "bf16" if device.type == "cuda" else "fp32"
    model = ModelConfig(
        vocab_size=32_768,
        hidden_size=hidden,
        intermediate_size=3 * hidden // 2,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        pad_token_id=0,
        cls_token_id=1,
        sep_token_id=2,
    )
    config = EngineConfig.model_validate({"precision": precision, "zero_stage": 1})
    engine = start_engine(MaskedLM(model), config, OptimizerConfig(lr=1e-4), 1, device)
    batch, attempt = stage(micro_batch(), device), begin_attempt(directory, 0)
    node = join_node([0], timedelta(minutes=10))
    background, snapshot, steps = Background("checkpoint"), None, iter(range(1, 10**6))

    def step() -> None:
        accumulate(engine, [batch], MASKED, seed=1)
        engine.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    def publish(copied: Snapshot, number: int) -> None:
        describe = partial(manifest, model=model, step=number)
        save_load.save(copied, directory / "checkpoints", number, attempt, describe, node)

    step()
    idle = statistics.median(seconds(step) for _ in range(10))
    at_once, copies, written, busy = [], [], [], []
    for _ in range(saves):
        began = time.perf_counter()
        snapshot = copy_to_host(engine, snapshot)
        publish(snapshot, next(steps))
        at_once.append(time.perf_counter() - began)
    for _ in range(saves):
        began = time.perf_counter()
        snapshot = copy_to_host(engine, snapshot)
        copies.append(time.perf_counter() - began)
        saving = background.submit(publish, snapshot, next(steps))
        during = list(steps_until(saving.done, step))
        saving.result()
        written.append(time.perf_counter() - began)
        busy.append(sum(during) - len(during) * idle)
    slower = max(0.0, statistics.median(busy))
    behind, before = statistics.median(copies), statistics.median(at_once)
    size = sum(file.stat().st_size for file in max((directory / "checkpoints").glob("step*")).iterdir())
    print(f"{model.num_parameters / 1e6:,.0f}M parameters, {size / 1e6:,.0f} MB, {idle:.2f} s per step\n")
    print("| a save | interrupts training | slows the steps meanwhile | of 100 steps |\n| --- | --- | --- | --- |")
    print(f"| at once | {before:.2f} s | - | {before / (INTERVAL * idle):.2%} |")
    share = (behind + slower) / (INTERVAL * idle)
    print(f"| behind training | {behind:.3f} s | by {slower:.2f} s | {share:.2%} |")
    print(f"\nwritten {statistics.median(written):.2f} s after it began, during {len(during)} steps")


def steps_until(done: Callable[[], bool], step: Callable[[], None]) -> Iterator[float]:
    while not done():
        yield seconds(step)


def seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def micro_batch() -> MicroBatch:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 32_768, (TOKENS,), generator=generator)
    positions = torch.randperm(TOKENS, generator=generator)[:MASKED].sort().values
    return MicroBatch(
        input_ids=ids,
        lengths=(TOKENS,),
        masked_positions=positions,
        targets=ids[positions],
        addresses=(),
        pack_tokens=(TOKENS,),
    )


def manifest(written: Written, model: ModelConfig, step: int) -> CheckpointManifest:
    return CheckpointManifest(
        step=step,
        world_size=1,
        optimizer_step=step,
        files=written.files,
        parameters=written.parameters,
        progress=Progress(step=step),
        model=model,
        data={},
        data_manifest="",
        sources={},
        config={},
        python="",
        packages={},
        git_revision=None,
    )


if __name__ == "__main__":
    run_program(main)
