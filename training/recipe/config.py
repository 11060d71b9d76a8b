"""The configuration of a training run: every section of its YAML file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
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
from ...streaming_data.loader.config import DataConfig
from .engine_config import EngineConfig
from .schedule_config import BatchConfig, ScheduleConfig
from .section import Section

Beta = Annotated[float, Field(ge=0, lt=1)]


class MuonConfig(Section):
    """Settings of `optimizer.name: muon`; those of StableAdamW apply to embeddings, norms, biases and the head."""

    momentum: Beta = 0.95
    split_fused: bool = Field(
        True, description="orthogonalize the parts of Wqkv (query, key, value) and of Wi (gate, value) separately"
    )
    dtype: Literal["bf16", "fp32"] = Field("bf16", description="of the orthogonalization and of what ranks exchange")


class ContextConfig(Section):
    """A longer context for the model that `initial_weights` names, from step 1 on. Local layers stay as they are."""

    max_position_embeddings: PositiveInt = Field(description="longest sequence, in tokens")
    global_rope_theta: PositiveFloat = Field(description="base of RoPE in global layers: raised with the length")


class OptimizerConfig(Section):
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


class ProfileConfig(Section):
    """The steps that rank 0 records with PyTorch's profiler."""

    first_step: PositiveInt = Field(description="counted from 1; the first steps are slower than the others")
    steps: PositiveInt = 3
    memory: bool = Field(False, description="also record allocations, and on a GPU a memory snapshot")


class RunningAverageConfig(Section):
    """An average of the weights over the last steps, evaluated next to them; `cmbert export --average` exports it."""

    decay: float = Field(0.99, gt=0, lt=1, description="of the average per step; it spans 1 / (1 - decay) steps")


class CheckpointConfig(Section):
    """When checkpoints are saved, and which are kept."""

    every_steps: PositiveInt = 1000
    keep_last: PositiveInt = 3
    keep_every_steps: NonNegativeInt = Field(0, description="keep multiples of this step permanently; 0: none")
    keep_best: NonNegativeInt = Field(0, description="keep so many with the lowest mean validation loss")
    upload: str | None = Field(
        None, description="s3://, gs:// or az:// URL to copy them to; a run on a new disk continues from there"
    )


class MetricsConfig(Section):
    """Where metrics are logged, in addition to metrics.csv."""

    every_steps: PositiveInt = 1
    tensorboard: bool = True
    prometheus: Path | None = Field(
        None, description="file with the latest values, such as /var/lib/node_exporter/x.prom"
    )
    wandb_project: str | None = Field(None, description="Weights & Biases; WANDB_MODE=offline etc. apply")
    mlflow_uri: str | None = Field(None, description="MLflow tracking server, or file:///DIRECTORY")


class SpikeConfig(Section):
    """When a loss spike rewinds the run to its last checkpoint, to continue without the packs read since.

    Too many steps that are not finite (engine.max_skipped_steps) rewind it too.
    """

    factor: NonNegativeFloat = Field(
        0.0, description="a loss above this multiple of the previous losses' median is a spike, such as 1.3; 0: never"
    )
    window: PositiveInt = Field(64, description="number of losses in that median")
    max_rewinds: NonNegativeInt = Field(3, description="per run; after that many, one more ends the run")


class HangConfig(Section):
    """When a rank that does not go on is ended, so that the run starts again; engine.step_timeout_minutes: the rest."""

    factor: NonNegativeFloat = Field(
        10.0, description="a part of a step that takes this multiple of the median step is a hang; 0: never"
    )
    floor_seconds: PositiveFloat = Field(
        180.0, description="but never less than this: longer than a file system or network may pause"
    )

    def limit(self, step_seconds: float, patience: float) -> float:
        """Seconds for a part of a step, where a step takes `step_seconds` (0: unknown); 0: any number.

        Args:
            patience: seconds for what is not the same in each step, which no part may exceed; 0: any number.
        """
        if not (patience and self.factor and step_seconds):
            return patience
        return min(patience, max(self.floor_seconds, self.factor * step_seconds))


class ValidationConfig(Section):
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


class RunConfig(Section):
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
    hangs: HangConfig = HangConfig()
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
