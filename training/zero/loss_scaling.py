"""Loss scaling in fp16, and steps whose gradients are not finite.

In bf16 and fp32 a gradient that is not finite is an error, and the run stops before it is saved. In fp16 it is how the
dynamic loss scale finds its value: the step is skipped and the scale halved, and only too many skipped steps in a row
stop the run.
"""

import math
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

from ..recipe.config import EngineConfig

_SCALER_STATE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


class ScalingState(BaseModel):
    """What a checkpoint stores about loss scaling.

    Attributes:
        skipped_steps: steps skipped since the start of the run.
        loss_scaler: attributes of DeepSpeed's dynamic loss scaler; empty if the precision is not fp16.
    """

    model_config = ConfigDict(frozen=True)

    skipped_steps: int = 0
    loss_scaler: dict[str, int | float] = {}


def gradient_norm(engine: Any) -> float:
    """Norm of the last step's gradients over all ranks, before clipping; inf if the step was skipped."""
    return float(engine.get_global_grad_norm()) if engine.was_step_applied() else math.inf


def loss_scale(engine: Any) -> float:
    """The factor of the loss before backward in fp16; 1 in other precisions."""
    scaler = _scaler(engine)
    return float(scaler.loss_scale) if scaler else 1.0


def count_skipped_steps(
    engine: Any, config: EngineConfig, skipped_before: int, describe_step: Callable[[], str]
) -> int:
    """The number of consecutive skipped steps up to and including the last one.

    Args:
        skipped_before: the same number before the last step.
        describe_step: the step and its packs, for the error. They come after the last checkpoint.
    Raises:
        RuntimeError: the gradients are not finite and the precision is not fp16, or more than
            `config.max_skipped_steps` steps in a row were skipped.
    """
    if math.isfinite(norm := gradient_norm(engine)):
        return 0
    if config.precision != "fp16":
        raise RuntimeError(
            f"{describe_step()}: gradients are not finite (norm {norm}); the run stopped before saving them"
        )
    if skipped_before >= config.max_skipped_steps:
        raise RuntimeError(
            f"{describe_step()}: gradients overflowed in {skipped_before + 1} steps in a row, down to a loss scale of "
            f"{loss_scale(engine):,.0f}; the run stopped. Set engine.precision=bf16, or a smaller optimizer.lr"
        )
    return skipped_before + 1


def scaling_state(engine: Any) -> ScalingState:
    """The state to store in a checkpoint."""
    scaler = _scaler(engine)
    return ScalingState(
        skipped_steps=engine.skipped_steps,
        loss_scaler={key: getattr(scaler, key) for key in _SCALER_STATE} if scaler else {},
    )


def restore_scaling(engine: Any, state: ScalingState) -> None:
    engine.skipped_steps = state.skipped_steps
    if scaler := _scaler(engine):
        for key, value in state.loss_scaler.items():
            setattr(scaler, key, value)


def _scaler(engine: Any) -> Any:
    """DeepSpeed's dynamic loss scaler, if the precision is fp16."""
    return engine.optimizer.loss_scaler if engine.fp16_enabled() else None
