"""Attention of one layer: every backend that is there, and the padded computation that they replace."""

from functools import partial

from clinical_modernbert.kernels.attention.dispatch import available_backends, packed_attention
from clinical_modernbert.kernels.attention.flash import LIBRARIES
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.verify.accuracy import Function
from clinical_modernbert.kernels.verify.bench import padded_attention
from clinical_modernbert.kernels.verify.self_test import HEAD_DIM, LAYERS, THETA

from .bench import Bench, errors_as_rows
from .shapes import HEADS, mixes

_FEW = 64
"""Sequences up to which PyTorch's attention, one sequence at a time, is timed."""


def run(bench: Bench) -> None:
    for tokens in (bench.size(8192, 256), bench.size(65_536, 512)):
        for model, heads in HEADS.items():
            for name, lengths in mixes(bench, tokens).items():
                for layer, window, causal in LAYERS:
                    if bench.out_of_time():
                        bench.note("attention", "ended: no time left")
                        return
                    _layer(bench, {"model": model, "documents": name, "layer": layer}, lengths, heads, window, causal)


def _layer(
    bench: Bench, labels: dict[str, str], lengths: list[int], heads: int, window: int | None, causal: bool
) -> None:
    batch = PackedBatch.from_lengths(lengths, bench.device)
    qkv = bench.random(sum(lengths), 3, heads, HEAD_DIM)
    attention = partial(packed_attention, batch=batch, window=window, rope_theta=THETA, causal=causal)
    candidates: dict[str, Function] = {
        backend: partial(attention, backend=backend)
        for backend in available_backends(bench.device, bench.dtype, HEAD_DIM)
        if backend != "torch" or len(lengths) <= _FEW
    }
    for library in [name for name in candidates if name in LIBRARIES and LIBRARIES[name].deterministic]:
        candidates[f"{library}, not deterministic"] = partial(attention, backend=library, deterministic=False)
    if sum(lengths) <= bench.size(8192, 256) and not causal:
        candidates["padded, eager"] = partial(padded_attention, batch=batch, window=window, rope_theta=THETA)
    for backend, function in candidates.items():
        label = {**labels, "tokens": f"{sum(lengths):,}", "backend": backend}
        with errors_as_rows(bench, "attention", **label):
            bench.row("attention", **label, **bench.times(function, [qkv]))
