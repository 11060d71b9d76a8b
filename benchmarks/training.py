"""Compare training with alternatives on a CPU: DDP, FSDP2 and transformers' ModernBERT.

    python benchmarks/training.py engines [--rounds 10] [--precision fp32]
    python benchmarks/training.py transformers [--rounds 3]

`engines`: one optimizer step of two ranks, with the same small model, batch and AdamW in each. `transformers`: one
process and the same documents, which transformers takes padded to the longest. The contenders run alternately and the
fastest round of each counts, since other load on the machine can only slow them down. Prints Markdown tables.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from transformers import ModernBertForMaskedLM

from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.verify.bench import packs
from clinical_modernbert.launcher.ranks.local import run_ranks
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import save_pretrained
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.training.recipe.config import OptimizerConfig
from clinical_modernbert.training.recipe.engine_config import EngineConfig
from clinical_modernbert.training.zero.engine import join_ranks, start_engine

MODEL = ModelConfig(
    vocab_size=8192,
    hidden_size=256,
    intermediate_size=384,
    num_hidden_layers=8,
    num_attention_heads=4,
    pad_token_id=0,
    cls_token_id=1,
    sep_token_id=2,
)
TOKENS, MASKED_SHARE, RATE = 512, 0.3, 1e-4
Step = Callable[[], float]
Batch = tuple[torch.Tensor, PackedBatch, torch.Tensor, torch.Tensor]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["engines", "transformers", "rank"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "engines":
        command = [sys.executable, __file__, "rank", "--rounds", str(options.rounds), "--precision", options.precision]
        return run_ranks(command, 2, {"OMP_NUM_THREADS": "1"})
    if options.what == "rank":
        compare_engines(options.precision, options.rounds)
    else:
        compare_with_transformers(options.rounds)
    return 0


def compare_engines(precision: str, rounds: int) -> None:
    rank, _, device = join_ranks(timeout_minutes=5)
    batch = random_batch(packs(TOKENS)[next(name for name in packs(TOKENS) if "mixed" in name)], seed=rank)
    contenders = {
        # Under autocast, DDP would keep the residual stream in fp32, which the packed norms do not support.
        **({"DDP": plain(DistributedDataParallel(new_model()), batch)} if precision == "fp32" else {}),
        "FSDP2": fsdp2(batch, precision),
        "ours, ZeRO-3": zero(batch, precision, 3, device),
        "ours, ZeRO-1": zero(batch, precision, 1, device),
    }
    seconds, losses = run_rounds(contenders, rounds)
    if rank == 0:
        print(f"| {precision}, 2 ranks | ms per step | of FSDP2 | loss after {rounds + 1} steps |\n|---|---|---|---|")
        for name in contenders:
            ratio = seconds[name] / seconds["FSDP2"]
            print(f"| {name} | {1000 * seconds[name]:.0f} | {ratio:.2f} | {losses[name]:.4f} |")


def compare_with_transformers(rounds: int) -> None:
    print("| documents | ours, tokens/s | transformers, tokens/s | ratio | loss of both |\n|---|---|---|---|---|")
    for name, lengths in packs(8192).items():
        batch = random_batch(lengths, seed=1)
        ours = new_model()
        with TemporaryDirectory() as directory:
            save_pretrained(ours.state_dict(), MODEL, Path(directory))
            theirs = ModernBertForMaskedLM.from_pretrained(
                directory, attn_implementation="sdpa", trust_remote_code=False
            ).train()
        contenders = {"ours": plain(ours, batch), "transformers": padded(theirs, batch)}
        seconds, losses = run_rounds(contenders, rounds)
        speed = {who: sum(lengths) / seconds[who] for who in contenders}
        print(
            f"| {name} | {speed['ours']:,.0f} | {speed['transformers']:,.0f} | "
            f"{speed['ours'] / speed['transformers']:.1f} | {losses['ours']:.4f}, {losses['transformers']:.4f} |",
            flush=True,
        )


def run_rounds(contenders: dict[str, Step], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """(fastest seconds per step, loss of the last step) of each contender. The first round is not timed."""
    seconds = dict.fromkeys(contenders, float("inf"))
    losses = {name: step() for name, step in contenders.items()}
    for _ in range(rounds):
        for name, step in contenders.items():
            if dist.is_initialized():
                dist.barrier()
            started = time.perf_counter()
            losses[name] = step()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return seconds, losses


def fsdp2(batch: Batch, precision: str) -> Step:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    model, mesh = new_model(), init_device_mesh("cpu", (dist.get_world_size(),))
    low = torch.bfloat16 if precision == "bf16" else None
    policy = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32)
    for module in (*model.model.layers, model):
        fully_shard(module, mesh=mesh, mp_policy=policy)
    return plain(model, batch)


def zero(batch: Batch, precision: str, stage: int, device: torch.device) -> Step:
    config = EngineConfig(precision=precision, zero_stage=stage)
    engine = start_engine(new_model(), config, OptimizerConfig(name="adamw", lr=RATE, weight_decay=0), 1, device)

    def step() -> float:
        loss = engine(*batch)[0] / len(batch[3])
        engine.backward(loss, scale_wrt_gas=False)
        engine.step()
        return loss.item()

    return step


def plain(model: torch.nn.Module, batch: Batch) -> Step:
    return optimizer_step(model, lambda: model(*batch)[0] / len(batch[3]))


def padded(model: torch.nn.Module, batch: Batch) -> Step:
    """A step on the same documents and masks, padded to a rectangle."""
    input_ids, packed, positions, targets = batch
    labels = torch.full_like(input_ids, -100).index_copy(0, positions, targets)
    ids, masks, rows = (
        torch.nn.utils.rnn.pad_sequence(list(each.split(packed.lengths)), batch_first=True, padding_value=value)
        for each, value in ((input_ids, MODEL.pad_token_id), (torch.ones_like(input_ids), 0), (labels, -100))
    )
    return optimizer_step(model, lambda: model(input_ids=ids, attention_mask=masks, labels=rows).loss)


def optimizer_step(model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), eps=1e-6, weight_decay=0)

    def step() -> float:
        value = loss()
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return value.item()

    return step


def new_model() -> MaskedLM:
    model = MaskedLM(MODEL)
    initialize(model, seed=1)
    return model


def random_batch(lengths: Sequence[int], seed: int) -> Batch:
    draw = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    positions = torch.randperm(total, generator=draw)[: int(total * MASKED_SHARE)].sort().values
    ids = torch.randint(3, MODEL.vocab_size, (total,), generator=draw)
    targets = torch.randint(3, MODEL.vocab_size, positions.shape, generator=draw)
    return ids, PackedBatch.from_lengths(lengths, "cpu"), positions, targets


if __name__ == "__main__":
    run_program(main)
