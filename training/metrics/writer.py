"""The numbers of a run: CSV files, sinks and a progress line, written by rank 0."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..recipe.config import MetricsConfig
from .csv_log import RowLog, read_rows
from .sinks import open_sinks

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
        flops: of this step, forward and backward, over all ranks; see `flops.py`.
        mfu: those a second, as share of the published peak of all devices; empty where that is not known.
        data_wait: seconds of this step that rank 0 waited for data.
        data_wait_share: the same as share of the step's time.
        peak_memory: of rank 0 so far, in GiB.
        loss_scale: of fp16; 1 in other precisions.
        skipped_steps: left out since the start of the run, because fp16 overflowed.
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
    flops: float
    mfu: float | None
    data_wait: float
    data_wait_share: float
    peak_memory: float
    loss_scale: float
    skipped_steps: int
    data_digest: str


@dataclass(frozen=True)
class ValidationMetrics:
    """One row of validation.csv: a source's held-out packs, after `step` steps.

    Attributes:
        loss: cross-entropy a masked token, in nats.
        accuracy: share of masked tokens predicted.
        masked: tokens masked, each alone.
        word_accuracy: share of masked words of which every token is predicted; None if no word is.
        words: words masked whole, in a second pass.
    """

    step: int
    source: str
    loss: float
    accuracy: float
    masked: int
    word_accuracy: float | None
    words: int


@dataclass(frozen=True)
class MixMetrics:
    """One row of mix.csv: a source's part in training so far, after `step` steps.

    Attributes:
        tokens: real tokens of it, counted since the start of the run.
        share: of the tokens of all sources.
        planned: the share that the plan says for this step.
    """

    step: int
    source: str
    tokens: int
    share: float
    planned: float


class MetricsWriter:
    """Appends to a run's metrics from step `start` on."""

    def __init__(self, run_dir: Path, start: int, total: int, config: MetricsConfig) -> None:
        self._steps = RowLog(run_dir / "metrics.csv", StepMetrics, start)
        self._validation = RowLog(run_dir / "validation.csv", ValidationMetrics, start)
        self._mix = RowLog(run_dir / "mix.csv", MixMetrics, start)
        self._console = Console()
        self._sinks = open_sinks(config, run_dir, start, self.say)
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
        self._steps.write(metrics)
        scalars = {name: value for name, value in asdict(metrics).items() if name not in _NOT_SCALARS}
        self._log(metrics.step, {f"train/{name}": value for name, value in scalars.items() if value is not None})
        line = (
            f"loss {metrics.loss:.4f}  accuracy {metrics.accuracy:.3f}  lr {metrics.lr:.2e}  "
            f"length {metrics.max_seqlen:,}  {metrics.tokens_per_second:,.0f} tokens/s"
        )
        self._progress.update(self._task, completed=metrics.step, description=line)
        if not self._console.is_terminal:
            print(f"step {metrics.step}/{self._total}  {line}", flush=True)

    def write_validation(self, rows: Iterable[ValidationMetrics]) -> None:
        for row in rows:
            self._validation.write(row)
            names = {"loss": row.loss, "accuracy": row.accuracy, "word_accuracy": row.word_accuracy}
            known = {f"validation/{row.source}/{name}": value for name, value in names.items() if value is not None}
            self._log(row.step, known)
            accuracy = f"{row.accuracy:.3f} of tokens"
            if row.word_accuracy is not None:
                accuracy += f", {row.word_accuracy:.3f} of words"
            self.say(f"held out  {row.source}: loss {row.loss:.4f}  accuracy {accuracy}")

    def write_mix(self, rows: Iterable[MixMetrics]) -> None:
        """Of one step."""
        shares = {}
        for row in rows:
            self._mix.write(row)
            shares[f"mix/{row.source}/share"] = row.share
        self._log(row.step, shares)

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        for sink in self._sinks:
            sink.log(step, values)

    def say(self, message: str) -> None:
        """A line for the person watching."""
        self._console.print(message, soft_wrap=True, markup=False, highlight=False)

    def close(self) -> None:
        """Everything on disk, the progress line gone."""
        self._progress.stop()
        self._steps.close()
        self._validation.close()
        self._mix.close()
        for sink in self._sinks:
            sink.close()


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.csv with their types."""
    return read_rows(run_dir / "metrics.csv", StepMetrics)
