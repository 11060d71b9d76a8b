"""`cmbert demo`: the whole road on one CPU machine, each step a command that you could have typed."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import indent
from typing import Annotated

import typer

from ...configs.errors import UserError

KILL_AFTER_STEP = 70
_CMBERT = [sys.executable, "-m", "clinical_modernbert.launcher"]


def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes.")] = Path("runs/demo"),
    ranks: Annotated[int, typer.Option(help="Processes to train on.", min=1)] = 2,
) -> None:
    """Prepare data, train with ZeRO-3, get killed, resume, export, and fill a mask: about five minutes on two cores.

    Example: cmbert demo --out runs/demo

    Started again after an interruption it continues where it stopped.
    """
    started = time.monotonic()
    corpora = [
        "data/demo",
        "--set",
        f"output={out / 'data'}",
        "--set",
        f"tokenizer={out / 'tokenizer'}",
        "--set",
        f"sources.2.paths=[{out / 'notes/discharge.csv'}, {out / 'notes/radiology.csv'}]",
    ]
    training = ["train", "tiny", "--ranks", str(ranks), "--set", f"data.path={out / 'data'}", "--set"]
    training.append(f"run_dir={out / 'run'}")

    heading("1. Notes that no patient wrote, in MIMIC-IV-Note's columns")
    run(["data", "synthesize", "--out", str(out / "notes")], unless=out / "notes/radiology.csv")
    heading("2. A small tokenizer from PubMed citations, ICD-10-CM and those notes")
    run(["tokenizer", "train", *corpora, "--vocab-size", "4096"], unless=out / "tokenizer")
    heading("3. Documents become packs of 8,192 tokens in MDS shards")
    run(["data", "prepare", *corpora], unless=out / "data/manifest.json")
    run(["data", "inspect", str(out / "data")])
    heading(f"4. ZeRO-3 on {ranks} ranks, sequences of 512, 2,048, 8,192 tokens: killed at step {KILL_AFTER_STEP}")
    run_and_kill(training, out / "run")
    heading("5. Started again: it continues with the next unseen pack")
    run(training, unless=out / "model")
    heading("6. The checkpoint becomes a Hugging Face model")
    run(["export", str(out / "run"), "--out", str(out / "model")], unless=out / "model")
    heading("7. transformers fills a mask with it")
    fill_mask(out / "model")
    heading("8. The loss curve")
    draw(out / "run", out / "loss.png")
    print_summary(out, time.monotonic() - started)


def heading(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(arguments: list[str], unless: Path | None = None) -> None:
    """Run one cmbert command, if what it makes is not there yet."""
    print(f"$ cmbert {shlex.join(arguments)}", flush=True)
    if unless is not None and unless.exists():
        print(f"  ({unless} is there already)", flush=True)
        return
    if code := subprocess.run([*_CMBERT, *arguments]).returncode:
        raise typer.Exit(code)


def run_and_kill(arguments: list[str], run_dir: Path) -> None:
    """Start training, and kill it without warning when it has made some steps."""
    if steps_made(run_dir) >= KILL_AFTER_STEP:
        print(f"  ({run_dir} is past that already)", flush=True)
        return
    print(f"$ cmbert {shlex.join(arguments)}", flush=True)
    process = subprocess.Popen([*_CMBERT, *arguments])
    while steps_made(run_dir) < KILL_AFTER_STEP:
        if process.poll() is not None:
            raise UserError(f"training ended with code {process.returncode} before it could be killed")
        time.sleep(0.1)
    # The kernel ends the ranks with it.
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    print(f"$ kill -9 {process.pid}", flush=True)


def steps_made(run_dir: Path) -> int:
    """The last step in a run's metrics."""
    metrics = run_dir / "metrics.csv"
    return max(0, metrics.read_bytes().count(b"\n") - 1) if metrics.is_file() else 0


def fill_mask(model: Path) -> None:
    from transformers import pipeline
    from transformers.utils import logging

    logging.disable_progress_bar()
    text = "Discharge Medications:\n1. Lisinopril 10 [MASK] PO DAILY \n2. Metformin 500 mg PO BID \n"
    print(indent(text, "  "), end="")
    for guess in pipeline("fill-mask", model=str(model), top_k=5)(text):
        print(f"  {guess['score']:6.1%} {guess['token_str']!r}")


def draw(run_dir: Path, out: Path) -> None:
    from ...training.metrics.plot import plot_loss

    plot_loss(run_dir, out)
    print(f"  {out}")


def print_summary(out: Path, seconds: float) -> None:
    from ...training.metrics.writer import read_metrics

    rows = read_metrics(out / "run")
    print(
        f"\nDone in {seconds:.0f} s: {rows[-1]['tokens']:,} tokens in {len(rows)} steps, "
        f"loss {rows[0]['loss']:.2f} -> {rows[-1]['loss']:.2f}.\n"
        f"  data      {out / 'data'}\n"
        f"  run       {out / 'run'}  (metrics.csv, tensorboard/, checkpoints/)\n"
        f"  model     {out / 'model'}  (transformers' AutoModelForMaskedLM loads it)\n"
        f"  picture   {out / 'loss.png'}"
    )
