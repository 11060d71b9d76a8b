"""The DeepSpeed engine: its settings made from ours, its start, and the optimizer bound to its partitions."""

import logging
import math
import os
import socket
import warnings
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ...configs.errors import UserError
from ...model.encoder import EncoderLayer
from ..recipe.config import EngineConfig, OptimizerConfig
from .optimizer import StableAdamW, make_optimizer
from .parameter_shards import Fragment, flat_partitions, fragments
from .partition import reduce_bucket_size

QUANTIZED = ("zero_quantized_weights", "zero_quantized_gradients", "zero_quantized_nontrainable_weights")


def join_ranks(timeout_minutes: float) -> tuple[int, int, torch.device]:
    """Join the process group that the launcher's environment describes, or form one of this process alone.

    Returns:
        (rank, world size, this rank's device).
    """
    require_what_the_node_has(os.environ)
    if not torch.cuda.is_available():
        # Read by DeepSpeed when it is imported; otherwise it would guess from the installed packages.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "RANK" not in os.environ:
        os.environ.update(_alone(os.environ))
    import deepspeed
    import deepspeed.ops

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # DeepSpeed calls names that torch has renamed, once a collective.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    # Otherwise DeepSpeed compiles an operator on CPU machines that training never uses.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not torch.cuda.is_available():
        # DeepSpeed asks whether the CPU has instructions for fp16; torch computes it, slowly, on any.
        deepspeed.get_accelerator().is_fp16_supported = lambda: True
    deepspeed.init_distributed(timeout=timedelta(minutes=timeout_minutes), verbose=False)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return dist.get_rank(), dist.get_world_size(), device


def deepspeed_settings(config: EngineConfig, micro_batch_size: int, parameters: int) -> dict[str, Any]:
    """DeepSpeed's JSON. Whatever has an unsafe default there is always set."""
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "reduce_bucket_size": reduce_bucket_size(config, parameters),
        "zero_hpz_partition_size": config.zero_hpz_partition_size,
    }
    if config.zero_stage == 3:
        # A layer's weights are gathered together: at an encoder's size, one gather a module costs more than it saves.
        zero["leaf_module"] = {"classes": [f"{EncoderLayer.__module__}.{EncoderLayer.__qualname__}"]}
    if config.offload_optimizer == "cpu":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": micro_batch_size,
        # We decide where a step ends: `backward` accumulates, one `step` reduces and updates.
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        # Without ZeRO, DeepSpeed would clip by a norm that it does not tell: see `_clip_without_zero`.
        "gradient_clipping": config.gradient_clipping if config.zero_stage > 0 else 0.0,
        "zero_optimization": zero | config.zero_optimization,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }
    if config.precision != "fp32":
        settings[config.precision] = {"enabled": True}
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
        settings["communication_data_type"] = "fp32"
    return settings


def start_engine(
    model: torch.nn.Module,
    config: EngineConfig,
    optimizer: OptimizerConfig,
    micro_batch_size: int,
    device: torch.device,
) -> Any:
    """Partition the model over the ranks and give it its optimizer.

    The model comes whole, and equal, on every rank: an encoder's weights fit any host's memory, and so the same code
    serves initialisation and import at every ZeRO stage and world size.

    Raises:
        UserError: the device or the number of ranks does not allow the settings.
    """
    import deepspeed

    require_possible(config, device)
    client = make_optimizer(model, optimizer)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    engine, *_ = deepspeed.initialize(
        model=model.to(device),
        optimizer=client,
        config=deepspeed_settings(config, micro_batch_size, parameters),
    )
    if isinstance(client, StableAdamW) and config.zero_stage > 0:
        names = [name for name, _ in engine.module.named_parameters()]
        client.bind(flat_partitions(engine), fragments(engine), names, engine.optimizer.dp_process_group, device)
    if config.zero_stage == 0:
        client.register_step_pre_hook(partial(_clip_without_zero, config.gradient_clipping or math.inf))
    return engine


def require_what_the_node_has(environment: Mapping[str, str], devices: Path = Path("/dev")) -> None:
    """A node that has lost its GPUs must not train on its CPUs, or wait for the others in another backend.

    Raises:
        UserError: torch is built for the GPUs that are there and sees none, though nobody asked for the CPU.
    """
    kind = "nvidia[0-9]*" if torch.version.cuda else "kfd" if torch.version.hip else None
    asked = environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or environment.get("DS_ACCELERATOR") == "cpu"
    if kind and not asked and not torch.cuda.is_available() and any(devices.glob(kind)):
        raise UserError(
            f"{socket.gethostname()} has GPUs and torch sees none: `cmbert doctor` there says why; to train on its "
            'CPUs set CUDA_VISIBLE_DEVICES=""'
        )


def require_possible(config: EngineConfig, device: torch.device) -> None:
    """What only the running ranks can know of `config`."""
    zero, ranks = config.zero_optimization, dist.get_world_size()
    if device.type == "cpu" and (quantized := [key for key in QUANTIZED if zero.get(key)]):
        raise UserError(
            f"engine.zero_optimization.{quantized[0]}: DeepSpeed quantizes with CUDA kernels, and these ranks are on "
            "CPUs: remove this key"
        )
    if ranks % config.zero_hpz_partition_size:
        raise UserError(
            f"engine.zero_hpz_partition_size={config.zero_hpz_partition_size} does not divide the {ranks} ranks: "
            "set it to the ranks of a node, or to 1"
        )


def optimizer_state(engine: Any, fragment: Fragment) -> dict[str, torch.Tensor]:
    """What the optimizer keeps of one fragment, besides its step count; empty before the first step."""
    state = engine.basic_optimizer.state.get(fragment.flat, {})
    return {key: fragment.of(value) for key, value in state.items() if key != "step"}


def set_learning_rate(engine: Any, lr: float) -> None:
    for group in engine.optimizer.param_groups:
        group["lr"] = lr


def _clip_without_zero(max_norm: float, optimizer: Any, *_: Any) -> None:
    """Before the optimizer's step: clip, and leave the norm where the engine looks for it."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer._global_grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))


def _alone(environment: Mapping[str, str]) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return alone if "GLOO_SOCKET_IFNAME" in environment else alone | {"GLOO_SOCKET_IFNAME": "lo"}
