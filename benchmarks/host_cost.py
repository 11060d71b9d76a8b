"""CPU time that a micro-batch costs the host at each ZeRO stage, relative to the model without DeepSpeed.

    python benchmarks/host_cost.py

One rank on one thread, 22 layers of very small tensors in bf16: almost all of the time is Python, hooks and the
dispatch of operators. A GPU waits for the host if this exceeds its own time. Each stage is a process of its own, in
which micro-batches with and without DeepSpeed alternate, so that other programs on the machine disturb both alike.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

STAGES = {"1": (1, None), "2": (2, None), "3": (3, 0), "3, gathered": (3, 10**9)}
"""The stage, and the size up to which ZeRO-3 keeps a parameter gathered."""
TOKENS, ROUNDS, REPEATS = 16, 21, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", choices=STAGES, help="only this one, in this process")
    stage = parser.parse_args().stage
    if stage:
        measure(stage)
        return
    print("| ZeRO | micro-batch, ms | without DeepSpeed, ms | ratio of medians | of minima |\n" + "| --- " * 5 + "|")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    for name in STAGES:
        command = [sys.executable, __file__, "--stage", name]
        printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        print(printed.splitlines()[-1], flush=True)  # DeepSpeed prints too


def measure(name: str) -> None:
    """Print a row of the table."""
    import torch
    from torch.nn import functional

    from clinical_modernbert.kernels.packed import PackedBatch
    from clinical_modernbert.model.config import ModelConfig
    from clinical_modernbert.model.initialize import initialize
    from clinical_modernbert.model.masked_lm import MaskedLM
    from clinical_modernbert.training.recipe.config import OptimizerConfig
    from clinical_modernbert.training.recipe.engine_config import EngineConfig
    from clinical_modernbert.training.zero.engine import join_ranks, start_engine
    from clinical_modernbert.training.zero.partition import PERSISTENCE

    special = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2}
    small = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 1}
    config = ModelConfig.model_validate({**small, **special, "num_hidden_layers": 22})

    def new_model() -> MaskedLM:
        model = MaskedLM(config)
        initialize(model, seed=1)
        return model

    torch.set_num_threads(1)
    ids = torch.randint(3, config.vocab_size, (TOKENS,))
    masked = torch.arange(5)
    batch = (ids, PackedBatch.from_lengths([TOKENS], "cpu"), masked, ids[masked])
    _, _, device = join_ranks(timeout_minutes=5)
    linear, plain = functional.linear, new_model().to(torch.bfloat16)
    stage, threshold = STAGES[name]
    zero = {} if threshold is None else {PERSISTENCE: threshold}
    settings = EngineConfig(zero_stage=stage, zero_optimization=zero)
    engine = start_engine(new_model(), settings, OptimizerConfig(lr=1e-4), 1, device)
    engine_linear = functional.linear  # DeepSpeed replaces it at ZeRO-3

    def with_engine() -> None:
        functional.linear = engine_linear
        for _ in range(REPEATS):
            engine.backward(engine(*batch)[0], scale_wrt_gas=False)

    def without() -> None:
        functional.linear = linear
        for _ in range(REPEATS):
            plain(*batch)[0].backward()

    pairs = []
    for _ in range(ROUNDS + 3):
        pairs.append((_seconds(with_engine), _seconds(without)))
        engine.step()
    ours, theirs = zip(*pairs[3:], strict=True)
    cells = (1e3 * median(ours) / REPEATS, 1e3 * median(theirs) / REPEATS)
    ratios = (median(ours) / median(theirs), min(ours) / min(theirs))
    print(f"| {name} | {cells[0]:.1f} | {cells[1]:.1f} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)
    torch.distributed.destroy_process_group()


def _seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()
