"""What a worker of a cluster needs to do tasks of preparation, checked in each of its processes before the first.

The command writes a session into the directory of the results. A worker that reads it sees the same disk; what it says
is compared with the worker. A task whose session has ended does nothing, so none writes after its data set is complete.
"""

import os
import platform
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from ...configs.errors import UserError
from ...storage.files import atomic_write, prove_writable
from ..corpora.readers import AnySource
from ..dask_map import check_workers, map_on_workers
from ..documents.files import FoundFile, list_files
from ..parallel import Runner
from .config import PrepareConfig
from .manifest import package_versions
from .tasks import crosswalk_files

if TYPE_CHECKING:
    from distributed import Client

_FILES_CHECKED = 1_000
"""Evenly among more of them: what is on another disk is rarely a single file."""

_SECOND = 1_000_000_000


class Session(BaseModel):
    """What the command that prepares has, and a worker needs too.

    Attributes:
        directory: where relative paths of the recipe begin.
        umask: of files that are written.
        versions: of Python and of the packages that decide what is written, by name.
        files: that tasks read, or some of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Path
    umask: NonNegativeInt
    versions: dict[str, str]
    files: list[FoundFile]


_joined: dict[Path, Session] = {}


@contextmanager
def on_workers(client: "Client", config: PrepareConfig, building: Path) -> Iterator[Runner]:
    """Yield what runs tasks of preparation on the workers of a Dask cluster.

    Args:
        building: the directory of the results.
    Raises:
        UserError: workers cannot do the tasks.
    """
    session = building.absolute() / "sessions" / f"{uuid.uuid4().hex}.json"
    session.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(session, _describe(config).model_dump_json())
    try:
        check_workers(client, partial(check_session, session))
        yield partial(map_on_workers, client, partial(join_session, session))
    finally:
        session.unlink(missing_ok=True)


@contextmanager
def join_session(path: Path) -> Iterator[None]:
    """Inside, this process of a worker has the directory and the umask of the command that wrote the session.

    Raises:
        UserError: it cannot do the tasks, or the session has ended.
    """
    session = _joined.get(path)
    if session and not path.exists():
        raise UserError("the command that wanted this task has ended")
    session = session or check_session(path)
    _joined[path] = session
    # Read when a tokenizer first encodes: the cores of a machine are divided among its workers.
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    directory, umask = Path.cwd(), os.umask(session.umask)
    try:
        if session.directory.is_dir():  # else all paths are absolute, or the check has found no file
            os.chdir(session.directory)
        yield
    finally:
        os.chdir(directory)
        os.umask(umask)


def check_session(path: Path) -> Session:
    """Check that this machine can do the tasks of a session.

    Raises:
        UserError: it cannot, with every reason.
    """
    session = _read(path)
    problems = []
    own = _versions()
    for name in sorted(own.keys() | session.versions.keys()):
        there, here = own.get(name, "absent"), session.versions.get(name, "absent")
        if there != here:
            problems.append(f"{name} is {there} there and {here} here: install the same versions")
    if other := [file.path for file in session.files if not _is_same(session.directory, file)]:
        more = f" and {len(other) - 1:,} more" if len(other) > 1 else ""
        problems.append(f"does not see {other[0]}{more} as it is here: inputs must be on a disk that all workers see")
    try:
        prove_writable(path.parent)
    except OSError as error:
        problems.append(f"cannot write in {path.parent} ({error.strerror})")
    if problems:
        raise UserError("\n".join(problems))
    return session


def _describe(config: PrepareConfig) -> Session:
    files = [file for source in config.sources for file in _files_of(source)]
    tokenizer = list_files([f"{config.tokenizer}/*"])
    umask = os.umask(0o077)
    os.umask(umask)
    return Session(
        directory=Path.cwd(),
        umask=umask,
        versions=_versions(),
        files=[*tokenizer, *files[:: 1 + len(files) // _FILES_CHECKED]],
    )


def _files_of(source: AnySource) -> Sequence[FoundFile]:
    keys = [str(key)] if (key := source.deidentify.key_file) else []
    return [*list_files(source.paths), *crosswalk_files(source), *list_files(keys)]


def _versions() -> dict[str, str]:
    return {"Python": ".".join(platform.python_version_tuple()[:2]), **package_versions()}


def _read(path: Path) -> Session:
    try:
        owner = path.stat().st_uid
        text = path.read_bytes() if owner == os.geteuid() else None
    except OSError as error:
        raise UserError(
            f"cannot read {path} ({error.strerror}): `output` must be in a directory that all workers see, at the same "
            "path, as the same user"
        ) from error
    if text is None:
        raise UserError(f"runs as user {os.geteuid()}, and {path} belongs to user {owner}: run both as the same user")
    try:
        return Session.model_validate_json(text)
    except ValidationError as error:
        raise UserError(f"{path}: written by another version of this program: install the same on all") from error


def _is_same(directory: Path, file: FoundFile) -> bool:
    """Whether the file is here too. Not every file system keeps fractions of a second."""
    try:
        found = os.stat(directory / file.path)
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns // _SECOND) == (file.size, file.modified // _SECOND)
