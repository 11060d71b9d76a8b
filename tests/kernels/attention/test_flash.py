"""How the attention libraries are called, and which versions are rejected."""

import sys
import types
from collections.abc import Callable

import pytest
import torch

from clinical_modernbert.kernels.attention.dispatch import choose_backend
from clinical_modernbert.kernels.attention.flash import flash_attention
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.verify import reference


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("library", ["flash2", "flash3", "flash4", "varlen"])
def test_each_library_is_called_with_its_own_arguments(
    library: str, window: int | None, causal: bool, deterministic: bool, fake_library: Callable[[str], list[dict]]
) -> None:
    calls = fake_library(library)
    lengths = [20, 0, 33]
    qkv = torch.randn(53, 3, 2, 32, requires_grad=True)
    batch = PackedBatch.from_lengths(lengths, "cpu")
    out = flash_attention(library, qkv, batch, window, 1e4, causal=causal, deterministic=deterministic)
    expected = reference.attention(qkv, lengths, window, 1e4, causal)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    grad = torch.randn_like(out)
    gradients = [torch.autograd.grad(x, qkv, grad, retain_graph=True)[0] for x in (out, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)
    full = None if library == "flash4" else -1
    side = full if window is None else window
    argument = None if library == "varlen" else deterministic
    assert calls == [{"window": (side, 0 if causal else side), "deterministic": argument}]
    overwritten = flash_attention(library, qkv * 1.0, batch, window, 1e4, causal=causal, overwrite=True)
    assert torch.equal(overwritten, out)
    assert torch.equal(torch.autograd.grad(overwritten, qkv, grad)[0], gradients[0])


def test_another_version_of_a_library_is_rejected(
    fake_gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpu(8, 0)
    module = types.ModuleType("flash_attn")
    monkeypatch.setattr(
        module,
        "flash_attn_varlen_func",
        lambda q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k: q,
        raising=False,
    )
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    with pytest.raises(ValueError, match="is another version, without the arguments deterministic, window_size"):
        choose_backend(torch.device("cuda", 0), torch.bfloat16, 64, "flash2")
