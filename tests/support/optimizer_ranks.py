"""Real ranks that train a very small model at several ZeRO stages in one start, and save their state at two steps."""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from clinical_modernbert.model.config import ModelConfig

STEPS, HALF, MICRO_BATCHES, TOKENS, LR = 6, 3, 12, 64, 3e-3
CLIPPING = 0.5
MODEL = ModelConfig(
    vocab_size=101,
    hidden_size=44,  # no power of two, so that borders between ranks cut matrices
    intermediate_size=50,
    num_hidden_layers=3,
    num_attention_heads=2,
    local_attention=8,
    max_position_embeddings=TOKENS,
    initializer_range=0.06,
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
)
_STRICT = {
    "stage3_param_persistence_threshold": 0,
    "stage3_max_live_parameters": 1,
    "stage3_max_reuse_distance": 0,
    "stage3_prefetch_bucket_size": 0,
}
ENGINES: dict[str, dict[str, Any]] = {
    "0": {"zero_stage": 0},
    "1": {"zero_stage": 1},
    "2": {"zero_stage": 2},
    "3": {"zero_stage": 3, "zero_optimization": _STRICT},
    "3, small groups": {"zero_stage": 3, "zero_optimization": {**_STRICT, "sub_group_size": 9000}},
    "3, gathered": {"zero_stage": 3},
    "1, offloaded": {"zero_stage": 1, "offload_optimizer": "cpu"},
    "1, bf16": {"zero_stage": 1, "precision": "bf16"},
}


def rate(step: int) -> float:
    return LR * min(1.0, (step + 1) / 3) * (1 - step / (2 * STEPS))


def micro_batches(step: int) -> Iterator[Any]:
    """All ranks' micro-batches of a step, of sequences of different lengths, with something to learn."""
    import numpy as np
    import torch

    from clinical_modernbert.streaming_data.loader.batches import MicroBatch
    from clinical_modernbert.streaming_data.loader.order import PackAddress

    draw = np.random.default_rng(step)
    for number in range(MICRO_BATCHES):
        cuts = np.sort(draw.choice(np.arange(1, TOKENS), 3, replace=False))
        tokens = torch.from_numpy(draw.integers(3, MODEL.vocab_size, TOKENS))
        tokens = (tokens * tokens) % MODEL.vocab_size
        masked = torch.from_numpy(np.sort(draw.choice(TOKENS, 5 + number % 7, replace=False)))
        yield MicroBatch(
            input_ids=tokens,
            lengths=tuple(np.diff([0, *cuts, TOKENS]).tolist()),
            masked_positions=masked,
            targets=tokens[masked],
            addresses=(PackAddress(0, step, number),),
            pack_tokens=(TOKENS,),
        )


def train(
    ranks: int, out: Path, optimizer: Mapping[str, Any], engines: list[str], continued: Mapping[str, Path] | None = None
) -> dict[str, dict[str, int]]:
    """Train with `ranks` processes, each engine in turn.

    Args:
        out: gets a run directory per engine, `out / engine`, with checkpoints of steps HALF and STEPS; and one
            `out / "engine, again"`, continued by a new engine from the first of them.
        optimizer: the section of a recipe, without its rate.
        continued: further runs to continue, by engine: `out / "engine, continued"` is continued from that checkpoint.
    Returns:
        Of each engine: elements that all ranks sent to others in one step by all-to-all.
    """
    from warm_start import server

    out.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = (ranks, port, out, dict(optimizer), engines, dict(continued or {}))
    processes = [server().Process(target=_rank, args=(rank, *arguments)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=300)
        assert process.exitcode == 0
    result: dict[str, dict[str, int]] = json.loads((out / "sent.json").read_text())
    return result


def _rank(
    rank: int,
    ranks: int,
    port: int,
    out: Path,
    optimizer: dict[str, Any],
    engines: list[str],
    continued: dict[str, Path],
) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    import torch
    import torch.distributed as dist

    from clinical_modernbert.training.zero.engine import join_ranks

    torch.set_num_threads(1)
    join_ranks(2)
    count = _count_all_to_all(rank)
    sent = {}
    for name in engines:
        engine = _start(ENGINES[name], optimizer)
        _steps(engine, 0, HALF)
        half = _save(engine, out / name, HALF)
        before = count()
        _steps(engine, HALF, HALF + 1)
        totals = torch.tensor([count() - before])
        dist.all_reduce(totals)
        sent[name] = {"elements": int(totals)}
        _steps(engine, HALF + 1, STEPS)
        _save(engine, out / name, STEPS)
        _require_skip(engine)
        again = _start(ENGINES[name], optimizer)
        _load(again, half)
        _steps(again, HALF, STEPS)
        _save(again, out / f"{name}, again", STEPS)
    for name, checkpoint in continued.items():
        engine = _start(ENGINES[name], optimizer)
        _load(engine, checkpoint)
        _steps(engine, HALF, STEPS)
        _save(engine, out / f"{name}, continued", STEPS)
    if rank == 0:
        (out / "sent.json").write_text(json.dumps(sent))
    dist.barrier()
    sys.stdout.flush()
    os._exit(0)


def _count_all_to_all(rank: int) -> Callable[[], int]:
    """Count the elements that this rank sends to others, from now on."""
    import torch.distributed as dist

    total, call = 0, dist.all_to_all_single

    def counted(output: Any, tensor: Any, received: list[int], sizes: list[int], **options: Any) -> Any:
        nonlocal total
        total += sum(sizes) - sizes[rank]
        return call(output, tensor, received, sizes, **options)

    dist.all_to_all_single = counted  # type: ignore[assignment]
    return lambda: total


def _start(engine: dict[str, Any], optimizer: dict[str, Any]) -> Any:
    import torch

    from clinical_modernbert.model.initialize import initialize
    from clinical_modernbert.model.masked_lm import MaskedLM
    from clinical_modernbert.training.recipe.config import OptimizerConfig
    from clinical_modernbert.training.recipe.engine_config import EngineConfig
    from clinical_modernbert.training.zero.engine import start_engine

    settings = EngineConfig.model_validate({"precision": "fp32", "gradient_clipping": CLIPPING} | engine)
    model = MaskedLM(MODEL)
    initialize(model, 5)
    return start_engine(model, settings, OptimizerConfig.model_validate({"lr": LR} | optimizer), 1, torch.device("cpu"))


def _steps(engine: Any, first: int, end: int, factor: float = 1.0) -> None:
    import torch
    import torch.distributed as dist

    from clinical_modernbert.training.copies import stage
    from clinical_modernbert.training.objective import accumulate
    from clinical_modernbert.training.zero.engine import set_learning_rate

    for step in range(first, end):
        batches = list(micro_batches(step))
        masked: Any = sum(len(batch.targets) for batch in batches) / factor
        mine = batches[dist.get_rank() :: dist.get_world_size()]
        accumulate(engine, [stage(batch, torch.device("cpu")) for batch in mine], masked, 0)
        set_learning_rate(engine, rate(step))
        engine.step()


def _require_skip(engine: Any) -> None:
    """A step whose gradients are not finite must change nothing, on any rank."""
    import torch

    from clinical_modernbert.training.checkpoint.snapshot import copy_to_host

    before = copy_to_host(engine)
    _steps(engine, STEPS, STEPS + 1, factor=float("nan"))
    assert not engine.was_step_applied()
    after = copy_to_host(engine)
    assert all(torch.equal(after.tensors[name], value) for name, value in before.tensors.items())


def _save(engine: Any, run_dir: Path, step: int) -> Path:
    import torch.distributed as dist
    from written_run import manifest_of

    from clinical_modernbert.training.checkpoint import save_load
    from clinical_modernbert.training.checkpoint.attempts import Attempt
    from clinical_modernbert.training.checkpoint.snapshot import copy_to_host
    from clinical_modernbert.training.nodes.node import join_node

    updates = save_load.optimizer_step(engine)

    def describe(written: Any) -> Any:
        update = {**written._asdict(), "optimizer_step": updates, "model": MODEL}
        return manifest_of(step).model_copy(update=update)

    directory = run_dir / "checkpoints"
    node = join_node([0] * dist.get_world_size(), timedelta(minutes=5))
    save_load.save(copy_to_host(engine), directory, step, Attempt(run_dir, 1), describe, node)
    return directory / f"step{step:08d}"


def _load(engine: Any, checkpoint: Path) -> None:
    from clinical_modernbert.training.checkpoint import save_load
    from clinical_modernbert.training.checkpoint.manifest import read_manifest

    save_load.load(engine, checkpoint, read_manifest(checkpoint))
