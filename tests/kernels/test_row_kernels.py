"""RoPE, GeGLU and layer norm in plain PyTorch against their definitions."""

import pytest
import torch
from kernel_accuracy import check

from clinical_modernbert.kernels.geglu import geglu
from clinical_modernbert.kernels.norm import add_layer_norm, layer_norm
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.rope import rotate_qk
from clinical_modernbert.kernels.rope_tables import rope_tables
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES

dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())


@dtypes
def test_geglu(dtype: torch.dtype) -> None:
    check(geglu, reference.geglu, [torch.randn(17, 192).to(dtype)])


@dtypes
def test_norms(dtype: torch.dtype) -> None:
    inputs = [torch.randn(17, 96).to(dtype), torch.randn(17, 96).to(dtype), torch.rand(96).to(dtype) + 0.5]
    # PyTorch's own kernel adds up the weight's gradient at the type of the weight.
    rms_limit = 1e-5 if dtype == torch.float32 else 0.01
    check(lambda *x: add_layer_norm(*x, 1e-5), lambda *x: reference.add_layer_norm(*x, 1e-5), inputs, rms_limit)
    check(
        lambda *x: layer_norm(*x, 1e-5),
        lambda x, weight: reference.add_layer_norm(torch.zeros_like(x), x, weight, 1e-5)[1],
        inputs[1:],
        rms_limit,
    )


@dtypes
def test_rope_restarts_at_every_document(dtype: torch.dtype) -> None:
    lengths = [5, 0, 40, 1]

    def expected(qkv: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [torch.stack([reference.rotate(x, 1e4) for x in one.unbind(1)[:2]], dim=1) for one in qkv.split(lengths)]
        )

    batch = PackedBatch.from_lengths(lengths, "cpu")
    check(lambda x: rotate_qk(x, batch, 1e4), expected, [torch.randn(46, 3, 2, 32).to(dtype)])


@pytest.mark.parametrize("theta", [10_000.0, 160_000.0])
def test_angles_are_transformers(theta: float) -> None:
    modernbert = pytest.importorskip("transformers.models.modernbert.modeling_modernbert", reason="needs transformers")
    from transformers import ModernBertConfig

    config = ModernBertConfig(global_rope_theta=theta, local_rope_theta=theta, hidden_size=128, num_attention_heads=2)
    theirs = modernbert.ModernBertRotaryEmbedding(config)
    cos, sin = theirs(torch.zeros(1, 8192, 64), torch.arange(8192)[None], layer_type="full_attention")
    ours = rope_tables(theta, 8192, 64, torch.device("cpu"))
    for mine, other in zip(ours, (cos, sin), strict=True):
        assert torch.equal(mine, other[0, :, :32])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: geglu(torch.zeros(2, 3)), r"x must be \(T, 2I\), got \(2, 3\)"),
        (lambda: layer_norm(torch.zeros(2, 3), torch.zeros(4), 1e-5), r"weight \(4,\) \(d,\)"),
        (lambda: add_layer_norm(torch.zeros(2, 4), torch.zeros(2, 3), torch.zeros(3), 1e-5), "differ"),
    ],
)
def test_bad_shapes_are_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
