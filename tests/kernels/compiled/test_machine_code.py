"""The model's own kernels on every architecture, and whether the report would notice a bad one."""

import dataclasses

import pytest
import torch
import triton
import triton.language as tl

from clinical_modernbert.kernels.verify import machine_code, report
from clinical_modernbert.kernels.verify.ahead_of_time import TARGETS, compiled_for

OWN = report.cases(["bf16"], [64])
OTHERS = [  # the whole grid is `python -m clinical_modernbert.kernels.verify.report --check`
    ("sm80", report.Case("attention", "fp16", 128, True)),
    ("sm80", report.Case("attention", "fp32", 32, False)),
    ("sm90", report.Case("attention", "fp16", 32, False)),
    ("gfx942", report.Case("attention", "fp32", 64, True)),
]
GOOD = machine_code.MachineCode(128, 0, 16384, 2, 64, 2 * 2 * 64 * 64 * 64, 8, 0)


@pytest.mark.parametrize(
    ("architecture", "case"), [(name, case) for name in TARGETS for case in OWN] + OTHERS, ids=lambda x: str(x)[:60]
)
def test_kernels_are_free_of_faults(architecture: str, case: report.Case) -> None:
    rows = report.measure(architecture, case)
    assert len(rows) == {"attention": 3, "GeGLU": 2, "residual + norm": 2}.get(case.name, 1)
    assert not [(row.kernel, fault) for row in rows for fault in report.faults(row)]


@triton.jit
def hold_too_much(X, Y, SIZE: tl.constexpr):
    index = tl.arange(0, SIZE)
    x = tl.load(X + index)
    tl.store(Y + index, x / tl.sum(x, 0))


@pytest.mark.parametrize(("size", "spills"), [(1024, False), (65536, True)])
def test_spills_are_seen(size: int, spills: bool) -> None:
    with compiled_for("sm90") as kernels:
        hold_too_much[(1,)](torch.zeros(size), torch.zeros(size), size, num_warps=4)
    code = machine_code.read(kernels[0], "sm90")
    assert bool(code.spills) == spills
    assert code.tensor == 0


@triton.jit
def multiply(A, B, C, stride, steps, SIZE: tl.constexpr):
    index = tl.arange(0, SIZE)
    tile = index[:, None] * stride + index[None, :]
    total = tl.zeros([SIZE, SIZE], tl.float32)
    for step in tl.range(0, steps):
        total = tl.dot(tl.load(A + tile + step * SIZE), tl.load(B + tile + step * SIZE), total)
    tl.store(C + tile, total)


@pytest.mark.parametrize("architecture", TARGETS)
def test_matrix_work_and_load_widths_are_read_right(architecture: str) -> None:
    a, b, c = torch.zeros(64, 640).half(), torch.zeros(64, 640).half(), torch.zeros(64, 640)
    mfma = {"matrix_instr_nonkdim": 16} if architecture == "gfx942" else {}
    with compiled_for(architecture) as kernels:
        multiply[(1,)](a, b, c, 640, 10, 64, num_warps=4, **mfma)
        multiply[(1,)](a.view(-1)[1:], b.view(-1)[1:], c, 641, 10, 64, num_warps=4, **mfma)
    aligned, unaligned = (machine_code.read(kernel, architecture) for kernel in kernels)
    assert aligned.mma_flops == 2 * 64**3
    assert aligned.wide
    assert not aligned.narrow
    assert unaligned.narrow


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"spills": 3}, "spills 3 times"),
        ({"blocks": 0}, "does not fit"),
        ({"blocks": 1}, "has 1 blocks of 4 warps a SM"),
        ({"tensor": 0}, "has no tensor-core instructions"),
        ({"narrow": 5}, "has 5 narrow loads to 8 of 128 bits"),
        ({"shared": 120_000}, "needs 120000 bytes of shared memory"),
    ],
)
def test_faults_are_named(change: dict[str, int], fault: str) -> None:
    row = report.Row("sm80", OWN[0], "attention_forward", "64x64", 4, GOOD, 1.0)
    assert report.faults(row) == []
    bad = dataclasses.replace(row, code=dataclasses.replace(GOOD, **change))
    assert any(found.startswith(fault) for found in report.faults(bad))
    assert report.faults(dataclasses.replace(row, work=2.0)) == ["does 2.00 times the work of its tile"]
