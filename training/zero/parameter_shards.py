"""Where each parameter's elements are stored in DeepSpeed's flat partitions.

On each rank ZeRO keeps the fp32 weights and the optimizer's state as flat tensors, in which the local shards of many
parameters are concatenated. The optimizer needs their boundaries to compute statistics of whole parameters, and
checkpoints need them to be independent of the number of ranks and of the ZeRO stage.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch

from .gathered import gather_persistent


@dataclass(frozen=True)
class ParameterShard:
    """This rank's shard of one parameter.

    Attributes:
        name: name of the parameter.
        shape: shape of the whole parameter.
        start: offset of the shard in the flattened parameter.
        numel: elements of the shard, without padding.
        flat: the fp32 tensor that contains it, which the optimizer sees as a parameter. (Without ZeRO that is the
            parameter itself.)
        offset: offset of the shard in the flattened `flat`.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    numel: int
    flat: torch.Tensor
    offset: int

    def view_in(self, tensor: torch.Tensor) -> torch.Tensor:
        """The shard's elements in `tensor`, which has the layout of `flat`: a view (numel,)."""
        return tensor.view(-1).narrow(0, self.offset, self.numel)


def parameter_shards(engine: Any) -> list[ParameterShard]:
    """The shards that this rank holds, at any ZeRO stage; parameters without elements on it have none."""
    names = {id(parameter): name for name, parameter in engine.module.named_parameters()}
    find = {0: _stage_0, 3: _stage_3}.get(engine.zero_optimization_stage(), _stage_1_and_2)
    return [shard for shard in find(engine, names) if shard.numel > 0]


def shards_to_save(engine: Any) -> list[ParameterShard]:
    """The shards that this rank writes, so that all ranks together write every element once."""
    local = parameter_shards(engine)
    if engine.zero_optimization_stage() > 0:
        return local
    # Without ZeRO every rank holds all parameters: each writes an equal part of them.
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    parts = []
    for replica in local:
        start, end = (replica.numel * part // world_size for part in (rank, rank + 1))
        parts.append(replace(replica, start=start, offset=start, numel=end - start))
    return [part for part in parts if part.numel > 0]


def flat_partitions(engine: Any) -> list[torch.Tensor]:
    """The flat fp32 tensors that ZeRO passes to the optimizer as parameters, in order."""
    zero = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        return list(zero.fp32_partitioned_groups_flat)
    return [flat for _, flat in _groups_of_stage_1_and_2(zero)]


def update_model_weights(engine: Any) -> None:
    """Copy the fp32 weights to the tensors that the model computes with, after they were changed through shards."""
    zero = engine.optimizer
    if engine.zero_optimization_stage() == 0:
        return
    if engine.zero_optimization_stage() < 3:
        zero.update_lp_params()
        return
    # As zero.step() does around the optimizer's own step.
    zero._partition_all_parameters()
    for group in range(len(zero.fp16_groups)):
        zero._reassign_or_swap_out_partitioned_parameters(group)
    gather_persistent(zero)
    zero.invalidate_secondary_tensor()


def _stage_0(engine: Any, names: dict[int, str]) -> list[ParameterShard]:
    return [
        ParameterShard(name=names[id(p)], shape=tuple(p.shape), start=0, numel=p.numel(), flat=p, offset=0)
        for group in engine.optimizer.param_groups
        for p in group["params"]
    ]


def _stage_3(engine: Any, names: dict[int, str]) -> list[ParameterShard]:
    zero = engine.optimizer
    rank = torch.distributed.get_rank(zero.dp_process_group)
    shards = []
    for group, parameters in enumerate(zero.fp16_groups):
        for parameter in parameters:
            _, offset, numel = zero.grad_position[zero.get_param_id(parameter)]
            start = rank * numel
            shards.append(
                ParameterShard(
                    name=names[id(parameter)],
                    shape=tuple(parameter.ds_shape),
                    start=start,
                    numel=max(0, min(numel, parameter.ds_numel - start)),
                    flat=zero.fp32_partitioned_groups_flat[group],
                    offset=offset,
                )
            )
    return shards


def _stage_1_and_2(engine: Any, names: dict[int, str]) -> list[ParameterShard]:
    shards = []
    for parameters, flat in _groups_of_stage_1_and_2(engine.optimizer):
        for parameter in parameters:
            mapping = parameter._hp_mapping
            if mapping is None:
                continue
            shards.append(
                ParameterShard(
                    name=names[id(parameter)],
                    shape=tuple(parameter.shape),
                    start=mapping.lp_fragment_address.start,
                    numel=mapping.lp_fragment_address.numel,
                    flat=flat,
                    offset=mapping.hp_fragment_address.start,
                )
            )
    return shards


def _groups_of_stage_1_and_2(zero: Any) -> list[tuple[list[Any], torch.Tensor]]:
    """(parameters, flat fp32 partition) of each group."""
    if hasattr(zero, "bf16_groups"):  # DeepSpeed has a separate optimizer for stage 1 in bf16
        return list(zip(zero.bf16_groups, zero.fp32_groups_flat_partition, strict=True))
    return list(zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True))
