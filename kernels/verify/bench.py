"""Measure the time of attention and the memory of the MLM head on a CPU, against the dense computation they replace.

    python -m clinical_modernbert.kernels.verify.bench [--tokens 8192] [--threads 1] [--repeat 3]

Prints two Markdown tables. For GPUs: benchmarks/gpu.py.
"""

import argparse
import math
import re
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F

from ..attention.dispatch import packed_attention
from ..mlm_loss import mlm_loss
from ..packed import PackedBatch
from ..rope import rotate_qk

HEADS, HEAD_DIM, WINDOW, THETA = 12, 64, 64, 10_000.0
HIDDEN, VOCABULARY, MASKED = 768, 50_368, 0.3


def packs(tokens: int) -> dict[str, list[int]]:
    """Three layouts of a pack of `tokens` tokens, as name -> lengths: documents of 512 tokens, documents of log-normal
    lengths as clinical notes have, and one document."""
    generator = torch.Generator().manual_seed(0)
    mixed: list[int] = []
    while (remaining := tokens - sum(mixed)) > 0:
        length = math.exp(torch.randn((), generator=generator).item() * 0.9 + 5.2)
        mixed.append(min(int(min(max(length, 16), 1024)), remaining))
    equal = [512] * (tokens // 512) or [tokens]
    return {f"{len(equal)} x {equal[0]}": equal, f"{len(mixed)} mixed": mixed, f"1 x {tokens}": [tokens]}


def padded_attention(qkv: torch.Tensor, batch: PackedBatch, window: int | None, rope_theta: float) -> torch.Tensor:
    """Compute `packed_attention` by padding to the longest sequence and masking a dense (L, L) matrix of scores."""
    device, rows, longest = qkv.device, len(batch.lengths), batch.max_seqlen
    lengths = torch.tensor(batch.lengths, device=device)
    slots = batch.positions.long() + torch.arange(rows, device=device).repeat_interleave(lengths) * longest
    q, k, v = rotate_qk(qkv, batch, rope_theta)

    def pad(x: torch.Tensor) -> torch.Tensor:  # (B, H, L, D)
        dense = x.new_zeros(rows * longest, *x.shape[1:]).index_copy(0, slots, x)
        return dense.view(rows, longest, *x.shape[1:]).transpose(1, 2)

    index = torch.arange(longest, device=device)
    mask: torch.Tensor | None = None
    if window is not None or len(set(batch.lengths)) > 1:
        mask = (index < lengths[:, None])[:, None, None, :]
        if window is not None:
            mask = mask & ((index[:, None] - index).abs() <= window)
            mask = mask | ~mask.any(-1, keepdim=True)  # padding rows attend to everything, so that they stay finite
    out = F.scaled_dot_product_attention(pad(q), pad(k), pad(v), attn_mask=mask)
    return out.transpose(1, 2).reshape(rows * longest, *q.shape[1:])[slots]


def attention_times(function: Callable[..., torch.Tensor], lengths: list[int], repeat: int) -> tuple[float, float]:
    """Milliseconds of CPU time of the fastest forward and of the fastest backward of `repeat`."""
    batch = PackedBatch.from_lengths(lengths, "cpu")
    qkv = torch.randn(sum(lengths), 3, HEADS, HEAD_DIM, requires_grad=True)
    grad = torch.randn(sum(lengths), HEADS, HEAD_DIM)
    times = []
    for _ in range(repeat):
        begin = time.process_time()
        out = function(qkv, batch)
        middle = time.process_time()
        torch.autograd.grad(out, qkv, grad)
        times.append((middle - begin, time.process_time() - middle))
    forward, backward = (1e3 * min(column) for column in zip(*times, strict=True))
    return forward, backward


def attention_table(tokens: int, repeat: int) -> list[str]:
    lines = ["| documents | layer | padded dense, forward / backward ms | ours | faster |", "|---|---|---|---|---|"]
    for name, lengths in packs(tokens).items():
        for layer, window in (("global", None), ("local", WINDOW)):
            dense = attention_times(
                lambda x, batch, window=window: padded_attention(x, batch, window, THETA), lengths, repeat
            )
            ours = attention_times(
                lambda x, batch, window=window: packed_attention(x, batch, window=window, rope_theta=THETA),
                lengths,
                repeat,
            )
            cells = (f"{forward:.0f} / {backward:.0f}" for forward, backward in (dense, ours))
            lines.append(f"| {name} | {layer} | {' | '.join(cells)} | {sum(dense) / sum(ours):.1f}x |")
    return lines


def head_megabytes(variant: str, tokens: int, threads: int) -> float:
    """Peak memory in MB that a forward and backward of the MLM head add in a fresh process, beyond its inputs."""
    torch.set_num_threads(threads)
    rows = tokens if variant == "all tokens" else round(MASKED * tokens)
    hidden = torch.randn(rows, HIDDEN, requires_grad=True)
    weight = torch.randn(VOCABULARY, HIDDEN, requires_grad=True)
    bias, targets = torch.zeros(VOCABULARY, requires_grad=True), torch.randint(0, VOCABULARY, (rows,))
    before = _peak_memory()
    if variant == "ours":
        loss = mlm_loss(hidden, weight, bias, targets)[0]
    else:
        loss = F.cross_entropy(F.linear(hidden, weight, bias), targets, reduction="sum")
    loss.backward()
    return (_peak_memory() - before) / 1e6


def _peak_memory() -> int:
    """Peak resident set size of this process, in bytes. VmHWM starts with the program, unlike getrusage's peak, which
    starts with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def head_table(tokens: int, threads: int) -> list[str]:
    """Measure each variant in a separate process, since a peak never decreases."""
    variants = {
        "all tokens": f"full logits of all {tokens} tokens",
        "masked": f"full logits of the {round(MASKED * tokens)} masked tokens",
        "ours": "in chunks (mlm_loss)",
    }
    lines = ["| MLM head, fp32, forward and backward | added to the peak, MB |", "|---|---|"]
    for variant, name in variants.items():
        with get_context("spawn").Pool(1) as pool:
            lines.append(f"| {name} | {pool.apply(head_megabytes, (variant, tokens, threads)):.0f} |")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m clinical_modernbert.kernels.verify.bench", description=__doc__)
    parser.add_argument("--tokens", type=int, default=8192, help="tokens in the pack")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3, help="runs per measurement; the fastest counts")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    print(f"{options.tokens} tokens, {HEADS} heads of {HEAD_DIM}, fp32, {options.threads} thread(s), CPU time\n")
    print("\n".join(attention_table(options.tokens, options.repeat)), flush=True)
    print("\n" + "\n".join(head_table(options.tokens, options.threads)))


if __name__ == "__main__":
    main()
