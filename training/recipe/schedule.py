"""Everything that changes during a run, as pure functions of the number of tokens consumed.

`Plan` computes every derived number (steps, packs per step, learning rate, masking rate, sequence length), both for the
training loop and for the table printed before step 1.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...configs.errors import RankCountError
from ...streaming_data.loader.config import DataConfig, Objective
from ...streaming_data.loader.split import describe_split
from .config import OptimizerConfig, RunConfig
from .schedule_config import BatchConfig, ScheduleConfig


@dataclass(frozen=True)
class StepSettings:
    """The settings of one optimizer step.

    Attributes:
        step: index, counted from 0.
        start: packs consumed before the step.
        packs: packs of the step, over all ranks.
        tokens: tokens consumed when the step ends.
        lr: learning rate.
        max_seqlen: maximum sequence length in tokens.
        mlm_probability: share of maskable tokens that is masked; it does not matter if the objective is causal.
        objective: what is predicted: masked tokens, or the next token of each.
    """

    step: int
    start: int
    packs: int
    tokens: int
    lr: float
    max_seqlen: int
    mlm_probability: float
    objective: Objective


@dataclass(frozen=True)
class BatchPhase:
    """Consecutive steps with the same batch size.

    Attributes:
        step: index of the first step, counted from 0.
        start: packs consumed before the first step.
        packs: packs per step, over all ranks.
    """

    step: int
    start: int
    packs: int


@dataclass(frozen=True)
class Plan:
    """The steps of a run, derived from its configuration and the number of ranks.

    Attributes:
        peak_lr: learning rate after warm-up.
        optimizer: decides, with `running_average`, what is kept and exchanged in addition to the weights.
        world_size: number of ranks.
        batch_phases: in order: those of the batch-size warm-up, then the full batch.
        steps: optimizer steps of the whole run.
    """

    schedule: ScheduleConfig
    batch: BatchConfig
    data: DataConfig
    peak_lr: float
    optimizer: OptimizerConfig
    running_average: bool
    world_size: int
    batch_phases: tuple[BatchPhase, ...]
    steps: int

    @property
    def packs(self) -> int:
        """Packs of the whole run."""
        return self.start(self.steps)

    def start(self, step: int) -> int:
        """Packs consumed before step `step`, counted from 0."""
        return _start(self.batch_phases, step)

    def settings(self, step: int) -> StepSettings:
        """Return the settings of step `step`, counted from 0.

        The learning rate is the one at the end of the step, so that it is not zero in the first.
        """
        schedule, seq_length = self.schedule, self.data.seq_length
        start, stop = self.start(step), self.start(step + 1)
        return StepSettings(
            step=step,
            start=start,
            packs=stop - start,
            tokens=stop * seq_length,
            lr=self.peak_lr * lr_factor(schedule, stop * seq_length),
            max_seqlen=max_seqlen(schedule, start * seq_length, seq_length),
            mlm_probability=mlm_probability(schedule, start * seq_length),
            objective=objective(schedule, start * seq_length),
        )

    def from_step(self, step: int) -> Iterator[StepSettings]:
        """Yield the settings of every step from `step` to the end of the run."""
        return (self.settings(index) for index in range(step, self.steps))

    def change_points(self) -> list[StepSettings]:
        """Return the settings of the first step, of the last, and of every step at which a setting starts to change."""
        schedule, seq_length = self.schedule, self.data.seq_length
        tokens = [stage.until_tokens for stage in schedule.seq_length if stage.until_tokens is not None]
        tokens += [point for point, _ in schedule.mlm_probability]
        tokens += [stage.until_tokens for stage in schedule.objectives if stage.until_tokens is not None]
        for begin, end in pairwise([0, *schedule.restarts, schedule.total_tokens]):
            tokens += [begin, begin + schedule.warmup_tokens, end - schedule.decay_tokens]
        steps = {0, self.steps - 1, *(phase.step for phase in self.batch_phases)}
        steps |= {bisect_left(range(self.steps), at, key=lambda step: self.start(step) * seq_length) for at in tokens}
        return [self.settings(step) for step in sorted(steps) if step < self.steps]


def make_plan(config: RunConfig, world_size: int) -> Plan:
    """Derive the steps of a run on `world_size` ranks.

    Raises:
        RankCountError: a step has fewer packs than there are ranks.
    """
    batch = config.batch
    sizes = {
        f"batch.warmup.{index}.global_batch_size": stage.global_batch_size for index, stage in enumerate(batch.warmup)
    }
    for key, packs in {**sizes, "batch.global_batch_size": batch.global_batch_size}.items():
        if packs < world_size:
            raise RankCountError(
                f"{key} ({packs}) is less than the number of ranks ({world_size}), and each needs a pack in every "
                f"step: use at most {packs} ranks, or set {key}={world_size}"
            )
    *phases, end = _batch_phases(config)
    return Plan(
        schedule=config.schedule,
        batch=config.batch,
        data=config.data,
        peak_lr=config.optimizer.lr,
        optimizer=config.optimizer,
        running_average=config.running_average is not None,
        world_size=world_size,
        batch_phases=tuple(phases),
        steps=end.step,
    )


def packs_before(config: RunConfig, step: int) -> int:
    """Packs consumed before step `step`, counted from 0; the same for any number of ranks."""
    return _start(_batch_phases(config)[:-1], step)


def _batch_phases(config: RunConfig) -> tuple[BatchPhase, ...]:
    """The batch phases of a run, and an empty one that starts where the run ends."""
    batch, tokens = config.batch, config.data.seq_length
    total = math.ceil(config.schedule.total_tokens / tokens)
    step = start = 0
    phases = []
    for packs, until in (
        *((stage.global_batch_size, min(total, math.ceil(stage.until_tokens / tokens))) for stage in batch.warmup),
        (batch.global_batch_size, total),
    ):
        if start < until:
            phases.append(BatchPhase(step, start, packs))
            step += (steps := math.ceil((until - start) / packs))
            start += steps * packs
    return (*phases, BatchPhase(step, start, 0))


def _start(phases: Sequence[BatchPhase], step: int) -> int:
    phase = phases[bisect_right(phases, step, key=lambda phase: phase.step) - 1]
    return phase.start + (step - phase.step) * phase.packs


def describe(plan: Plan) -> list[str]:
    """Return the lines printed before step 1: totals, and a table of the steps at which a setting starts to change."""
    schedule, seq_length = plan.schedule, plan.data.seq_length
    micro, ranks = plan.batch.micro_batch_size, plan.world_size
    lines = [
        f"steps            {plan.steps:,}",
        f"tokens           {plan.packs * seq_length:,} in {plan.packs:,} packs of {seq_length:,}",
        f"learning rate    {plan.peak_lr:g} after {schedule.warmup_tokens:,} tokens, "
        f"{schedule.decay} over the last {schedule.decay_tokens:,}"
        + (f", again from {', '.join(f'{tokens:,}' for tokens in schedule.restarts)}" if schedule.restarts else ""),
        f"masking          {plan.data.masking}",
    ]
    lines += [
        f"batch            {phase.packs} packs = {describe_split(phase.packs, micro, ranks)}"
        + (f", from step {phase.step + 1:,}" if phase.step else "")
        for phase in plan.batch_phases
    ]
    titles = ("step", "tokens before", "learning rate", "masked", "sequences up to", "packs")
    rows = [titles, *(_row(settings, seq_length) for settings in plan.change_points())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return lines + ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _row(settings: StepSettings, seq_length: int) -> tuple[str, ...]:
    return (
        f"{settings.step + 1:,}",
        f"{settings.start * seq_length:,}",
        f"{settings.lr:.4g}",
        "next token" if settings.objective == "causal" else f"{settings.mlm_probability:.2%}",
        f"{settings.max_seqlen:,}",
        f"{settings.packs:,}",
    )


def lr_factor(schedule: ScheduleConfig, tokens: int) -> float:
    """Share of the peak learning rate after `tokens` tokens: warm-up, stable, decay (ModernBERT, arXiv 2412.13663).

    Each restart begins a new cycle, with the same warm-up from 0 and the same decay before the next restart.
    """
    bounds = [0, *schedule.restarts, schedule.total_tokens]
    cycle = max(1, bisect_left(bounds, tokens, hi=len(bounds) - 1)) - 1
    # The last step may end beyond total_tokens.
    since, left = tokens - bounds[cycle], max(0, bounds[cycle + 1] - tokens)
    if since < schedule.warmup_tokens:
        return since / schedule.warmup_tokens
    if left >= schedule.decay_tokens:
        return 1.0
    progress = 1 - left / schedule.decay_tokens
    factor = {
        "one_minus_sqrt": 1 - math.sqrt(progress),
        "linear": 1 - progress,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
    }[schedule.decay]
    return schedule.final_lr_ratio + (1 - schedule.final_lr_ratio) * factor


def max_seqlen(schedule: ScheduleConfig, tokens: int, seq_length: int) -> int:
    """Maximum sequence length after `tokens` tokens; without stages it is the length of a pack, `seq_length`."""
    for stage in schedule.seq_length:
        if stage.until_tokens is None or tokens < stage.until_tokens:
            return stage.max_seqlen
    return seq_length


def objective(schedule: ScheduleConfig, tokens: int) -> Objective:
    """The objective after `tokens` tokens."""
    stages = schedule.objectives
    return next(s.objective for s in stages if s.until_tokens is None or tokens < s.until_tokens)


def mlm_probability(schedule: ScheduleConfig, tokens: int) -> float:
    """Masking rate after `tokens` tokens: linear between the schedule's points, constant before and after them."""
    points = schedule.mlm_probability
    after = bisect_right(points, tokens, key=lambda point: point[0])
    if after in (0, len(points)):
        return points[max(0, after - 1)][1]
    (begin, first), (end, last) = points[after - 1 : after + 1]
    return first + (last - first) * (tokens - begin) / (end - begin)
