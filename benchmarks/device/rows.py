"""The kernels that work on rows, and the step of the optimizer, against eager PyTorch."""

from collections.abc import Iterator
from functools import partial

import torch

from clinical_modernbert.kernels.geglu import geglu
from clinical_modernbert.kernels.mlm_loss import mlm_loss
from clinical_modernbert.kernels.norm import add_layer_norm
from clinical_modernbert.kernels.stable_adamw import Rates, Segments, squared_updates, update_
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import Function
from clinical_modernbert.kernels.verify.self_test import EPS, VOCABULARY

from .bench import Bench, errors_as_rows
from .shapes import WIDTHS


def run(bench: Bench) -> None:
    tokens = bench.size(65_536, 256)
    for model, (hidden, intermediate) in WIDTHS.items():
        for kernel, ours, plain, inputs in _kernels(bench, tokens, hidden, intermediate):
            for implementation, function in (("ours", ours), ("eager", plain)):
                label = {"model": model, "kernel": kernel, "tokens": f"{tokens:,}", "by": implementation}
                with errors_as_rows(bench, "rows", **label):
                    bench.row("rows", **label, **bench.times(function, inputs))
    for backend in ("auto", "torch"):
        with errors_as_rows(bench, "optimizer", backend=backend):
            _optimizer(bench, backend)


def _kernels(
    bench: Bench, tokens: int, hidden: int, intermediate: int
) -> Iterator[tuple[str, Function, Function, list[torch.Tensor]]]:
    """(name, kernel, reference, inputs)."""
    make, masked, vocabulary = bench.random, round(0.3 * tokens), bench.size(VOCABULARY, 512)
    yield "GeGLU", geglu, reference.geglu, [make(tokens, 2 * intermediate)]
    norms = partial(add_layer_norm, eps=EPS), partial(reference.add_layer_norm, eps=EPS)
    yield "residual + norm", *norms, [make(tokens, hidden), make(tokens, hidden), make(hidden)]
    targets = torch.randint(0, vocabulary, (masked,), device=bench.device)
    heads = partial(mlm_loss, targets=targets), partial(reference.mlm_loss, targets=targets)
    yield "MLM head, 30 % masked", *heads, [make(masked, hidden), make(vocabulary, hidden), make(vocabulary)]


def _optimizer(bench: Bench, backend: str) -> None:
    """A step over the weights of a base model, in parameters of a million."""
    part, count = bench.size(1_000_000, 5000), bench.size(150, 3)
    bounds = [(part * number, part * (number + 1)) for number in range(count)]
    segments = Segments.of(bounds, bench.device, backend=backend)
    weight, grad, mean = (torch.randn(part * count, device=bench.device) for _ in range(3))
    square, rates = torch.rand_like(weight), Rates(mean=0.1, square=0.02, eps=1e-6, decay=0.0)
    learning_rates = torch.full((count,), 1e-3, device=bench.device)

    def step() -> None:
        squared_updates(grad, square, segments, rates)
        update_(weight, grad, mean, square, segments, learning_rates, rates)

    milliseconds = bench.milliseconds(step)
    rate = f"{36 * part * count / milliseconds / 1e9:.2f} TB/s"
    bench.row("optimizer", backend=backend, weights=f"{part * count:,}", ms=milliseconds, rate=rate)
