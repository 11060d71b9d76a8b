"""Adversarial cases of packed attention, on the kernels that a GPU would run."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_accuracy import check
from torch.utils._python_dispatch import TorchDispatchMode

from clinical_modernbert.kernels.attention import triton_op
from clinical_modernbert.kernels.attention.dispatch import packed_attention
from clinical_modernbert.kernels.attention.tile_sizes import Tile, Tuning
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES, random_cotangent

THETA = 10_000.0
MARGIN = 4096
LENGTHS = {
    "mixed": [33, 0, 70, 1, 129],
    "one token": [1],
    "all ones": [1] * 8,
    "tile borders": [31, 32, 33, 63, 64, 65],
    "a tile of 128 and one more": [127, 128, 129],
    "empty among others": [0, 0, 40, 0],
}


@pytest.fixture(params=["sm80", "sm90"])
def architecture(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Entries of the tuning table: sm80 rotates q and k in a separate kernel, sm90's local layers while loading."""
    monkeypatch.setattr(triton_op, "architecture", lambda: request.param)
    return request.param


def run(
    qkv: torch.Tensor, lengths: list[int], window: int | None, theta: float = THETA, **options: bool
) -> torch.Tensor:
    batch = PackedBatch.from_lengths(lengths, "cpu")
    return packed_attention(qkv, batch, window=window, rope_theta=theta, backend="triton", **options)


def with_gradient(
    qkv: torch.Tensor, lengths: list[int], window: int | None, grad: torch.Tensor | None = None, *, causal: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    leaf = qkv.detach().requires_grad_()
    out = run(leaf, lengths, window, causal=causal)
    return out.detach(), torch.autograd.grad(out, leaf, random_cotangent(out) if grad is None else grad)[0]


def check_attention(qkv: torch.Tensor, lengths: list[int], window: int | None, causal: bool = False) -> None:
    check(
        lambda x: run(x, lengths, window, causal=causal),
        lambda x: reference.attention(x, lengths, window, THETA, causal),
        [qkv],
    )


def random_qkv(total: int, heads: int = 1, dim: int = 64, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(total, 3, heads, dim, generator=torch.Generator().manual_seed(total)).to(dtype)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_accuracy(lengths: list[int]) -> None:
    """Global layers in fp32 and local ones in bf16; `test_random_shapes` draws types, windows and masks freely."""
    for window, dtype in ((None, torch.float32), (16, torch.bfloat16)):
        check_attention(random_qkv(sum(lengths), dtype=dtype), lengths, window)


@pytest.mark.parametrize("window", [0, 1, 64, 1000])
def test_windows(window: int, architecture: str) -> None:
    causal = (window in (0, 64)) == (architecture == "sm90")  # that mask has the longer batch
    for lengths, masked in (([150, 0, 80], causal), ([40, 0, 70], not causal)):
        check_attention(random_qkv(sum(lengths), dtype=torch.bfloat16), lengths, window, masked)


@pytest.mark.parametrize("dim", [32, 64, 128])
@pytest.mark.parametrize("window", [None, 20])
def test_head_sizes_and_architectures(dim: int, window: int | None, architecture: str) -> None:
    qkv = random_qkv(150, heads=2, dim=dim, dtype=torch.bfloat16)
    check_attention(qkv, [100, 50], window)
    check_attention(qkv[:80, :, :1].contiguous(), [50, 30], window, causal=True)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_causal_accuracy(lengths: list[int]) -> None:
    """In fp32 with few keys a step, so that a tile of queries crosses several steps of keys, and the reverse."""
    for window in (None, 40):
        check_attention(random_qkv(sum(lengths), dim=32), lengths, window, causal=True)


@pytest.mark.parametrize("tile", [(128, 64), (64, 128), (64, 32), (32, 64)])
@pytest.mark.parametrize("peel", [True, False])
def test_causal_tiles_of_every_shape(tile: tuple[int, int], peel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Tile(*tile, peel=peel)
    monkeypatch.setattr(triton_op, "tuning", lambda *_: Tuning(one, one, one))
    for window in (None, 0, 40):
        check_attention(random_qkv(227, dim=32), [33, 0, 64, 130], window, causal=True)


@given(
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=5),
    window=st.none() | st.integers(0, 100),
    dtype=st.sampled_from(list(DTYPES.values())),
    heads=st.integers(1, 3),
    causal=st.booleans(),
)
def test_random_shapes(lengths: list[int], window: int | None, dtype: torch.dtype, heads: int, causal: bool) -> None:
    check_attention(random_qkv(sum(lengths), heads=heads, dim=32, dtype=dtype), lengths, window, causal)


def test_one_long_and_300_tiny_sequences() -> None:
    lengths = [600, *(i % 9 for i in range(300))]
    check_attention(random_qkv(sum(lengths), dim=32, dtype=torch.bfloat16), lengths, 16)


def test_last_positions_of_a_sequence_of_8192() -> None:
    """Too long for the dense reference, but the last tokens attend only to the window before them."""
    qkv = random_qkv(8192, dim=32, dtype=torch.bfloat16)
    out, gradient = with_gradient(qkv, [8192], 64)
    tail = qkv[8192 - 200 :].double()
    cos, sin = reference.rope_tables(THETA, 8192, 32, torch.device("cpu"))
    cos, sin = (x[8192 - 200 :, None, None].double() for x in (cos, sin))
    first, second = tail[:, :2].chunk(2, dim=-1)
    q, k = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).unbind(1)
    index = torch.arange(200)
    scores = torch.einsum("ihd,jhd->hij", q, k) / 32**0.5
    scores = scores.masked_fill((index[:, None] - index).abs() > 64, -torch.inf)
    exact = torch.einsum("hij,jhd->ihd", scores.softmax(-1), tail[:, 2])
    error = (out[-100:] - exact[-100:]).square().mean().sqrt() / exact[-100:].square().mean().sqrt()
    assert error < 0.005
    assert gradient.isfinite().all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 16])
def test_backward_is_deterministic(window: int | None, causal: bool, architecture: str) -> None:
    qkv = random_qkv(170, heads=2, dtype=torch.bfloat16)
    first, second = (with_gradient(qkv, [100, 70], window, causal=causal) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 16])
def test_a_sequence_does_not_affect_the_others(window: int | None, causal: bool, architecture: str) -> None:
    lengths = [40, 65, 3, 50]
    qkv = random_qkv(158)
    clean = with_gradient(qkv, lengths, window, causal=causal)
    for poison in (float("nan"), float("inf"), -5.0):
        poisoned = qkv.clone()
        poisoned[40:105] = poison
        for x, y in zip(clean, with_gradient(poisoned, lengths, window, causal=causal), strict=True):
            assert torch.equal(x[:40], y[:40])
            assert torch.equal(x[105:], y[105:])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("window", [None, 16])
def test_nothing_leaks_from_later_tokens(window: int | None, dtype: torch.dtype, architecture: str) -> None:
    """What one token holds changes no output before it, and what one output is worth no gradient after it."""
    lengths, qkv = [40, 118], random_qkv(158, dim=32, dtype=dtype)
    grad = random_cotangent(qkv[:, 0])
    out, gradient = with_gradient(qkv, lengths, window, grad, causal=True)
    for at, last in ((20, 39), (39, 39), (40, 157), (104, 157)):
        changed, other = qkv.clone(), grad.clone()
        changed[at] += 3.0
        other[at] -= 3.0
        moved = (run(changed, lengths, window, causal=True) != out).flatten(1).any(1).nonzero()
        assert moved.min() == at
        assert moved.max() == (last if window is None else min(last, at + window))
        moved = (with_gradient(qkv, lengths, window, other, causal=True)[1] != gradient).flatten(1).any(1).nonzero()
        assert moved.max() == at
        assert moved.min() >= (0 if at < 40 else 40)


@pytest.mark.parametrize("window", [None, 16])
def test_strided_input_in_a_buffer_of_nan(window: int | None, architecture: str) -> None:
    """Reads outside the tensor's own elements would give NaN; qkv must not be modified."""
    clean = random_qkv(158, heads=2, dtype=torch.bfloat16)
    buffer = torch.full((158 + 260, 3, 2, 64 + 16), float("nan"), dtype=torch.bfloat16)
    view = buffer[130 : 130 + 158, ..., :64]
    view.copy_(clean)
    for causal in (False, True):
        results = (with_gradient(x, [33, 0, 125], window, causal=causal) for x in (view, clean))
        for x, y in zip(*results, strict=True):
            assert torch.equal(x, y)
    assert torch.equal(view, clean)
    assert buffer[:130].isnan().all()
    assert buffer[130 + 158 :].isnan().all()
    assert buffer[..., 64:].isnan().all()


class Canaries(TorchDispatchMode):
    """Puts a margin of known values around every tensor that is allocated uninitialized: the kernels' outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.buffers: list[torch.Tensor] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        aten = torch.ops.aten
        if function not in (aten.empty.memory_format, aten.new_empty.default, aten.empty_like.default):
            return out
        self.buffers.append(torch.full((out.numel() + 2 * MARGIN,), 7, dtype=out.dtype))
        return self.buffers[-1][MARGIN:-MARGIN].view(out.shape)

    def alive(self) -> bool:
        return all((x[:MARGIN] == 7).all() and (x[-MARGIN:] == 7).all() for x in self.buffers)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize("window", [None, 16])
def test_rotating_in_place_gives_the_same_bits(window: int | None, dtype: torch.dtype, architecture: str) -> None:
    """And it changes qkv exactly where q and k are not rotated while they are loaded."""
    causal = (window is None) == (dtype == torch.bfloat16)  # masks have no part in it; each is used with each window
    leaf = random_qkv(158, heads=2, dtype=dtype).requires_grad_()
    fresh = leaf * 1.0
    out = run(fresh, [33, 0, 125], window, causal=causal, overwrite=True)
    gradient = torch.autograd.grad(out, leaf, random_cotangent(out))[0]
    expected = with_gradient(leaf, [33, 0, 125], window, causal=causal)
    assert torch.equal(out, expected[0])
    assert torch.equal(gradient, expected[1])
    fused = architecture == "sm90" and window is not None and dtype != torch.float32
    assert torch.equal(fresh, leaf) == fused


def test_a_leaf_is_not_overwritten() -> None:
    with pytest.raises(ValueError, match="is a leaf that requires a gradient"):
        run(random_qkv(8).requires_grad_(), [8], None, overwrite=True)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 16])
def test_writes_stay_inside_their_tensors(window: int | None, causal: bool) -> None:
    qkv = random_qkv(103, heads=2)
    inputs = arguments(qkv, [33, 0, 70], window, causal)
    with Canaries() as canaries:
        out, lse = triton_op._attention._init_fn(*inputs)
        grad = triton_op._attention_backward._init_fn(random_cotangent(out), qkv, out, lse, *inputs[1:])
    assert len(canaries.buffers) >= 4
    assert canaries.alive()
    expected = with_gradient(qkv, [33, 0, 70], window, causal=causal)
    assert torch.equal(out, expected[0])
    assert torch.equal(grad, expected[1])


def arguments(qkv: torch.Tensor, lengths: list[int], window: int | None, causal: bool) -> tuple:
    batch = PackedBatch.from_lengths(lengths, "cpu")
    tables = (batch.cu_seqlens, batch.positions, *batch.tiles.values())
    return qkv.detach(), *tables, batch.max_seqlen, -1 if window is None else window, THETA, causal, False


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("dtype", "scale"), [(torch.float16, 120.0), (torch.bfloat16, 30.0), (torch.float32, 30.0)])
def test_huge_logits_stay_finite(dtype: torch.dtype, scale: float, causal: bool) -> None:
    """q . k overflows fp16 (120 * 120 * 64 > 65,504): only fp32 scores survive."""
    qkv = random_qkv(129).to(dtype)
    qkv[:, :2] *= scale
    out, gradient = with_gradient(qkv, [100, 29], None, causal=causal)
    exact = reference.attention(qkv.double(), [100, 29], None, THETA, causal)
    assert out.isfinite().all()
    assert gradient[:, 2].isfinite().all()
    # In fp32 such scores are off by 1e-3 themselves; how much that matters depends on the order of a machine's sums.
    rounding = (reference.attention(qkv.float(), [100, 29], None, THETA, causal) - exact).square().mean().sqrt()
    assert (out - exact).square().mean().sqrt() < 20 * torch.finfo(dtype).eps + 2 * rounding


@pytest.mark.parametrize("causal", [False, True])
def test_masked_keys_do_not_overflow_if_all_logits_are_very_negative(causal: bool) -> None:
    """Keys past the end score 0, which is hundreds above every real score of this sequence."""
    qkv = random_qkv(70)
    qkv[:, 0], qkv[:, 1] = 40.0, -40.0
    theta = 1e30  # nearly no rotation, so that every score stays negative
    leaf = qkv.requires_grad_()
    out = run(leaf, [70], None, theta, causal=causal)
    gradient = torch.autograd.grad(out, leaf, random_cotangent(out))[0]
    assert gradient.isfinite().all()


def test_no_tokens() -> None:
    out, gradient = with_gradient(random_qkv(0), [0, 0], 16)
    assert out.shape == (0, 1, 64)
    assert gradient.shape == (0, 3, 1, 64)
