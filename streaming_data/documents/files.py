"""Lookup and reading of input files, with a specific error for each way in which a file can be bad."""

import codecs
import fnmatch
import glob
import gzip
import io
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO, cast

from ...configs.errors import UserError
from ...configs.preconditions import check_all
from .bounded import bound_expansion
from .encodings import likely_encoding
from .spans import Span, open_span

PACKAGE = "package:"
try:  # the extra `fast`
    from isal import igzip, isal_zlib

    _GZIP: type[gzip.GzipFile] = igzip.IGzipFile
    _CORRUPT: Any = isal_zlib.error
except ImportError:
    _GZIP, _CORRUPT = gzip.GzipFile, zlib.error
_START = 512  # bytes in which UTF-16 shows
_MARKS = [  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


class FoundFile(NamedTuple):
    """A file, and what tells it from another version of itself: its size in bytes and its last change in ns.

    Its path is plain text: a million of these take a third of the memory of as many paths.
    """

    path: str
    size: int
    modified: int


def find_files(patterns: Sequence[str]) -> list[Path]:
    """The files that match the patterns, in the order of the patterns, the matches of each pattern sorted.

    Raises:
        UserError: a pattern matches no file, a message for each such pattern; or two patterns match the same file.
    """
    return [Path(file.path) for file in list_files(patterns)]


def list_files(patterns: Sequence[str]) -> list[FoundFile]:
    """As `find_files`, with the sizes: one system call per file, in time proportional to their number."""
    matched = list(chain.from_iterable(check_all(partial(_matches, pattern) for pattern in patterns)))
    counts = Counter(file.path for file in matched)
    if len(counts) < len(matched):
        repeated = sorted(path for path, count in counts.items() if count > 1)
        raise UserError(f"{', '.join(repeated)}: named twice in `paths`; name each file once")
    return matched


def _matches(pattern: str) -> list[FoundFile]:
    matches = _in_package(pattern) if pattern.startswith(PACKAGE) else _on_disk(pattern)
    files = [file for path in matches if (file := _regular_file(path))]
    if matches and not files:
        inside = f"{glob.escape(matches[0])}/*"
        raise UserError(f"{pattern}: is a directory; name its files in `paths`, such as {inside}")
    if not files:
        raise UserError(
            f"{pattern}: no such file; check `paths` of this source (relative paths start at {Path.cwd()}"
            + ("; write a [ that is part of a name as [[])" if "[" in pattern else ")")
        )
    return files


def _regular_file(path: str) -> FoundFile | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):  # a broken link
        return None
    return FoundFile(path, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _on_disk(pattern: str) -> list[str]:
    """A file's name may look like a pattern: `notes [alpha].csv`."""
    plain = str(Path(pattern))
    return [plain] if Path(plain).exists() else _sorted(glob.glob(plain + "/" * pattern.endswith("/")))


def _sorted(paths: list[str]) -> list[str]:
    """Sorted by their parts, as paths are: what a directory holds precedes `directory-2`."""
    return sorted(paths, key=lambda path: path.replace("/", "\0"))


def _in_package(pattern: str) -> list[str]:
    name, _, file_pattern = pattern.removeprefix(PACKAGE).partition("/")
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError as error:
        raise UserError(f"{pattern}: the package {name} is not installed; run `pip install {name}`") from error
    files = [file for file in distribution.files or [] if fnmatch.fnmatchcase(str(file), file_pattern)]
    return _sorted([str(Path(str(file.locate()))) for file in files])


def open_binary(path: Path) -> BinaryIO:
    """The file's bytes, decompressed if it is gzip; TooLargeError while reading if they expand out of proportion."""
    compressed = is_gzip(path)
    if path.suffix == ".gz" and not compressed and path.stat().st_size:
        raise UserError(f"{path}: named .gz but not gzip; download the file again or correct its name")
    file = path.open("rb")
    if not compressed:
        return file
    return bound_expansion(str(path), cast(BinaryIO, _Gzip(file)), file.tell)


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


class _Gzip:
    """Decompresses a file, which it closes; with the package isal three times as fast."""

    def __init__(self, file: BinaryIO) -> None:
        self._compressed = file
        self._reader = _GZIP(fileobj=file)

    def read(self, size: int) -> bytes:
        try:
            return self._reader.read(size)
        except _CORRUPT as error:
            raise zlib.error(str(error)) from error

    def close(self) -> None:
        self._reader.close()
        self._compressed.close()


def open_text(path: Path, encoding: str = "utf-8", span: Span | None = None) -> TextIO:
    """The text of a file or of a span of it, with line ends unchanged and without a leading byte order mark.

    A byte order mark decides the encoding, whatever `encoding` is: no text begins with one by chance.
    """
    encoding = _marked_encoding(Path(span.content) if span else path) or encoding
    if span and span.start:
        encoding = encoding.removesuffix("-sig")  # such a character at the start of a span is text
    return io.TextIOWrapper(open_span(span) if span else open_binary(path), encoding=encoding, newline="")


def decode_text(path: Path, content: bytes) -> str:
    """The text of a publisher's file: in UTF-8 or, as older files are, in Windows-1252; a byte order mark decides."""
    try:
        return content.decode(encoding_of_mark(content) or "utf-8")
    except UnicodeError:
        try:
            return content.decode("cp1252")
        except UnicodeError as error:
            line = content.count(b"\n", 0, getattr(error, "start", 0)) + 1
            raise UserError(
                f"{path}: line {line:,} is neither UTF-8 nor Windows-1252 text; convert the file to UTF-8, or download "
                "it again"
            ) from error


def _marked_encoding(path: Path) -> str | None:
    return encoding_of_mark(_read_start(path))


def _read_start(path: Path) -> bytes:
    with open_binary(path) as file:
        try:
            return file.read(_START)
        except (EOFError, OSError, zlib.error):  # reported by the reader
            return b""


def encoding_of_mark(start: bytes) -> str | None:
    """The encoding that a byte order mark at the start of a file names; None without one."""
    return next((encoding for mark, encoding in _MARKS if start.startswith(mark)), None)


@contextmanager
def explain_read_errors(path: Path, position: Callable[[], str], encoding: str = "utf-8") -> Iterator[None]:
    """Convert errors while reading into a UserError that names the file and `position()`, the last valid position.

    For bytes that are invalid in the encoding, the error names their line.
    """
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path}: truncated or corrupt after {position()} ({error}); download the file again"
        ) from error
    except UnicodeError as error:
        raise _not_text(path, encoding, getattr(error, "reason", str(error))) from error


def _not_text(path: Path, encoding: str, reason: str) -> UserError:
    start = _read_start(path)
    if start.count(0) > len(start) // 4 and "16" not in encoding:
        return has_nul(path)
    encoding = _marked_encoding(path) or encoding
    name = encoding.removesuffix("-sig").upper()
    line, following = _first_bad_line(path, encoding)
    likely = likely_encoding(following) if name == "UTF-8" else None
    right = f"the right one; its letters look like {likely}" if likely else "the right one"
    return UserError(
        f"{path}: line {line:,} is not {name} ({reason}); convert the file to UTF-8, or set the `encoding` of a source "
        f"of the format `table` to {right}"
    )


def has_nul(path: Path) -> UserError:
    """The error for a text file with NUL characters at its start."""
    return UserError(
        f"{path}: has NUL characters in its first line; if the file is UTF-16 without a byte order mark, set the "
        "`encoding` of a source of the format `table` to utf-16-le or utf-16-be"
    )


def _first_bad_line(path: Path, encoding: str) -> tuple[int, bytes]:
    """The line of the first byte that is invalid in the encoding, and some bytes from there on.

    Reads the file again, because decoding runs ahead of the position that was read.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    with open_binary(path) as file:
        try:
            while block := file.read(io.DEFAULT_BUFFER_SIZE):
                line += decoder.decode(block).count("\n")
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            return line, error.object[error.start :]
        except (UnicodeError, EOFError, OSError, zlib.error):  # UTF-16 without a mark, or a truncated file
            pass
    return line, b""
