"""A loss that jumps: the run goes back to its last checkpoint and leaves out the packs that were read since.

What is left out is a list in `skips.json` of the run's directory, a pure shift of the order of packs. So a rewound run
resumes like any other, and a run that starts with a copy of the list makes the same steps from the beginning.
"""

import json
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple, NoReturn

import torch.distributed as dist

from ...configs.errors import UserError
from ...storage.files import fsync
from ..recipe.config import RunConfig, SpikeConfig


class LossSpikeError(Exception):
    """The run is to be started again at once."""


class Skip(NamedTuple):
    """After `after` packs were consumed, the next `packs` of the order are left out."""

    after: int
    packs: int


class SpikeWatch:
    """Compares each loss with the median of those before it; every rank sees the same losses and judges alike."""

    def __init__(self, config: SpikeConfig) -> None:
        self._config = config
        self._losses: deque[float] = deque(maxlen=config.window)

    def jumps(self, loss: float) -> bool:
        """Whether this loss is a spike. There is none before a whole window was seen since the run started."""
        full = len(self._losses) == self._losses.maxlen
        spike = full and 0 < self._config.factor * median(self._losses) < loss
        self._losses.append(loss)
        return spike


def place(skips: Sequence[Skip], packs: int) -> int:
    """Where in the order the pack stands that comes after so many consumed ones."""
    return packs + sum(skip.packs for skip in skips if skip.after <= packs)


def read_skips(run_dir: Path) -> list[Skip]:
    """What the run leaves out, oldest first; every rank calls it."""
    path = run_dir / "skips.json"
    noted = [json.loads(path.read_text()) if dist.get_rank() == 0 and path.is_file() else []]
    dist.broadcast_object_list(noted, src=0)
    return [Skip(**entry) for entry in noted[0]]


def restore_skips(run_dir: Path, saved: Sequence[Skip]) -> None:
    """Before a checkpoint is continued: what it had left out is left out again, on a new disk too. Every rank calls it.

    Raises:
        UserError: the run notes something else.
    """
    noted, path = read_skips(run_dir), run_dir / "skips.json"
    if noted[: len(saved)] == list(saved):
        return
    if list(saved[: len(noted)]) != noted:
        raise UserError(f"{path}: not what the newest checkpoint left out; bring back the file, or remove it")
    if dist.get_rank() == 0:
        _note(path, saved)
    dist.barrier()


def rewind(config: RunConfig, skips: Sequence[Skip], skip: Skip, step: int) -> NoReturn:
    """Note what the next start leaves out, and end this one; every rank calls it.

    Raises:
        LossSpikeError: it is noted.
        RuntimeError: the run was rewound too often already.
    """
    if len(skips) >= config.spikes.max_rewinds:
        raise RuntimeError(
            f"step {step}: the loss jumped again after {len(skips)} rewinds; the run stopped. Lower optimizer.lr, look "
            "at the documents of its last packs, or raise spikes.max_rewinds"
        )
    if dist.get_rank() == 0:
        _note(config.run_dir / "skips.json", [*skips, skip])
    dist.barrier()
    raise LossSpikeError(
        f"step {step}: the loss jumped; going back to the last checkpoint, without {skip.packs:,} packs"
    )


def _note(path: Path, skips: Sequence[Skip]) -> None:
    aside = path.with_name(f".{path.name}")
    aside.write_text(json.dumps([skip._asdict() for skip in skips], indent=1))
    fsync(aside)
    aside.replace(path)
    fsync(path.parent)
