"""Finding input files and reading them, with one clear error for each way in which a file can be bad."""

import fnmatch
import glob
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from ...configs.errors import UserError

PACKAGE = "package:"


def find(patterns: Sequence[str]) -> list[Path]:
    """The files that the patterns name, in the patterns' order, each pattern's matches sorted."""
    found: list[Path] = []
    for pattern in patterns:
        matches = _in_package(pattern) if pattern.startswith(PACKAGE) else sorted(map(Path, glob.glob(pattern)))
        files = [path for path in matches if path.is_file()]
        if not files:
            raise UserError(
                f"{pattern}: no such file; check `paths` of this source (relative paths start at {Path.cwd()})"
            )
        found += files
    if twice := sorted({str(path) for path in found if found.count(path) > 1}):
        raise UserError(f"{', '.join(twice)}: named twice in `paths`; name each file once")
    return found


def _in_package(pattern: str) -> list[Path]:
    name, _, wanted = pattern.removeprefix(PACKAGE).partition("/")
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise UserError(f"{pattern}: the package {name} is not installed; run `pip install {name}`") from error
    files = [file for file in distribution.files or [] if fnmatch.fnmatchcase(str(file), wanted)]
    return sorted(Path(str(file.locate())) for file in files)


def open_binary(path: Path) -> BinaryIO:
    """The file's bytes, unzipped if it is gzip."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    if path.suffix == ".gz" and not zipped and path.stat().st_size:
        raise UserError(f"{path}: named .gz but not gzip; download the file again or give it its true name")
    return cast(BinaryIO, gzip.open(path, "rb")) if zipped else path.open("rb")


def open_member(path: Path, pattern: str) -> BinaryIO:
    """The bytes of the one file in a zip whose name (without directories) matches the pattern in full."""
    try:
        package = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: cut short or damaged ({error}); download the file again") from error
    names = [name for name in package.namelist() if re.fullmatch(pattern, name.rsplit("/", 1)[-1])]
    if len(names) != 1:
        raise UserError(f"{path}: expected one file in it named like {pattern}, found {len(names)}")
    return cast(BinaryIO, package.open(names[0]))


def open_text(path: Path, encoding: str = "utf-8") -> TextIO:
    """The file's text, line ends untouched."""
    return io.TextIOWrapper(open_binary(path), encoding=encoding, newline="")


@contextmanager
def reading(path: Path, position: Callable[[], str]) -> Iterator[None]:
    """Turns damage met while reading into a UserError naming the file and `position()`, the last good place."""
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path}: cut short or damaged after {position()} ({error}); download the file again"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 after {position()} ({error.reason}); convert it to UTF-8") from error
