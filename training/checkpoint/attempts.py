"""The attempts of a run: each start is a numbered file in its `attempts` directory. The newest attempt owns the run.

A node that was considered lost may come back while its replacement trains. Its ranks must not write any more.
"""

import json
import logging
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import BaseModel, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

from ...configs.errors import UserError
from ...configs.json_text import Timestamp, first_problem, parse_json
from ...configs.names import ignore_foreign

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{5,18})\.json", re.ASCII)


class AttemptRecord(BaseModel):
    """The content of an attempt's file.

    Attributes:
        started: UTC.
        step: steps that were completed before.
        hosts: the machines of the ranks.
    """

    started: Timestamp
    step: NonNegativeInt = 0
    world_size: PositiveInt
    hosts: list[str] = []


_SCHEMA = TypeAdapter(AttemptRecord)


@dataclass(frozen=True)
class Attempt:
    """One start of the run in `run_dir`, counted from 1.

    Attributes:
        hosts: the machine of each rank.
    """

    run_dir: Path
    number: int
    hosts: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        """On rank 0's disk."""
        return _file(self.run_dir, self.number)

    def superseded(self) -> bool:
        """Whether a newer attempt owns the run."""
        return _file(self.run_dir, self.number + 1).exists()


def begin_attempt(run_dir: Path, step: int) -> Attempt:
    """Register a new attempt that starts after `step` steps and owns the run from now on. Every rank calls it.

    Raises:
        UserError: `run_dir` cannot be written.
    """
    import torch.distributed as dist  # reading attempts needs no torch, for example on a login node

    from ..nodes.node import from_first, gather_all

    number, problem, hosts = 0, None, gather_all(socket.gethostname())
    if dist.get_rank() == 0:
        try:
            number = _register(run_dir, step, hosts)
        except OSError as error:
            problem = f"{run_dir}: cannot be written ({error.strerror}): set a run_dir that all ranks can write"
    number, problem = from_first((number, problem))
    if problem:
        raise UserError(problem)
    return Attempt(run_dir, number, tuple(hosts))


def read_attempts(run_dir: Path) -> list[dict[str, Any]]:
    """All attempts so far, oldest first, without those that were killed while they wrote their file."""
    attempts = []
    for _, path in sorted(_files(run_dir)):
        try:
            record = parse_json(path.read_bytes())
        except ValueError:
            continue
        except OSError as error:
            logger.warning(f"{path}: cannot be read ({error.strerror}): this attempt is not shown")
            continue
        try:
            attempts.append(_SCHEMA.validate_python(record).model_dump())
        except ValidationError as error:
            logger.warning(f"{path}: {first_problem(error)}: this attempt is not shown; restore the file")
    return attempts


def _register(run_dir: Path, step: int, hosts: Sequence[str]) -> int:
    """Reserve a number that no other attempt has or will have. `hosts` has the machine of each rank."""
    directory = run_dir / "attempts"
    directory.mkdir(parents=True, exist_ok=True)
    number = 1 + max((number for number, _ in _files(run_dir)), default=0)
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        # Not an atomic write: creating the file is what reserves the number.
        with _file(run_dir, number).open("x") as file:
            json.dump({"started": started, "step": step, "world_size": len(hosts), "hosts": sorted(set(hosts))}, file)
    except FileExistsError:
        # Another attempt began at the same moment; the higher number owns the run.
        return _register(run_dir, step, hosts)
    return number


def _files(run_dir: Path) -> Iterator[tuple[int, Path]]:
    """The number and the file of each attempt. Other files are ignored."""
    directory = run_dir / "attempts"
    for path in directory.iterdir() if directory.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match and path == _file(run_dir, int(match[1])):
            yield int(match[1]), path
        elif not path.name.startswith("."):
            ignore_foreign(path, "00001.json")


def _file(run_dir: Path, number: int) -> Path:
    return run_dir / "attempts" / f"{number:05d}.json"
