"""Which matrices Muon orthogonalizes, how they are cut into blocks, and which rank computes which.

Nothing here reads a tensor: `cmbert plan` counts with the same functions what ranks will compute and send.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...model.config import ModelConfig

_HIDDEN = re.compile(r"(?:.+\.)?layers\.\d+\.(?:attn|mlp)\.(Wqkv|Wo|Wi)\.weight")
NEWTON_SCHULZ_STEPS = 5
_FUSED = {"Wqkv": 3, "Wi": 2}
"""Matrices that are several, stacked: query, key and value; the gate and the value of the MLP."""


def row_blocks(name: str, split_fused: bool) -> int:
    """Into how many blocks of rows a parameter is cut for Muon; 0: it is not a matrix of a hidden layer."""
    match = _HIDDEN.fullmatch(name)
    return 0 if match is None else _FUSED.get(match[1], 1) if split_fused else 1


def hidden_matrices(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """The shapes of the matrices of hidden layers by name, in the model's order."""
    d, inner = config.hidden_size, config.intermediate_size
    of_layer = {"attn.Wqkv": (3 * d, d), "attn.Wo": (d, d), "mlp.Wi": (2 * inner, d), "mlp.Wo": (d, inner)}
    return {
        f"model.layers.{layer}.{name}.weight": shape
        for layer in range(config.num_hidden_layers)
        for name, shape in of_layer.items()
    }


def hidden_elements(config: ModelConfig) -> int:
    """Elements of all matrices of hidden layers."""
    return sum(rows * columns for rows, columns in hidden_matrices(config).values())


def iteration_flops(rows: int, columns: int) -> int:
    """Floating-point operations of Newton-Schulz for one matrix."""
    short, long = min(rows, columns), max(rows, columns)
    return NEWTON_SCHULZ_STEPS * (4 * short * short * long + 2 * short**3)


@dataclass(frozen=True)
class Matrix:
    """A matrix that is partitioned among ranks.

    Attributes:
        blocks: of rows, each orthogonalized on its own.
        slices: of each rank, (start, numel) in the flattened matrix; numel is 0 where it holds nothing.
    """

    name: str
    shape: tuple[int, int]
    blocks: int
    slices: tuple[tuple[int, int], ...]

    @property
    def block(self) -> tuple[int, int]:
        """The shape of a block."""
        return self.shape[0] // self.blocks, self.shape[1]


def deal(matrices: Iterable[Matrix]) -> list[int]:
    """The rank that computes each matrix.

    It is the one with the least work so far, of those that hold at least half as much of the matrix as any: a matrix on
    one rank does not travel.
    """
    owners: list[int] = []
    load: dict[int, float] = {}
    for matrix in matrices:
        most = max(numel for _, numel in matrix.slices)
        near = [rank for rank, (_, numel) in enumerate(matrix.slices) if 2 * numel >= most]
        owner = min(near, key=lambda rank: (load.get(rank, 0.0), rank))
        rows, columns = matrix.block
        load[owner] = load.get(owner, 0.0) + matrix.blocks * min(rows, columns) * rows * columns
        owners.append(owner)
    return owners


def sent_elements(matrices: Sequence[Matrix]) -> int:
    """Elements that all ranks together send in a step: each slice to the owner of its matrix, and back."""
    return 2 * sum(
        numel
        for matrix, owner in zip(matrices, deal(matrices), strict=True)
        for rank, (_, numel) in enumerate(matrix.slices)
        if rank != owner
    )


def partitioned_matrices(config: ModelConfig, stage: int, ranks: int, split_fused: bool) -> list[Matrix]:
    """The matrices of a model as ZeRO 1, 2 or 3 partitions them, in the order in which they are dealt."""
    by_blocks: dict[int, dict[str, tuple[int, int]]] = {}
    for name, shape in hidden_matrices(config).items():
        by_blocks.setdefault(row_blocks(name, split_fused), {})[name] = shape
    return [
        Matrix(name, shape, blocks, slices)
        for blocks, shapes in sorted(by_blocks.items())
        for (name, shape), slices in zip(shapes.items(), _slices(list(shapes.values()), stage, ranks), strict=True)
    ]


def _slices(shapes: Sequence[tuple[int, int]], stage: int, ranks: int) -> Iterable[tuple[tuple[int, int], ...]]:
    """The slices of each matrix of a group of parameters."""
    sizes = [rows * columns for rows, columns in shapes]
    if stage == 3:  # every parameter is divided equally
        for size in sizes:
            part = -(-size // ranks)
            yield tuple((rank * part, max(0, min(part, size - rank * part))) for rank in range(ranks))
        return
    # The parameters of a group lie end to end, padded to a multiple of twice the ranks, and are divided equally.
    part, begin = -(-sum(sizes) // (2 * ranks)) * 2, 0
    for size in sizes:
        cuts = [min(max(rank * part - begin, 0), size) for rank in range(ranks + 1)]
        yield tuple((start, end - start) for start, end in itertools.pairwise(cuts))
        begin += size
