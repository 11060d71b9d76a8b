"""Finding input files and reading them, with one clear error for each way in which a file can be bad."""

import codecs
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
        matches = _in_package(pattern) if pattern.startswith(PACKAGE) else _on_disk(pattern)
        files = [path for path in matches if path.is_file()]
        if matches and not files:
            inside = f"{glob.escape(str(matches[0]))}/*"
            raise UserError(f"{pattern}: is a directory; name its files in `paths`, such as {inside}")
        if not files:
            raise UserError(
                f"{pattern}: no such file; check `paths` of this source (relative paths start at {Path.cwd()}"
                + ("; a [ that is part of a name is written [[] in a pattern)" if "[" in pattern else ")")
            )
        found += files
    if twice := sorted({str(path) for path in found if found.count(path) > 1}):
        raise UserError(f"{', '.join(twice)}: named twice in `paths`; name each file once")
    return found


def _on_disk(pattern: str) -> list[Path]:
    """A file may be called what looks like a pattern: `notes [alpha].csv`."""
    return [Path(pattern)] if Path(pattern).exists() else sorted(map(Path, glob.glob(pattern)))


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
    """The file's text, line ends untouched, without the byte order mark that it may begin with."""
    codec = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    return io.TextIOWrapper(open_binary(path), encoding=codec, newline="")


@contextmanager
def reading(path: Path, position: Callable[[], str], encoding: str = "utf-8") -> Iterator[None]:
    """Turns damage met while reading into a UserError naming the file and `position()`, the last good place.

    Bytes that are not text in the encoding are named by their line.
    """
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path}: cut short or damaged after {position()} ({error}); download the file again"
        ) from error
    except UnicodeError as error:
        raise _not_text(path, encoding, getattr(error, "reason", str(error))) from error


def _not_text(path: Path, encoding: str, reason: str) -> UserError:
    advice = "convert the file to UTF-8, or set the `encoding` of a source of the format `table`"
    start, line = _first_bad_line(path, encoding)
    if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and "16" not in encoding:
        return UserError(f"{path}: this is UTF-16, not {encoding.upper()}; {advice} to utf-16")
    return UserError(f"{path}: line {line:,} is not {encoding.upper()} ({reason}); {advice} to the right one")


def _first_bad_line(path: Path, encoding: str) -> tuple[bytes, int]:
    """The first two bytes, and the line of the first byte that is not in the encoding.

    Reads the file again, since text is decoded some way ahead of what is read of it.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    start, line = b"", 1
    with open_binary(path) as file:
        try:
            while block := file.read(io.DEFAULT_BUFFER_SIZE):
                start = start or block[:2]
                line += decoder.decode(block).count("\n")
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
        except (UnicodeError, EOFError, OSError, zlib.error):  # UTF-16 without its mark; a file cut short here as well
            pass
    return start, line
