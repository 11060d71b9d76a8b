"""The packs that a run leaves out after spikes of its loss.

They are a list in `skips.json` of the run's directory, and amount to a pure shift of the order of packs. So a rewound
run resumes like any other, and a run that starts with a copy of the list makes the same steps from the beginning.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt, TypeAdapter

from ...configs.errors import UserError
from ...configs.json_text import read_json
from ...storage.files import atomic_write


@dataclass(frozen=True)
class Skip:
    """After `after` packs were consumed, the next `packs` packs of the order are left out."""

    after: NonNegativeInt
    packs: PositiveInt


_SCHEMA = TypeAdapter(list[Skip])


def order_offset(skips: Sequence[Skip], packs: int) -> int:
    """The offset, in the order of packs, of the pack that follows `packs` consumed ones."""
    return packs + sum(skip.packs for skip in skips if skip.after <= packs)


def read_skips(run_dir: Path) -> list[Skip]:
    """The skips of the run, oldest first. Every rank calls it.

    Raises:
        UserError: skips.json is not a list of skips.
    """
    import torch.distributed as dist  # checkpoint manifests, which hold skips, are read without torch on login nodes

    outcome: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            outcome = [load_skips(run_dir)]
        except UserError as error:  # raised on every rank: the others would wait
            outcome = [error]
    dist.broadcast_object_list(outcome, src=0)
    if isinstance(outcome[0], UserError):
        raise outcome[0]
    skips: list[Skip] = outcome[0]
    return skips


def load_skips(run_dir: Path) -> list[Skip]:
    """The skips of the run, oldest first, read by this process.

    Raises:
        UserError: skips.json is not a list of skips.
    """
    path = run_dir / "skips.json"
    advice = 'expected a list such as [{"after": 4096, "packs": 64}]; restore the file, or remove it'
    return read_json(path, _SCHEMA, advice) if path.is_file() else []


def restore_skips(run_dir: Path, saved: Sequence[Skip]) -> None:
    """Make sure that the run leaves out what its checkpoint had left out, on a new disk too. Every rank calls it.

    Raises:
        UserError: the run's own list contradicts the checkpoint's.
    """
    import torch.distributed as dist

    recorded, path = read_skips(run_dir), run_dir / "skips.json"
    if recorded[: len(saved)] == list(saved):
        return
    if list(saved[: len(recorded)]) != recorded:
        raise UserError(
            f"{path}: differs from the skips in the newest checkpoint: restore the file, or remove it to use the "
            "checkpoint's"
        )
    if dist.get_rank() == 0:
        write_skips(run_dir, saved)
    dist.barrier()


def write_skips(run_dir: Path, skips: Sequence[Skip]) -> None:
    atomic_write(run_dir / "skips.json", json.dumps([asdict(skip) for skip in skips], indent=1))
