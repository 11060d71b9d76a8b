"""Two ranks of strict ZeRO-3 compute the same as one process. This file is both the test and the ranks' program."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM

RANKS, STEPS, RATE, SEED = 2, 3, 0.5, 11
CONFIG = ModelConfig(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=4,
    num_attention_heads=2,
    local_attention=8,
    initializer_range=0.2,
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
)


def task(step: int, rank: int) -> tuple[Tensor, PackedBatch, Tensor, Tensor]:
    """One micro-batch. Rank 1 has no masked tokens in step 1."""
    generator = torch.Generator().manual_seed(10 * step + rank)
    lengths = [(30, 5, 13), (8, 1, 21)][rank]
    ids = torch.randint(3, CONFIG.vocab_size, (sum(lengths),), generator=generator)
    targets = torch.randint(3, CONFIG.vocab_size, ids.shape, generator=generator)
    positions = torch.arange(rank, len(ids), 4 + rank)[: 0 if (step, rank) == (1, 1) else None]
    return ids, PackedBatch.from_lengths(lengths, "cpu"), positions, targets[positions]


def run_one_process() -> tuple[list[list[float]], dict[str, Tensor]]:
    """Losses and final parameters of SGD on both ranks' batches in one process."""
    model = MaskedLM(CONFIG)
    initialize(model, SEED)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    losses = []
    for step in range(STEPS):
        batches = [task(step, rank) for rank in range(RANKS)]
        total = torch.stack([model(*batch)[0] for batch in batches])
        losses.append(total.tolist())
        optimizer.zero_grad()
        (total.sum() / sum(len(batch[3]) for batch in batches)).backward()
        optimizer.step()
    return losses, {name: parameter.detach() for name, parameter in model.named_parameters()}


def run_rank(directory: Path) -> None:
    """One rank: zero.Init, every parameter partitioned and released immediately, activation checkpointing."""
    import deepspeed
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # otherwise it compiles an op that is not used
    deepspeed.init_distributed("gloo", verbose=False)
    rank = torch.distributed.get_rank()
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_clipping": 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": 3,
            "stage3_param_persistence_threshold": 0,
            "stage3_max_live_parameters": 1,
            "stage3_max_reuse_distance": 0,
            "stage3_prefetch_bucket_size": 0,
            "overlap_comm": False,
        },
    }
    with deepspeed.zero.Init(config_dict_or_path=settings):
        model = MaskedLM(CONFIG)
    with deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0):
        if rank == 0:
            initialize(model, SEED)
    model.model.activation_checkpointing = True
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
    losses = []
    for step in range(STEPS):
        loss, _ = engine(*task(step, rank))
        losses.append(loss.item())
        engine.backward(loss * RANKS / sum(len(task(step, other)[3]) for other in range(RANKS)))
        engine.step()
    with torch.no_grad():
        logits = engine.module.logits(*task(0, 0)[:3])
    partitioned = all(parameter.numel() == 0 for parameter in model.parameters())
    with deepspeed.zero.GatheredParameters(list(model.parameters())):
        weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    result = {"losses": losses, "weights": weights, "partitioned": partitioned, "logits": logits}
    torch.save(result, directory / f"rank{rank}.pt")
    torch.distributed.destroy_process_group()  # its threads may not outlive the interpreter


@pytest.mark.slow
def test_two_ranks_of_strict_zero_3_equal_one_process(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": str(RANKS),
        "GLOO_SOCKET_IFNAME": "lo",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
    }
    program = [sys.executable, __file__, str(tmp_path)]
    ranks = [
        subprocess.Popen(
            program,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(RANKS)
    ]
    try:
        outputs = [rank.communicate(timeout=150)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert all(rank.returncode == 0 for rank in ranks), "\n".join(outputs)

    losses, weights = run_one_process()
    results = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(RANKS)]
    for number, result in enumerate(results):
        assert result["partitioned"]
        torch.testing.assert_close(result["losses"], [step[number] for step in losses], rtol=1e-5, atol=1e-5)
        assert result["weights"].keys() == weights.keys()
        for name, value in weights.items():
            torch.testing.assert_close(result["weights"][name], value, rtol=0, atol=1e-5, msg=name)
    model = MaskedLM(CONFIG)
    model.load_state_dict(weights | {"decoder.weight": weights["model.embeddings.tok_embeddings.weight"]})
    torch.testing.assert_close(results[0]["logits"], model.logits(*task(0, 0)[:3]).detach(), rtol=0, atol=1e-4)


if __name__ == "__main__":
    run_rank(Path(sys.argv[1]))
