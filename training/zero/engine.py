"""The DeepSpeed engine: its configuration, its start, and the optimizer bound to its partitions."""

import logging
import math
import os
import socket
import warnings
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ...configs.errors import TransientError, UserError
from ...model.encoder import EncoderLayer
from ..recipe.config import OptimizerConfig
from ..recipe.engine_config import EngineConfig
from ..recipe.limits import require_whole_copies
from .gathered import drop_gathering_hooks, gather_in_buckets
from .make_optimizer import make_optimizer
from .optimizer import StableAdamW
from .parameter_shards import ParameterShard, flat_partitions, parameter_shards
from .partition import gather_bucket_size, reduce_bucket_size, stays_gathered, stays_until_backward
from .without_compiler import without_compiler

QUANTIZED = ("zero_quantized_weights", "zero_quantized_gradients", "zero_quantized_nontrainable_weights")


def join_ranks(timeout_minutes: float) -> tuple[int, int, torch.device]:
    """Join the process group described by the launcher's environment, or create one of a single process.

    Returns:
        (rank, world size, this rank's device).
    Raises:
        UserError: the launcher's environment is incomplete.
        TransientError: the port is in use, or the other ranks cannot be reached.
    """
    require_visible_gpus(os.environ)
    if not torch.cuda.is_available():
        # DeepSpeed reads it when it is imported; otherwise it would guess from the installed packages.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "RANK" not in os.environ and not _is_one_of_mpi(os.environ):
        os.environ.update(_single_process(os.environ))
    with without_compiler():
        import deepspeed
        import deepspeed.ops

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # DeepSpeed calls names that torch has renamed, in every collective.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    # Otherwise DeepSpeed tries all its operators, with a C compiler, and compiles one that training does not use.
    deepspeed.ops.__compatible_ops__ = {}
    if not torch.cuda.is_available():
        # DeepSpeed requires a CPU with fp16 instructions; torch computes fp16 on any CPU, slowly.
        accelerator = deepspeed.get_accelerator()
        accelerator.is_fp16_supported = lambda: True
        # At ZeRO-3 DeepSpeed counts the processor's NUMA nodes in every micro-batch, with a new process.
        accelerator.device_count = cache(accelerator.device_count)
    require_rendezvous(os.environ)
    try:
        # DeepSpeed would ask mpi4py for ranks that are not in the environment, and this project needs no MPI.
        deepspeed.init_distributed(timeout=timedelta(minutes=timeout_minutes), verbose=False, auto_mpi_discovery=False)
    except dist.DistNetworkError as error:
        raise _rendezvous_error(os.environ, str(error)) from error
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    return dist.get_rank(), dist.get_world_size(), device


def require_rendezvous(environment: Mapping[str, str]) -> None:
    """Require the variables by which ranks find each other.

    Raises:
        UserError: the launcher has not set them all, or one is not a number.
    """
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in names if not environment.get(name)]:
        raise UserError(
            f"the launcher has not set {', '.join(missing)}: start the ranks with `cmbert train`, or "
            "launcher/train.py with torchrun, deepspeed, srun or mpirun"
        )
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"):
        if not (environment[name].isascii() and environment[name].isdigit()):
            raise UserError(f"{name} is {environment[name]!r}, expected a number: the launcher sets it")


def _is_one_of_mpi(environment: Mapping[str, str]) -> bool:
    """Whether Open MPI's mpirun started this process as one of several: alone it must not train.

    MPICH's PMI_SIZE says less: srun sets it too, for the steps of a job's preflight.
    """
    return environment.get("OMPI_COMM_WORLD_SIZE", "1") != "1"


def _rendezvous_error(environment: Mapping[str, str], problem: str) -> TransientError:
    address, port = environment["MASTER_ADDR"], environment["MASTER_PORT"]
    first = problem.splitlines()[0] if problem else "no answer"
    if "EADDRINUSE" in problem or "address already in use" in problem.lower():
        return TransientError(
            f"port {port} of {address} is in use by another process, perhaps another run on this machine: choose a "
            "free one, with --master_port (deepspeed), --master-port (torchrun) or MASTER_PORT"
        )
    return TransientError(f"rank {environment['RANK']} cannot reach the first rank at {address}:{port}: {first}")


def deepspeed_config(config: EngineConfig, micro_batch_size: int, sizes: Sequence[int]) -> dict[str, Any]:
    """DeepSpeed's JSON configuration. Keys with an unsafe default are always set.

    Args:
        sizes: elements of each parameter.
    """
    zero: dict[str, Any] = {
        "stage": config.stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "reduce_bucket_size": reduce_bucket_size(config, sum(sizes)),
        "zero_hpz_partition_size": config.zero_hpz_partition_size,
    }
    gathered = config.stage == 3 and stays_gathered(config, max(sizes))
    if gathered or (config.stage == 3 and stays_until_backward(config, sum(sizes))):
        # It keeps no weight alive for backward; these are alive anyway, and it is a slow function in Python.
        zero["memory_efficient_linear"] = False
    if config.stage == 3 and not gathered:
        # A layer's weights are gathered together: at an encoder's size, one gather per module costs more than it saves.
        zero["leaf_module"] = {"classes": [f"{EncoderLayer.__module__}.{EncoderLayer.__qualname__}"]}
    if config.offload_optimizer == "cpu":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": micro_batch_size,
        # The training loop decides where a step ends: `backward` accumulates, one `step` reduces and updates.
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        # Without ZeRO, DeepSpeed would clip by a norm that it does not report: see `_clip_without_zero`.
        "gradient_clipping": config.gradient_clipping if config.stage > 0 else 0.0,
        "zero_optimization": zero | config.zero_optimization,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
    }
    if config.precision != "fp32":
        settings[config.precision] = {"enabled": True}
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
        settings["communication_data_type"] = config.reduce_precision
    return settings


def start_engine(
    model: torch.nn.Module,
    config: EngineConfig,
    optimizer: OptimizerConfig,
    micro_batch_size: int,
    device: torch.device,
) -> Any:
    """Partition the model over the ranks and create its optimizer.

    Every rank passes the complete, identical model: an encoder's weights fit any host's memory, and the same code then
    serves initialization and import at every ZeRO stage and world size.

    Raises:
        UserError: the device or the number of ranks does not support the settings.
    """
    import deepspeed
    from deepspeed.runtime.bf16_optimizer import BF16_Optimizer

    require_supported(config, device)
    client = make_optimizer(model, optimizer)
    sizes = [parameter.numel() for parameter in model.parameters()]
    with without_compiler():
        engine, *_ = deepspeed.initialize(
            model=model.to(device),
            optimizer=client,
            config=deepspeed_config(config, micro_batch_size, sizes),
        )
    if config.stage == 3:
        gather_in_buckets(engine.optimizer, gather_bucket_size(config))
    if config.stage == 3 and stays_gathered(config, max(sizes)):
        drop_gathering_hooks(engine)
    if isinstance(client, StableAdamW) and config.stage > 0:
        names = [name for name, _ in engine.module.named_parameters()]
        client.bind(flat_partitions(engine), parameter_shards(engine), names, engine.optimizer.dp_process_group, device)
    if config.precision == "bf16" and hasattr(engine.optimizer, "check_grad_overflow"):
        # DeepSpeed skips steps that are not finite by their norm, except at ZeRO-2 in bf16: there only if it also
        # searches all gradients, which costs a collective and finds nothing that the norm does not show.
        engine.optimizer.check_grad_overflow = True
        engine.optimizer.check_overflow = lambda **_: None
    if isinstance(engine.optimizer, BF16_Optimizer):
        # Flat sums are exchanged one by one, in place: several at a time would be copied into one buffer first.
        engine.allreduce_gradients = partial(engine.allreduce_gradients, bucket_size=0)
        engine.optimizer.update_hp_grads = partial(_add_gradients, engine.optimizer)
    if config.stage == 0:
        client.register_step_pre_hook(partial(_clip_without_zero, config.gradient_clipping or math.inf))
    return engine


def require_visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> None:
    """Refuse to train on the CPUs of a node whose GPUs have become unavailable, or to mix backends with other nodes.

    Raises:
        UserError: the node has GPUs that torch is built for, torch sees none, and CPUs were not requested.
    """
    kind = "nvidia[0-9]*" if torch.version.cuda else "kfd" if torch.version.hip else None
    cpu_requested = environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or environment.get("DS_ACCELERATOR") == "cpu"
    if kind and not cpu_requested and not torch.cuda.is_available() and any(devices.glob(kind)):
        raise UserError(
            f"{socket.gethostname()} has GPUs and torch sees none: run `cmbert doctor` there to find the cause; to "
            'train on its CPUs set CUDA_VISIBLE_DEVICES=""'
        )


def require_supported(config: EngineConfig, device: torch.device) -> None:
    """Check the settings that depend on the device and the number of ranks.

    Raises:
        UserError: they do not support `config`.
    """
    zero = config.zero_optimization
    if device.type == "cpu" and (quantized := [key for key in QUANTIZED if zero.get(key)]):
        raise UserError(
            f"engine.zero_optimization.{quantized[0]}: DeepSpeed quantizes with CUDA kernels, and these ranks run on "
            "CPUs: remove this key"
        )
    require_whole_copies(config, dist.get_world_size())


def optimizer_state(engine: Any, shard: ParameterShard) -> dict[str, torch.Tensor]:
    """The optimizer's state of one shard, without its step count; empty before the first step."""
    state = engine.basic_optimizer.state.get(shard.flat, {})
    return {key: shard.view_in(value) for key, value in state.items() if key != "step"}


def set_learning_rate(engine: Any, lr: float) -> None:
    for group in engine.optimizer.param_groups:
        group["lr"] = lr


@torch.no_grad()
def _add_gradients(optimizer: Any, **_: Any) -> None:
    """Add the gradients of a micro-batch to their fp32 sums, and free them, as ZeRO-1 in bf16 does after backward.

    DeepSpeed's own function makes an fp32 copy of each gradient, keeps those in bf16, and is a loop in Python.
    """
    groups = (optimizer.bf16_groups, optimizer.fp32_groups_gradients, optimizer.fp32_groups_has_gradients)
    for parameters, sums, found in zip(*groups, strict=True):
        present = [at for at, parameter in enumerate(parameters) if parameter.grad is not None]
        torch._foreach_add_([sums[at] for at in present], [parameters[at].grad.reshape(-1) for at in present])
        for at in present:
            parameters[at].grad = None
            found[at] = True


def _clip_without_zero(max_norm: float, optimizer: Any, *_: Any) -> None:
    """Clip gradients before the optimizer's step, and store their norm where the engine reads it.

    If the norm is not finite, there is nothing to apply, and the engine counts the step as skipped.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    optimizer._global_grad_norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_norm))
    optimizer.overflow = not math.isfinite(optimizer._global_grad_norm)
    if optimizer.overflow:
        for parameter in parameters:
            parameter.grad = None


def _single_process(environment: Mapping[str, str]) -> dict[str, str]:
    """The launcher's environment variables for a process group of this process only, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return ranks if "GLOO_SOCKET_IFNAME" in environment else ranks | {"GLOO_SOCKET_IFNAME": "lo"}
