"""StableAdamW, exact under ZeRO's flat partitions.

StableAdamW (Wortsman et al. 2023, arXiv 2304.13013) is AdamW whose learning rate is divided, for each parameter, by
the root mean square of its update where that exceeds one. That is a statistic of a whole parameter, but ZeRO passes the
optimizer flat tensors in which shards of many parameters are concatenated, while the rest of each parameter is on other
ranks. An optimizer unaware of this clips wrongly, without any error. Here every flat tensor is divided at its shards'
boundaries: partial sums are computed per shard and added over ranks in one small all-reduce, and every element gets the
rate of its own parameter. `kernels/stable_adamw.py` computes them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from ...kernels.stable_adamw import Rates, Segments, squared_updates, update_
from .parameter_shards import ParameterShard


@dataclass(frozen=True)
class _Layout:
    """How a tensor that the optimizer updates is divided into parameters.

    Attributes:
        segments: the shards in it.
        owners: int64 (segments,), the index of each segment's parameter.
        numel: fp64 (segments,), the size of each segment's whole parameter.
    """

    segments: Segments
    owners: torch.Tensor
    numel: torch.Tensor

    @classmethod
    def of(
        cls, bounds: Sequence[tuple[int, int]], owners: list[int], numel: list[int], device: torch.device
    ) -> "_Layout":
        sizes = torch.tensor(numel, dtype=torch.float64, device=device)
        return cls(Segments.of(bounds, device), torch.tensor(owners, dtype=torch.int64, device=device), sizes)


@dataclass(frozen=True)
class _Update:
    """A tensor to be updated, with flat views (n,) of it, of its gradient and of its moments."""

    layout: _Layout
    weight: torch.Tensor
    grad: torch.Tensor
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor
    lr: float
    rates: Rates


class StableAdamW(torch.optim.Optimizer):
    """StableAdamW with fully decoupled weight decay: a decay of w shrinks weights by w per step at the peak rate.

    It works on whole fp32 parameters as it is. Under ZeRO, call `bind` after `deepspeed.initialize`.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "peak_lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self._layouts: dict[int, _Layout] = {}
        self._parameters = 0
        self._group: dist.ProcessGroup | None = None
        self._device: torch.device | None = None

    def bind(
        self,
        flats: Iterable[torch.Tensor],
        shards: Sequence[ParameterShard],
        names: Sequence[str],
        group: dist.ProcessGroup | None = None,
        device: torch.device | None = None,
    ) -> None:
        """Set which parameter each part of the flat tensors belongs to.

        Args:
            flats: the tensors that `step` sees as parameters; the same number, in the same order, on every rank.
            shards: this rank's shards.
            names: all parameters of the model, in the same order on every rank.
            group: the ranks that share the parameters.
            device: device of the group's collectives, if the flat tensors are on another one (they may be offloaded).
        """
        self._group, self._device, self._parameters = group, device, len(names)
        index = {name: number for number, name in enumerate(names)}
        for flat in flats:
            within = sorted((shard for shard in shards if shard.flat is flat), key=lambda shard: shard.offset)
            bounds = [(shard.offset, shard.offset + shard.numel) for shard in within]
            owners = [index[shard.name] for shard in within]
            numel = [torch.Size(shard.shape).numel() for shard in within]
            self._layouts[id(flat)] = _Layout.of(bounds, owners, numel, flat.device)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        self.update_groups(self.param_groups)

    def update_groups(self, groups: Iterable[dict[str, Any]]) -> None:
        """StableAdamW's step of the parameters in `groups` that have a gradient."""
        updates = [
            self._prepare(parameter, parameter.grad, group)
            for group in groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        sums = [squared_updates(each.grad, each.exp_avg_sq, each.layout.segments, each.rates) for each in updates]
        for each, whole in zip(updates, self._over_ranks(updates, sums), strict=True):
            root_mean_squares = (whole / each.layout.numel).sqrt().float()
            learning_rates = each.lr / root_mean_squares.clamp_min(1.0)
            segments = each.layout.segments
            update_(each.weight, each.grad, each.exp_avg, each.exp_avg_sq, segments, learning_rates, each.rates)

    def _prepare(self, parameter: torch.Tensor, grad: torch.Tensor, group: dict[str, Any]) -> _Update:
        """Create the state of a new parameter, and count the step."""
        state, numel = self.state[parameter], parameter.numel()
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float32)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
        state["step"] += 1
        count, (beta1, beta2) = int(state["step"]), group["betas"]
        # The moments are stored bias-corrected, so no correction is needed here (optimi's formulation).
        rates = Rates(
            mean=1 - _debiased(beta1, count),
            square=1 - _debiased(beta2, count),
            eps=group["eps"],
            decay=group["weight_decay"] / group["peak_lr"],
        )
        if id(parameter) not in self._layouts:  # a whole parameter
            self._layouts[id(parameter)] = _Layout.of([(0, numel)], [0], [numel], parameter.device)
        return _Update(
            self._layouts[id(parameter)],
            weight=parameter.view(-1),
            grad=grad.float().contiguous().view(-1),
            exp_avg=state["exp_avg"].view(-1),
            exp_avg_sq=state["exp_avg_sq"].view(-1),
            lr=group["lr"],
            rates=rates,
        )

    def _over_ranks(self, updates: Sequence[_Update], sums: list[torch.Tensor]) -> list[torch.Tensor]:
        """The sums of whole parameters, fp64 (segments,) for each update, by one all-reduce."""
        if not self._parameters or not sums:
            return sums
        totals = sums[0].new_zeros(self._parameters)
        for each, partial in zip(updates, sums, strict=True):
            totals.index_add_(0, each.layout.owners, partial)
        reduced = totals.to(self._device)
        if dist.get_world_size(self._group) > 1:
            dist.all_reduce(reduced, group=self._group)
        totals = reduced.to(totals.device)
        return [totals[each.layout.owners] for each in updates]


def _debiased(beta: float, step: int) -> float:
    """The decay rate that yields a bias-corrected average directly."""
    return (beta**step - beta) / (beta**step - 1)
