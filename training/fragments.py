"""Where each parameter's numbers lie inside DeepSpeed's flat partitions.

ZeRO keeps, on each rank, the fp32 weights and the optimizer's state as flat tensors in which the local slices of many
parameters lie end to end. A `Fragment` is one such slice. The optimizer needs them to compute statistics of whole
parameters, and checkpoints need them to be independent of the number of ranks and of the ZeRO stage.
"""

from dataclasses import dataclass
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
        flat: the fp32 tensor that it lies in, which is what the optimizer sees as a parameter.
        offset: of the slice in `flat`.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    numel: int
    flat: torch.Tensor
    offset: int

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The slice of `tensor`, which is laid out as `flat` is (a view)."""
        return tensor.narrow(0, self.offset, self.numel)


def fragments(engine: Any) -> list[Fragment]:
    """The slices of this rank, of all parameters that have a part on it; an engine of ZeRO stage 1, 2 or 3."""
    names = {id(parameter): name for name, parameter in engine.module.named_parameters()}
    find = _stage_3 if engine.zero_optimization_stage() == 3 else _stage_1_and_2
    return [fragment for fragment in find(engine, names) if fragment.numel > 0]


def publish_weights(engine: Any) -> None:
    """Make the model compute with the fp32 weights as they are now, after they were written through fragments."""
    zero = engine.optimizer
    if engine.zero_optimization_stage() < 3:
        zero.update_lp_params()
        return
    # What zero.step() does around the optimizer's own step.
    zero._partition_all_parameters()
    for group in range(len(zero.fp16_groups)):
        zero._reassign_or_swap_out_partitioned_parameters(group)
    if zero.persistent_parameters:
        zero.persistent_parameters[0].all_gather(zero.persistent_parameters)


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
    zero = engine.optimizer
    found = []
    for group, parameters in enumerate(zero.bit16_groups):
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
                    flat=zero.single_partition_of_fp32_groups[group],
                    offset=mapping.hp_fragment_address.start,
                )
            )
    return found
