"""`cmbert demo`: the end-to-end pipeline on one CPU machine; each step is a normal command."""

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
from ...configs.preconditions import Check, check_all, check_packages
from ...configs.reporting import NEXT, console, suggest

KILL_AFTER_STEP = 70
BYTES = 500_000_000
"""That a complete demo writes, rounded up."""
_CMBERT = [sys.executable, "-m", "clinical_modernbert.launcher"]


def demo(
    out: Annotated[Path, typer.Option(help="Directory for all files of the demo.")] = Path("runs/demo"),
    ranks: Annotated[int, typer.Option(help="Number of training processes.", min=1)] = 2,
) -> None:
    """Run the end-to-end demo: prepare data, train with ZeRO-3, kill, resume, export, and fill a mask.

    Example: cmbert demo --out runs/demo

    It takes about five minutes on two cores. After an interruption, the same command continues where it stopped.
    """
    from ...streaming_data.shards.restricted import share_unless_restricted

    share_unless_restricted({})  # its sources are public or synthetic
    check_inputs(out)
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

    print_heading("1. Generate synthetic notes with the columns of MIMIC-IV-Note")
    run(["data", "synthesize", "--out", str(out / "notes")], unless=out / "notes/radiology.csv")
    print_heading("2. Train a small tokenizer on PubMed citations, ICD-10-CM and the notes")
    run(["tokenizer", "train", *corpora, "--vocab-size", "4096"], unless=out / "tokenizer")
    print_heading("3. Pack the documents into MDS shards of 8,192-token packs")
    run(["data", "prepare", *corpora], unless=out / "data/manifest.json")
    run(["data", "inspect", str(out / "data")])
    print_heading(
        f"4. Train with ZeRO-3 on {ranks} ranks, 512 to 8,192 tokens per sequence; kill at step {KILL_AFTER_STEP}"
    )
    train_and_kill(training, out / "run")
    print_heading("5. Start again: training resumes with the next unseen pack")
    run(training, unless=out / "model")
    print_heading("6. Export the checkpoint as a Hugging Face model")
    run(["export", str(out / "run"), "--out", str(out / "model")], unless=out / "model")
    print_heading("7. Fill a mask with transformers")
    fill_mask(out / "model")
    print_heading("8. Plot the loss curve")
    plot_curve(out / "run", out / "loss.png")
    print_summary(out, time.monotonic() - started)
    scores = ["evaluate", str(out / "model"), "--task", "masked-words", "--set", f"data={out / 'data'}"]
    suggest(["report", str(out / "run")], scores)


def check_inputs(out: Path) -> None:
    """Check everything that any of the steps needs: libraries, and a writable directory with free space."""
    from ...storage.preconditions import check_free, check_writable

    done = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    checks: list[Check] = [
        lambda: check_packages("the demo", "demo"),
        lambda: check_writable(out / "notes"),
        lambda: check_free(out, BYTES - done, "the demo"),
    ]
    check_all(checks)


def print_heading(text: str) -> None:
    console.print(f"\n{text}", style="bold", markup=False, highlight=False, soft_wrap=True)


def run(arguments: list[str], unless: Path | None = None) -> None:
    """Run one cmbert command, unless its result `unless` exists."""
    typer.echo(f"$ cmbert {shlex.join(arguments)}")
    if unless is not None and unless.exists():
        typer.echo(f"  ({unless} exists already)")
        return
    if code := subprocess.run([*_CMBERT, *arguments], env=_environment()).returncode:
        raise typer.Exit(code)


def _environment() -> dict[str, str]:
    """For the commands of the demo: the demo itself runs what they suggest."""
    return {**os.environ, NEXT: "0"}


def train_and_kill(arguments: list[str], run_dir: Path) -> None:
    """Start training, and send SIGKILL after some steps."""
    if completed_steps(run_dir) >= KILL_AFTER_STEP:
        typer.echo(f"  ({run_dir} has passed this step already)")
        return
    typer.echo(f"$ cmbert {shlex.join(arguments)}")
    process = subprocess.Popen([*_CMBERT, *arguments], env=_environment())
    while completed_steps(run_dir) < KILL_AFTER_STEP:
        if process.poll() is not None:
            raise UserError(f"training ended with code {process.returncode} before it could be killed")
        time.sleep(0.1)
    # The kernel kills its ranks too.
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    typer.echo(f"$ kill -9 {process.pid}")


def completed_steps(run_dir: Path) -> int:
    """Return the last step in the metrics of a run."""
    metrics = run_dir / "metrics.csv"
    return max(0, metrics.read_bytes().count(b"\n") - 1) if metrics.is_file() else 0


def fill_mask(model: Path) -> None:
    from transformers import pipeline
    from transformers.utils import logging

    logging.disable_progress_bar()
    text = "Discharge Medications:\n1. Lisinopril 10 [MASK] PO DAILY \n2. Metformin 500 mg PO BID \n"
    typer.echo(indent(text, "  "), nl=False)
    for guess in pipeline("fill-mask", model=str(model), top_k=5, trust_remote_code=False)(text):
        typer.echo(f"  {guess['score']:6.1%} {guess['token_str']!r}")


def plot_curve(run_dir: Path, out: Path) -> None:
    from ...training.metrics.plot import plot_loss

    plot_loss(run_dir, out)
    typer.echo(f"  {out}")


def print_summary(out: Path, seconds: float) -> None:
    from ...training.metrics.writer import read_metrics

    rows = read_metrics(out / "run")
    typer.echo(
        f"\nDone in {seconds:.0f} s: {rows[-1]['tokens']:,} tokens in {len(rows)} steps, "
        f"loss {rows[0]['loss']:.2f} -> {rows[-1]['loss']:.2f}.\n"
        f"  data      {out / 'data'}\n"
        f"  run       {out / 'run'}  (metrics.csv, tensorboard/, checkpoints/)\n"
        f"  model     {out / 'model'}  (transformers' AutoModelForMaskedLM loads it)\n"
        f"  plot      {out / 'loss.png'}"
    )
