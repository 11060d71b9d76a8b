"""The configuration of batches and of the schedule, both in tokens."""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, model_validator

from ...streaming_data.loader.config import Objective
from .section import Section, require_ends, require_increasing


class BatchStage(Section):
    """A batch-size warm-up stage: `global_batch_size` packs per step until `until_tokens` tokens are consumed."""

    global_batch_size: PositiveInt
    until_tokens: PositiveInt


class BatchConfig(Section):
    """Batch sizes, in packs of `data.seq_length` tokens.

    Each rank has global_batch_size / ranks packs, or one more where this is no whole number, in as few micro-batches of
    at most micro_batch_size packs as the rank with most packs needs. The loss is the same at any number of ranks.
    """

    global_batch_size: PositiveInt = Field(description="packs per step, over all ranks and micro-batches")
    micro_batch_size: PositiveInt = Field(1, description="most packs that a rank computes at a time")
    warmup: tuple[BatchStage, ...] = Field((), description="batch-size warm-up: stages with fewer packs per step")

    @model_validator(mode="after")
    def _check(self) -> "BatchConfig":
        require_increasing(
            "global_batch_size of the batch.warmup stages",
            [*(s.global_batch_size for s in self.warmup), self.global_batch_size],
        )
        require_increasing("until_tokens of the batch.warmup stages", [stage.until_tokens for stage in self.warmup])
        return self


class LengthStage(Section):
    """Sequences have at most `max_seqlen` tokens until `until_tokens` are consumed; the last stage has no end."""

    max_seqlen: PositiveInt
    until_tokens: PositiveInt | None = None


class ObjectiveStage(Section):
    """The objective until `until_tokens` are consumed; the last stage has no end."""

    objective: Objective
    until_tokens: PositiveInt | None = None


class ScheduleConfig(Section):
    """The schedule, in tokens consumed over all ranks.

    It counts the token slots of packs, padding included; packs are more than 99 % full.
    """

    total_tokens: PositiveInt
    warmup_tokens: NonNegativeInt = 0
    decay_tokens: NonNegativeInt = Field(0, description="length of the final decay; 0: the rate stays constant")
    decay: Literal["one_minus_sqrt", "linear", "cosine"] = "one_minus_sqrt"
    final_lr_ratio: NonNegativeFloat = Field(0.001, description="final learning rate as a share of the peak")
    seq_length: tuple[LengthStage, ...] = Field((), description="sequence-length warm-up; none: full packs")
    mlm_probability: tuple[tuple[NonNegativeInt, Annotated[float, Field(gt=0, lt=1)]], ...] = Field(
        ((0, 0.30),),
        min_length=1,
        description="share of maskable tokens that is masked: points [tokens, share], linear between them",
    )
    objective: Objective | tuple[ObjectiveStage, ...] = Field(
        "masked",
        description="masked: predict masked tokens; causal: predict the next token, attending only to those before; or "
        "stages of both",
    )
    restarts: tuple[PositiveInt, ...] = Field(
        (), description="tokens at which the learning-rate cycle (warm-up, stable, decay) restarts"
    )

    @model_validator(mode="after")
    def _check(self) -> "ScheduleConfig":
        require_increasing("restarts and total_tokens", [*self.restarts, self.total_tokens])
        require_increasing("the tokens of mlm_probability", [tokens for tokens, _ in self.mlm_probability])
        for begin, end in pairwise([0, *self.restarts, self.total_tokens]):
            if self.warmup_tokens + self.decay_tokens > end - begin:
                raise ValueError(
                    f"warmup_tokens ({self.warmup_tokens:,}) + decay_tokens ({self.decay_tokens:,}) exceed "
                    + (f"the tokens from {begin:,} to {end:,}" if self.restarts else f"total_tokens ({end:,})")
                )
        require_ends("seq_length", [stage.until_tokens for stage in self.seq_length])
        if not isinstance(self.objective, str):
            require_ends("objective", [stage.until_tokens for stage in self.objective])
            names, last = [stage.objective for stage in self.objective], self.objective[-2:-1]
            if len(names) < 2 or any(one == other for one, other in pairwise(names)):
                raise ValueError(
                    f"the stages of objective must alternate, got {', '.join(names) or 'none'}; for a single objective "
                    "give its name, without stages"
                )
            if last and (last[0].until_tokens or 0) >= self.total_tokens:
                raise ValueError(
                    f"the last stage of objective, {names[-1]}, begins after {last[0].until_tokens:,} tokens, but "
                    f"total_tokens is {self.total_tokens:,}: lower until_tokens"
                )
        return self

    @property
    def objectives(self) -> tuple[ObjectiveStage, ...]:
        """The stages of `objective`, at least one."""
        if isinstance(self.objective, str):
            return (ObjectiveStage(objective=self.objective),)
        return self.objective
