"""Everything that changes in the course of a run, as pure functions of the tokens consumed.

One place computes every derived number (steps, packs of each, accumulation, rates, lengths); the table it prints before
step 1 is what runs.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...configs.errors import UserError
from .config import RunConfig, ScheduleConfig


@dataclass(frozen=True)
class StepSettings:
    """What one optimizer step is made with.

    Attributes:
        step: counted from 0.
        start: packs consumed before it.
        packs: packs in it, over all ranks.
        tokens: consumed when it ends.
        lr: learning rate.
        max_seqlen: where sequences are cut.
        mlm_probability: share of maskable tokens masked.
    """

    step: int
    start: int
    packs: int
    tokens: int
    lr: float
    max_seqlen: int
    mlm_probability: float


@dataclass(frozen=True)
class Stretch:
    """Steps that take equally many packs.

    Attributes:
        step: its first, counted from 0.
        start: packs consumed before it.
        packs: packs a step.
    """

    step: int
    start: int
    packs: int


@dataclass(frozen=True)
class Plan:
    """A run's derived numbers.

    Attributes:
        world_size: ranks.
        stretches: of equal steps, in order: batch-size warm-up, then the batch.
        steps: optimizer steps in all.
    """

    config: RunConfig
    world_size: int
    stretches: tuple[Stretch, ...]
    steps: int

    @property
    def packs(self) -> int:
        """Of the whole run."""
        return self.start(self.steps)

    def start(self, step: int) -> int:
        """Packs consumed before step `step`, counted from 0."""
        return _start(self.stretches, step)

    def settings(self, step: int) -> StepSettings:
        """Of step `step`, counted from 0; the rate is that at the step's end, so that the first is not zero."""
        schedule, seq_length = self.config.schedule, self.config.data.seq_length
        start, stop = self.start(step), self.start(step + 1)
        return StepSettings(
            step=step,
            start=start,
            packs=stop - start,
            tokens=stop * seq_length,
            lr=self.config.optimizer.lr * lr_factor(schedule, stop * seq_length),
            max_seqlen=max_seqlen(schedule, start * seq_length, seq_length),
            mlm_probability=mlm_probability(schedule, start * seq_length),
        )

    def from_step(self, step: int) -> Iterator[StepSettings]:
        """The settings of every step from `step` to the end of the run."""
        return (self.settings(number) for number in range(step, self.steps))

    def turns(self) -> list[StepSettings]:
        """The settings of the first step, of the last, and of all at which something begins to be different."""
        schedule, tokens = self.config.schedule, self.config.data.seq_length
        knots = [stage.until_tokens for stage in schedule.seq_length if stage.until_tokens is not None]
        knots += [at for at, _ in schedule.mlm_probability]
        for begin, end in pairwise([0, *schedule.restarts, schedule.total_tokens]):
            knots += [begin, begin + schedule.warmup_tokens, end - schedule.decay_tokens]
        steps = {0, self.steps - 1, *(stretch.step for stretch in self.stretches)}
        steps |= {bisect_left(range(self.steps), knot, key=lambda step: self.start(step) * tokens) for knot in knots}
        return [self.settings(step) for step in sorted(steps) if step < self.steps]


def make_plan(config: RunConfig, world_size: int) -> Plan:
    """Derive the run's numbers for so many ranks.

    Raises:
        UserError: the ranks cannot share a step's packs evenly.
    """
    micro = config.batch.micro_batch_size
    for key, packs in (
        ("batch.global_batch_size", config.batch.global_batch_size),
        *(
            (f"batch.warmup.{at}.global_batch_size", stage.global_batch_size)
            for at, stage in enumerate(config.batch.warmup)
        ),
    ):
        if packs % (micro * world_size):
            fits = [ranks for ranks in range(1, packs + 1) if packs % (micro * ranks) == 0]
            smaller = [fewer for fewer in range(micro, 0, -1) if packs % (fewer * world_size) == 0]
            raise UserError(
                f"{key} ({packs}) must be divisible by batch.micro_batch_size x ranks ({micro} x {world_size}): "
                + (f"with these packs use {_listed(fits)} ranks, or " if fits else "")
                + (f"set batch.micro_batch_size={smaller[0]}, or " if smaller else "")
                + f"set {key}={_next_multiple(packs, micro * world_size)}"
            )
    stretches = _stretches(config)
    return Plan(config, world_size, stretches[:-1], stretches[-1].step)


def packs_before(config: RunConfig, step: int) -> int:
    """Packs consumed before step `step`, counted from 0, at any number of ranks."""
    return _start(_stretches(config)[:-1], step)


def _stretches(config: RunConfig) -> tuple[Stretch, ...]:
    """Those of the run, and one that begins where the run ends."""
    batch, tokens = config.batch, config.data.seq_length
    total = math.ceil(config.schedule.total_tokens / tokens)
    step = start = 0
    stretches = []
    for packs, until in (
        *((stage.global_batch_size, min(total, math.ceil(stage.until_tokens / tokens))) for stage in batch.warmup),
        (batch.global_batch_size, total),
    ):
        if start < until:
            stretches.append(Stretch(step, start, packs))
            step += (steps := math.ceil((until - start) / packs))
            start += steps * packs
    return (*stretches, Stretch(step, start, 0))


def _start(stretches: Sequence[Stretch], step: int) -> int:
    stretch = stretches[bisect_right(stretches, step, key=lambda stretch: stretch.step) - 1]
    return stretch.start + (step - stretch.step) * stretch.packs


def describe(plan: Plan) -> list[str]:
    """The plan as the lines printed before step 1: sums, and a table of the steps at which something turns."""
    config, schedule = plan.config, plan.config.schedule
    micro, ranks = config.batch.micro_batch_size, plan.world_size
    lines = [
        f"steps            {plan.steps:,}",
        f"tokens           {plan.packs * config.data.seq_length:,} in {plan.packs:,} packs of "
        f"{config.data.seq_length:,}",
        f"learning rate    {config.optimizer.lr:g} after {schedule.warmup_tokens:,} tokens, "
        f"{schedule.decay} over the last {schedule.decay_tokens:,}"
        + (f", again from {', '.join(f'{tokens:,}' for tokens in schedule.restarts)}" if schedule.restarts else ""),
        f"masking          {config.data.masking}",
    ]
    lines += [
        f"batch            {stretch.packs} packs = {ranks} ranks x {stretch.packs // (micro * ranks)} micro-batches x "
        f"{micro} packs" + (f", from step {stretch.step + 1:,}" if stretch.step else "")
        for stretch in plan.stretches
    ]
    titles = ("step", "tokens before", "learning rate", "masked", "sequences up to", "packs")
    rows = [titles, *(_row(settings, config.data.seq_length) for settings in plan.turns())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return lines + ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _row(settings: StepSettings, seq_length: int) -> tuple[str, ...]:
    return (
        f"{settings.step + 1:,}",
        f"{settings.start * seq_length:,}",
        f"{settings.lr:.4g}",
        f"{settings.mlm_probability:.2%}",
        f"{settings.max_seqlen:,}",
        f"{settings.packs:,}",
    )


def lr_factor(schedule: ScheduleConfig, tokens: int) -> float:
    """Share of the peak learning rate after `tokens`: warm-up, stable, decay (ModernBERT, arXiv 2412.13663).

    Each restart begins a cycle of its own: the same warm-up from 0, and the same decay before the next restart.
    """
    bounds = [0, *schedule.restarts, schedule.total_tokens]
    cycle = max(1, bisect_left(bounds, tokens, hi=len(bounds) - 1)) - 1
    since, left = tokens - bounds[cycle], max(0, bounds[cycle + 1] - tokens)  # the last step may end beyond the total
    if since < schedule.warmup_tokens:
        return since / schedule.warmup_tokens
    if left >= schedule.decay_tokens:
        return 1.0
    done = 1 - left / schedule.decay_tokens
    falling = {
        "one_minus_sqrt": 1 - math.sqrt(done),
        "linear": 1 - done,
        "cosine": (1 + math.cos(math.pi * done)) / 2,
    }[schedule.decay]
    return schedule.final_lr_ratio + (1 - schedule.final_lr_ratio) * falling


def max_seqlen(schedule: ScheduleConfig, tokens: int, seq_length: int) -> int:
    """Where sequences are cut after `tokens`."""
    for stage in schedule.seq_length:
        if stage.until_tokens is None or tokens < stage.until_tokens:
            return stage.max_seqlen
    return seq_length


def mlm_probability(schedule: ScheduleConfig, tokens: int) -> float:
    """The masking rate after `tokens`: straight lines between the points, and level before and after them."""
    points = schedule.mlm_probability
    after = bisect_right(points, tokens, key=lambda point: point[0])
    if after in (0, len(points)):
        return points[max(0, after - 1)][1]
    (begin, first), (end, last) = points[after - 1 : after + 1]
    return first + (last - first) * (tokens - begin) / (end - begin)


def _next_multiple(value: int, of: int) -> int:
    return math.ceil(value / of) * of


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + f" or {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
