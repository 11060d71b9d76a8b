"""Self-test of all kernels that a device supports, against their references, for new GPUs and installations."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..attention.dispatch import available_backends, packed_attention
from ..geglu import geglu
from ..mlm_loss import mlm_loss
from ..norm import add_layer_norm
from ..packed import PackedBatch
from ..stable_adamw import Rates, Segments, squared_updates, update_
from . import reference
from .accuracy import DTYPES, OUTPUT_FACTOR, Accuracy, Function, accuracy, compare

LENGTHS = [700, 0, 1, 129, 64]
"""Only the last is a multiple of a tile."""
HEADS, HEAD_DIM, HIDDEN, INTERMEDIATE, VOCABULARY, MASKED = 12, 64, 768, 1152, 50_368, 300
WINDOW, THETA, EPS = 64, 160_000.0, 1e-5
LAYERS = (
    ("global", None, False),
    ("local", WINDOW, False),
    ("global causal", None, True),
    ("local causal", WINDOW, True),
)
"""(name, window, causal) of each kind of attention layer."""


@dataclass(frozen=True)
class Check:
    """Accuracy of the outputs and gradients of one kernel at one type, or the error with which it failed."""

    kernel: str
    dtype: str
    results: list[Accuracy]
    error: str = ""

    @property
    def passed(self) -> bool:
        return not self.error and all(result.passed for result in self.results)


def self_test(device: torch.device) -> Iterator[Check]:
    """Check each kernel with every available backend, at ModernBERT-base's shapes.

    On a CPU only fp32 is checked: for the other types the kernels there are PyTorch's own, and slow.
    """
    for name, dtype in DTYPES.items() if device.type != "cpu" else [("fp32", torch.float32)]:
        for kernel, ours, plain, inputs in _cases(device, dtype):
            yield _check(kernel, name, partial(compare, ours, plain, inputs))
    yield _check("StableAdamW", "fp32", partial(_optimizer, device))


def _check(kernel: str, dtype: str, run: Callable[[], Iterable[Accuracy]]) -> Check:
    """A kernel that does not even compile is one failed check, and the others follow."""
    try:
        return Check(kernel, dtype, list(run()))
    except Exception as error:
        return Check(kernel, dtype, [], f"{type(error).__name__}: {error}")


def _optimizer(device: torch.device) -> Iterator[Accuracy]:
    """Sums, weights and moments after a step at different learning rates."""
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(9003, generator=generator).to(device) for _ in range(4)]
    start[3].square_()

    def step(dtype: torch.dtype, backend: str) -> list[torch.Tensor]:
        weight, grad, mean, square = (x.to(dtype, copy=True) for x in start)
        segments = Segments.of([(0, 4096), (4096, 9000)], device, backend=backend)
        rates = Rates(mean=0.1, square=0.02, eps=EPS, decay=0.1)
        sums = squared_updates(grad, square, segments, rates).to(dtype)
        learning_rates = 0.01 / torch.tensor([1.0, 1.5], dtype=dtype, device=device)
        update_(weight, grad, mean, square, segments, learning_rates, rates)
        return [sums, weight, mean, square]

    results = (step(torch.float32, "auto"), step(torch.float64, "torch"), step(torch.float32, "torch"))
    for name, ours, exact, plain in zip(("sums", "weights", "mean", "square"), *results, strict=True):
        yield accuracy(ours, exact, plain, torch.float32, OUTPUT_FACTOR, name)


def _cases(device: torch.device, dtype: torch.dtype) -> Iterator[tuple[str, Function, Function, list[torch.Tensor]]]:
    """(name, kernel, reference, inputs)."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device, dtype)

    batch, tokens = PackedBatch.from_lengths(LENGTHS, device), sum(LENGTHS)
    for layer, window, causal in LAYERS:
        options: dict[str, Any] = {"window": window, "rope_theta": THETA, "causal": causal}
        for backend in available_backends(device, dtype, HEAD_DIM):
            ours = partial(packed_attention, batch=batch, backend=backend, **options)
            plain = partial(reference.attention, lengths=LENGTHS, **options)
            yield f"attention {layer}, {backend}", ours, plain, [random(tokens, 3, HEADS, HEAD_DIM)]
    yield "GeGLU", geglu, reference.geglu, [random(tokens, 2 * INTERMEDIATE)]
    norms = partial(add_layer_norm, eps=EPS), partial(reference.add_layer_norm, eps=EPS)
    yield "residual + norm", *norms, [random(tokens, HIDDEN), random(tokens, HIDDEN), random(HIDDEN)]
    targets = torch.randint(0, VOCABULARY, (MASKED,), generator=generator).to(device)
    heads = partial(mlm_loss, targets=targets), partial(reference.mlm_loss, targets=targets)
    yield "MLM head", *heads, [random(MASKED, HIDDEN), random(VOCABULARY, HIDDEN) / HIDDEN**0.5, random(VOCABULARY)]
