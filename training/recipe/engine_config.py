"""The configuration of the engine, and the settings that exclude each other."""

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from .section import Section


class EngineConfig(Section):
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
        20.0,
        description="of a start, the first steps, a validation or a checkpoint (hangs: of others), before a rank that "
        "does not go on is ended; 0: none ever is",
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
