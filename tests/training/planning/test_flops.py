"""FLOPs against PyTorch's own count, pairs against a mask, and the columns of metrics.csv derived from them."""

import numpy as np
import pytest
import torch
from small_data import PAD, SEQ_LENGTH
from small_run import SmallRun
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.loader.batches import MicroBatch, cut
from clinical_modernbert.training.planning.flops import flops, real_lengths, step_flops, window_pairs
from clinical_modernbert.training.planning.hardware import peak_flops

CONFIG = ModelConfig.model_validate(
    {
        "vocab_size": 160,
        "hidden_size": 64,
        "intermediate_size": 80,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "local_attention": 32,
        "pad_token_id": 0,
        "cls_token_id": 1,
        "sep_token_id": 2,
    }
)


def count_flops(config: ModelConfig, lengths: list[int], masked: int, causal: bool = False) -> int:
    """PyTorch's count for one forward and backward, plus `addmm_` (the decoder's gradient), which it does not count."""
    model = MaskedLM(config)
    tokens = torch.arange(sum(lengths)) % config.vocab_size
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        batch = PackedBatch.from_lengths(lengths, "cpu")
        loss, _ = model(tokens, batch, torch.arange(masked), tokens[:masked], causal=causal)
        loss.backward()
    return counter.get_total_flops() + 2 * masked * config.hidden_size * config.vocab_size


def test_without_windows_flops_equal_pytorchs_count() -> None:
    config = CONFIG.model_copy(update={"global_attn_every_n_layers": 1})
    for lengths, masked in (([7, 130, 1, 62], 60), ([200], 30)):
        assert flops(config, np.array(lengths), masked) == pytest.approx(count_flops(config, lengths, masked), rel=1e-9)


def test_windows_save_exactly_the_masked_pairs() -> None:
    """PyTorch counts the full square of a local layer, including masked pairs; the counts differ by those."""
    lengths = [7, 100, 40, 17]
    missing = sum(n * n for n in lengths) - int(window_pairs(np.array(lengths), CONFIG.window).sum())
    local = sum(not CONFIG.is_global(layer) for layer in range(CONFIG.num_hidden_layers))
    assert local == 2
    expected = flops(CONFIG, np.array(lengths), 50) + 12 * CONFIG.hidden_size * local * missing
    assert count_flops(CONFIG, lengths, 50) == pytest.approx(expected, rel=1e-9)


def test_a_causal_step_saves_the_pairs_after_each_query() -> None:
    """PyTorch counts the full square of every layer, and all rows of the last layer, of which the head reads 50."""
    lengths, behind = [7, 100, 40, 17], 0
    for layer in range(CONFIG.num_hidden_layers):
        for n in lengths:
            distance = np.arange(n)[:, None] - np.arange(n)
            reach = n if CONFIG.is_global(layer) else CONFIG.window
            behind += int(((distance >= 0) & (distance <= reach)).sum())
    d = CONFIG.hidden_size
    unread = 6 * (sum(lengths) - 50) * (d * d + 3 * d * CONFIG.intermediate_size)
    missing = CONFIG.num_hidden_layers * sum(n * n for n in lengths) - behind
    expected = flops(CONFIG, np.array(lengths), 50, causal=True) + 12 * d * missing + unread
    assert count_flops(CONFIG, lengths, 50, causal=True) == pytest.approx(expected, rel=1e-9)


def test_window_pairs_equal_those_of_the_mask() -> None:
    for window in (0, 1, 5, 64):
        for n in (0, 1, 2, 6, 63, 64, 65, 130):
            position = np.arange(n)
            pairs = (np.abs(position[:, None] - position) <= window).sum()
            assert window_pairs(np.array([n]), window) == pairs


def test_padding_is_not_counted() -> None:
    lengths = [cut(np.array(row), 5) for row in ([9, 3, 8], [20], [1, 1, 18])]  # two end in padding
    batch = MicroBatch(
        input_ids=torch.full((60,), PAD),
        lengths=tuple(np.concatenate(lengths).tolist()),
        masked_positions=torch.arange(3),
        targets=torch.arange(3),
        addresses=(),
        pack_tokens=(12, 20, 2),
    )
    assert real_lengths(batch).tolist() == [5, 4, 3, 5, 5, 5, 5, 1, 1]
    assert step_flops(CONFIG, [batch, batch]) == 2 * flops(CONFIG, real_lengths(batch), 3)


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4e12),
        ("NVIDIA H100 PCIe", "bf16", 756e12),
        ("NVIDIA A100-SXM4-80GB", "fp16", 312e12),
        ("NVIDIA A10G", "bf16", 70e12),
        ("NVIDIA L4", "bf16", 121e12),
        ("NVIDIA A100-SXM4-80GB", "fp32", None),
        ("CPU", "bf16", None),
        ("Something new", "bf16", None),
    ],
)
def test_peaks_are_known_only_for_listed_devices(name: str, precision: str, peak: float | None) -> None:
    assert peak_flops(name, precision) == peak


def test_a_run_logs_flops_memory_and_data_wait(finished: SmallRun) -> None:
    for row in finished.rows():
        assert row["mfu"] is None  # the peak of a CPU is not known
        assert 0 <= row["data_wait_share"] < 1
        assert 0.01 < row["peak_memory"] < 64
    rows = finished.rows()
    real = rows[-1]["tokens"] - rows[-2]["tokens"]
    # Between the cost of a step with sequences of one token and with sequences as long as a pack.
    config = finished_model()
    least = flops(config, np.ones(real, np.int64), rows[-1]["masked"])
    most = flops(config, np.full(4, SEQ_LENGTH), rows[-1]["masked"])
    assert least < rows[-1]["flops"] < most


def finished_model() -> ModelConfig:
    sizes = {"vocab_size": 128, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3}
    return ModelConfig.model_validate(CONFIG.model_dump() | sizes)
