"""The kernels that a step launches are those that the roofline counts."""

from collections import Counter
from typing import Any

import pytest
import torch

from clinical_modernbert.kernels import geglu_triton, mlm_loss_triton, norm_triton, rope_triton
from clinical_modernbert.kernels.attention import triton_op
from clinical_modernbert.kernels.launch import launch
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.training.planning.calls import count_calls

LENGTHS, MASKED = [40, 7, 1], 12
CONFIG = ModelConfig(
    vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=1,
    local_attention=16, pad_token_id=0, cls_token_id=1, sep_token_id=2,
)  # fmt: skip
KERNELS = {
    "RoPE": ["rotate_rows"],
    "attention, global": ["attention_forward"],
    "attention, local": ["attention_forward"],
    "attention dQ, global": ["attention_backward_dq"],
    "attention dQ, local": ["attention_backward_dq"],
    "attention dK dV, global": ["attention_backward_dkdv"],
    "attention dK dV, local": ["attention_backward_dkdv"],
    "GeGLU": ["geglu_forward", "geglu_backward"],
    "norm": ["norm_forward", "norm_backward"],
    "residual + norm": ["norm_forward", "norm_backward"],
    "cross-entropy": ["cross_entropy"],
}


def test_launches_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: Counter[str] = Counter()

    def counted(kernel: Any, *arguments: Any, **constants: Any) -> None:
        launched[kernel.fn.__name__] += 1
        launch(kernel, *arguments, **constants)

    for module in (geglu_triton, mlm_loss_triton, norm_triton, rope_triton, triton_op):
        monkeypatch.setattr(module, "launch", counted)
    model, ids = MaskedLM(CONFIG), torch.arange(sum(LENGTHS))
    model(ids, PackedBatch.from_lengths(LENGTHS, "cpu"), torch.arange(MASKED), ids[:MASKED])[0].backward()
    predicted: Counter[str] = Counter()
    for call in count_calls(CONFIG, LENGTHS, MASKED, "sm80", size=4):
        for kernel in KERNELS.get(call.name, []):
            if len(KERNELS[call.name]) == 1 or kernel.endswith(call.phase):
                predicted[kernel] += call.launches
    assert launched == predicted
    assert launched["rotate_rows"] == CONFIG.num_hidden_layers
