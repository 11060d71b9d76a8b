"""What is read from machine code, on kernels with known properties."""

import pytest
import torch
import triton
import triton.language as tl

from clinical_modernbert.kernels.verify import machine_code
from clinical_modernbert.kernels.verify.ahead_of_time import TARGETS, compiled_for


@triton.jit
def normalize_one_block(X: tl.tensor, Y: tl.tensor, SIZE: tl.constexpr) -> None:
    index = tl.arange(0, SIZE)
    x = tl.load(X + index)
    tl.store(Y + index, x / tl.sum(x, 0))


@pytest.mark.parametrize(("size", "spills"), [(1024, False), (65536, True)])
def test_spills_are_counted(size: int, spills: bool) -> None:
    with compiled_for("sm90") as kernels:
        normalize_one_block[(1,)](torch.zeros(size), torch.zeros(size), size, num_warps=4)
    code = machine_code.read(kernels[0], "sm90")
    assert bool(code.spills) == spills
    assert code.tensor == 0


@triton.jit
def multiply(A: tl.tensor, B: tl.tensor, C: tl.tensor, stride: tl.tensor, steps: tl.tensor, SIZE: tl.constexpr) -> None:
    index = tl.arange(0, SIZE)
    tile = index[:, None] * stride + index[None, :]
    total = tl.zeros([SIZE, SIZE], tl.float32)
    for step in tl.range(0, steps):
        total = tl.dot(tl.load(A + tile + step * SIZE), tl.load(B + tile + step * SIZE), total)
    tl.store(C + tile, total)


@pytest.mark.parametrize("architecture", TARGETS)
def test_matrix_work_and_load_widths(architecture: str) -> None:
    a, b, c = torch.zeros(64, 640).half(), torch.zeros(64, 640).half(), torch.zeros(64, 640)
    mfma = {"matrix_instr_nonkdim": 16} if architecture.startswith("gfx") else {}
    with compiled_for(architecture) as kernels:
        multiply[(1,)](a, b, c, 640, 10, 64, num_warps=4, **mfma)
        multiply[(1,)](a.view(-1)[1:], b.view(-1)[1:], c, 641, 10, 64, num_warps=4, **mfma)
    aligned, unaligned = (machine_code.read(kernel, architecture) for kernel in kernels)
    assert aligned.mma_flops in (2 * 64**3, 4 * 64**3), "one step of the loop, or two where the compiler unrolls it"
    assert aligned.wide
    assert not aligned.narrow
    assert unaligned.narrow
