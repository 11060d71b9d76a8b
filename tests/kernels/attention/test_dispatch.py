"""Which backend is selected, the stated reason, and the errors for unavailable backends and invalid arguments."""

import sys
import types
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.kernels import devices
from clinical_modernbert.kernels.attention import dispatch, flash
from clinical_modernbert.kernels.attention.choices import BACKENDS, LONG, REGIMES, TABLE
from clinical_modernbert.kernels.attention.dispatch import (
    Choice,
    choose_backend,
    explain_backends,
    packed_attention,
    regime_of,
)
from clinical_modernbert.kernels.attention.flash import LIBRARIES
from clinical_modernbert.kernels.packed import PackedBatch

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
BF16 = torch.bfloat16


def test_cpu_selects_torch_and_names_the_evidence() -> None:
    assert explain_backends(CPU, BF16, 64) == ["all layers: torch (measured: docs/kernels.md, On a CPU)"]


@pytest.mark.parametrize("backend", ["triton", "flash", "flash2", "flash3", "flash4", "varlen"])
def test_requesting_an_unavailable_backend_is_an_error_with_the_reason(backend: str) -> None:
    qkv, batch = torch.zeros(4, 3, 2, 32), PackedBatch.from_lengths([4], "cpu")
    with pytest.raises(ValueError, match=rf"'{backend}' is unavailable: .*needs a (CUDA )?GPU, and the tensors are on"):
        packed_attention(qkv, batch, window=None, rope_theta=1e4, backend=backend)


def test_unknown_backend_error_lists_all_backends() -> None:
    with pytest.raises(ValueError, match="must be one of auto, triton, flash, flash4, flash3, flash2, varlen, torch"):
        choose_backend(CPU, BF16, 64, "xformers")


needs_triton = pytest.mark.skipif(
    devices.importlib.util.find_spec("triton") is None, reason="Triton has no wheel for this platform"
)


@needs_triton
@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 0), (10, 3), (12, 0), (12, 1)])
def test_a_gpu_takes_ours_for_local_layers_short_sequences_and_32_bits(
    capability: tuple[int, int],
    deterministic: bool,
    fake_gpu: Callable[..., None],
    fake_library: Callable[[str], list[dict]],
) -> None:
    fake_gpu(*capability)
    for library in LIBRARIES:
        fake_library(library)
    for regime in ("local", "short"):
        assert choose_backend(GPU, BF16, 64, "auto", regime, deterministic).backend == "triton"
    for regime in REGIMES:
        assert choose_backend(GPU, torch.float32, 128, "auto", regime, deterministic).backend == "triton"
        assert choose_backend(GPU, BF16, 64, "triton", regime, deterministic) == Choice("triton", "requested")


@needs_triton
@pytest.mark.parametrize(
    ("capability", "deterministic", "selected"),
    [
        ((8, 0), True, "triton"),
        ((8, 0), False, "flash2"),
        ((8, 9), False, "flash2"),
        ((9, 0), True, "flash3"),
        ((9, 0), False, "flash3"),
        ((10, 0), True, "flash4"),
        ((10, 3), True, "flash4"),
        ((12, 0), False, "triton"),
    ],
)
def test_long_global_layers_take_a_library_where_evidence_says_so(
    capability: tuple[int, int],
    deterministic: bool,
    selected: str,
    fake_gpu: Callable[..., None],
    fake_library: Callable[[str], list[dict]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_gpu(*capability)
    for library in LIBRARIES:
        fake_library(library)
    assert choose_backend(GPU, BF16, 64, "auto", "long", deterministic).backend == selected
    dispatch._choose_backend.cache_clear()
    flash._load_function.cache_clear()
    for spec in LIBRARIES.values():
        monkeypatch.setitem(sys.modules, spec.module, None)
    choice = choose_backend(GPU, BF16, 64, "auto", "long", deterministic)
    assert choice.backend == "triton"
    assert selected == "triton" or f"{selected} cannot be imported" in choice.reason
    assert selected == "triton" or LIBRARIES[selected].install in choice.reason


@needs_triton
def test_the_choice_is_made_per_layer_and_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local layer, then global layers of short and of long sequences, on tensors of the CPU."""
    from clinical_modernbert.kernels.attention import triton_op

    taken: list[str] = []
    monkeypatch.setattr(dispatch, "_unsupported_reason", lambda *_: None)
    monkeypatch.setattr(dispatch, "device_architecture", lambda device: "sm90")
    monkeypatch.setattr(dispatch, "flash_attention", lambda library, *_, **__: taken.append(library))
    monkeypatch.setattr(triton_op, "triton_attention", lambda *_, **__: taken.append("triton"))
    for lengths, window in (([LONG, 8], 4), ([LONG // 2] * 2, None), ([2 * LONG, 8], None)):
        batch = PackedBatch.from_lengths(lengths, "cpu")
        packed_attention(torch.zeros(sum(lengths), 3, 1, 64, dtype=BF16), batch, window=window, rope_theta=1e4)
    assert taken == ["triton", "triton", "flash3"]


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [([8192], "long"), ([LONG] * 8, "long"), ([LONG - 1] * 8, "short"), ([*[100] * 82], "short"), ([], "short")],
)
def test_the_regime_is_the_mean_number_of_attended_tokens(lengths: list[int], expected: str) -> None:
    batch = PackedBatch.from_lengths(lengths, "cpu")
    assert regime_of(batch, None) == expected
    assert regime_of(batch, 64) == "local"


@given(st.lists(st.integers(0, 9000), max_size=20))
def test_the_regime_depends_on_the_lengths_only(lengths: list[int]) -> None:
    attended = [length for length in lengths for _ in range(length)]
    mean = sum(attended) // max(len(attended), 1)
    assert PackedBatch.from_lengths(lengths, "cpu").attended == mean


def test_every_row_names_its_evidence_and_backends_that_exist() -> None:
    for row in TABLE:
        kind, _, detail = row.evidence.partition(": ")
        assert kind in ("measured", "static bound", "unmeasured")
        assert detail
        assert set(row.order) <= set(BACKENDS)
        assert set(row.regimes) <= set(REGIMES)
        assert set(row.architectures) <= {*devices.ARCHITECTURES, "cpu"}
    for regime in REGIMES:  # whatever the device, a row applies
        assert any(row.applies("gfx1100", 64, 96, regime, True) for row in TABLE[-3:])


@needs_triton
def test_what_is_not_deterministic_is_marked(
    fake_gpu: Callable[..., None], fake_library: Callable[[str], list[dict]]
) -> None:
    fake_gpu(9, 0)
    fake_library("varlen")
    remark = "its backward is not deterministic"
    assert choose_backend(GPU, BF16, 64, "varlen").reason == f"requested; {remark}"
    assert choose_backend(GPU, BF16, 64, "varlen", deterministic=False).reason == "requested"
    assert remark in choose_backend(GPU, BF16, 64, "torch").reason
    assert remark not in choose_backend(GPU, BF16, 64, "triton").reason
    assert remark not in choose_backend(CPU, BF16, 64, "torch").reason


@needs_triton
def test_a_triton_without_a_compiler_for_the_gpu_is_not_selected(
    fake_gpu: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import triton

    fake_gpu(10, 3)
    monkeypatch.setattr(triton, "__version__", "3.5.0")
    with pytest.raises(ValueError, match=r"triton 3\.5\.0 cannot compile for sm103"):
        choose_backend(GPU, BF16, 64, "triton")


def test_explanations_have_one_line_for_each_choice(
    fake_gpu: Callable[..., None], fake_library: Callable[[str], list[dict]]
) -> None:
    fake_gpu(9, 0)
    fake_library("flash3")
    lines = explain_backends(GPU, BF16, 64)
    assert [line.partition(" (")[0] for line in lines] == [
        "local layers: triton",
        "global layers, below 1,024 attended tokens: triton",
        "global layers, from 1,024 attended tokens on: flash3",
    ]
    assert explain_backends(GPU, BF16, 64, "flash3") == ["all layers: flash3 (requested)"]


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
    (line,) = explain_backends(GPU, BF16, 64)
    begin = "all layers: varlen (triton is not installed (pip install triton); flash4 is for compute capability 9"
    assert line.startswith(begin)
    assert "pip install flash-attn" in line


def test_unsupported_tensors_fall_back(fake_gpu: Callable[..., None]) -> None:
    fake_gpu(8, 0)
    (line,) = explain_backends(GPU, torch.float64, 64)
    assert line.startswith("all layers: torch (triton has no kernels for torch.float64")
    with pytest.raises(ValueError, match="has tile sizes for heads of 32, 64, 128, not 96"):
        choose_backend(GPU, BF16, 96, "triton")


def test_old_gpu_falls_back(fake_gpu: Callable[..., None]) -> None:
    fake_gpu(7, 5)
    assert "triton needs compute capability 8.0, this GPU has 7.5" in explain_backends(GPU, BF16, 64)[0]


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
