"""Check every kernel against its reference on this machine's GPU, then time it against what else could compute it.

    python benchmarks/gpu.py [--output DIRECTORY] [--repeat 20]

Writes DIRECTORY/<name of the device>.md (default: benchmarks/results). Without a CUDA or ROCm GPU it says so and ends.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from clinical_modernbert.kernels import reference
from clinical_modernbert.kernels.attention import AUTOMATIC, choose_backend, explain_backend, packed_attention
from clinical_modernbert.kernels.bench import packs, padded_attention
from clinical_modernbert.kernels.geglu import geglu
from clinical_modernbert.kernels.mlm_loss import mlm_loss
from clinical_modernbert.kernels.norm import add_layer_norm
from clinical_modernbert.kernels.packed import PackedBatch

MODELS = {"base": (768, 12, 1152), "large": (1024, 16, 2624)}
"""Hidden size, heads of 64, and the MLP's intermediate size of ModernBERT."""
TOKENS, VOCABULARY, WINDOW, THETA, EPS = 8192, 50_368, 64, 160_000.0, 1e-5
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}

Function = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent / "results")
    parser.add_argument("--repeat", type=int, default=20, help="the median of so many is written")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no GPU here: nothing was checked or timed. Run this on a machine with a CUDA or ROCm device.")
        return 0
    name = torch.cuda.get_device_name()
    wrong, checks = check_all()
    lines = [f"# {name}", "", f"torch {torch.__version__}, {explain_backend(device(), torch.bfloat16, 64)}", ""]
    lines += [*checks, "", *time_attention(options.repeat), "", *time_rows(options.repeat)]
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{name.replace(' ', '-')}.md"
    path.write_text("\n".join(lines) + "\n")
    print("\n".join(lines), f"\nwritten to {path}")
    return 1 if wrong else 0


def device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device())


def check_all() -> tuple[int, list[str]]:
    """(how many are wrong, table): each kernel's largest error by plain PyTorch's at the same type, both against fp64."""
    lines = ["| kernel | type | output error / plain's | gradient error / plain's | |", "|---|---|---|---|---|"]
    wrong = 0
    for dtype_name, dtype in DTYPES.items():
        for name, (ours, plain, inputs) in checked(dtype).items():
            ratios = [error_ratio(*group) for group in zip(*results(ours, plain, inputs), strict=True)]
            good = ratios[0] <= 2 and ratios[1] <= 3
            wrong += not good
            cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
            lines.append(f"| {name} | {dtype_name} | {cells} | {'' if good else 'WRONG'} |")
    return wrong, lines


def checked(dtype: torch.dtype) -> dict[str, tuple[Function, Function, list[torch.Tensor]]]:
    """Name -> (kernel, reference, inputs), on shapes with incomplete tiles."""
    lengths = [700, 0, 1, 129, 64]
    batch, total = PackedBatch.from_lengths(lengths, device()), sum(lengths)
    make = partial(random, dtype=dtype)
    found: dict[str, tuple[Function, Function, list[torch.Tensor]]] = {}
    for layer, window in (("global", None), ("local", WINDOW)):
        for backend in available(dtype):
            ours = partial(packed_attention, batch=batch, window=window, rope_theta=THETA, backend=backend)
            plain = partial(reference.attention, lengths=lengths, window=window, rope_theta=THETA)
            found[f"attention {layer}, {backend}"] = (ours, plain, [make(total, 3, 12, 64)])
    found["GeGLU"] = (geglu, reference.geglu, [make(total, 2 * 1152)])
    found["residual + norm"] = (
        partial(add_layer_norm, eps=EPS),
        partial(reference.add_layer_norm, eps=EPS),
        [make(total, 768), make(total, 768), make(768)],
    )
    targets = torch.randint(0, VOCABULARY, (300,), device=device())
    found["MLM head"] = (
        lambda *x: mlm_loss(*x, targets)[0],
        lambda *x: reference.mlm_loss(*x, targets)[0],
        [make(300, 768), make(VOCABULARY, 768) / 28, make(VOCABULARY)],
    )
    return found


def available(dtype: torch.dtype) -> list[str]:
    """The attention backends that this GPU and installation have."""
    found = []
    for backend in AUTOMATIC:
        try:
            found.append(choose_backend(device(), dtype, 64, backend).backend)
        except ValueError as obstacle:
            print(obstacle)
    return found


def random(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(shape, device=device(), dtype=dtype)


def results(ours: Function, plain: Function, inputs: list[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(output, gradients) of ours, of the reference in fp64, and of the reference at the inputs' own type."""
    exact = [x.double() for x in inputs]
    return [evaluate(ours, inputs), evaluate(plain, exact), evaluate(plain, inputs)]


def evaluate(function: Function, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    directions = [fixed_direction(x) for x in outputs]
    grads = torch.autograd.grad(outputs, leaves, directions)
    return flat(outputs), flat(grads)


def fixed_direction(x: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(x.numel())
    return torch.randn(x.shape, generator=generator).bfloat16().to(x.device, x.dtype)


def flat(tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
    return torch.cat([x.detach().double().flatten() for x in tensors])


def error_ratio(ours: torch.Tensor, exact: torch.Tensor, plain: torch.Tensor) -> float:
    """Of largest errors; a millionth of the scale is forgiven, since plain PyTorch may happen to be exact."""
    slack = 1e-6 * exact.abs().max()
    return ((ours - exact).abs().max() / ((plain - exact).abs().max() + slack)).item()


def time_attention(repeat: int) -> list[str]:
    lines = ["| attention, bf16 | layer | backend | forward ms | forward + backward ms |", "|---|---|---|---|---|"]
    for model, (_, heads, _) in MODELS.items():
        for name, lengths in packs(TOKENS).items():
            batch = PackedBatch.from_lengths(lengths, device())
            qkv = random(TOKENS, 3, heads, 64, dtype=torch.bfloat16).requires_grad_()
            for layer, window in (("global", None), ("local", WINDOW)):
                candidates: dict[str, Function] = {
                    backend: partial(packed_attention, batch=batch, window=window, rope_theta=THETA, backend=backend)
                    for backend in available(torch.bfloat16)
                }
                candidates["padded, eager"] = partial(padded_attention, batch=batch, window=window, rope_theta=THETA)
                for backend, function in candidates.items():
                    times = milliseconds(function, [qkv], repeat)
                    lines.append(f"| {model}, {name} | {layer} | {backend} | {times} |")
    return lines


def time_rows(repeat: int) -> list[str]:
    """Kernels in which rows do not meet, against their definition in eager PyTorch."""
    lines = ["| kernel, bf16 | model | by | forward ms | forward + backward ms |", "|---|---|---|---|---|"]
    masked = round(0.3 * TOKENS)
    targets = torch.randint(0, VOCABULARY, (masked,), device=device())
    make = partial(random, dtype=torch.bfloat16)
    for model, (hidden, _, intermediate) in MODELS.items():
        pairs: dict[str, tuple[Function, Function, list[torch.Tensor]]] = {
            "GeGLU": (geglu, reference.geglu, [make(TOKENS, 2 * intermediate)]),
            "residual + norm": (
                partial(add_layer_norm, eps=EPS),
                partial(reference.add_layer_norm, eps=EPS),
                [make(TOKENS, hidden), make(TOKENS, hidden), make(hidden)],
            ),
            "MLM head, 30 % masked": (
                lambda *x: mlm_loss(*x, targets)[0],
                lambda *x: reference.mlm_loss(*x, targets)[0],
                [make(masked, hidden), make(VOCABULARY, hidden), make(VOCABULARY)],
            ),
        }
        for name, (ours, plain, inputs) in pairs.items():
            leaves = [x.requires_grad_() for x in inputs]
            for by, function in (("ours", ours), ("eager", plain)):
                lines.append(f"| {name} | {model} | {by} | {milliseconds(function, leaves, repeat)} |")
    return lines


def milliseconds(function: Function, inputs: list[torch.Tensor], repeat: int) -> str:
    """Medians of `repeat` after three for warming up, or what went wrong (a dense square may not fit)."""
    try:
        outputs = function(*inputs)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        directions = [torch.randn_like(x) for x in outputs]

        def both() -> None:
            result = function(*inputs)
            torch.autograd.grad(result if isinstance(result, tuple) else (result,), inputs, directions)

        times = [timed(step, repeat) for step in (lambda: function(*inputs), both)]
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return "out of memory | out of memory"
    return " | ".join(f"{time:.3f}" for time in times)


def timed(step: Callable[[], object], repeat: int) -> float:
    times = []
    for _ in range(repeat + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        step()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times[3:])


if __name__ == "__main__":
    sys.exit(main())
