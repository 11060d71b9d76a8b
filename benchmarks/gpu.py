"""Check every kernel against its reference on this machine's GPU, then time it against the alternatives.

    python benchmarks/gpu.py [--output DIRECTORY] [--repeat 20]

Writes DIRECTORY/<name of the device>.md (default: benchmarks/results). Without a CUDA or ROCm GPU it prints a message
and exits.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from clinical_modernbert.kernels.attention.dispatch import available_backends, explain_backend, packed_attention
from clinical_modernbert.kernels.geglu import geglu
from clinical_modernbert.kernels.mlm_loss import mlm_loss
from clinical_modernbert.kernels.norm import add_layer_norm
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import Function
from clinical_modernbert.kernels.verify.bench import packs, padded_attention
from clinical_modernbert.kernels.verify.self_test import EPS, HEAD_DIM, THETA, VOCABULARY, WINDOW, self_test

MODELS = {"base": (768, 12, 1152), "large": (1024, 16, 2624)}
"""Hidden size, number of heads (of 64), and intermediate size of ModernBERT's MLP."""
TOKENS, MASKED = 8192, 2458
WARM_UP = 3


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent / "results")
    parser.add_argument("--repeat", type=int, default=20, help="runs per measurement; the median is written")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU: nothing was checked or timed. Run this on a machine with a CUDA or ROCm device.")
        return 0
    device = torch.device("cuda", torch.cuda.current_device())
    name = torch.cuda.get_device_name(device)
    failures, checks = check_table(device)
    lines = [f"# {name}", "", f"torch {torch.__version__}, {explain_backend(device, torch.bfloat16, HEAD_DIM)}", ""]
    lines += [*checks, "", *attention_table(device, options.repeat), "", *row_table(device, options.repeat)]
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{name.replace(' ', '-').replace('/', '-')}.md"
    path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines), f"\nwritten to {path}")
    return 1 if failures else 0


def check_table(device: torch.device) -> tuple[int, list[str]]:
    """The number of failed checks, and a table of each kernel's errors as fractions of their limits."""
    lines = ["| kernel | type | largest error / limit | error RMS / limit | |", "|---|---|---|---|---|"]
    failures = 0
    for check in self_test(device):
        failures += not check.passed
        error = max(result.error / result.limit for result in check.results)
        rms = max(result.rms / result.rms_limit for result in check.results)
        verdict = "" if check.passed else "FAILED"
        lines.append(f"| {check.kernel} | {check.dtype} | {error:.2f} | {rms:.2f} | {verdict} |")
    return failures, lines


def attention_table(device: torch.device, repeat: int) -> list[str]:
    """Times of every backend, and of the padded dense computation that it replaces."""
    lines = ["| attention, bf16 | layer | backend | forward ms | forward + backward ms |", "|---|---|---|---|---|"]
    for model, (_, heads, _) in MODELS.items():
        for name, lengths in packs(TOKENS).items():
            batch = PackedBatch.from_lengths(lengths, device)
            qkv = random(device, TOKENS, 3, heads, HEAD_DIM)
            for layer, window in (("global", None), ("local", WINDOW)):
                candidates: dict[str, Function] = {
                    backend: partial(packed_attention, batch=batch, window=window, rope_theta=THETA, backend=backend)
                    for backend in available_backends(device, torch.bfloat16, HEAD_DIM)
                }
                candidates["padded, eager"] = partial(padded_attention, batch=batch, window=window, rope_theta=THETA)
                for backend, function in candidates.items():
                    lines.append(f"| {model}, {name} | {layer} | {backend} | {times(function, [qkv], repeat)} |")
    return lines


def row_table(device: torch.device, repeat: int) -> list[str]:
    """Times of the row-wise kernels, and of their references in eager PyTorch."""
    lines = ["| kernel, bf16 | model | implementation | forward ms | forward + backward ms |", "|---|---|---|---|---|"]
    for model, (hidden, _, intermediate) in MODELS.items():
        for name, ours, plain, inputs in row_kernels(device, hidden, intermediate):
            for implementation, function in (("ours", ours), ("eager", plain)):
                lines.append(f"| {name} | {model} | {implementation} | {times(function, inputs, repeat)} |")
    return lines


def row_kernels(
    device: torch.device, hidden: int, intermediate: int
) -> Iterator[tuple[str, Function, Function, list[torch.Tensor]]]:
    """(name, kernel, reference, inputs)."""
    make = partial(random, device)
    yield "GeGLU", geglu, reference.geglu, [make(TOKENS, 2 * intermediate)]
    norms = partial(add_layer_norm, eps=EPS), partial(reference.add_layer_norm, eps=EPS)
    yield "residual + norm", *norms, [make(TOKENS, hidden), make(TOKENS, hidden), make(hidden)]
    targets = torch.randint(0, VOCABULARY, (MASKED,), device=device)
    heads = partial(mlm_loss, targets=targets), partial(reference.mlm_loss, targets=targets)
    yield "MLM head, 30 % masked", *heads, [make(MASKED, hidden), make(VOCABULARY, hidden), make(VOCABULARY)]


def random(device: torch.device, *shape: int) -> torch.Tensor:
    return torch.randn(shape, device=device, dtype=torch.bfloat16, requires_grad=True)


def times(function: Function, inputs: list[torch.Tensor], repeat: int) -> str:
    """Two cells: the medians in milliseconds, or "out of memory" (a dense matrix of scores may not fit)."""

    def outputs() -> tuple[torch.Tensor, ...]:
        result = function(*inputs)
        return result if isinstance(result, tuple) else (result,)

    try:
        cotangents = [torch.randn_like(x) for x in outputs()]
        forward = milliseconds(outputs, repeat)
        both = milliseconds(lambda: torch.autograd.grad(outputs(), inputs, cotangents), repeat)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return "out of memory | out of memory"
    return f"{forward:.3f} | {both:.3f}"


def milliseconds(step: Callable[[], object], repeat: int) -> float:
    """The median time of `step` on the GPU, after WARM_UP runs that are not counted."""
    measured = []
    for _ in range(repeat + WARM_UP):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        step()
        end.record()
        end.synchronize()
        measured.append(begin.elapsed_time(end))
    return statistics.median(measured[WARM_UP:])


if __name__ == "__main__":
    sys.exit(main())
