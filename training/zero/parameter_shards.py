"""Where each parameter's numbers lie inside DeepSpeed's flat partitions.

ZeRO keeps, on each rank, the fp32 weights and the optimizer's state as flat tensors in which the local slices of many
parameters lie end to end. A `Fragment` is one such slice. The optimizer needs them to compute statistics of whole
parameters, and checkpoints need them to be independent of the number of ranks and of the ZeRO stage.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch


@dataclass(frozen=True)
class Fragment:
    """This rank's slice of one parameter.

    Attributes:
        name: of the parameter.
        shape: of the whole parameter.
        start: of the slice in the flattened parameter.
        numel: of the slice, padding not counted.
        flat: the fp32 tensor that it lies in, which is what the optimizer sees as a parameter. (Without ZeRO that is
            the parameter itself.)
        offset: of the slice in the flattened `flat`.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    numel: int
    flat: torch.Tensor
    offset: int

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The slice of `tensor`, which is laid out as `flat` is (a view)."""
        return tensor.view(-1).narrow(0, self.offset, self.numel)


def fragments(engine: Any) -> list[Fragment]:
    """What this rank holds: slices of all parameters that have a part on it, at any ZeRO stage."""
    names = {id(parameter): name for name, parameter in engine.module.named_parameters()}
    find = {0: _stage_0, 3: _stage_3}.get(engine.zero_optimization_stage(), _stage_1_and_2)
    return [fragment for fragment in find(engine, names) if fragment.numel > 0]


def fragments_to_save(engine: Any) -> list[Fragment]:
    """What this rank writes of what it holds, so that the ranks together write everything once."""
    held = fragments(engine)
    if engine.zero_optimization_stage() > 0:
        return held
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    shares = []
    for whole in held:
        start, end = (whole.numel * part // world_size for part in (rank, rank + 1))
        shares.append(replace(whole, start=start, offset=start, numel=end - start))
    return [share for share in shares if share.numel > 0]


def flat_partitions(engine: Any) -> list[torch.Tensor]:
    """The flat fp32 tensors that ZeRO gives the optimizer for parameters, in order."""
    zero = engine.optimizer
    if engine.zero_optimization_stage() == 3:
        return list(zero.fp32_partitioned_groups_flat)
    return [flat for _, flat in _groups_of_stage_1_and_2(zero)]


def publish_weights(engine: Any) -> None:
    """Make the model compute with the fp32 weights as they are now, after they were written through fragments."""
    zero = engine.optimizer
    if engine.zero_optimization_stage() == 0:
        return
    if engine.zero_optimization_stage() < 3:
        zero.update_lp_params()
        return
    # What zero.step() does around the optimizer's own step.
    zero._partition_all_parameters()
    for group in range(len(zero.fp16_groups)):
        zero._reassign_or_swap_out_partitioned_parameters(group)
    if zero.persistent_parameters:
        zero.persistent_parameters[0].all_gather(zero.persistent_parameters)
    zero.invalidate_secondary_tensor()


def _stage_0(engine: Any, names: dict[int, str]) -> list[Fragment]:
    return [
        Fragment(name=names[id(p)], shape=tuple(p.shape), start=0, numel=p.numel(), flat=p, offset=0)
        for group in engine.optimizer.param_groups
        for p in group["params"]
    ]


def _stage_3(engine: Any, names: dict[int, str]) -> list[Fragment]:
    zero = engine.optimizer
    rank = torch.distributed.get_rank(zero.dp_process_group)
    found = []
    for group, parameters in enumerate(zero.fp16_groups):
        for parameter in parameters:
            _, offset, numel = zero.grad_position[zero.get_param_id(parameter)]
            start = rank * numel
            found.append(
                Fragment(
                    name=names[id(parameter)],
                    shape=tuple(parameter.ds_shape),
                    start=start,
                    numel=max(0, min(numel, parameter.ds_numel - start)),
                    flat=zero.fp32_partitioned_groups_flat[group],
                    offset=offset,
                )
            )
    return found


def _stage_1_and_2(engine: Any, names: dict[int, str]) -> list[Fragment]:
    found = []
    for parameters, flat in _groups_of_stage_1_and_2(engine.optimizer):
        for parameter in parameters:
            mapping = parameter._hp_mapping
            if mapping is None:
                continue
            found.append(
                Fragment(
                    name=names[id(parameter)],
                    shape=tuple(parameter.shape),
                    start=mapping.lp_fragment_address.start,
                    numel=mapping.lp_fragment_address.numel,
                    flat=flat,
                    offset=mapping.hp_fragment_address.start,
                )
            )
    return found


def _groups_of_stage_1_and_2(zero: Any) -> list[tuple[list[Any], torch.Tensor]]:
    """(parameters, flat fp32 partition) of each group."""
    if hasattr(zero, "bf16_groups"):  # DeepSpeed has an optimizer of its own for stage 1 in bf16
        return list(zip(zero.bf16_groups, zero.fp32_groups_flat_partition, strict=True))
    return list(zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True))
