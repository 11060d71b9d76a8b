"""Small training runs with real ranks, started as a user starts them."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from small_data import CLS, PAD, SEP, SEQ_LENGTH, VOCAB
from warm_start import is_running, processes, start

from clinical_modernbert.training.checkpoint.files import list_checkpoints
from clinical_modernbert.training.metrics.writer import read_metrics

CMBERT = [sys.executable, "-m", "clinical_modernbert.launcher"]

# Strict ZeRO-3: with DeepSpeed's defaults a model this small is not partitioned, which would hide bugs.
RECIPE = f"""
run_dir: unset
model: {{vocab_size: {VOCAB}, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 3, num_attention_heads: 2,
        local_attention: 32, pad_token_id: {PAD}, cls_token_id: {CLS}, sep_token_id: {SEP}}}
data: {{path: unset, seq_length: {SEQ_LENGTH}}}
batch: {{global_batch_size: 4}}
schedule:
  total_tokens: {12 * 4 * SEQ_LENGTH}
  warmup_tokens: {4 * SEQ_LENGTH * 2}
  decay_tokens: {4 * SEQ_LENGTH * 4}
  seq_length: [{{max_seqlen: 64, until_tokens: {4 * SEQ_LENGTH * 3}}}, {{max_seqlen: {SEQ_LENGTH}}}]
  mlm_probability: [[0, 0.3], [{12 * 4 * SEQ_LENGTH}, 0.15]]
optimizer: {{lr: 3e-3, weight_decay: 1e-3}}
engine:
  zero_stage: 3
  precision: fp32
  zero_optimization: {{stage3_param_persistence_threshold: 0, stage3_max_live_parameters: 1,
                      stage3_max_reuse_distance: 0, stage3_prefetch_bucket_size: 0}}
checkpoint: {{every_steps: 4}}
metrics: {{tensorboard: false}}
"""


@dataclass(frozen=True)
class SmallRun:
    """A recipe in its own directory, and ways to run it."""

    recipe: Path
    data: Path | str
    run_dir: Path

    def arguments(self, *overrides: str, ranks: int = 1) -> list[str]:
        settings = [f"run_dir={self.run_dir}", f"data.path={self.data}", *overrides]
        return ["train", str(self.recipe), "--ranks", str(ranks), *(p for s in settings for p in ("--set", s))]

    def start(self, *overrides: str, ranks: int = 1) -> ForkServerProcess:
        """Start the launcher and return its process; its output and that of its ranks goes to the file `output`."""
        return start(self.arguments(*overrides, ranks=ranks), self.output)

    @property
    def output(self) -> Path:
        return self.recipe.with_name("output.txt")

    def train(self, *overrides: str, ranks: int = 1, code: int = 0) -> str:
        """Run to the end, assert the exit code and return all output."""
        process = self.start(*overrides, ranks=ranks)
        process.join(timeout=300)
        assert process.exitcode == code, f"{process.exitcode}: {self.output.read_text()}"
        return self.output.read_text()

    def signal_after(self, step: int, number: signal.Signals, *overrides: str, ranks: int = 1) -> int | None:
        """Start, send the launcher a signal once `step` steps are completed, and return its exit code."""
        process = self.start(*overrides, ranks=ranks)
        deadline = time.monotonic() + 200
        while self.completed_steps() < step:
            assert process.is_alive(), f"training ended before the signal: {self.output.read_text()}"
            assert time.monotonic() < deadline, "training completed too few steps"
            time.sleep(0.005)
        assert process.pid is not None
        started = processes(process)
        os.kill(process.pid, number)
        process.join(timeout=100)
        # Ranks whose launcher was killed save first.
        while any(is_running(rank) for rank in started):
            assert time.monotonic() < deadline, "ranks outlived their launcher"
            time.sleep(0.01)
        return process.exitcode

    def completed_steps(self) -> int:
        metrics = self.run_dir / "metrics.csv"
        return metrics.read_bytes().count(b"\n") - 1 if metrics.is_file() else 0

    def await_steps(self, steps: int, launcher: subprocess.Popen, patience: float) -> None:
        """Wait until the run that the launcher has started has so many rows of metrics."""
        deadline = time.monotonic() + patience
        while self.completed_steps() < steps:
            assert launcher.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.005)

    def newest_checkpoint(self) -> Path:
        return list_checkpoints(self.run_dir / "checkpoints")[0]

    def rows(self) -> list[dict]:
        return read_metrics(self.run_dir)

    def column(self, name: str) -> list:
        return [row[name] for row in self.rows()]
