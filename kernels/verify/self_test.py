"""Every kernel that a device can run, each against its reference: what a new GPU or a new installation should pass."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from ..attention.dispatch import available_backends, packed_attention
from ..geglu import geglu
from ..mlm_loss import mlm_loss
from ..norm import add_layer_norm
from ..packed import PackedBatch
from . import reference
from .accuracy import DTYPES, Accuracy, Function, compare

LENGTHS = [700, 0, 1, 129, 64]
"""None is a multiple of a tile but the last."""
HEADS, HEAD_DIM, HIDDEN, INTERMEDIATE, VOCABULARY, MASKED = 12, 64, 768, 1152, 50_368, 300
WINDOW, THETA, EPS = 64, 160_000.0, 1e-5


@dataclass(frozen=True)
class Check:
    """Of a kernel at a type: the accuracy of its outputs and gradients."""

    kernel: str
    dtype: str
    found: list[Accuracy]

    @property
    def good(self) -> bool:
        return all(one.good for one in self.found)


def self_test(device: torch.device) -> Iterator[Check]:
    """Runs each kernel by every backend that can be had, at ModernBERT-base's shapes. On a CPU in fp32 only: there the
    other types are PyTorch's own, and slow."""
    for name, dtype in DTYPES.items() if device.type != "cpu" else [("fp32", torch.float32)]:
        for kernel, ours, plain, inputs in _cases(device, dtype):
            yield Check(kernel, name, compare(ours, plain, inputs))


def _cases(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, Function, Function, list[torch.Tensor]]]:
    """(name, kernel, reference, inputs)."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    batch, tokens = PackedBatch.from_lengths(LENGTHS, device), sum(LENGTHS)
    for layer, window in (("global", None), ("local", WINDOW)):
        for backend in available_backends(device, dtype, HEAD_DIM):
            ours = partial(packed_attention, batch=batch, window=window, rope_theta=THETA, backend=backend)
            plain = partial(reference.attention, lengths=LENGTHS, window=window, rope_theta=THETA)
            yield f"attention {layer}, {backend}", ours, plain, [random(tokens, 3, HEADS, HEAD_DIM)]
    yield "GeGLU", geglu, reference.geglu, [random(tokens, 2 * INTERMEDIATE)]
    norms = partial(add_layer_norm, eps=EPS), partial(reference.add_layer_norm, eps=EPS)
    yield "residual + norm", *norms, [random(tokens, HIDDEN), random(tokens, HIDDEN), random(HIDDEN)]
    targets = torch.randint(0, VOCABULARY, (MASKED,), generator=generator).to(device)
    heads = partial(mlm_loss, targets=targets), partial(reference.mlm_loss, targets=targets)
    yield "MLM head", *heads, [random(MASKED, HIDDEN), random(VOCABULARY, HIDDEN) / HIDDEN**0.5, random(VOCABULARY)]
