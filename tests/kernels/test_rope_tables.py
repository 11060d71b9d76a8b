"""RoPE's angles against transformers'."""

from inspect import signature

import pytest
import torch

from clinical_modernbert.kernels.rope_tables import rope_tables


@pytest.mark.parametrize("theta", [10_000.0, 160_000.0, 400_000.0, 1_000_000.0])
def test_angles_equal_those_of_transformers(theta: float) -> None:
    modernbert = pytest.importorskip("transformers.models.modernbert.modeling_modernbert", reason="needs transformers")
    from transformers import ModernBertConfig

    config = ModernBertConfig(global_rope_theta=theta, local_rope_theta=theta, hidden_size=128, num_attention_heads=2)
    config.rope_theta = theta  # what transformers 4 reads
    theirs = modernbert.ModernBertRotaryEmbedding(config)
    layer = {"layer_type": "full_attention"} if "layer_type" in signature(theirs.forward).parameters else {}
    cos, sin = theirs(torch.zeros(1, 32_768, 64), torch.arange(32_768)[None], **layer)
    ours = rope_tables(theta, 32_768, 64, torch.device("cpu"))
    for mine, other in zip(ours, (cos, sin), strict=True):
        assert torch.equal(mine, other[0, :, :32])
