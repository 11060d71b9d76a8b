"""A training run, whole: every section of its YAML file."""

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ...model.config import ModelConfig
from ...streaming_data.loader.config import DataConfig


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _require_growth(what: str, values: list[int]) -> None:
    if values != sorted(set(values)):
        raise ValueError(f"{what} must grow, got {values}")


class BatchStage(_Section):
    """Steps take `global_batch_size` packs until `until_tokens` tokens have been consumed."""

    global_batch_size: PositiveInt
    until_tokens: PositiveInt


class BatchConfig(_Section):
    """How many packs an optimizer step takes. Accumulation follows: global_batch_size / (micro_batch_size x ranks)."""

    global_batch_size: PositiveInt = Field(description="packs per step, over all ranks and micro-batches")
    micro_batch_size: PositiveInt = Field(1, description="packs that a rank computes at once")
    warmup: tuple[BatchStage, ...] = Field((), description="batch-size warm-up: fewer packs per step at first")

    @model_validator(mode="after")
    def _check(self) -> "BatchConfig":
        _require_growth(
            "global_batch_size of the batch.warmup stages",
            [*(s.global_batch_size for s in self.warmup), self.global_batch_size],
        )
        _require_growth("until_tokens of the batch.warmup stages", [stage.until_tokens for stage in self.warmup])
        return self


class LengthStage(_Section):
    """Sequences are cut at `max_seqlen` until `until_tokens` tokens have been consumed; the last stage never ends."""

    max_seqlen: PositiveInt
    until_tokens: PositiveInt | None = None


class ScheduleConfig(_Section):
    """All in tokens: places of packs consumed, over all ranks. Fullness is above 99 %, so places are tokens."""

    total_tokens: PositiveInt
    warmup_tokens: NonNegativeInt = 0
    decay_tokens: NonNegativeInt = Field(0, description="the last so many tokens; 0: the rate stays")
    decay: Literal["one_minus_sqrt", "linear", "cosine"] = "one_minus_sqrt"
    final_lr_ratio: NonNegativeFloat = Field(0.001, description="of the peak rate, at the end of the decay")
    seq_length: tuple[LengthStage, ...] = Field((), description="sequence-length warm-up; none: packs' full length")
    mlm_probability: tuple[tuple[NonNegativeInt, Annotated[float, Field(gt=0, lt=1)]], ...] = Field(
        ((0, 0.30),),
        min_length=1,
        description="share of maskable tokens that is masked: points [tokens, share], straight lines between them",
    )
    restarts: tuple[PositiveInt, ...] = Field(
        (), description="tokens at which the learning rate begins again: warm-up, stable, decay before the next"
    )

    @model_validator(mode="after")
    def _check(self) -> "ScheduleConfig":
        _require_growth("restarts and total_tokens", [*self.restarts, self.total_tokens])
        _require_growth("the tokens of mlm_probability", [tokens for tokens, _ in self.mlm_probability])
        for begin, end in pairwise([0, *self.restarts, self.total_tokens]):
            if self.warmup_tokens + self.decay_tokens > end - begin:
                raise ValueError(
                    f"warmup_tokens ({self.warmup_tokens:,}) + decay_tokens ({self.decay_tokens:,}) exceed "
                    + (f"the tokens from {begin:,} to {end:,}" if self.restarts else f"total_tokens ({end:,})")
                )
        ends = [stage.until_tokens for stage in self.seq_length]
        if ends and (ends[-1] is not None or None in ends[:-1]):
            raise ValueError("every stage of seq_length but the last needs until_tokens, and the last must have none")
        _require_growth("until_tokens of the seq_length stages", [end for end in ends if end is not None])
        return self


class OptimizerConfig(_Section):
    """StableAdamW as ModernBERT used it, or AdamW to compare with."""

    name: Literal["stable_adamw", "adamw"] = "stable_adamw"
    lr: PositiveFloat = Field(le=1, description="peak learning rate")
    betas: tuple[float, float] = (0.9, 0.98)
    eps: PositiveFloat = 1e-6
    weight_decay: NonNegativeFloat = Field(
        1e-5,
        description="matrices only; stable_adamw: fully decoupled (x lr / peak lr), adamw: times lr",
    )


class EngineConfig(_Section):
    """What DeepSpeed is told; its JSON is made from this."""

    zero_stage: Literal[0, 1, 2, 3] = Field(
        3, description="shared by the ranks: 0 nothing, 1 optimizer state, 2 gradients too, 3 weights too"
    )
    precision: Literal["bf16", "fp16", "fp32"] = Field("bf16", description="of computing; weights are kept in fp32")
    max_skipped_steps: NonNegativeInt = Field(
        10,
        description="in a row: fp16 lowers its loss scale and skips a step that overflows; more end the run",
    )
    gradient_clipping: NonNegativeFloat = Field(1.0, description="of the global norm; 0: none")
    activation_checkpointing: bool = Field(False, description="compute each layer twice, and keep only its input")
    offload_optimizer: Literal["none", "cpu", "nvme"] = Field(
        "none", description="cpu: keep fp32 weights and optimizer state in host memory, and update them there"
    )
    zero_hpz_partition_size: PositiveInt = Field(
        1, description="ranks of one node that share a second copy of the weights, for backward; 1: no such copy"
    )
    timeout_minutes: PositiveFloat = Field(30.0, description="of a collective, before a lost rank ends the run")
    step_timeout_minutes: NonNegativeFloat = Field(
        20.0, description="a rank that makes no step for so long says where it stands and ends; 0: never"
    )
    zero_optimization: dict[str, Any] = Field(
        default_factory=dict, description="further keys of DeepSpeed's zero_optimization section, as they are there"
    )

    @model_validator(mode="after")
    def _check(self) -> "EngineConfig":
        if reason := impossible(self):
            raise ValueError(reason)
        return self


def impossible(engine: EngineConfig) -> str | None:
    """Why these settings cannot work together and what to do, or None. (What a device cannot do is found at start.)"""
    stage, offload, hpz = engine.zero_stage, engine.offload_optimizer, engine.zero_hpz_partition_size
    if stage == 0 and engine.precision != "fp32":
        return (
            f"zero_stage 0 with precision {engine.precision} would add up gradients in {engine.precision}: "
            "set zero_stage=1, which keeps weights whole too, or precision=fp32"
        )
    if offload == "nvme":
        return (
            "offload_optimizer=nvme would leave the optimizer's state in swap files, out of reach of checkpoints and "
            "of StableAdamW: set offload_optimizer=cpu"
        )
    if offload == "cpu" and stage == 0:
        return "offload_optimizer=cpu needs partitions to move, and zero_stage 0 has none: set zero_stage to 1, 2 or 3"
    if stage < 2 and engine.zero_optimization.get("overlap_comm"):
        return "zero_optimization.overlap_comm needs zero_stage 2 or 3: leave it out"
    if hpz > 1 and stage < 3:
        return (
            f"zero_hpz_partition_size={hpz} is a second copy of divided weights, and zero_stage {stage} divides none: "
            "set zero_stage=3 or zero_hpz_partition_size=1"
        )
    if own := sorted(set(engine.zero_optimization) & _OWN_ZERO_KEYS.keys()):
        return f"zero_optimization.{own[0]} has a key of its own: set engine.{_OWN_ZERO_KEYS[own[0]]} instead"
    return None


_OWN_ZERO_KEYS = {
    "stage": "zero_stage",
    "offload_optimizer": "offload_optimizer",
    "cpu_offload": "offload_optimizer",
    "zero_hpz_partition_size": "zero_hpz_partition_size",
}


class ProfileConfig(_Section):
    """Which steps rank 0 records with PyTorch's profiler."""

    first_step: PositiveInt = Field(description="counted from 1; the first ones are slower than the rest")
    steps: PositiveInt = 3
    memory: bool = Field(False, description="allocations too, and on a GPU a snapshot of its memory")


class CheckpointConfig(_Section):
    """When checkpoints are written and which are kept."""

    every_steps: PositiveInt = 1000
    keep_last: PositiveInt = 3
    keep_every_steps: NonNegativeInt = Field(0, description="keep those at its multiples for good; 0: none")
    keep_best: NonNegativeInt = Field(0, description="keep so many of the lowest mean held-out loss")
    upload: str | None = Field(
        None, description="s3://, gs:// or az:// address for a copy of each; a run on a new disk continues from there"
    )


class MetricsConfig(_Section):
    """Where the numbers go, beside metrics.csv."""

    every_steps: PositiveInt = 1
    tensorboard: bool = True
    prometheus: Path | None = Field(
        None, description="file of the newest values, such as /var/lib/node_exporter/x.prom"
    )
    wandb_project: str | None = Field(None, description="Weights & Biases; WANDB_MODE=offline and the like hold")
    mlflow_uri: str | None = Field(None, description="MLflow: a tracking server, or file:///DIRECTORY")


class SpikeConfig(_Section):
    """When a jump of the loss takes the run back to its last checkpoint, to go on without the packs read since."""

    factor: NonNegativeFloat = Field(0.0, description="of the median of the losses before, such as 1.3; 0: never")
    window: PositiveInt = Field(64, description="losses of that median")
    max_rewinds: NonNegativeInt = Field(3, description="of a run, before it stops instead")


class ValidationConfig(_Section):
    """Loss on packs that training never sees, at 15 % masking, a source at a time."""

    every_steps: NonNegativeInt = Field(0, description="0: never")
    packs: PositiveInt = Field(16, description="of each source, the same ones every time")


class RunConfig(_Section):
    """One training run."""

    run_dir: Path = Field(description="everything the run writes: checkpoints, metrics, its configuration")
    seed: int = 17
    model: ModelConfig | None = Field(None, description="from scratch: the architecture")
    initial_weights: Path | None = Field(
        None, description="to continue: directory of a Hugging Face ModernBERT, which brings its architecture"
    )
    data: DataConfig
    batch: BatchConfig
    schedule: ScheduleConfig
    optimizer: OptimizerConfig
    engine: EngineConfig = EngineConfig()
    profile: ProfileConfig | None = Field(None, description="steps to record; null: none")
    memory_check: bool | None = Field(
        None, description="before step 1, compute the largest micro-batch of every stage; null: on GPUs"
    )
    checkpoint: CheckpointConfig = CheckpointConfig()
    metrics: MetricsConfig = MetricsConfig()
    validation: ValidationConfig = ValidationConfig()
    spikes: SpikeConfig = SpikeConfig()

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        if (self.model is None) == (self.initial_weights is None):
            raise ValueError("give either model (from scratch) or initial_weights (to continue), and not both")
        longest = max((stage.max_seqlen for stage in self.schedule.seq_length), default=0)
        if longest > self.data.seq_length:
            raise ValueError(
                f"a stage of schedule.seq_length has max_seqlen {longest:,}, but packs hold {self.data.seq_length:,} "
                "tokens (data.seq_length)"
            )
        return self
