"""The launch preamble of the Triton operators: contiguous rows, no launch for empty tensors, the device guard."""

from typing import Any

import torch


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Launch `kernel` on the device of its first argument, a tensor. If that is empty, nothing is launched."""
    first: torch.Tensor = arguments[0]
    if first.numel():
        with torch.cuda.device_of(first):
            kernel[grid](*arguments, **constants)


def contiguous_rows(x: torch.Tensor) -> torch.Tensor:
    """x (T, n) itself if the values of each row are adjacent in memory, else a contiguous copy."""
    return x if x.stride(1) == 1 else x.contiguous()
