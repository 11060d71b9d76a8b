"""The numbers of a run: metrics.csv, TensorBoard and a progress line, written by rank 0."""

import csv
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_NOT_SCALARS = {"step", "data_digest"}


@dataclass(frozen=True)
class StepMetrics:
    """One row of metrics.csv.

    Attributes:
        step: optimizer steps made, this one included.
        tokens: real tokens seen since the start of the run, counted.
        loss: cross-entropy a masked token, in nats.
        accuracy: share of masked tokens predicted.
        grad_norm: global, before clipping.
        lr: learning rate of this step.
        mlm_probability: share of maskable tokens masked.
        max_seqlen: where sequences were cut.
        masked: masked tokens in this step.
        tokens_per_second: real tokens, over all ranks.
        data_wait: seconds of this step that rank 0 waited for data.
        data_digest: of the step's packs, masked places and targets: equal digests, equal data.
    """

    step: int
    tokens: int
    loss: float
    accuracy: float
    grad_norm: float
    lr: float
    mlm_probability: float
    max_seqlen: int
    masked: int
    tokens_per_second: float
    data_wait: float
    data_digest: str


class MetricsWriter:
    """Appends to a run's metrics from step `start` on; rows of later steps, written before a crash, are dropped."""

    def __init__(self, run_dir: Path, start: int, total: int, tensorboard: bool) -> None:
        path = run_dir / "metrics.csv"
        kept = [row for row in read_metrics(run_dir) if row["step"] <= start] if path.is_file() else []
        aside = path.with_suffix(".csv.part")
        with aside.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(StepMetrics)])
            writer.writeheader()
            writer.writerows(kept)
        aside.replace(path)
        self._file = path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, [field.name for field in fields(StepMetrics)])
        self._tensorboard = _tensorboard(run_dir, start) if tensorboard else None
        self._console = Console()
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("", total=total, completed=start)
        self._total = total
        self._progress.start()

    def write(self, metrics: StepMetrics) -> None:
        row = asdict(metrics)
        self._writer.writerow(row)
        self._file.flush()
        if self._tensorboard is not None:
            for name in row.keys() - _NOT_SCALARS:
                self._tensorboard.add_scalar(f"train/{name}", row[name], metrics.step)
        line = (
            f"loss {metrics.loss:.4f}  accuracy {metrics.accuracy:.3f}  lr {metrics.lr:.2e}  "
            f"length {metrics.max_seqlen:,}  {metrics.tokens_per_second:,.0f} tokens/s"
        )
        self._progress.update(self._task, completed=metrics.step, description=line)
        if not self._console.is_terminal:
            print(f"step {metrics.step}/{self._total}  {line}", flush=True)

    def say(self, message: str) -> None:
        """A line for the person watching."""
        self._console.print(message, soft_wrap=True, markup=False, highlight=False)

    def close(self) -> None:
        """Everything on disk, the progress line gone."""
        self._progress.stop()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.csv with their types; a last line that was cut short is left out."""
    types: dict[str, Any] = {field.name: field.type for field in fields(StepMetrics)}
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values() and None not in row]
    return [{name: types[name](value) for name, value in row.items()} for row in rows]


def _tensorboard(run_dir: Path, start: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(run_dir / "tensorboard"), purge_step=start + 1)
