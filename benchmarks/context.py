"""Measures the memory of one long sequence on a CPU: forward and backward of a layer of each kind, by length.

    python benchmarks/context.py [--lengths 8192 16384 32768] [--hidden 256]

Each row is a process of its own, with one thread: peak memory beyond that before the forward pass, and processor time.
It prints the table of docs/context.md. Time is of a machine that may be shared; memory is not affected by that.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM

MASKED = 0.3
KINDS = {"local": 2, "global": 1}
"""Kind of layer -> `global_attn_every_n_layers` of a model in which the second of two layers is of that kind."""


class Cost(NamedTuple):
    """Of one forward and backward pass."""

    kind: str
    length: int
    megabytes: float
    seconds: float


def costs(lengths: Sequence[int], hidden: int) -> Iterator[Cost]:
    """Costs of one sequence of each length, with a local and with a global second layer; the first is always global."""
    for kind, every in KINDS.items():
        for length in lengths:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                yield Cost(kind, length, *pool.apply(_measure, (length, hidden, every)))


def _measure(length: int, hidden: int, every: int) -> tuple[float, float]:
    torch.set_num_threads(1)
    config = ModelConfig(
        vocab_size=4096, hidden_size=hidden, intermediate_size=hidden * 3 // 2, num_hidden_layers=2,
        num_attention_heads=max(1, hidden // 64), global_attn_every_n_layers=every, max_position_embeddings=length,
        pad_token_id=0, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    model = MaskedLM(config)
    initialize(model, seed=0)
    _step(model, 64)  # what is allocated once
    before, started = _peak(), time.process_time()
    _step(model, length)
    return (_peak() - before) / 1e6, time.process_time() - started


def _step(model: MaskedLM, length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(3, model.config.vocab_size, (length,), generator=generator)
    positions = torch.randperm(length, generator=generator)[: int(MASKED * length)].sort().values
    loss, _ = model(tokens, PackedBatch.from_lengths([length], "cpu"), positions, tokens[positions])
    loss.backward()


def _peak() -> int:
    """Peak memory of this process in bytes; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[8192, 16_384, 32_768])
    parser.add_argument("--hidden", type=int, default=256)
    options = parser.parse_args()
    print("| second layer | tokens | MB | MB per 1,000 tokens | processor seconds |\n| --- | --- | --- | --- | --- |")
    for cost in costs(options.lengths, options.hidden):
        share = 1000 * cost.megabytes / cost.length
        row = f"| {cost.kind} | {cost.length:,} | {cost.megabytes:,.0f} | {share:.1f} | {cost.seconds:.0f} |"
        print(row, flush=True)


if __name__ == "__main__":
    run_program(main)
