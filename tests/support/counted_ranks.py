"""Bytes that real ranks hold and exchange in one optimizer step, counted while it runs.

python tests/support/counted_ranks.py 4        # a table of counted and predicted bytes at four ranks
"""

import gc
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.training.recipe.config import OptimizerConfig
from clinical_modernbert.training.recipe.engine_config import EngineConfig

MODEL = ModelConfig(
    vocab_size=2048,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=4,
    num_attention_heads=2,
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
)
MICRO_BATCHES, TOKENS = 2, 16
_STRICT = {"stage3_param_persistence_threshold": 0, "stage3_max_live_parameters": 1, "stage3_max_reuse_distance": 0}
ENGINES: dict[str, dict[str, Any]] = {
    "0 fp32": {"zero_stage": 0, "precision": "fp32"},
    "1 bf16": {"zero_stage": 1},
    "1 bf16, reduced in bf16": {"zero_stage": 1, "reduce_precision": "bf16"},
    "1 fp32": {"zero_stage": 1, "precision": "fp32"},
    "2 bf16": {"zero_stage": 2},
    "2 bf16, reduced in bf16": {"zero_stage": 2, "reduce_precision": "bf16"},
    "2 fp32": {"zero_stage": 2, "precision": "fp32"},
    # Two matrices of each layer stay unpartitioned, two are partitioned.
    "3 bf16": {"zero_stage": 3, "zero_optimization": {"stage3_param_persistence_threshold": 5000}},
    "3 bf16, reduced in bf16": {
        "zero_stage": 3,
        "reduce_precision": "bf16",
        "zero_optimization": {"stage3_param_persistence_threshold": 5000},
    },
    "3 bf16, gathered": {"zero_stage": 3, "zero_optimization": {"stage3_param_persistence_threshold": 10**6}},
    "3 bf16, gathered in pieces": {
        "zero_stage": 3,
        "zero_optimization": {"stage3_param_persistence_threshold": 10**6, "allgather_bucket_size": 50_000},
    },
    "3 bf16, in pieces": {
        "zero_stage": 3,
        "zero_optimization": {
            "stage3_param_persistence_threshold": 5000,
            "stage3_prefetch_bucket_size": 100_000,
            "reduce_bucket_size": 50_000,
        },
    },
    "2 bf16, in pieces": {"zero_stage": 2, "zero_optimization": {"reduce_bucket_size": 50_000}},
    "1 bf16, Muon": {"zero_stage": 1},
    "3 bf16, Muon": {"zero_stage": 3, "zero_optimization": {"stage3_param_persistence_threshold": 5000}},
    "3 fp32, strict": {
        "zero_stage": 3,
        "precision": "fp32",
        "zero_optimization": {**_STRICT, "stage3_prefetch_bucket_size": 0},
    },
}


def optimizer_of(name: str) -> OptimizerConfig:
    """The optimizer of one of `ENGINES`."""
    return OptimizerConfig(lr=1e-3, name="muon" if "Muon" in name else "stable_adamw")


@dataclass
class Counted:
    """Bytes of one rank in one step.

    Attributes:
        held: the peak of all tensors' bytes, sampled while gradients are exchanged and after backward.
        gathering: the same, while weights are gathered.
        exchanged: bytes of the full tensors, by collective.
        messages: bytes of the full tensor of each call, in their order, by collective.
    """

    held: int = 0
    gathering: int = 0
    exchanged: dict[str, int] = field(default_factory=dict)
    messages: dict[str, list[int]] = field(default_factory=dict)


def count(ranks: int, names: Sequence[str] = tuple(ENGINES)) -> dict[str, Counted]:
    """Count one step of each of these `ENGINES` with `ranks` processes."""
    from warm_start import server

    with socket.socket() as free, tempfile.TemporaryDirectory() as directory:
        free.bind(("127.0.0.1", 0))
        results, port = Path(directory) / "counted.json", free.getsockname()[1]
        free.close()
        processes = [server().Process(target=_rank, args=(rank, ranks, port, results, names)) for rank in range(ranks)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=120)
            assert process.exitcode == 0
        return {name: Counted(**counted) for name, counted in json.loads(results.read_text()).items()}


def _rank(rank: int, ranks: int, port: int, results: Path, names: Sequence[str]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    import torch

    torch.set_num_threads(1)
    counter = _Counter()
    counter.wrap_collectives()
    counted = {name: _count(counter, EngineConfig.model_validate(ENGINES[name]), optimizer_of(name)) for name in names}
    if rank == 0:
        results.write_text(json.dumps({name: asdict(one) for name, one in counted.items()}))
    torch.distributed.barrier()
    sys.stdout.flush()
    os._exit(0)


class _Counter:
    """Counts the traffic of torch.distributed, and the bytes in tensors, while `counted` is set."""

    def __init__(self) -> None:
        self.counted: Counted | None = None
        self.before: set[int] = set()

    def wrap_collectives(self) -> None:
        """Wrap the collectives. Call it before DeepSpeed stores references to them."""
        import torch.distributed as dist

        first: dict[str, Callable[..., int]] = {
            "all_reduce": lambda tensor: tensor.nbytes,
            "all_gather_into_tensor": lambda output, tensor: output.nbytes,
            "reduce_scatter_tensor": lambda output, tensor: tensor.nbytes,
        }
        for name, size in first.items():
            setattr(dist, name, partial(self._call, name, size, getattr(dist, name)))
        dist.all_to_all_single = partial(self._all_to_all, dist.all_to_all_single)

    def _all_to_all(
        self, function: Any, output: Any, sent: Any, received: list[int], sizes: list[int], **options: Any
    ) -> Any:
        """Count what goes to other ranks."""
        import torch

        if self.counted is not None:
            others = sum(sizes) - sizes[torch.distributed.get_rank()]
            before = self.counted.exchanged.get("all_to_all_single", 0)
            self.counted.exchanged["all_to_all_single"] = before + others * sent.element_size()
        return function(output, sent, received, sizes, **options)

    def _call(self, name: str, size: Callable[..., int], function: Any, *args: Any, **kwargs: Any) -> Any:
        import torch

        if self.counted is not None:
            tensors = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)]
            self.counted.exchanged[name] = self.counted.exchanged.get(name, 0) + size(*tensors)
            self.counted.messages.setdefault(name, []).append(size(*tensors))
            if name == "all_gather_into_tensor":
                self.counted.gathering = max(self.counted.gathering, self.held())
            elif size(*tensors) > MODEL.num_parameters:
                self.sample()
        return function(*args, **kwargs)

    def sample(self) -> None:
        assert self.counted is not None
        self.counted.held = max(self.counted.held, self.held())

    def held(self) -> int:
        return sum(size for address, size in _storages().items() if address not in self.before)


def _storages() -> dict[int, int]:
    """Bytes of every tensor's storage, by address."""
    import torch

    tensors = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
    tensors += [one.grad for one in tensors if one.is_leaf and one.grad is not None]
    return {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}


def _count(counter: _Counter, config: EngineConfig, optimizer: OptimizerConfig) -> Counted:
    import torch

    from clinical_modernbert.model.masked_lm import MaskedLM
    from clinical_modernbert.training.copies import stage
    from clinical_modernbert.training.objective import accumulate
    from clinical_modernbert.training.zero.engine import join_ranks, start_engine

    _, ranks, device = join_ranks(1)
    gc.collect()
    gc.freeze()  # otherwise every sample inspects all objects of all imported modules
    counter.before = set(_storages())
    engine = start_engine(MaskedLM(MODEL), config, optimizer, 1, device)
    for step in range(2):  # the first creates the optimizer's state
        if step == 1:
            counter.counted = Counted()
        batches = [stage(batch, device) for batch in _micro_batches()]
        accumulate(engine, batches, ranks * MICRO_BATCHES * TOKENS, seed=1)
        if counter.counted:
            counter.sample()
        engine.step()
    counted, counter.counted = counter.counted, None
    assert counted is not None
    if config.stage == 3:
        _require_what_deepspeed_gathers(engine.optimizer)
    engine.destroy()
    torch.distributed.barrier()
    return counted


def _require_what_deepspeed_gathers(zero: Any) -> None:
    """The weights after the step are those that DeepSpeed gathers one by one, bit for bit."""
    import torch

    parameters = zero.persistent_parameters
    ours = [parameter.data.clone() for parameter in parameters]
    for parameter in parameters:
        parameter.ds_active_sub_modules.clear()
        parameter.partition()
        assert parameter.data.numel() == 0
    if parameters:
        parameters[0].all_gather(parameters)
    for parameter, our in zip(parameters, ours, strict=True):
        assert parameter.dtype == our.dtype
        assert torch.equal(parameter.data, our)


def _micro_batches() -> Sequence[Any]:
    import torch

    from clinical_modernbert.streaming_data.loader.batches import MicroBatch

    ids = torch.arange(TOKENS) + 3
    one = MicroBatch(
        input_ids=ids,
        lengths=(TOKENS,),
        masked_positions=torch.arange(TOKENS),
        targets=ids,
        addresses=(),
        pack_tokens=(TOKENS,),
    )
    return [one] * MICRO_BATCHES


def main(ranks: int) -> None:
    from clinical_modernbert.training.planning.communication import exchange
    from clinical_modernbert.training.planning.memory import kept_bytes, states

    for name, counted in count(ranks).items():
        engine, optimizer = EngineConfig.model_validate(ENGINES[name]), optimizer_of(name)
        predicted = exchange(MODEL, engine, MICRO_BATCHES, optimizer, ranks)
        held = states(MODEL, engine, ranks, kept_bytes(MODEL, optimizer)).device
        print(f"{name:25} held {counted.held:,} predicted {held:,.0f}")
        print(f"{'':25} exchanged {counted.exchanged} predicted {asdict(predicted)}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
