"""Weights that stay gathered at ZeRO-3: without hooks if all of them stay, and gathered in few messages.

DeepSpeed follows each module with hooks, which gather its parameters before it runs and release them afterwards. On
parameters that it never releases these hooks do nothing, but their Python took as much CPU time as the model itself
(docs/planning.md). What remains of ZeRO-3 is the partitioning of gradients and optimizer state, and one gather after
each step.

DeepSpeed gathers after a step with a message for each parameter, and each has the latency of a ring through all ranks:
the 137 of `base` bind a step from 512 GPUs on. Here neighboring parameters share a message.
"""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist

from .partition import buckets


def drop_gathering_hooks(engine: Any) -> None:
    """Gather all parameters now, and remove the hooks that would do it for each module."""
    offload = engine.optimizer.parameter_offload
    parameters = list(engine.module.parameters())
    assert all(parameter.ds_persist for parameter in parameters)
    offload.destroy()
    for module in engine.module.modules():
        # DeepSpeed's own dictionary looks for a missing parameter at each access.
        module._parameters = dict(module._parameters)
    gather_persistent(engine.optimizer)


def gather_in_buckets(zero: Any, limit: int) -> None:
    """Let ZeRO-3 gather the parameters that stay gathered in messages of up to `limit` elements.

    Quantized and offloaded partitions, and those of one rank, are left to DeepSpeed.
    """
    parameters = zero.persistent_parameters
    kept_elsewhere = any(hasattr(p.ds_tensor, "ds_quant_scale") or p.ds_tensor.device != p.device for p in parameters)
    if not parameters or kept_elsewhere or dist.get_world_size(zero.dp_process_group) == 1:
        return
    sizes = buckets([parameter.ds_numel for parameter in parameters], limit)
    remaining = iter(parameters)
    zero.persistent_buckets = [list(islice(remaining, len(bucket))) for bucket in sizes]
    zero._post_step = partial(_gather_first, zero, zero._post_step)


def gather_persistent(zero: Any) -> None:
    """Gather the parameters that stay gathered, from the partitions that the optimizer has updated."""
    _gather_buckets(zero)
    if zero.persistent_parameters:  # those that are not gathered by now
        zero.persistent_parameters[0].all_gather(zero.persistent_parameters)


def _gather_first(zero: Any, post_step: Any, *args: Any) -> None:
    """DeepSpeed's own end of a step gathers what is not gathered by then."""
    _gather_buckets(zero)
    post_step(*args)


def _gather_buckets(zero: Any) -> None:
    for bucket in getattr(zero, "persistent_buckets", ()):
        _gather(bucket, zero.dp_process_group)


def _gather(parameters: Sequence[Any], group: Any) -> None:
    """Gather parameters in one message; besides them it holds the bucket, unless it is a single parameter."""
    from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

    waiting = [parameter for parameter in parameters if parameter.ds_status == ZeroParamStatus.NOT_AVAILABLE]
    if not waiting:
        return
    parts = [parameter.ds_tensor.view(-1) for parameter in waiting]
    own = torch.cat(parts) if len(parts) > 1 else parts[0]
    ranks = dist.get_world_size(group)
    whole = own.new_empty(ranks * own.numel())
    dist.all_gather_into_tensor(whole, own, group=group)
    columns = whole.view(ranks, -1).split([part.numel() for part in parts], dim=1)
    for parameter, column in zip(waiting, columns, strict=True):  # (ranks, elements of a partition)
        parameter.data = column.reshape(-1)[: parameter.ds_numel].view(parameter.ds_shape)
        parameter.ds_status = ZeroParamStatus.AVAILABLE
