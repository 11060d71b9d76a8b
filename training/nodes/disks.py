"""Which ranks share the disk of a directory: found by looking, at the start of every attempt.

Every rank looks for a file that another has just written. Its name is new, so that a network file system cannot have
remembered its absence, and its content is a random word, so that a file of another run is no proof.
"""

import secrets
import socket
import time
from collections.abc import Collection
from pathlib import Path

import torch.distributed as dist

from ...configs.errors import UserError
from .node import gather_all

PATIENCE_SECONDS = 5.0
_POLL_SECONDS = 0.05


def disk_leaders(directory: Path, patience: float = PATIENCE_SECONDS) -> list[int]:
    """The lowest rank on the disk of each rank: all 0 where the directory is shared. Every rank calls it.

    Args:
        directory: is made where it does not exist.
        patience: seconds until a file that cannot be seen counts as absent.
    Raises:
        UserError: the directory cannot be written.
    """
    leaders = _lowest_seen(directory, {0}, patience)
    if blind := [rank for rank, leader in enumerate(leaders) if leader is None]:
        for rank, leader in enumerate(_lowest_seen(directory, blind, patience)):
            leaders[rank] = leader if rank in blind else 0
    return [rank if leader is None else leader for rank, leader in enumerate(leaders)]


def require_shared(run_dir: Path, leaders: list[int]) -> None:
    """Require that all ranks see rank 0's disk. Every rank calls it.

    Raises:
        UserError: some do not. The message names their nodes.
    """
    if not (blind := blind_nodes(leaders)):
        return
    nodes = "; ".join(f"{host} (rank {', '.join(map(str, ranks))})" for host, ranks in blind.items())
    raise UserError(
        f"{run_dir}: not the same directory on all nodes. What rank 0 wrote there is not seen by {nodes}. "
        "Set run_dir to a disk that all nodes share, or set checkpoint.upload to an object store that "
        "all ranks can reach"
    )


def blind_nodes(leaders: list[int]) -> dict[str, list[int]]:
    """Host name -> its ranks that do not see rank 0's disk. Every rank calls it."""
    hosts = gather_all(socket.gethostname())
    blind: dict[str, list[int]] = {}
    for rank, leader in enumerate(leaders):
        if leader:
            blind.setdefault(hosts[rank], []).append(rank)
    return blind


def _lowest_seen(directory: Path, writers: Collection[int], patience: float) -> list[int | None]:
    """Of each rank, the lowest of `writers` whose file it sees."""
    rank = dist.get_rank()
    mine, problem = secrets.token_hex(8) if rank in writers else None, ""
    try:
        if mine:
            directory.mkdir(parents=True, exist_ok=True)
            _probe(directory, mine).write_text(mine)
    except OSError as error:
        where = f"{directory} on {socket.gethostname()}"
        problem = f"{where}: cannot be written ({error.strerror}): use a directory that all ranks can write"
    written = gather_all((mine, problem))
    try:
        if problems := [problem for _, problem in written if problem]:
            raise UserError(problems[0])
        words = {writer: written[writer][0] for writer in sorted(writers)}
        return gather_all(_look(directory, words, patience))
    finally:
        if mine:
            _probe(directory, mine).unlink(missing_ok=True)


def _look(directory: Path, words: dict[int, str], patience: float) -> int | None:
    """The lowest rank of `words` whose word is found; others are accepted when the patience is over."""
    lowest, deadline = min(words), time.monotonic() + patience
    while not _holds(directory, words[lowest]) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return next((rank for rank, word in words.items() if _holds(directory, word)), None)


def _holds(directory: Path, word: str) -> bool:
    try:
        # Listing the directory makes a network file system look anew.
        names = {path.name for path in directory.iterdir()}
        return _probe(directory, word).name in names and _probe(directory, word).read_text() == word
    except OSError:
        return False


def _probe(directory: Path, word: str) -> Path:
    return directory / f".seen-{word}"
