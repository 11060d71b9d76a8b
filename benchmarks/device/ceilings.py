"""What the device can do at most: bytes of a copy, and FLOPs of a large matrix product and of one of a layer."""

import torch

from .bench import Bench


def run(bench: Bench) -> None:
    length = bench.size(1 << 28, 1 << 12)
    source = torch.empty(length, device=bench.device, dtype=bench.dtype)
    target = torch.empty_like(source)
    seconds = bench.milliseconds(lambda: target.copy_(source)) / 1e3
    bench.row("ceilings", what="copy", ms=1e3 * seconds, rate=f"{2 * source.nbytes / seconds / 1e12:.2f} TB/s")
    large, tokens = bench.size(8192, 64), bench.size(65_536, 128)
    for rows, inner, columns in ((large, large, large), (tokens, 768, 2304), (tokens, 1152, 768)):
        left = torch.randn(rows, inner, device=bench.device, dtype=bench.dtype)
        right = torch.randn(columns, inner, device=bench.device, dtype=bench.dtype)
        seconds = bench.milliseconds(lambda left=left, right=right: left @ right.t()) / 1e3  # type: ignore[misc]
        rate = f"{2 * rows * inner * columns / seconds / 1e12:.0f} TFLOP/s"
        bench.row("ceilings", what=f"matmul {rows} x {inner} x {columns}", ms=1e3 * seconds, rate=rate)
