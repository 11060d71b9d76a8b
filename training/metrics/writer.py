"""Metrics of a run: CSV files, sinks and the line of progress, written by rank 0."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from ...configs.progress import Display, Line, eta, short_number
from ..recipe.config import MetricsConfig
from .csv_log import RowLog, read_rows
from .sinks import open_sinks
from .stragglers import Comparison, RankTotals, StragglerMetrics

_NOT_SCALARS = {"step", "objective", "data_digest"}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepMetrics:
    """One row of metrics.csv.

    Attributes:
        step: completed optimizer steps, including this one.
        tokens: real tokens (without padding) since the start of the run.
        loss: cross-entropy per masked token, in nats; causal: per token that has a next one.
        accuracy: share of these tokens predicted correctly.
        grad_norm: global norm before clipping.
        lr: learning rate of this step.
        mlm_probability: share of maskable tokens that was masked; causal: 0.
        max_seqlen: maximum sequence length in tokens.
        masked: masked tokens in this step; causal: tokens that have a next one.
        tokens_per_second: real tokens per second, over all ranks.
        flops: of this step, forward and backward, over all ranks; see `flops.py`.
        mfu: model FLOPs utilization, the share of the devices' published peak; empty if the peak is not known.
        data_wait: seconds of this step for which rank 0 waited for data.
        data_wait_share: `data_wait` as a share of the step's time.
        peak_memory: of rank 0 so far, in GiB.
        loss_scale: of fp16; 1 in other precisions.
        skipped_steps: steps skipped since the start of the run because fp16 overflowed.
        data_digest: hash of the step's packs, masked positions and targets: equal digests mean equal data.
        objective: masked or causal; None in rows of older runs, whose objective was masked.
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
    objective: str = "masked"


@dataclass(frozen=True)
class ValidationMetrics:
    """One row of validation.csv: the score on a source's held-out packs after `step` steps.

    validation-average.csv has the same rows of the running average.

    Attributes:
        loss: cross-entropy per masked token, in nats.
        accuracy: share of masked tokens predicted correctly.
        masked: tokens that were masked individually.
        word_accuracy: share of masked words of which every token is predicted correctly; None if no word was masked.
        words: words masked as a unit, in a second pass.
        causal_loss, causal_accuracy: of the next token, with attention to those before only; None unless the run's
            schedule has this objective.
    """

    step: int
    source: str
    loss: float
    accuracy: float
    masked: int
    word_accuracy: float | None
    words: int
    causal_loss: float | None = None
    causal_accuracy: float | None = None


@dataclass(frozen=True)
class MixMetrics:
    """One row of mix.csv: a source's share of the training tokens after `step` steps.

    Attributes:
        tokens: real tokens of the source since the start of the run.
        share: of the tokens of all sources.
        planned: the share that the plan expects at this step.
    """

    step: int
    source: str
    tokens: int
    share: float
    planned: float


class MetricsWriter:
    """Writes a run's metrics from step `start` on, and shows its progress (`configs/progress.py`).

    On a terminal one line follows every step. Elsewhere the first and the last step are messages, and between them at
    most one in ten seconds.

    Args:
        total: steps of the run.
        packs: the packs consumed before a step, by which the remaining time is estimated: steps differ in size.
        hosts: the machine of each rank.
        clock: the time in seconds.
    """

    def __init__(
        self,
        run_dir: Path,
        start: int,
        total: int,
        config: MetricsConfig,
        packs: Callable[[int], int] = lambda step: step,
        clock: Callable[[], float] = monotonic,
        hosts: Sequence[str] = (),
    ) -> None:
        self._steps = RowLog(run_dir / "metrics.csv", StepMetrics, start)
        self._validation = RowLog(run_dir / "validation.csv", ValidationMetrics, start)
        self._open_average = partial(RowLog, run_dir / "validation-average.csv", ValidationMetrics, start)
        self._average: RowLog | None = None  # opened when the first row is written: most runs keep no average
        self._mix = RowLog(run_dir / "mix.csv", MixMetrics, start)
        # One rank has no others. But it drops the rows of those that were there before.
        compared, self._comparison = run_dir / "stragglers.csv", Comparison(hosts)
        several = len(hosts) > 1 or compared.is_file()
        self._stragglers = RowLog(compared, StragglerMetrics, start) if several else None
        self._sinks = open_sinks(config, run_dir, start)
        self._start, self._total, self._packs = start, total, packs
        self._display = Display(at_once=True, clock=clock)
        self._last: Line | None = None  # not shown as a message yet

    def write(self, metrics: StepMetrics) -> None:
        self._steps.write(metrics)
        scalars = {name: value for name, value in asdict(metrics).items() if name not in _NOT_SCALARS}
        self._log(metrics.step, {f"train/{name}": value for name, value in scalars.items() if value is not None})
        done, total = self._packs(metrics.step) - self._packs(self._start), self._packs(self._total)
        left = self._display.elapsed() / done * (total - self._packs(metrics.step))
        line = training_line(metrics, self._total, left)
        self._last = None if self._display.show(line) else line

    def write_validation(self, rows: Iterable[ValidationMetrics], of_average: bool = False) -> None:
        """Write the scores of one step, of the weights or of their running average."""
        log, name, title = self._validation, "validation", "validation"
        if of_average:
            log = self._average = self._average or self._open_average()
            name, title = "validation_average", "validation of the average"
        for row in rows:
            log.write(row)
            scores_of = ("loss", "accuracy", "word_accuracy", "causal_loss", "causal_accuracy")
            scores = {score: value for score in scores_of if (value := getattr(row, score)) is not None}
            self._log(row.step, {f"{name}/{row.source}/{score}": value for score, value in scores.items()})
            accuracy = f"{row.accuracy:.3f} of tokens"
            if row.word_accuracy is not None:
                accuracy += f", {row.word_accuracy:.3f} of words"
            if row.causal_loss is not None:
                accuracy += f"  next token: loss {row.causal_loss:.4f}  accuracy {row.causal_accuracy:.3f}"
            logger.info("%s  %s: loss %.4f  accuracy %s", title, row.source, row.loss, accuracy)

    def write_mix(self, rows: Iterable[MixMetrics]) -> None:
        """Write the rows of one step, one per source."""
        shares = {}
        for row in rows:
            self._mix.write(row)
            shares[f"mix/{row.source}/share"] = row.share
        self._log(row.step, shares)

    def write_ranks(self, step: int, ranks: Sequence[RankTotals]) -> None:
        """Write which of several ranks was the slowest since the last row, and warn if one is again and again."""
        row = self._comparison.row(step, ranks) if len(ranks) > 1 else None
        if row is None or self._stragglers is None:
            return
        self._stragglers.write(row)
        self._log(step, {f"ranks/{name}": getattr(row, name) for name in ("seconds", "median", "data_seconds")})
        if slow := self._comparison.warning():
            logger.warning(f"{slow}; all ranks wait for it")

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        for sink in self._sinks:
            sink.log(step, values)

    def close(self) -> None:
        """Bring everything to the disk, and leave the last step as a message."""
        self._display.close(self._last)
        self._steps.close()
        self._validation.close()
        if self._average is not None:
            self._average.close()
        self._mix.close()
        if self._stragglers is not None:
            self._stragglers.close()
        for sink in self._sinks:
            sink.close()


def training_line(metrics: StepMetrics, total: int, left: float) -> Line:
    """One step of `total` as a line; `left` is the remaining time in seconds.

    A narrow terminal drops, in this order: the bar, the maximum length, the learning rate, the accuracy. Step,
    remaining time, loss and speed are then shortened.
    """
    speed = metrics.tokens_per_second
    texts = [f"accuracy {metrics.accuracy:.3f}", f"lr {metrics.lr:.2e}", f"length {metrics.max_seqlen:,}"]
    if metrics.objective == "causal":
        texts.insert(0, "next token")
    parts = [
        (f"step {metrics.step:,}/{total:,}", f"{metrics.step}/{total}"),
        eta(left),
        (f"loss {metrics.loss:.4f}", f"loss {metrics.loss:.2f}"),
        (f"{short_number(speed)} tok/s", f"{short_number(speed, 2)}/s"),
        *((text, text) for text in texts),
    ]
    return Line(parts, keep=4, share=metrics.step / total)


def read_metrics(run_dir: Path) -> list[dict[str, Any]]:
    """Return the rows of a run's metrics.csv, with typed values."""
    return read_rows(run_dir / "metrics.csv", StepMetrics)
