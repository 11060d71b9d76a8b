"""The complete encoder with the Triton kernels, and with PyTorch's, against transformers' ModernBERT."""

from pathlib import Path

import pytest
import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM

from clinical_modernbert.kernels import devices
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.hugging_face import from_pretrained

LENGTHS = [150, 40]


@pytest.fixture(scope="module")
def theirs() -> ModernBertForMaskedLM:
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=128, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=256, global_attn_every_n_layers=3, local_attention=32,
        pad_token_id=0, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2,
        attn_implementation="sdpa",
    )  # fmt: skip
    return ModernBertForMaskedLM(config).eval()


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_encoder_parity(
    theirs: ModernBertForMaskedLM, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs.save_pretrained(tmp_path)
    model = from_pretrained(tmp_path).eval()
    model.model.attention_backend = backend
    if backend == "torch":
        monkeypatch.setattr(devices, "triton_unsupported_reason", lambda device: "is disabled")
    ids = torch.randint(3, 128, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))
    batch = PackedBatch.from_lengths(LENGTHS, "cpu")
    padded, mask = torch.zeros(2, 150, dtype=torch.long), torch.zeros(2, 150, dtype=torch.long)
    for row, sequence in enumerate(ids.split(LENGTHS)):
        padded[row, : len(sequence)], mask[row, : len(sequence)] = sequence, 1
    with torch.no_grad():
        ours = model.logits(ids, batch, torch.arange(sum(LENGTHS)))
        expected = theirs(input_ids=padded, attention_mask=mask).logits[mask.bool()]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
