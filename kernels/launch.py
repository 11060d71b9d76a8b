"""What every launcher of a Triton kernel does first: contiguous rows, no launch on empty tensors, the right device."""

from typing import Any

import torch


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Launch `kernel` on the device of its first argument, a tensor. An empty tensor launches nothing."""
    first: torch.Tensor = arguments[0]
    if first.numel():
        with torch.cuda.device_of(first):
            kernel[grid](*arguments, **constants)


def contiguous_rows(x: torch.Tensor) -> torch.Tensor:
    """x (T, n) itself if the values of each row are adjacent in memory, else a contiguous copy."""
    return x if x.stride(1) == 1 else x.contiguous()
