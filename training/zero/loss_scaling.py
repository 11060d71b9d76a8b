"""Loss scaling in fp16, and steps that are skipped because their loss or gradients are not finite.

A skipped step changes neither weights nor optimizer state, in any precision. In fp16 it is also how the dynamic loss
scale finds its value: the scale is halved. Only too many skipped steps within a window lead to a rewind (`spikes.py`).
Which of the last steps were skipped is part of a checkpoint, so a resumed run rewinds at the same step.
"""

import math
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:  # `cmbert status` reads manifests, and with them this module, without torch
    import torch

_SCALER_STATE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


class ScalingState(BaseModel):
    """What a checkpoint stores about loss scaling.

    Attributes:
        skipped_steps: steps skipped since the start of the run.
        recently_skipped: their numbers, within the window that `record_step` counts.
        loss_scaler: attributes of DeepSpeed's dynamic loss scaler; empty if the precision is not fp16.
    """

    model_config = ConfigDict(frozen=True)

    skipped_steps: int = 0
    recently_skipped: tuple[int, ...] = ()
    loss_scaler: dict[str, int | float] = {}


def gradient_norm(engine: Any) -> "torch.Tensor | float":
    """Norm of the last step's gradients over all ranks, before clipping; inf if the step was skipped.

    It is a tensor () where DeepSpeed leaves it on the device.
    """
    norm: torch.Tensor | float = engine.get_global_grad_norm() if engine.was_step_applied() else math.inf
    return norm


def loss_scale(engine: Any) -> float:
    """The factor of the loss before backward in fp16; 1 in other precisions."""
    scaler = _scaler(engine)
    return float(scaler.loss_scale) if scaler else 1.0


def record_step(engine: Any, step: int, window: int) -> tuple[bool, int]:
    """(whether step number `step`, the last one, was skipped; how many of the last `window` steps were).

    It needs no device: DeepSpeed decides on the host, from the norm, and all ranks decide alike.
    """
    skipped = not engine.was_step_applied()
    recent = [*_recently_skipped(engine), *([step] if skipped else [])]
    engine.recently_skipped = tuple(number for number in recent if number > step - window)
    return skipped, len(engine.recently_skipped)


def scaling_state(engine: Any) -> ScalingState:
    """The state to store in a checkpoint."""
    scaler = _scaler(engine)
    return ScalingState(
        skipped_steps=engine.skipped_steps,
        recently_skipped=_recently_skipped(engine),
        loss_scaler={key: getattr(scaler, key) for key in _SCALER_STATE} if scaler else {},
    )


def restore_scaling(engine: Any, state: ScalingState) -> None:
    engine.skipped_steps = state.skipped_steps
    engine.recently_skipped = state.recently_skipped
    if scaler := _scaler(engine):
        for key, value in state.loss_scaler.items():
            setattr(scaler, key, value)


def _scaler(engine: Any) -> Any:
    """DeepSpeed's dynamic loss scaler, if the precision is fp16."""
    return engine.optimizer.loss_scaler if engine.fp16_enabled() else None


def _recently_skipped(engine: Any) -> tuple[int, ...]:
    return getattr(engine, "recently_skipped", ())
