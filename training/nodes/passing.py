"""Files that nodes pass to each other over the process group, in pieces, so that memory is bounded."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist

PIECE = 1 << 24
"""Bytes of a message."""


class Passage(NamedTuple):
    """A file of `size` bytes that rank `source` sends to rank `target`."""

    name: str
    size: int
    source: int
    target: int


def pass_files(directory: Path, passages: Sequence[Passage], group: Any) -> None:
    """Send and receive the files of `directory`, which is another on each source and target. Every rank may call it.

    A file arrives at `arrival(file)`. What arrives is for the target to check: a source that cannot read goes on with
    zeros, and a target that cannot write goes on without a file, so that no rank waits for another in vain.

    Args:
        passages: the same in the same order on all ranks.
        group: gloo group of all ranks.
    """
    rank = dist.get_rank()
    for passage in _side_by_side(passages):
        if rank == passage.source:
            _send(directory / passage.name, passage, group)
        elif rank == passage.target:
            _receive(arrival(directory / passage.name), passage, group)


def arrival(file: Path) -> Path:
    """Where a file arrives that will be `file`."""
    return file.with_name(f".{file.name}.arriving")


def _side_by_side(passages: Sequence[Passage]) -> list[Passage]:
    """In an order in which few wait for others: if each sends to the next, the even ones first."""
    ends = {end: number for number, end in enumerate(sorted({end for each in passages for end in each[2:]}))}

    def order(passage: Passage) -> tuple[int, int, int]:
        source, target = ends[passage.source], ends[passage.target]
        distance = (target - source) % len(ends)
        return distance, source // distance % 2, source

    return sorted(passages, key=order)


def _pieces(size: int) -> list[int]:
    return [min(PIECE, size - begin) for begin in range(0, size, PIECE)]


def _send(file: Path, passage: Passage, group: Any) -> None:
    stream = None
    with suppress(OSError):
        stream = file.open("rb", buffering=0)
    for size in _pieces(passage.size):
        content = bytearray(size)
        if stream:
            with suppress(OSError):
                stream.readinto(content)
        dist.send(torch.frombuffer(content, dtype=torch.uint8), passage.target, group)
    if stream:
        stream.close()


def _receive(file: Path, passage: Passage, group: Any) -> None:
    stream = None
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("wb", buffering=0)
    for size in _pieces(passage.size):
        content = torch.empty(size, dtype=torch.uint8)
        dist.recv(content, passage.source, group)
        if stream:
            with suppress(OSError):
                stream.write(content.numpy().data)
    if stream:
        stream.close()
