"""Which backend is taken, what is said about it, and how the libraries are called, with stand-ins for GPUs and them."""

import sys
import types
from collections.abc import Iterator

import pytest
import torch

from clinical_modernbert.kernels import devices
from clinical_modernbert.kernels.attention import dispatch as attention
from clinical_modernbert.kernels.attention import flash as attention_flash
from clinical_modernbert.kernels.attention.dispatch import choose_backend, explain_backend, packed_attention
from clinical_modernbert.kernels.geglu import geglu
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.verify import reference

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
BF16 = torch.bfloat16


@pytest.fixture(autouse=True)
def _fresh_choices() -> Iterator[None]:
    caches = (attention._choose_backend, attention_flash._function, devices._triton_obstacle)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch):
    def pretend(*capability: int) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.version, "hip", None)

    return pretend


def install(monkeypatch: pytest.MonkeyPatch, library: str) -> list[dict]:
    """A stand-in with the library's own signature, computed by the reference."""
    calls: list[dict] = []

    def compute(q, k, v, cu_seqlens, window) -> torch.Tensor:
        lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
        limit = None if window in ((-1, -1), (None, None)) else window[0]
        calls.append({"window": window})
        sequences = zip(*(x.split(lengths) for x in (q, k, v)), strict=True)
        return torch.cat([reference.softmax_attention(*one, limit) for one in sequences])

    def flash2(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, dropout_p=0.0, softmax_scale=None,
        causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None, deterministic=False,
    ):  # fmt: skip
        assert deterministic
        return compute(q, k, v, cu_seqlens_q, window_size)

    def flash3(
        q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, seqused_q=None, seqused_k=None,
        softmax_scale=None, causal=False, qv=None, window_size=(-1, -1), deterministic=False,
    ):  # fmt: skip
        assert deterministic
        return compute(q, k, v, cu_seqlens_q, window_size)

    def flash4(
        q, k, v, qv=None, cu_seqlens_q=None, cu_seqlens_k=None, max_seqlen_q=None, max_seqlen_k=None,
        softmax_scale=None, causal=False, window_size=(None, None), deterministic=False,
    ):  # fmt: skip
        assert deterministic
        assert qv is None
        return compute(q, k, v, cu_seqlens_q, window_size), None

    def varlen(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale=None, window_size=(-1, -1)):
        return compute(query, key, value, cu_seq_q, window_size)

    function = {"flash2": flash2, "flash3": flash3, "flash4": flash4, "varlen": varlen}[library]
    one = attention_flash.LIBRARIES[library]
    module = types.ModuleType(one.module)
    setattr(module, one.function, function)
    parent = one.module.split(".")[0]
    if parent not in sys.modules:
        monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
    monkeypatch.setitem(sys.modules, one.module, module)
    return calls


def test_a_cpu_takes_torch_and_says_why() -> None:
    line = explain_backend(CPU, BF16, 64)
    assert line.startswith("torch: triton needs a GPU, and the tensors are on the CPU; flash4 needs a CUDA GPU")


@pytest.mark.parametrize("backend", ["triton", "flash", "flash2", "flash3", "flash4", "varlen"])
def test_an_explicit_backend_that_cannot_be_had_is_an_error_that_says_why(backend: str) -> None:
    qkv, batch = torch.zeros(4, 3, 2, 32), PackedBatch.from_lengths([4], "cpu")
    with pytest.raises(ValueError, match=rf"'{backend}' cannot be had: .*needs a (CUDA )?GPU, and the tensors are on"):
        packed_attention(qkv, batch, window=None, rope_theta=1e4, backend=backend)


def test_row_kernels_refuse_too() -> None:
    with pytest.raises(ValueError, match="'triton' cannot be had: triton needs a GPU"):
        geglu(torch.zeros(2, 4), backend="triton")
    with pytest.raises(ValueError, match="backend must be auto, triton or torch, got 'cuda'"):
        geglu(torch.zeros(2, 4), backend="cuda")


def test_unknown_backend_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="must be one of auto, triton, flash, flash4, flash3, flash2, varlen, torch"):
        choose_backend(CPU, BF16, 64, "xformers")


@pytest.mark.skipif(devices.importlib.util.find_spec("triton") is None, reason="Triton has no wheel for this platform")
@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)])
def test_a_gpu_takes_triton_first(capability: tuple[int, int], gpu) -> None:
    gpu(*capability)
    assert explain_backend(GPU, BF16, 64) == "triton: the first choice"
    assert explain_backend(GPU, torch.float32, 128) == "triton: the first choice"
    assert explain_backend(GPU, BF16, 64, "triton") == "triton: asked for"


@pytest.mark.parametrize(
    ("capability", "installed", "taken"),
    [
        ((8, 0), {"flash2", "flash3", "flash4"}, "flash2"),
        ((9, 0), {"flash2", "flash3", "flash4"}, "flash4"),
        ((9, 0), {"flash2", "flash3"}, "flash3"),
        ((10, 0), {"flash2", "flash3", "flash4"}, "flash4"),
        ((12, 0), {"flash2", "flash3", "flash4"}, "flash2"),
    ],
)
def test_flash_is_the_newest_that_fits(capability, installed, taken, gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(*capability)
    for library in ("flash2", "flash3", "flash4"):
        if library in installed:
            install(monkeypatch, library)
        else:
            monkeypatch.setitem(sys.modules, attention_flash.LIBRARIES[library].module, None)
    choice = choose_backend(GPU, BF16, 64, "flash")
    assert choice.backend == taken
    refused = installed & {"flash4", "flash3"} - {taken} if taken == "flash2" else set()
    assert all(library in choice.reason for library in refused)


def test_without_triton_the_next_is_taken_and_the_cure_named(gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(8, 0)
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    install(monkeypatch, "varlen")
    for library in ("flash2", "flash3", "flash4"):
        monkeypatch.setitem(sys.modules, attention_flash.LIBRARIES[library].module, None)
    line = explain_backend(GPU, BF16, 64)
    assert line.startswith("varlen: triton is not installed (pip install triton); flash4 is for compute capability 9")
    assert "pip install flash-attn" in line


def test_unsuitable_tensors_fall_back(gpu) -> None:
    gpu(8, 0)
    assert explain_backend(GPU, torch.float64, 64).startswith("torch: triton has no kernels for torch.float64")
    with pytest.raises(ValueError, match="has tile sizes for heads of 32, 64, 128, not 96"):
        choose_backend(GPU, BF16, 96, "triton")


def test_an_old_gpu_falls_back(gpu) -> None:
    gpu(7, 5)
    assert "triton needs compute capability 8.0, this GPU has 7.5" in explain_backend(GPU, BF16, 64)


@pytest.mark.parametrize(("name", "taken"), [("gfx942:sramecc+", "triton"), ("gfx1100", "torch")])
def test_amd(name: str, taken: str, gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(9, 4)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: types.SimpleNamespace(gcnArchName=name))
    for library in attention_flash.LIBRARIES.values():
        monkeypatch.setitem(sys.modules, library.module, None)
    assert choose_backend(GPU, BF16, 64).backend == taken


def test_a_library_of_another_version_is_refused(gpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(8, 0)
    module = types.ModuleType("flash_attn")
    module.flash_attn_varlen_func = lambda q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k: q
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    with pytest.raises(ValueError, match="is of another version, without deterministic, window_size"):
        choose_backend(GPU, BF16, 64, "flash2")


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("library", ["flash2", "flash3", "flash4", "varlen"])
def test_libraries_are_called_in_their_own_words(
    library: str, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = install(monkeypatch, library)
    lengths = [20, 0, 33]
    qkv = torch.randn(53, 3, 2, 32, requires_grad=True)
    batch = PackedBatch.from_lengths(lengths, "cpu")
    out = attention_flash.flash_attention(library, qkv, batch, window, 1e4)
    expected = reference.attention(qkv, lengths, window, 1e4)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    grad = torch.randn_like(out)
    torch.testing.assert_close(*(torch.autograd.grad(x, qkv, grad)[0] for x in (out, expected)), rtol=1e-4, atol=1e-5)
    full = (None, None) if library == "flash4" else (-1, -1)
    assert calls == [{"window": full if window is None else (5, 5)}]
