"""Spikes of the loss, and too many steps that are not finite: the run goes back to its last checkpoint and leaves out
the packs that were read since.
"""

import math
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NoReturn

import torch.distributed as dist

from ..recipe.config import SpikeConfig
from .skips import Skip, write_skips


class RewoundError(Exception):
    """The run was rewound; it should be started again at once."""


class SpikeDetector:
    """Compares each loss with the median of those before it. Every rank sees the same losses, so all ranks agree.

    Only losses of one objective are compared: where a run switches, the loss jumps, such as from 4.2 to 7.2.
    """

    def __init__(self, config: SpikeConfig) -> None:
        self._config = config
        self._losses: deque[float] = deque(maxlen=config.window)
        self._objective: str | None = None

    def is_spike(self, loss: float, objective: str = "masked") -> bool:
        """Whether this loss is a spike. None is detected before a full window of losses since the process started, or
        since another objective."""
        if objective != self._objective:
            self._losses.clear()
            self._objective = objective
        if not math.isfinite(loss):
            return False  # the step was skipped
        full = len(self._losses) == self._losses.maxlen
        spike = full and 0 < self._config.factor * median(self._losses) < loss
        self._losses.append(loss)
        return spike


def rewind(run_dir: Path, config: SpikeConfig, skips: Sequence[Skip], skip: Skip, reason: str) -> NoReturn:
    """Record what the next attempt leaves out, and end this one. Every rank calls it.

    Args:
        skips: what the run leaves out already.
        skip: what it leaves out in addition.
        reason: what happened, and at which step.
    Raises:
        RewoundError: the skip is recorded.
        RuntimeError: the run has been rewound `config.max_rewinds` times already.
    """
    if len(skips) >= config.max_rewinds:
        raise RuntimeError(
            f"{reason} again after {len(skips)} rewinds; the run stopped. Lower optimizer.lr, inspect the documents "
            "of its last packs, or raise spikes.max_rewinds"
        )
    if dist.get_rank() == 0:
        write_skips(run_dir, [*skips, skip])
    dist.barrier()
    raise RewoundError(f"{reason}; going back to the last checkpoint, without {skip.packs:,} packs")
