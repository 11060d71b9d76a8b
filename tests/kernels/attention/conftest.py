"""Stand-ins for GPUs and for the attention libraries, so that dispatch runs on any machine."""

import sys
import types
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from clinical_modernbert.kernels import devices
from clinical_modernbert.kernels.attention import dispatch, flash
from clinical_modernbert.kernels.verify import reference

Window = tuple[int | None, int | None]


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

    Returns the list to which each call appends its window and its `deterministic` (None: it has no such argument).
    """

    def install(library: str) -> list[dict]:
        calls: list[dict] = []

        def compute(
            q: Tensor, k: Tensor, v: Tensor, cu_seqlens: Tensor, window: Window, deterministic: bool | None = None
        ) -> Tensor:
            lengths = (cu_seqlens[1:] - cu_seqlens[:-1]).tolist()
            # As all of them document it: how many keys before and after a query, -1 or None for all.
            limit, causal = None if window[0] in (-1, None) else window[0], window[1] == 0
            assert causal or window[0] == window[1]
            calls.append({"window": window, "deterministic": deterministic})
            sequences = zip(q.split(lengths), k.split(lengths), v.split(lengths), strict=True)
            return torch.cat([reference.softmax_attention(*one, limit, causal) for one in sequences])

        def flash2(
            q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor,
            max_seqlen_q: int, max_seqlen_k: int, dropout_p: float = 0.0, softmax_scale: float | None = None,
            causal: bool = False, window_size: Window = (-1, -1), softcap: float = 0.0,
            alibi_slopes: Tensor | None = None, deterministic: bool = False,
        ) -> Tensor:  # fmt: skip
            return compute(q, k, v, cu_seqlens_q, window_size, deterministic)

        def flash3(
            q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor,
            max_seqlen_q: int, max_seqlen_k: int, seqused_q: Tensor | None = None, seqused_k: Tensor | None = None,
            softmax_scale: float | None = None, causal: bool = False, qv: Tensor | None = None,
            window_size: Window = (-1, -1), deterministic: bool = False,
        ) -> Tensor:  # fmt: skip
            return compute(q, k, v, cu_seqlens_q, window_size, deterministic)

        def flash4(
            q: Tensor, k: Tensor, v: Tensor, qv: Tensor | None = None, cu_seqlens_q: Tensor | None = None,
            cu_seqlens_k: Tensor | None = None, max_seqlen_q: int | None = None, max_seqlen_k: int | None = None,
            softmax_scale: float | None = None, causal: bool = False, window_size: Window = (None, None),
            deterministic: bool = False,
        ) -> tuple[Tensor, None]:  # fmt: skip
            assert qv is None
            assert cu_seqlens_q is not None
            return compute(q, k, v, cu_seqlens_q, window_size, deterministic), None

        def varlen(
            query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor, max_q: int, max_k: int, *,
            scale: float | None = None, window_size: Window = (-1, -1),
        ) -> Tensor:  # fmt: skip
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
