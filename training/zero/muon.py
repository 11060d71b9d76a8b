"""Muon for the matrices of hidden layers, exact under ZeRO's flat partitions; StableAdamW for everything else.

Muon (Jordan et al. 2024) moves a matrix by its momentum after orthogonalization, which needs the matrix as a whole,
while ZeRO leaves each rank with slices of it. The momentum stays where its slices are, laid out as the flat tensor is.
In a step every matrix is computed by one rank: the slices of its momentum go there, are orthogonalized together, and
come back, by two all-to-alls per flat tensor. A matrix that lies on one rank does not travel.

At ZeRO-0 every rank has every matrix, and computes it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from .matrices import Matrix, deal, row_blocks
from .newton_schulz import orthogonalize, step_scale
from .optimizer import StableAdamW
from .parameter_shards import ParameterShard


@dataclass(frozen=True)
class _Piece:
    """This rank's part of a matrix: `part` of the flat tensor."""

    matrix: Matrix
    part: slice


@dataclass(frozen=True)
class _Exchange:
    """How the matrices of one flat tensor travel.

    Attributes:
        pieces: in the order in which they are sent: by owner, then by matrix.
        sizes: elements sent to each rank.
        owned: the matrices that this rank computes, each with its places in what it receives, in order.
        received: elements received from each rank.
    """

    pieces: tuple[_Piece, ...]
    sizes: list[int]
    owned: tuple[tuple[Matrix, tuple[slice, ...]], ...]
    received: list[int]


@dataclass(frozen=True)
class _Flat:
    """The matrices in a tensor that the optimizer updates: those that lie on this rank, and those that travel."""

    here: tuple[_Piece, ...]
    exchange: _Exchange | None = None


class Muon(StableAdamW):
    """Groups of parameters with `blocks` hold matrices only, each of so many blocks of rows; the others have 0.

    Weight decay is fully decoupled, as in StableAdamW. It works on whole fp32 parameters as it is. Under ZeRO, call
    `bind` after `deepspeed.initialize`. (DeepSpeed has an optimizer of its own for groups with `use_muon`.)
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        momentum: float = 0.95,
        dtype: torch.dtype = torch.bfloat16,
        split_fused: bool = True,
    ) -> None:
        """`betas` and `eps` are of StableAdamW; `dtype` is that of the orthogonalization and of what ranks send."""
        super().__init__(params, lr, betas, eps)
        self._momentum, self._dtype, self._split_fused = momentum, dtype, split_fused
        self._flats: dict[int, _Flat] = {}

    def bind(
        self,
        flats: Iterable[torch.Tensor],
        shards: Sequence[ParameterShard],
        names: Sequence[str],
        group: dist.ProcessGroup | None = None,
        device: torch.device | None = None,
    ) -> None:
        """As for StableAdamW; all ranks of `group` call it."""
        flats = list(flats)
        super().bind(flats, shards, names, group, device)
        rank, ranks = dist.get_rank(group), dist.get_world_size(group)
        number, order = {id(flat): index for index, flat in enumerate(flats)}, {name: n for n, name in enumerate(names)}
        local = {shard.name: shard for shard in shards if row_blocks(shard.name, self._split_fused)}
        everyone: list[Any] = [None] * ranks
        held = {name: (number[id(s.flat)], s.shape, (s.start, s.numel)) for name, s in local.items()}
        dist.all_gather_object(everyone, held, group=group)
        # Every rank deals the same matrices in the same order.
        known = {name: (flat, shape) for one in everyone for name, (flat, shape, _) in one.items()}
        matrices: list[tuple[int, Matrix]] = []
        for name in sorted(known, key=lambda name: (known[name][0], order[name])):
            slices = tuple(one[name][2] if name in one else (0, 0) for one in everyone)
            flat, shape = known[name]
            matrices.append((flat, Matrix(name, shape, row_blocks(name, self._split_fused), slices)))
        owners = deal(matrix for _, matrix in matrices)
        for index, flat_tensor in enumerate(flats):
            dealt = [(m, owner) for (flat, m), owner in zip(matrices, owners, strict=True) if flat == index]
            self._flats[id(flat_tensor)] = _layout(dealt, local, rank, ranks)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self.update_groups([group for group in self.param_groups if not group["blocks"]])
        for group in self.param_groups:
            for parameter in group["params"] if group["blocks"] else ():
                if parameter.grad is not None:
                    self._update_matrices(parameter, parameter.grad.float().contiguous().view(-1), group)

    def _update_matrices(self, parameter: torch.Tensor, grad: torch.Tensor, group: dict[str, Any]) -> None:
        """Muon's step of all matrices in `parameter`; `grad` is flat."""
        state, weight = self.state[parameter], parameter.view(-1)
        if not state:
            state["step"] = torch.zeros(())
            state["momentum"] = torch.zeros_like(parameter, dtype=torch.float32)
        state["step"] += 1
        momentum = state["momentum"].view(-1).lerp_(grad, 1 - self._momentum)
        if id(parameter) not in self._flats:  # a whole parameter
            matrix = Matrix("", (parameter.shape[0], parameter.shape[1]), group["blocks"], ((0, len(grad)),))
            self._flats[id(parameter)] = _Flat((_Piece(matrix, slice(0, len(grad))),))
        flat = self._flats[id(parameter)]
        for piece in flat.here:
            update = self._nesterov(grad, momentum, piece)
            self._descend(weight, self._orthogonal(update, piece.matrix), piece, group)
        if flat.exchange is not None:
            self._exchange_and_descend(weight, grad, momentum, flat.exchange, group)

    def _exchange_and_descend(
        self,
        weight: torch.Tensor,
        grad: torch.Tensor,
        momentum: torch.Tensor,
        exchange: _Exchange,
        group: dict[str, Any],
    ) -> None:
        """Send slices to the owners of their matrices, compute the owned ones, and apply what comes back."""
        updates = [self._nesterov(grad, momentum, piece) for piece in exchange.pieces]
        outgoing = torch.cat(updates) if updates else grad.new_empty(0, dtype=self._dtype, device=self._device)
        incoming = outgoing.new_empty(sum(exchange.received))
        # A rank without a slice takes part too.
        dist.all_to_all_single(incoming, outgoing, exchange.received, exchange.sizes, group=self._group)
        for matrix, places in exchange.owned:
            whole = self._orthogonal(torch.cat([incoming[place] for place in places]), matrix)
            for place, part in zip(places, whole.split([p.stop - p.start for p in places]), strict=True):
                incoming[place] = part
        dist.all_to_all_single(outgoing, incoming, exchange.sizes, exchange.received, group=self._group)
        parts = outgoing.split([piece.part.stop - piece.part.start for piece in exchange.pieces])
        for piece, direction in zip(exchange.pieces, parts, strict=False):
            self._descend(weight, direction, piece, group)

    def _nesterov(self, grad: torch.Tensor, momentum: torch.Tensor, piece: _Piece) -> torch.Tensor:
        """Nesterov's momentum of a piece, flat, as it is sent."""
        update = grad[piece.part].lerp(momentum[piece.part], self._momentum)
        return update.to(self._device or update.device, self._dtype)

    def _orthogonal(self, update: torch.Tensor, matrix: Matrix) -> torch.Tensor:
        """The orthogonal factors of a matrix's blocks, flat."""
        return orthogonalize(update.view(matrix.blocks, *matrix.block), self._dtype).reshape(-1)

    @staticmethod
    def _descend(weight: torch.Tensor, direction: torch.Tensor, piece: _Piece, group: dict[str, Any]) -> None:
        here = weight[piece.part]
        here.mul_(1 - group["lr"] * group["weight_decay"] / group["peak_lr"])
        here.add_(direction.to(here.device), alpha=-group["lr"] * step_scale(*piece.matrix.block))


def _layout(dealt: Sequence[tuple[Matrix, int]], local: dict[str, ParameterShard], rank: int, ranks: int) -> _Flat:
    """The matrices of one flat tensor, with their owners, as `rank` sees them."""

    def piece(matrix: Matrix) -> _Piece:
        shard = local[matrix.name]
        return _Piece(matrix, slice(shard.offset, shard.offset + shard.numel))

    def travels(matrix: Matrix) -> bool:
        return sum(numel > 0 for _, numel in matrix.slices) > 1

    here = tuple(piece(m) for m, _ in dealt if not travels(m) and m.slices[rank][1])
    travelling = [(m, owner) for m, owner in dealt if travels(m)]
    if not travelling:
        return _Flat(here)
    sent = sorted((pair for pair in travelling if pair[0].slices[rank][1]), key=lambda pair: pair[1])
    owned = [m for m, owner in travelling if owner == rank]
    places: dict[str, list[tuple[int, slice]]] = {matrix.name: [] for matrix in owned}
    position = 0
    for source in range(ranks):
        for matrix in owned:
            start, numel = matrix.slices[source]
            if numel:
                places[matrix.name].append((start, slice(position, position + numel)))
            position += numel
    exchange = _Exchange(
        pieces=tuple(piece(matrix) for matrix, _ in sent),
        sizes=[sum(m.slices[rank][1] for m, owner in sent if owner == one) for one in range(ranks)],
        owned=tuple((m, tuple(place for _, place in sorted(places[m.name], key=lambda p: p[0]))) for m in owned),
        received=[sum(m.slices[source][1] for m in owned) for source in range(ranks)],
    )
    return _Flat(here, exchange)
