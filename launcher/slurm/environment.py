"""The Python environment of a job as one archive, which its nodes unpack on their local disks.

A rank opens thousands of files before its first step. On a shared disk each is a request to one server, times the ranks
of all nodes, which start at the same moment. An archive is one file that is read from its beginning to its end.
`stage.sh` unpacks it, and `job.sh` calls that before the ranks start.

The archive holds the environment (`environment/`) and, if that is a virtual environment of a Python that does not
belong to the system, that Python (`base/`). Both find their libraries from the place of their own program, so they run
elsewhere too. Other programs in `bin/` name their interpreter by its path and are not used.
"""

import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ...configs.errors import UserError
from ...storage.files import as_not_writable, require_writable, stage_file
from ..cluster.config import ClusterConfig

logger = logging.getLogger(__name__)

_SYSTEM = (Path("/usr"), Path("/bin"))
"""Where the Python of the system is, which every node has on its own disk."""
_BLOCK = 4096


@dataclass(frozen=True)
class StagedEnvironment:
    """The environment of this process as the nodes of a job will have it.

    Attributes:
        roots: directories to pack, by their names in the archive.
        name: changes when a file's path, size or time changes.
        archive: its file on a shared disk.
        kilobytes, files: what it needs on a local disk.
        directory: of this user's environments on the local disk.
    """

    roots: dict[str, Path]
    name: str
    archive: Path
    kilobytes: int
    files: int
    directory: Path

    def settings(self, code: Path) -> list[str]:
        """The variables of `stage.sh` as assignments of a shell.

        Args:
            code: the job's copy of the code, on a shared disk.
        """
        values = {
            "CMBERT_ENVIRONMENTS": self.directory,
            "CMBERT_ENVIRONMENT": self.name,
            "CMBERT_ARCHIVE": self.archive,
            "CMBERT_ARCHIVE_KB": self.kilobytes,
            "CMBERT_ARCHIVE_FILES": self.files,
            "CMBERT_CODE": code,
        }
        return [f"{name}={shlex.quote(str(value))}" for name, value in values.items()]


def describe_environment(cluster: ClusterConfig) -> StagedEnvironment | None:
    """The environment that a job of this cluster takes to its nodes; None if it runs where it is.

    Raises:
        UserError: this Python belongs to the system, and has no environment of its own.
    """
    if cluster.slurm.stage_environment is None:
        return None
    prefix, base = Path(sys.prefix), Path(sys.base_prefix)
    roots = {"environment": prefix}
    if base != prefix and not _belongs_to_system(base):
        roots["base"] = base
    elif base == prefix and _belongs_to_system(base):
        raise UserError(
            f"slurm.stage_environment: {sys.executable} belongs to the system: install this package in a virtual or "
            "conda environment, and submit from there"
        )
    content = hashlib.sha256()
    kilobytes = files = 0
    for name, root in roots.items():
        for path, status in _walk(root, name == "base"):
            entry = f"{name}/{path} {status.st_size} {status.st_mtime_ns}\n"
            content.update(entry.encode("utf-8", "surrogateescape"))
            kilobytes += -(-status.st_size // _BLOCK) * _BLOCK // 1024
            files += 1
    # Without the dot of `.venv`: stage.sh removes what nobody uses, but for its own hidden files.
    name = f"{prefix.name.lstrip('.')}-{content.hexdigest()[:16]}"
    suffix = "zst" if shutil.which("zstd") else "gz"
    archive = cluster.slurm.stage_environment / f"{name}.tar.{suffix}"
    return StagedEnvironment(roots, name, archive, kilobytes, files, cluster.own_directory() / "environments")


def pack_environment(staged: StagedEnvironment) -> None:
    """Write the archive, unless it exists. It appears complete or not at all.

    Raises:
        UserError: it cannot be written, or the program that compresses it fails.
    """
    if staged.archive.exists():
        return
    require_writable(staged.archive)
    size = f"{staged.files:,} files, {staged.kilobytes >> 10:,} MB"
    logger.info(f"packing the Python environment, once ({size}): {staged.archive}")
    link = partial(_relative_link, staged.roots)
    program = ["zstd", "--quiet", "-T0"] if staged.archive.suffix == ".zst" else ["gzip", "-1"]
    with as_not_writable(staged.archive), stage_file(staged.archive) as path, path.open("wb") as file:
        compress = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=file)
        with compress, tarfile.open(fileobj=compress.stdin, mode="w|", bufsize=1 << 20) as archive:
            for name, root in staged.roots.items():
                for inside, _ in _walk(root, name == "base"):
                    archive.add(root / inside, f"{name}/{inside}", recursive=False, filter=link)
        if compress.returncode:
            raise UserError(f"{staged.archive}: {program[0]} ended with {compress.returncode}: check the disk")


def _walk(root: Path, is_base: bool) -> Iterator[tuple[str, os.stat_result]]:
    """Paths below `root`, sorted, that a rank may need, with their status; links are not followed.

    The packages of a virtual environment's Python are not seen from it, unless its `pyvenv.cfg` says so.
    """
    unused = {"test", "share"}
    if is_base and not _sees_packages_of_base():
        unused.add("site-packages")
    for directory, directories, files in os.walk(root):
        directories[:] = sorted(name for name in directories if not (is_base and name in unused))
        links = [name for name in directories if os.path.islink(os.path.join(directory, name))]
        for name in sorted([*files, *links]):
            path = os.path.join(directory, name)
            yield os.path.relpath(path, root), os.lstat(path)


def _relative_link(roots: dict[str, Path], member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Let a link to a file of the archive lead to that of its copy, as `bin/python` of a virtual environment does."""
    target = Path(member.linkname)
    if member.issym() and target.is_absolute():
        for name, root in roots.items():
            if target.is_relative_to(root):
                path = f"{name}/{target.relative_to(root)}"
                member.linkname = os.path.relpath(path, os.path.dirname(member.name))
    return member


def _sees_packages_of_base() -> bool:
    configuration = Path(sys.prefix) / "pyvenv.cfg"
    lines = configuration.read_text(encoding="utf-8").splitlines() if configuration.is_file() else []
    return any(line.replace(" ", "").lower() == "include-system-site-packages=true" for line in lines)


def _belongs_to_system(prefix: Path) -> bool:
    return any(prefix.is_relative_to(directory) for directory in _SYSTEM)
