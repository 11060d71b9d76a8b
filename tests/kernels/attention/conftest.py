"""Stand-ins for GPUs and for the attention libraries, so that dispatch runs on any machine."""

import sys
import types
from collections.abc import Callable, Iterator

import pytest
import torch

from clinical_modernbert.kernels import devices
from clinical_modernbert.kernels.attention import dispatch, flash
from clinical_modernbert.kernels.verify import reference


@pytest.fixture(autouse=True)
def _clear_caches() -> Iterator[None]:
    caches = (dispatch._choose_backend, flash._load_function, devices._triton_unsupported_reason)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def fake_gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that the GPU is an NVIDIA one of the given compute capability."""

    def pretend(*capability: int) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.version, "hip", None)

    return pretend


@pytest.fixture
def fake_library(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[dict]]:
    """Install a stand-in for a library, with its real signature and computed by the reference.

    Returns the list to which each call appends its window.
    """

    def install(library: str) -> list[dict]:
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
        spec = flash.LIBRARIES[library]
        module = types.ModuleType(spec.module)
        setattr(module, spec.function, function)
        parent = spec.module.split(".")[0]
        if parent not in sys.modules:
            monkeypatch.setitem(sys.modules, parent, types.ModuleType(parent))
        monkeypatch.setitem(sys.modules, spec.module, module)
        return calls

    return install
