"""StableAdamW, exact under ZeRO's flat partitions.

StableAdamW (Wortsman et al. 2023, arXiv 2304.13013) is AdamW whose learning rate is divided, for each parameter, by
the root mean square of its update where that exceeds one. That is a statistic of a whole parameter, but ZeRO passes the
optimizer flat tensors in which shards of many parameters are concatenated, while the rest of each parameter is on other
ranks. An optimizer unaware of this clips wrongly, without any error. Here every flat tensor is divided at its shards'
boundaries: partial sums are computed per shard and added over ranks in one small all-reduce per flat tensor, and every
element gets the rate of its own parameter.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from ..recipe.config import OptimizerConfig
from .parameter_shards import ParameterShard


@dataclass(frozen=True)
class _Segments:
    """How a flat tensor is divided into segments.

    Attributes:
        lengths: int64 (segments,), in order, padding included.
        owners: int64 (segments,), the index of each segment's parameter; the number of parameters for padding.
        numel: fp64 (parameters,), the size of each whole parameter that has a segment in the tensor, else 1.
    """

    lengths: torch.Tensor
    owners: torch.Tensor
    numel: torch.Tensor


class StableAdamW(torch.optim.Optimizer):
    """StableAdamW with fully decoupled weight decay: a decay of w shrinks weights by w per step at the peak rate.

    It works on whole parameters as it is. Under ZeRO, call `bind` after `deepspeed.initialize`.
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
        self._segments: dict[int, _Segments] = {}
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
        self._group, self._device = group, device
        index = {name: number for number, name in enumerate(names)}
        for flat in flats:
            within = sorted((shard for shard in shards if shard.flat is flat), key=lambda shard: shard.offset)
            self._segments[id(flat)] = _divide(flat, within, index)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad.float(), group)

    def _update(self, parameter: torch.Tensor, grad: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter, dtype=torch.float32)
            state["exp_avg_sq"] = torch.zeros_like(parameter, dtype=torch.float32)
        state["step"] += 1
        count = int(state["step"])
        (beta1, beta2), eps = group["betas"], group["eps"]
        # The moments are stored bias-corrected, so no correction is needed here (optimi's formulation).
        exp_avg = state["exp_avg"].lerp_(grad, 1 - _debiased(beta1, count))
        exp_avg_sq = state["exp_avg_sq"].lerp_(grad.square(), 1 - _debiased(beta2, count))
        lr = group["lr"] / self._update_rms(parameter, grad, exp_avg_sq, eps).clamp_min(1.0)
        parameter.mul_(1 - lr * (group["weight_decay"] / group["peak_lr"]))
        parameter.sub_(lr * exp_avg / (exp_avg_sq.sqrt() + eps))

    def _update_rms(
        self, parameter: torch.Tensor, grad: torch.Tensor, exp_avg_sq: torch.Tensor, eps: float
    ) -> torch.Tensor:
        """Root mean square of the update: a scalar for a whole parameter, one value per element for a flat tensor."""
        squares = (grad.square() / exp_avg_sq.clamp_min(eps**2)).double()
        segments = self._segments.get(id(parameter))
        if segments is None:
            return squares.mean().sqrt().float()
        sums = squares.new_zeros(len(segments.numel) + 1)
        sums[segments.owners] = torch.segment_reduce(squares, "sum", lengths=segments.lengths)
        reduced = sums.to(self._device)
        dist.all_reduce(reduced, group=self._group)
        sums = reduced.to(squares.device)
        rms = torch.cat([(sums[:-1] / segments.numel).sqrt(), sums.new_zeros(1)]).float()
        return rms[segments.owners].repeat_interleave(segments.lengths, output_size=len(squares))


def _divide(flat: torch.Tensor, shards: Sequence[ParameterShard], index: Mapping[str, int]) -> _Segments:
    padding = len(index)
    lengths, owners, position = [], [], 0
    numel = torch.ones(len(index), dtype=torch.float64)
    for shard in shards:
        lengths += [shard.offset - position, shard.numel]
        owners += [padding, index[shard.name]]
        numel[index[shard.name]] = torch.Size(shard.shape).numel()
        position = shard.offset + shard.numel
    lengths.append(flat.numel() - position)
    owners.append(padding)
    device = flat.device
    return _Segments(torch.tensor(lengths, device=device), torch.tensor(owners, device=device), numel.to(device))


def _debiased(beta: float, step: int) -> float:
    """The decay rate that yields a bias-corrected average directly."""
    return (beta**step - beta) / (beta**step - 1)


def make_optimizer(model: torch.nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The configured optimizer over the model's parameters, with weight decay on matrices only.

    Norms and biases are the one-dimensional parameters.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    kind = StableAdamW if config.name == "stable_adamw" else torch.optim.AdamW
    return kind(groups, lr=config.lr, betas=config.betas, eps=config.eps)
