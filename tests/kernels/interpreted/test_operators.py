"""The kernels as PyTorch operators: registered correctly, and compatible with torch.compile."""

import pytest
import torch
from torch import nn

from clinical_modernbert.kernels import geglu_triton, mlm_loss_triton, norm_triton, rope_triton
from clinical_modernbert.kernels.attention import triton_op
from clinical_modernbert.kernels.attention.dispatch import packed_attention
from clinical_modernbert.kernels.geglu import geglu
from clinical_modernbert.kernels.norm import add_layer_norm, layer_norm
from clinical_modernbert.kernels.packed import PackedBatch

BATCH = PackedBatch.from_lengths([5, 0, 17, 1], "cpu")
TABLES = (BATCH.cu_seqlens, BATCH.positions, *BATCH.tiles.values())


def random(*shape: int, grad: bool = True) -> torch.Tensor:
    return torch.randn(shape, requires_grad=grad)


OPERATORS = {
    "attention global": (triton_op._attention, lambda: (random(23, 3, 2, 32), *TABLES, 17, -1, 1e4, False, False)),
    "attention local": (triton_op._attention, lambda: (random(23, 3, 2, 32), *TABLES, 17, 4, 1e4, False, True)),
    "attention causal": (triton_op._attention, lambda: (random(23, 3, 2, 32), *TABLES, 17, 4, 1e4, True, False)),
    "attention_rotate_": (
        triton_op._attention_rotate_,
        lambda: (random(23, 3, 2, 32, grad=False), BATCH.positions, 17, -1, 1e4),
    ),
    "geglu": (geglu_triton.triton_geglu, lambda: (random(9, 64),)),
    "norm": (norm_triton.triton_add_layer_norm, lambda: (None, random(9, 48), random(48), 1e-5)),
    "add norm": (norm_triton.triton_add_layer_norm, lambda: (random(9, 48), random(9, 48), random(48), 1e-5)),
    "rotate": (rope_triton.triton_rotate, lambda: (random(23, 2, 2, 32, grad=False), BATCH.positions, 17, 1e4, False)),
    "rotate_": (rope_triton.triton_rotate_, lambda: (random(23, 2, 2, 32, grad=False), BATCH.positions, 17, 1e4, True)),
    "cross_entropy_": (
        mlm_loss_triton.triton_cross_entropy_,
        lambda: (random(4, 300, grad=False), torch.tensor([1, -100, 3, 299])),
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_opcheck(name: str) -> None:
    operator, arguments = OPERATORS[name]
    torch.library.opcheck(operator, arguments())


class Layer(nn.Module):
    """An encoder layer built from the public functions."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(64, 192, bias=False), nn.Linear(64, 64, bias=False)
        self.up, self.down = nn.Linear(64, 128, bias=False), nn.Linear(64, 64, bias=False)
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(64)) for _ in range(2)])

    def forward(self, x: torch.Tensor, batch: PackedBatch, window: int | None, backend: str) -> torch.Tensor:
        qkv = self.qkv(layer_norm(x, self.weights[0], 1e-5, backend=backend)).view(-1, 3, 2, 32)
        attended = packed_attention(qkv, batch, window=window, rope_theta=1e4, backend=backend, overwrite=True)
        x, normed = add_layer_norm(x, self.out(attended.flatten(1)), self.weights[1], 1e-5, backend=backend)
        return x + self.down(geglu(self.up(normed), backend=backend))


@pytest.mark.parametrize("window", [None, 4])
def test_a_layer_compiles_into_one_graph(window: int | None) -> None:
    torch.manual_seed(0)
    layer, x = Layer(), random(23, 64)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = []
    for function, backend in ((layer, "torch"), (layer, "triton"), (compiled, "triton")):
        out = function(x, BATCH, window, backend)
        results.append([out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(results[2], results[1], rtol=1e-5, atol=1e-5)


def test_other_batches_run_in_the_same_graph() -> None:
    layer = Layer()
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager", dynamic=True)
    for lengths in ([5, 17], [9, 2, 12], [30]):
        batch, x = PackedBatch.from_lengths(lengths, "cpu"), random(sum(lengths), 64)
        torch.testing.assert_close(compiled(x, batch, 4, "triton"), layer(x, batch, 4, "triton"), rtol=1e-5, atol=1e-5)
