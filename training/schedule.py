"""Everything that changes in the course of a run, as pure functions of the tokens consumed.

One place computes every derived number (tokens per step, steps, accumulation, stages); the table it prints before
step 1 is what runs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..configs.errors import UserError
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
class Plan:
    """A run's derived numbers.

    Attributes:
        world_size: ranks.
        tokens_per_step: places in the packs of a step.
        steps: optimizer steps in all.
        accumulation: micro-batches of a rank in a step.
        packs: of the whole run.
    """

    config: RunConfig
    world_size: int
    tokens_per_step: int
    steps: int
    accumulation: int

    @property
    def packs(self) -> int:
        return self.steps * self.config.batch.packs

    def settings(self, step: int) -> StepSettings:
        """Of step `step`, counted from 0; the rate is that at the step's end, so that the first is not zero."""
        schedule = self.config.schedule
        before, after = step * self.tokens_per_step, (step + 1) * self.tokens_per_step
        return StepSettings(
            step=step,
            start=step * self.config.batch.packs,
            packs=self.config.batch.packs,
            tokens=after,
            lr=self.config.optimizer.lr * lr_factor(schedule, after),
            max_seqlen=max_seqlen(schedule, before, self.config.data.seq_length),
            mlm_probability=mlm_probability(schedule, before),
        )

    def from_step(self, step: int) -> Iterator[StepSettings]:
        """The settings of every step from `step` to the end of the run."""
        return (self.settings(number) for number in range(step, self.steps))

    def stages(self) -> list[tuple[int, StepSettings]]:
        """(first step, settings at it) of every sequence-length stage that the run reaches."""
        ends = [stage.until_tokens for stage in self.config.schedule.seq_length if stage.until_tokens is not None]
        firsts = [0, *(math.ceil(end / self.tokens_per_step) for end in ends)]
        return [(step, self.settings(step)) for step in dict.fromkeys(firsts) if step < self.steps]


def make_plan(config: RunConfig, world_size: int) -> Plan:
    """Derive the run's numbers for so many ranks.

    Raises:
        UserError: the ranks cannot share a step's packs evenly.
    """
    packs, micro = config.batch.packs, config.batch.micro_packs
    if packs % (micro * world_size):
        fits = [ranks for ranks in range(1, packs + 1) if packs % (micro * ranks) == 0]
        raise UserError(
            f"batch.packs ({packs}) must be divisible by batch.micro_packs x ranks ({micro} x {world_size}): "
            + (f"with these packs use {_listed(fits)} ranks, or " if fits else "")
            + f"set batch.packs={_next_multiple(packs, micro * world_size)}"
        )
    tokens_per_step = packs * config.data.seq_length
    return Plan(
        config=config,
        world_size=world_size,
        tokens_per_step=tokens_per_step,
        steps=math.ceil(config.schedule.total_tokens / tokens_per_step),
        accumulation=packs // (micro * world_size),
    )


def describe(plan: Plan) -> list[str]:
    """The plan as the lines that are printed before step 1."""
    config, schedule = plan.config, plan.config.schedule
    lines = [
        f"steps            {plan.steps:,}",
        f"tokens           {plan.steps * plan.tokens_per_step:,} ({plan.tokens_per_step:,} a step)",
        f"batch            {config.batch.packs} packs of {config.data.seq_length:,} tokens = {plan.world_size} ranks x "
        f"{plan.accumulation} micro-batches x {config.batch.micro_packs} packs",
        f"learning rate    {config.optimizer.lr:g} after {schedule.warmup_tokens:,} tokens, "
        f"{schedule.decay} over the last {schedule.decay_tokens:,}",
        f"masking          {schedule.mlm_probability.start:.0%} to {schedule.mlm_probability.end:.0%}",
    ]
    lines += [f"from step {step + 1:<7,}sequences up to {at.max_seqlen:,} tokens" for step, at in plan.stages()]
    return lines


def lr_factor(schedule: ScheduleConfig, tokens: int) -> float:
    """Share of the peak learning rate after `tokens`: warm-up, stable, decay (ModernBERT, arXiv 2412.13663)."""
    if tokens < schedule.warmup_tokens:
        return tokens / schedule.warmup_tokens
    # The last step may end beyond the total.
    left = max(0, schedule.total_tokens - tokens)
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
    """The masking rate after `tokens`, linear from start to end of the run."""
    masking = schedule.mlm_probability
    done = min(1.0, tokens / schedule.total_tokens)
    return masking.start + (masking.end - masking.start) * done


def _next_multiple(value: int, of: int) -> int:
    return math.ceil(value / of) * of


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:-1])) + f" or {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
