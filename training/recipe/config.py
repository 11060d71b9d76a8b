"""The configuration of a training run: every section of its YAML file."""

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
    field_validator,
    model_validator,
)

from ...configs.spelling import did_you_mean
from ...model.config import ModelConfig
from ...streaming_data.loader.config import DataConfig, Objective

Beta = Annotated[float, Field(ge=0, lt=1)]


class _Section(BaseModel):
    # An infinite or undefined number would be met as an overflow somewhere in the run.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _require_increasing(what: str, values: list[int]) -> None:
    if values != sorted(set(values)):
        raise ValueError(f"{what} must increase, got {values}")


def _require_ends(key: str, ends: list[int | None]) -> None:
    """Require of stages that each but the last ends, and later than the one before."""
    if ends and (ends[-1] is not None or None in ends[:-1]):
        raise ValueError(f"every stage of {key} but the last needs until_tokens, and the last must have none")
    _require_increasing(f"until_tokens of the {key} stages", [end for end in ends if end is not None])


class BatchStage(_Section):
    """A batch-size warm-up stage: `global_batch_size` packs per step until `until_tokens` tokens are consumed."""

    global_batch_size: PositiveInt
    until_tokens: PositiveInt


class BatchConfig(_Section):
    """Batch sizes, in packs of `data.seq_length` tokens.

    Gradient accumulation steps = global_batch_size / (micro_batch_size x ranks).
    """

    global_batch_size: PositiveInt = Field(description="packs per step, over all ranks and micro-batches")
    micro_batch_size: PositiveInt = Field(1, description="packs that a rank computes at a time")
    warmup: tuple[BatchStage, ...] = Field((), description="batch-size warm-up: stages with fewer packs per step")

    @model_validator(mode="after")
    def _check(self) -> "BatchConfig":
        _require_increasing(
            "global_batch_size of the batch.warmup stages",
            [*(s.global_batch_size for s in self.warmup), self.global_batch_size],
        )
        _require_increasing("until_tokens of the batch.warmup stages", [stage.until_tokens for stage in self.warmup])
        return self


class LengthStage(_Section):
    """Sequences have at most `max_seqlen` tokens until `until_tokens` are consumed; the last stage has no end."""

    max_seqlen: PositiveInt
    until_tokens: PositiveInt | None = None


class ObjectiveStage(_Section):
    """The objective until `until_tokens` are consumed; the last stage has no end."""

    objective: Objective
    until_tokens: PositiveInt | None = None


class ScheduleConfig(_Section):
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
        _require_increasing("restarts and total_tokens", [*self.restarts, self.total_tokens])
        _require_increasing("the tokens of mlm_probability", [tokens for tokens, _ in self.mlm_probability])
        for begin, end in pairwise([0, *self.restarts, self.total_tokens]):
            if self.warmup_tokens + self.decay_tokens > end - begin:
                raise ValueError(
                    f"warmup_tokens ({self.warmup_tokens:,}) + decay_tokens ({self.decay_tokens:,}) exceed "
                    + (f"the tokens from {begin:,} to {end:,}" if self.restarts else f"total_tokens ({end:,})")
                )
        _require_ends("seq_length", [stage.until_tokens for stage in self.seq_length])
        if not isinstance(self.objective, str):
            _require_ends("objective", [stage.until_tokens for stage in self.objective])
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


class MuonConfig(_Section):
    """Settings of `optimizer.name: muon`; those of StableAdamW apply to embeddings, norms, biases and the head."""

    momentum: Beta = 0.95
    split_fused: bool = Field(
        True, description="orthogonalize the parts of Wqkv (query, key, value) and of Wi (gate, value) separately"
    )
    dtype: Literal["bf16", "fp32"] = Field("bf16", description="of the orthogonalization and of what ranks exchange")


class ContextConfig(_Section):
    """A longer context for the model that `initial_weights` names, from step 1 on. Local layers stay as they are."""

    max_position_embeddings: PositiveInt = Field(description="longest sequence, in tokens")
    global_rope_theta: PositiveFloat = Field(description="base of RoPE in global layers: raised with the length")


class OptimizerConfig(_Section):
    """StableAdamW as in ModernBERT; Muon for the matrices of its layers; or AdamW for comparison."""

    name: Literal["stable_adamw", "adamw", "muon"] = "stable_adamw"
    lr: PositiveFloat = Field(le=1, description="peak learning rate")
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    eps: PositiveFloat = 1e-6
    weight_decay: NonNegativeFloat = Field(
        1e-5,
        description="of matrices only; stable_adamw and muon: fully decoupled (x lr / peak lr), adamw: x lr",
    )
    muon: MuonConfig = MuonConfig()


class EngineConfig(_Section):
    """Settings of DeepSpeed, from which its JSON configuration is generated."""

    zero_stage: Literal["auto", 0, 1, 2, 3] = Field(
        "auto",
        description="partitioned among the ranks: 0 nothing, 1 optimizer state, 2 also gradients, 3 also weights; "
        "auto: 1 if the model fits with it, otherwise 3",
    )
    precision: Literal["bf16", "fp16", "fp32"] = Field("bf16", description="of computation; weights stay in fp32")
    reduce_precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="of gradients while ranks add them up; bf16 sends half of the bytes. Ranks accumulate in fp32",
    )
    max_skipped_steps: NonNegativeInt = Field(
        10,
        description="steps within skip_window that may be skipped because their loss or gradients are not finite; one "
        "more rewinds the run (spikes.max_rewinds), then ends it",
    )
    skip_window: PositiveInt = Field(128, description="steps over which max_skipped_steps counts")
    gradient_clipping: NonNegativeFloat = Field(1.0, description="maximum global norm; 0: no clipping")
    activation_checkpointing: bool = Field(False, description="recompute each layer in backward")
    attention_backend: Literal["auto", "triton", "flash", "flash4", "flash3", "flash2", "varlen", "torch"] = Field(
        "auto", description="auto: by layer, device and length of sequences; the choice is logged at the start"
    )
    deterministic_attention: bool = Field(
        True, description="backward passes of attention are equal bit for bit; false: faster in some libraries"
    )
    offload_optimizer: Literal["none", "cpu", "nvme"] = Field(
        "none", description="cpu: keep fp32 weights and optimizer state in host memory and update them there"
    )
    zero_hpz_partition_size: PositiveInt = Field(
        1, description="ranks of one node that share a second copy of the weights for backward (hpZ); 1: no second copy"
    )
    timeout_minutes: PositiveFloat = Field(30.0, description="of a collective operation, before the run ends")
    step_timeout_minutes: NonNegativeFloat = Field(
        20.0, description="a rank that completes no step for so long dumps its stack and exits; 0: never"
    )
    zero_optimization: dict[str, Any] = Field(
        default_factory=dict, description="other keys for DeepSpeed's zero_optimization section, passed through"
    )

    @property
    def stage(self) -> int:
        """The ZeRO stage, when `auto` has been replaced by a number (training/planning/stage.py)."""
        assert self.zero_stage != "auto"
        return self.zero_stage

    @model_validator(mode="after")
    def _check(self) -> "EngineConfig":
        if reason := unsupported_reason(self):
            raise ValueError(reason)
        return self


def unsupported_reason(engine: EngineConfig) -> str | None:
    """Why these settings cannot be combined and what to change, or None.

    Limits of a device are not checked here but when training starts.
    """
    # ZeRO-3 supports everything that some stage supports.
    stage = 3 if engine.zero_stage == "auto" else engine.zero_stage
    offload, hpz = engine.offload_optimizer, engine.zero_hpz_partition_size
    if stage == 0 and engine.precision != "fp32":
        return (
            f"zero_stage 0 with precision {engine.precision} would add up gradients in {engine.precision}: "
            "set zero_stage=1, which does not partition weights either, or precision=fp32"
        )
    if engine.reduce_precision == "bf16" and engine.precision != "bf16":
        return (
            f"reduce_precision=bf16 would round gradients that precision {engine.precision} computes more exactly: set "
            "reduce_precision=fp32 or precision=bf16"
        )
    if offload == "nvme":
        return (
            "offload_optimizer=nvme would keep the optimizer state in swap files, out of reach of checkpoints and of "
            "StableAdamW: set offload_optimizer=cpu"
        )
    if offload == "cpu" and stage == 0:
        return "offload_optimizer=cpu needs partitions to move, and zero_stage 0 has none: set zero_stage to 1, 2 or 3"
    if stage < 2 and engine.zero_optimization.get("overlap_comm"):
        return "zero_optimization.overlap_comm needs zero_stage 2 or 3: leave it out"
    if hpz > 1 and stage < 3:
        return (
            f"zero_hpz_partition_size={hpz} is a second copy of partitioned weights, and zero_stage {stage} partitions "
            "none: set zero_stage=3 or zero_hpz_partition_size=1"
        )
    if keys := sorted(set(engine.zero_optimization) & _ENGINE_KEYS.keys()):
        return f"zero_optimization.{keys[0]} is not allowed here: set engine.{_ENGINE_KEYS[keys[0]]} instead"
    return None


_ENGINE_KEYS = {
    "stage": "zero_stage",
    "offload_optimizer": "offload_optimizer",
    "cpu_offload": "offload_optimizer",
    "zero_hpz_partition_size": "zero_hpz_partition_size",
}


class ProfileConfig(_Section):
    """The steps that rank 0 records with PyTorch's profiler."""

    first_step: PositiveInt = Field(description="counted from 1; the first steps are slower than the others")
    steps: PositiveInt = 3
    memory: bool = Field(False, description="also record allocations, and on a GPU a memory snapshot")


class RunningAverageConfig(_Section):
    """An average of the weights over the last steps, evaluated next to them; `cmbert export --average` exports it."""

    decay: float = Field(0.99, gt=0, lt=1, description="of the average per step; it spans 1 / (1 - decay) steps")


class CheckpointConfig(_Section):
    """When checkpoints are saved, and which are kept."""

    every_steps: PositiveInt = 1000
    keep_last: PositiveInt = 3
    keep_every_steps: NonNegativeInt = Field(0, description="keep multiples of this step permanently; 0: none")
    keep_best: NonNegativeInt = Field(0, description="keep so many with the lowest mean validation loss")
    upload: str | None = Field(
        None, description="s3://, gs:// or az:// URL to copy them to; a run on a new disk continues from there"
    )


class MetricsConfig(_Section):
    """Where metrics are logged, in addition to metrics.csv."""

    every_steps: PositiveInt = 1
    tensorboard: bool = True
    prometheus: Path | None = Field(
        None, description="file with the latest values, such as /var/lib/node_exporter/x.prom"
    )
    wandb_project: str | None = Field(None, description="Weights & Biases; WANDB_MODE=offline etc. apply")
    mlflow_uri: str | None = Field(None, description="MLflow tracking server, or file:///DIRECTORY")


class SpikeConfig(_Section):
    """When a loss spike rewinds the run to its last checkpoint, to continue without the packs read since.

    Too many steps that are not finite (engine.max_skipped_steps) rewind it too.
    """

    factor: NonNegativeFloat = Field(
        0.0, description="a loss above this multiple of the previous losses' median is a spike, such as 1.3; 0: never"
    )
    window: PositiveInt = Field(64, description="number of losses in that median")
    max_rewinds: NonNegativeInt = Field(3, description="per run; after that many, one more ends the run")


class ValidationConfig(_Section):
    """Validation: the loss on held-out packs of each source, at 15 % masking; that of the next token too, if the
    run's schedule has that objective."""

    every_steps: NonNegativeInt = Field(0, description="0: never")
    packs: PositiveInt = Field(16, description="held-out packs per source, the same ones every time")


IDENTITY_KEYS = (
    # initializer_* decide only what a model starts from, which a checkpoint has replaced.
    *(f"model.{name}" for name in ModelConfig.model_fields if not name.startswith("initializer_")),
    "tokenizer",
    "data.masking",
    "schedule.mlm_probability",
    "schedule.objective",
    "optimizer.name",
)
"""What makes the model of a run that model: architecture, tokenizer and objective; and whose state a checkpoint has."""


class RunConfig(_Section):
    """One training run."""

    run_dir: Path = Field(description="output directory: checkpoints, metrics, configuration")
    seed: int = 17
    model: ModelConfig | None = Field(None, description="the architecture, to train from scratch")
    initial_weights: Path | None = Field(
        None,
        description="a ModernBERT to continue, whose architecture is used: a Hugging Face directory, OWNER/NAME or "
        "OWNER/NAME@REVISION on the Hub, a composer checkpoint (.pt), or a checkpoint of another run",
    )
    new_head: bool = Field(
        False,
        description="take only the encoder of initial_weights, such as that of a classifier, and make the head and the "
        "decoder's bias new from the seed",
    )
    context: ContextConfig | None = Field(None, description="a longer context for that model; null: as it is")
    data: DataConfig
    batch: BatchConfig
    schedule: ScheduleConfig
    optimizer: OptimizerConfig
    engine: EngineConfig = EngineConfig()
    profile: ProfileConfig | None = Field(None, description="steps to profile; null: none")
    memory_check: bool | None = Field(
        None, description="compute the largest micro-batch of every stage before step 1; null: only on GPUs"
    )
    checkpoint: CheckpointConfig = CheckpointConfig()
    metrics: MetricsConfig = MetricsConfig()
    validation: ValidationConfig = ValidationConfig()
    running_average: RunningAverageConfig | None = Field(None, description="null: none")
    spikes: SpikeConfig = SpikeConfig()
    allow_changed: tuple[str, ...] = Field(
        (),
        description="keys of architecture, tokenizer, objective or optimizer that may differ from those of the "
        "checkpoint that the run continues, such as model.local_attention",
    )

    @field_validator("allow_changed")
    @classmethod
    def _check_allowed(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for key in keys:
            if key not in IDENTITY_KEYS:
                hint = did_you_mean(key, IDENTITY_KEYS)
                raise ValueError(f"{key} is none of the keys that are compared, {', '.join(IDENTITY_KEYS)}{hint}")
        return keys

    @model_validator(mode="after")
    def _check(self) -> "RunConfig":
        if (self.model is None) == (self.initial_weights is None):
            raise ValueError("give either model (from scratch) or initial_weights (to continue), not both")
        if self.new_head and self.initial_weights is None:
            raise ValueError("new_head takes the encoder of initial_weights, which is not set")
        if self.context and self.model:
            raise ValueError(
                "context extends the model of initial_weights; from scratch, set max_position_embeddings and "
                "global_rope_theta in the section model"
            )
        longest = max((stage.max_seqlen for stage in self.schedule.seq_length), default=0)
        if longest > self.data.seq_length:
            raise ValueError(
                f"a stage of schedule.seq_length has max_seqlen {longest:,}, but packs hold {self.data.seq_length:,} "
                "tokens (data.seq_length)"
            )
        return self
