"""A run that is stopped and resumed has the losses of one that is not, and its export gives the same predictions."""

import csv
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .bench import Bench

ROOT = Path(__file__).resolve().parents[2]
CMBERT = [sys.executable, "-m", "clinical_modernbert.launcher"]
NEEDED = ("deepspeed", "streaming", "tokenizers", "pydantic", "safetensors", "typer", "yaml")
RECIPE = """
run_dir: {run}
model: {{vocab_size: 128, hidden_size: 128, intermediate_size: 192, num_hidden_layers: 4, num_attention_heads: 2,
        pad_token_id: 0, cls_token_id: 1, sep_token_id: 2}}
data: {{path: {data}, seq_length: 256}}
batch: {{global_batch_size: 8, micro_batch_size: 4}}
schedule: {{total_tokens: {tokens}, warmup_tokens: 8192, decay_tokens: 8192, seq_length: [{{max_seqlen: 256}}]}}
optimizer: {{lr: 1e-3}}
engine: {{precision: {precision}, zero_stage: {stage}}}
checkpoint: {{every_steps: 5}}
metrics: {{tensorboard: false}}
"""
STEPS, STOP_AFTER, SECONDS = 24, 8, 180


def run(bench: Bench) -> None:
    if absent := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise ModuleNotFoundError(f"{', '.join(absent)}", name=", ".join(absent))
    for stage in (1, 3)[-bench.size(2, 1) :]:
        with tempfile.TemporaryDirectory() as directory:
            _compare(bench, Path(directory), stage)


def _compare(bench: Bench, directory: Path, stage: int) -> None:
    data = _write_data(directory / "data")
    recipes = {}
    for name in ("whole", "stopped"):
        recipes[name] = directory / f"{name}.yaml"
        precision, tokens = "fp32" if bench.simulate else "bf16", STEPS * 8 * 256
        text = RECIPE.format(run=directory / name, data=data, tokens=tokens, precision=precision, stage=stage)
        recipes[name].write_text(text)
    _cmbert("train", recipes["whole"])
    stopped = _stop(recipes["stopped"], directory / "stopped")
    _cmbert("train", recipes["stopped"])
    _cmbert("export", directory / "stopped", "--out", directory / "model")
    losses = {name: _losses(directory / name) for name in recipes}
    equal = losses["whole"] == losses["stopped"]
    if not equal:
        bench.failures.append(f"resume at ZeRO-{stage}: losses differ")
    verdict = "equal" if equal else "DIFFERENT"
    stop = {"exit code of the stop": stopped}
    bench.row("resume", zero=stage, **stop, **{"last loss": losses["whole"][-1], "losses": verdict})


def _write_data(path: Path) -> Path:
    sys.path.append(str(ROOT / "tests" / "support"))
    from small_data import write_small_data

    return write_small_data(path)


def _cmbert(*arguments: object) -> None:
    done = subprocess.run([*CMBERT, *map(str, arguments)], capture_output=True, text=True, timeout=SECONDS)
    if done.returncode:
        raise RuntimeError(f"cmbert {arguments[0]} ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")


def _stop(recipe: Path, run: Path) -> int:
    """Start the run and ask it to stop after some steps; returns its exit code."""
    process = subprocess.Popen([*CMBERT, "train", str(recipe)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + SECONDS
    while len(_losses(run)) < STOP_AFTER and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    return process.returncode


def _losses(run: Path) -> list[str]:
    path = run / "metrics.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]
