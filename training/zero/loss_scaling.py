"""Steps whose gradients are not finite.

In bf16 and fp32 that means that something is wrong, and the run stops before it is saved. In fp16 it is how the loss
scale finds its size: the step is left out, the scale halved, and only too many in a row stop the run.
"""

import math
from collections.abc import Callable
from typing import Any

from ..recipe.config import EngineConfig

_SCALER_STATE = ("cur_scale", "cur_iter", "last_overflow_iter", "cur_hysteresis")


def gradient_norm(engine: Any) -> float:
    """Of the step just made, over all ranks and before clipping; inf when the step was left out."""
    return float(engine.get_global_grad_norm()) if engine.was_step_applied() else math.inf


def loss_scale(engine: Any) -> float:
    """What fp16's losses are multiplied by for backward; 1 in other precisions."""
    scaler = _scaler(engine)
    return float(scaler.loss_scale) if scaler else 1.0


def count_skipped(engine: Any, config: EngineConfig, skipped_before: int, where: Callable[[], str]) -> int:
    """How many steps in a row were left out, the one just made included.

    Args:
        skipped_before: the same, of the step before.
        where: the step and its packs, to be named if the run must stop. The last checkpoint stands before them.
    Raises:
        RuntimeError: its gradients are not finite, which only fp16 may explain, `config.max_skipped_steps` times.
    """
    if math.isfinite(norm := gradient_norm(engine)):
        return 0
    if config.precision != "fp16":
        raise RuntimeError(f"{where()}: gradients are not finite (norm {norm}); the run stopped before saving them")
    if skipped_before >= config.max_skipped_steps:
        raise RuntimeError(
            f"{where()}: gradients overflowed in {skipped_before + 1} steps in a row, down to a loss scale of "
            f"{loss_scale(engine):,.0f}; the run stopped. Set engine.precision=bf16, or a smaller optimizer.lr"
        )
    return skipped_before + 1


def scaling_state(engine: Any) -> dict[str, Any]:
    """What a checkpoint must keep of all this."""
    scaler = _scaler(engine)
    return {
        "skipped_steps": engine.skipped_steps,
        "loss_scaler": {key: getattr(scaler, key) for key in _SCALER_STATE} if scaler else {},
    }


def restore_scaling(engine: Any, state: dict[str, Any]) -> None:
    engine.skipped_steps = state.get("skipped_steps", 0)
    if scaler := _scaler(engine):
        for key, value in state.get("loss_scaler", {}).items():
            setattr(scaler, key, value)


def _scaler(engine: Any) -> Any:
    """DeepSpeed's dynamic loss scaler, in fp16."""
    return engine.optimizer.loss_scaler if engine.fp16_enabled() else None
