"""Which backend is selected, the stated reason, and the errors for unavailable backends and invalid arguments."""

import sys
import types
from collections.abc import Callable

import pytest
import torch

from clinical_modernbert.kernels import devices
from clinical_modernbert.kernels.attention.dispatch import choose_backend, explain_backend, packed_attention
from clinical_modernbert.kernels.attention.flash import LIBRARIES
from clinical_modernbert.kernels.packed import PackedBatch

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
BF16 = torch.bfloat16


def test_cpu_selects_torch_and_states_why() -> None:
    line = explain_backend(CPU, BF16, 64)
    assert line.startswith("torch: triton needs a GPU, and the tensors are on the CPU; flash4 needs a CUDA GPU")


@pytest.mark.parametrize("backend", ["triton", "flash", "flash2", "flash3", "flash4", "varlen"])
def test_requesting_an_unavailable_backend_is_an_error_with_the_reason(backend: str) -> None:
    qkv, batch = torch.zeros(4, 3, 2, 32), PackedBatch.from_lengths([4], "cpu")
    with pytest.raises(ValueError, match=rf"'{backend}' is unavailable: .*needs a (CUDA )?GPU, and the tensors are on"):
        packed_attention(qkv, batch, window=None, rope_theta=1e4, backend=backend)


def test_unknown_backend_error_lists_all_backends() -> None:
    with pytest.raises(ValueError, match="must be one of auto, triton, flash, flash4, flash3, flash2, varlen, torch"):
        choose_backend(CPU, BF16, 64, "xformers")


@pytest.mark.skipif(devices.importlib.util.find_spec("triton") is None, reason="Triton has no wheel for this platform")
@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)])
def test_gpu_selects_triton_first(capability: tuple[int, int], fake_gpu: Callable[..., None]) -> None:
    fake_gpu(*capability)
    assert explain_backend(GPU, BF16, 64) == "triton: the first choice"
    assert explain_backend(GPU, torch.float32, 128) == "triton: the first choice"
    assert explain_backend(GPU, BF16, 64, "triton") == "triton: requested"


@pytest.mark.parametrize(
    ("capability", "installed", "selected"),
    [
        ((8, 0), {"flash2", "flash3", "flash4"}, "flash2"),
        ((9, 0), {"flash2", "flash3", "flash4"}, "flash4"),
        ((9, 0), {"flash2", "flash3"}, "flash3"),
        ((10, 0), {"flash2", "flash3", "flash4"}, "flash4"),
        ((12, 0), {"flash2", "flash3", "flash4"}, "flash2"),
    ],
)
def test_flash_selects_the_newest_supported_version(
    capability: tuple[int, int],
    installed: set[str],
    selected: str,
    fake_gpu: Callable[..., None],
    fake_library: Callable[[str], list[dict]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_gpu(*capability)
    for library in ("flash2", "flash3", "flash4"):
        if library in installed:
            fake_library(library)
        else:
            monkeypatch.setitem(sys.modules, LIBRARIES[library].module, None)
    choice = choose_backend(GPU, BF16, 64, "flash")
    assert choice.backend == selected
    unsupported = installed & {"flash4", "flash3"} - {selected} if selected == "flash2" else set()
    assert all(library in choice.reason for library in unsupported)


def test_without_triton_the_next_backend_is_selected_and_the_fix_named(
    fake_gpu: Callable[..., None], fake_library: Callable[[str], list[dict]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gpu(8, 0)
    monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: None)
    fake_library("varlen")
    for library in ("flash2", "flash3", "flash4"):
        monkeypatch.setitem(sys.modules, LIBRARIES[library].module, None)
    line = explain_backend(GPU, BF16, 64)
    assert line.startswith("varlen: triton is not installed (pip install triton); flash4 is for compute capability 9")
    assert "pip install flash-attn" in line


def test_unsupported_tensors_fall_back(fake_gpu: Callable[..., None]) -> None:
    fake_gpu(8, 0)
    assert explain_backend(GPU, torch.float64, 64).startswith("torch: triton has no kernels for torch.float64")
    with pytest.raises(ValueError, match="has tile sizes for heads of 32, 64, 128, not 96"):
        choose_backend(GPU, BF16, 96, "triton")


def test_old_gpu_falls_back(fake_gpu: Callable[..., None]) -> None:
    fake_gpu(7, 5)
    assert "triton needs compute capability 8.0, this GPU has 7.5" in explain_backend(GPU, BF16, 64)


@pytest.mark.parametrize(("name", "selected"), [("gfx942:sramecc+", "triton"), ("gfx1100", "torch")])
def test_amd(name: str, selected: str, fake_gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpu(9, 4)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: types.SimpleNamespace(gcnArchName=name))
    for library in LIBRARIES.values():
        monkeypatch.setitem(sys.modules, library.module, None)
    assert choose_backend(GPU, BF16, 64).backend == selected


@pytest.mark.parametrize(
    ("shape", "window", "message"),
    [
        ((4, 2, 2, 32), None, r"qkv must be \(T, 3, H, D\)"),
        ((5, 3, 2, 32), None, "qkv has 5 tokens but the batch has 4"),
        ((4, 3, 2, 32), -1, "window must be None or at least 0"),
    ],
)
def test_invalid_arguments_are_rejected(shape: tuple[int, ...], window: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        packed_attention(torch.zeros(shape), PackedBatch.from_lengths([4], "cpu"), window=window, rope_theta=1e4)
