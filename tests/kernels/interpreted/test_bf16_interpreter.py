"""The bf16 of the fixed interpreter, on which all other bf16 tests rely: casts, arithmetic and dot equal PyTorch's."""

import torch
import triton
import triton.language as tl


@triton.jit
def cast_both_ways(X: tl.tensor, DOWN: tl.tensor, UP: tl.tensor, SIZE: tl.constexpr) -> None:
    index = tl.arange(0, SIZE)
    tl.store(DOWN + index, tl.load(X + index).to(tl.bfloat16))
    tl.store(UP + index, tl.load(DOWN + index).to(tl.float32))


@triton.jit
def arithmetic(
    A: tl.tensor, B: tl.tensor, SUM: tl.tensor, PRODUCT: tl.tensor, LESS: tl.tensor, SIZE: tl.constexpr
) -> None:
    index = tl.arange(0, SIZE)
    a = tl.load(A + index)
    b = tl.load(B + index)
    tl.store(SUM + index, a + b)
    tl.store(PRODUCT + index, a * b)
    tl.store(LESS + index, (a < b).to(tl.int32))


@triton.jit
def product(A: tl.tensor, B: tl.tensor, C: tl.tensor, SIZE: tl.constexpr) -> None:
    index = tl.arange(0, SIZE)
    square = index[:, None] * SIZE + index[None, :]
    tl.store(C + square, tl.dot(tl.load(A + square), tl.load(B + square)))


def test_casts_equal_torchs_bit_for_bit() -> None:
    torch.manual_seed(0)
    special = torch.tensor(
        [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40, 3.4e38, 1 + 2**-8, 1 + 3 * 2**-8]
    )
    x = torch.cat([special, torch.randn(4096 - len(special)) * 10 ** torch.linspace(-38, 38, 4096 - len(special))])
    down, up = torch.empty(4096, dtype=torch.bfloat16), torch.empty(4096)
    cast_both_ways[(1,)](x, down, up, 4096)
    number = ~x.isnan()
    assert torch.equal(down[number].view(torch.int16), x.bfloat16()[number].view(torch.int16))
    assert down[~number].isnan().all()
    assert torch.equal(up[number], x.bfloat16().float()[number])


def test_arithmetic_equals_torchs() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 1024).bfloat16()
    total, scaled, less = torch.empty_like(a), torch.empty_like(a), torch.empty(1024, dtype=torch.int32)
    arithmetic[(1,)](a, b, total, scaled, less, 1024)
    assert torch.equal(total, a + b)
    assert torch.equal(scaled, a * b)
    assert torch.equal(less.bool(), a < b)


def test_dot_multiplies_values_not_bits() -> None:
    torch.manual_seed(0)
    for dtype in (torch.bfloat16, torch.float16):
        a, b = torch.randint(-64, 64, (2, 64, 64)).to(dtype)
        c = torch.empty(64, 64)
        product[(1,)](a, b, c, 64)
        assert torch.equal(c, a.float() @ b.float())
