"""Compile every kernel for every architecture, check the machine code, and write the tables of docs/kernels.md.

    python -m clinical_modernbert.kernels.verify.report [--check | --summary]

Prints each fault and exits with 1 if there is any. Takes minutes the first time; Triton caches what it compiled.
With --summary it compiles the model's attention only, where spills come from, and writes the installed Triton's row of
the table of versions. `make kernels-report` runs it for the locked Triton, then so for the oldest and the newest that
pyproject.toml admits.
"""

import argparse
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import triton

from ..attention.tile_sizes import RELATIVES
from ..attention.triton_op import triton_attention
from ..devices import triton_too_old
from ..geglu_triton import triton_geglu
from ..mlm_loss_triton import triton_cross_entropy_
from ..norm_triton import triton_add_layer_norm
from ..packed import PackedBatch
from ..rope_triton import triton_rotate_
from ..stable_adamw import Rates
from ..stable_adamw_triton import Blocks, triton_squared_updates, triton_update_
from .ahead_of_time import TARGETS, compiled_for
from .machine_code import MachineCode, read, shared_limit

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
HEAD_DIMS = (32, 64, 128)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "kernels.md"
BEGIN, END = "<!-- kernels-report: begin", "<!-- kernels-report: end -->"
MATMULS = {"attention_forward": 2, "attention_backward_dq": 3, "attention_backward_dkdv": 4}
NARROW_SCALARS = {"cross_entropy": 2, "attention_backward_dkdv": 2}
"""Narrow loads that are not a fault: cross_entropy loads a row's target, an int64, and its logit; on AMD
attention_backward_dkdv loads two statistics of neighboring queries at a time."""
OPTIMIZER = "StableAdamW"
UNALIGNED = ("segment_sums",)
"""Kernels of few loads, which begin anywhere."""
VERSIONS_BEGIN, VERSIONS_END = "<!-- kernels-report versions: begin", "<!-- kernels-report versions: end -->"


@dataclass(frozen=True)
class Case:
    """A public function to compile: its name, the type, and for attention the head size and the kind of layer."""

    name: str
    dtype: str
    head_dim: int = 64
    local: bool = False
    causal: bool = False

    @property
    def layer(self) -> str:
        return ("local" if self.local else "global") + " causal" * self.causal


@dataclass(frozen=True)
class Row:
    """A kernel that the case launched.

    work: FLOPs of its matrix instructions divided by the FLOPs that its tile needs; None without matrix products.
    vectors: whether its tiles are large enough for a 128-bit load by every thread of the block.
    """

    architecture: str
    case: Case
    kernel: str
    tile: str
    warps: int
    code: MachineCode
    work: float | None
    vectors: bool = True


def cases(dtypes: Iterable[str] = DTYPES, head_dims: Iterable[int] = HEAD_DIMS) -> list[Case]:
    attention = [
        Case("attention", dtype, dim, local, causal)
        for dtype in dtypes
        for dim in head_dims
        for local in (False, True)
        for causal in (False, True)
    ]
    others = [Case(name, dtype) for dtype in dtypes for name in _CALLS if name not in ("attention", OPTIMIZER)]
    return [*attention, *others, Case(OPTIMIZER, "fp32")]


def cases_of(architecture: str) -> list[Case]:
    """The cases of an architecture: all, or the more important if it is a relative of another."""
    if architecture not in RELATIVES:
        return cases()
    return [case for case in cases() if case.dtype == "bf16" or (case.head_dim == 64 and case.name == "attention")]


def measure(architecture: str, case: Case) -> list[Row]:
    """Compile the case for an architecture (a key of TARGETS) and analyze the machine code of its kernels."""
    with compiled_for(architecture) as kernels:
        _CALLS[case.name](case)
    rows = {}
    for kernel in kernels:
        if case.name == "attention" and kernel.name not in MATMULS:
            continue  # RoPE has its own case
        constants = {kernel.src.fn.arg_names[key[0]]: value for key, value in kernel.src.constants.items()}
        tile, work, vectors, warps = "", None, kernel.name not in UNALIGNED, kernel.metadata.num_warps
        code = read(kernel, architecture)
        if kernel.name in MATMULS:
            block_m, block_n = constants["BLOCK_M"], constants["BLOCK_N"]
            size = block_m * block_n
            tile = f"{block_m}x{block_n}" + (", rotates q and k" if constants["ROTATE"] else "")
            smallest_load = min(block_m, block_n) * case.head_dim // 2 * DTYPES[case.dtype].itemsize
            vectors = smallest_load >= 16 * warps * TARGETS[architecture].warp_size
            work = code.mma_flops / (2 * MATMULS[kernel.name] * size * case.head_dim)
        rows[kernel.name] = Row(architecture, case, kernel.name, tile, warps, code, work, vectors)
    return list(rows.values())


def faults(row: Row) -> list[str]:
    """The faults of a kernel, as predicates of sentences about it."""
    code, case, nvidia = row.code, row.case, not row.architecture.startswith("gfx")
    attention, half = row.kernel in MATMULS, case.dtype != "fp32"
    result = []
    if code.spills and (half or not attention):
        result.append(f"spills {code.spills} times")
    if not code.blocks:
        result.append("does not fit")
    if code.shared > (limit := shared_limit(row.architecture)):
        result.append(f"needs {code.shared} bytes of shared memory, a block has at most {limit}")
    if attention and not code.tensor:
        result.append("has no tensor-core instructions")
    if attention and row.work != (3 if nvidia and not half else 1):
        result.append(f"does {row.work:.2f} times the work of its tile")
    if attention and half and nvidia and case.head_dim == 64 and code.blocks * row.warps < 8:
        result.append(f"has {code.blocks} blocks of {row.warps} warps per SM, fewer than eight warps")
    if row.vectors and (not code.wide or code.narrow > NARROW_SCALARS.get(row.kernel, 0)):
        result.append(f"has {code.narrow} narrow loads to {code.wide} of 128 bits")
    return result


def fingerprint() -> str:
    """Hash of the sources that the table depends on."""
    kernels = Path(__file__).parents[1]
    attention = [*sorted((kernels / "attention").glob("triton_*.py")), kernels / "attention" / "tile_sizes.py"]
    paths = [*attention, *sorted(kernels.glob("*_triton.py")), kernels / "architecture.py", kernels / "launch.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m clinical_modernbert.kernels.verify.report", description=__doc__)
    parser.add_argument("--check", action="store_true", help="check only, do not write docs/kernels.md")
    parser.add_argument("--summary", action="store_true", help="write only this Triton's row of the table of versions")
    options = parser.parse_args(arguments)
    compilable = [name for name in TARGETS if not triton_too_old(name)]
    attention = [case for case in cases(["bf16"], [64]) if case.name == "attention"]
    jobs = [(name, case) for name in compilable for case in (attention if options.summary else cases_of(name))]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        rows = []
        for (architecture, case), measured in zip(jobs, pool.map(measure, *zip(*jobs, strict=True)), strict=True):
            rows += measured
            print(architecture, case.name, case.dtype, case.head_dim, case.layer, flush=True)
    problems = [f"{row.architecture} {row.kernel} {row.case}: {fault}" for row in rows for fault in faults(row)]
    print("\n".join(problems) or f"{len(rows)} kernels compiled, no faults")
    if options.summary:
        _write_summary(_summary(rows, len(problems)))
    elif not options.check:
        _write("\n".join(_tables(rows)))
    return 1 if problems else 0


def _attention(case: Case) -> None:
    batch = PackedBatch.from_lengths([100, 300], "cpu")
    qkv = torch.randn(400, 3, 12, case.head_dim, dtype=DTYPES[case.dtype], requires_grad=True)
    triton_attention(qkv, batch, 64 if case.local else None, 1e4, causal=case.causal).sum().backward()


def _rope(case: Case) -> None:
    batch = PackedBatch.from_lengths([100, 300], "cpu")
    qkv = torch.randn(400, 3, 12, 64, dtype=DTYPES[case.dtype])
    triton_rotate_(qkv[:, :2], batch.positions, batch.max_seqlen, 1e4, False)


def _geglu(case: Case) -> None:
    x = torch.randn(400, 2 * 1152, dtype=DTYPES[case.dtype], requires_grad=True)
    triton_geglu(x).backward(torch.ones(400, 1152, dtype=x.dtype))


def _norm(case: Case) -> None:
    residual, x = (torch.randn(400, 768, dtype=DTYPES[case.dtype], requires_grad=True) for _ in range(2))
    weight = torch.ones(768, dtype=x.dtype, requires_grad=True)
    total, y, *_ = triton_add_layer_norm(residual, x, weight, 1e-5)
    torch.autograd.backward([total, y], [torch.ones_like(total), torch.ones_like(y)])


def _cross_entropy(case: Case) -> None:
    triton_cross_entropy_(torch.randn(8, 50_368, dtype=DTYPES[case.dtype]), torch.arange(8))


def _stable_adamw(case: Case) -> None:
    blocks = Blocks.of([(0, 4096), (4096, 9000)], torch.device("cpu"))
    weight, grad, mean, square = torch.zeros(4, 9000)
    rates = Rates(0.1, 0.02, 1e-6, 0.0)
    triton_squared_updates(grad, square, blocks, rates)
    triton_update_(weight, grad, mean, square, blocks, torch.ones(2), rates)


_CALLS: dict[str, Callable[[Case], None]] = {
    "attention": _attention,
    "RoPE": _rope,
    "GeGLU": _geglu,
    "residual + norm": _norm,
    "cross-entropy": _cross_entropy,
    OPTIMIZER: _stable_adamw,
}


def _tables(rows: list[Row]) -> list[str]:
    """Two tables with every kernel at the model's own shapes, then one with the others by type and head size."""
    model_rows = [row for row in rows if row.case.dtype == "bf16" and row.case.head_dim == 64]
    resources = [
        "| kernel (bf16) | for | warps | registers | spills | shared memory | blocks/SM | 128-bit / narrow loads |",
        "|---|---|---|---|---|---|---|---|",
    ]
    products = [
        "| attention kernel (bf16) | for | tile | tensor-core instructions | work / useful |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(model_rows, key=lambda row: (row.case.name, row.kernel, row.case.causal, row.case.local)):
        code = row.code
        name: list[Any] = [f"{row.kernel} {row.case.layer}" if row.work else row.kernel, row.architecture]
        used = [row.warps, code.registers, code.spills, code.shared, code.blocks, f"{code.wide} / {code.narrow}"]
        resources.append(f"| {' | '.join(map(str, name + used))} |")
        if row.work:
            products.append(f"| {' | '.join(map(str, [*name, row.tile, code.tensor, f'{row.work:.2f}']))} |")
    lines = [*resources, "", *products]
    lines += ["", "| other types and head sizes | for | kernels | most registers | spills | fewest blocks/SM |"]
    lines += ["|---|---|---|---|---|---|"]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row not in model_rows:
            kind = f"attention, heads of {row.case.head_dim}" if row.work else "all others"
            groups.setdefault((f"{kind}, {row.case.dtype}", row.architecture), []).append(row)
    for (kind, architecture), group in sorted(groups.items()):
        codes = [row.code for row in group]
        spilling = [f"{row.kernel} {row.code.spills}" for row in group if row.code.spills]
        spills = ", ".join(dict.fromkeys(spilling)) or "0"
        cells = [kind, architecture, len(group), max(x.registers for x in codes), spills, min(x.blocks for x in codes)]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _summary(rows: list[Row], problems: int) -> str:
    """The row of the installed Triton in the table of versions."""
    codes = [row.code for row in rows]
    absent = ", ".join(name for name in TARGETS if triton_too_old(name)) or "none"
    counts = [len(rows), sum(code.spills > 0 for code in codes), problems, max(code.registers for code in codes)]
    return f"| {' | '.join(map(str, [triton.__version__, *counts, absent, fingerprint()]))} |"


def _write_summary(row: str) -> None:
    page = PAGE.read_text()
    before, _, rest = page.partition(VERSIONS_BEGIN)
    table, _, after = rest.partition(VERSIONS_END)
    head = [
        "| Triton | kernels | of them spill | faults | most registers | cannot compile for | sources |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = {line.split()[1]: line for line in [*table.splitlines(), row] if re.match(r"\| \d", line)}
    ordered = sorted(rows, key=lambda version: [int(part) for part in version.split(".")])
    lines = [f"{before}{VERSIONS_BEGIN} -->", *head, *(rows[version] for version in ordered), f"{VERSIONS_END}{after}"]
    PAGE.write_text("\n".join(lines))


def _write(table: str) -> None:
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    begin = f"{BEGIN}, sources {fingerprint()}, triton {triton.__version__} -->"
    PAGE.write_text(f"{before}{begin}\n{table}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
