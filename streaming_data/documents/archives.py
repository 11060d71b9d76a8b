"""Zip archives as publishers make them: the member that a reader wants is recognized by its content."""

import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias, cast

from ...configs.errors import UserError
from ...configs.limits import ZIP_DIRECTORY_BYTES, ZIP_MEMBERS, TooLargeError
from .bounded import bound_expansion
from .files import open_binary
from .markup import COMMENT

logger = logging.getLogger(__name__)

Rank: TypeAlias = "Callable[[bytes], int | None]"
"""Given the first bytes of a file: its rank among those that a reader can use, 0 for the best; None if it cannot."""

START = 1 << 16
_MADE_BY_SYSTEMS = ("__macosx/", "._", ".ds_store", "thumbs.db", "desktop.ini")
_MAX_NAMED = 12
_END = (1 << 16) + 128  # bytes at an archive's end that describe its directory, after which a comment may follow
# zipfile raises any of these for an archive with wrong numbers in it.
_CORRUPT = (zipfile.BadZipFile, EOFError, OSError, ValueError, IndexError, struct.error, zlib.error)
_CLEARLY_LARGER = 1.25
_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?[^>]*>\s*|<!(?!--)[^>]*>\s*|%s\s*)*<([\w.:-]+)" % COMMENT.encode())


class Member(NamedTuple):
    """A file in an archive: its name as text, its size and its first bytes."""

    info: zipfile.ZipInfo
    name: str
    start: bytes


def is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06") or path.suffix.lower() == ".zip"


def open_wanted(path: Path, rank: Rank, expected: str) -> BinaryIO:
    """The bytes of a file (plain or gzip), or of the one member of a zip archive with the best rank.

    Args:
        expected: what the reader needs, for messages.
    Raises:
        UserError: the archive is corrupt or encrypted, or it has no such member, or two of the same rank.
    """
    if not is_zip(path):
        return open_binary(path)
    archive = _archive(path)
    member = _choose(path, _members(path, archive), rank, expected)
    compressed = min(member.info.compress_size, path.stat().st_size)
    file = cast(BinaryIO, archive.open(member.info))
    return bound_expansion(f"{path}: {member.name}", file, lambda: compressed)


def report_choice(path: Path, rank: Rank, expected: str) -> None:
    """Log which member of a zip archive will be read, and which will not; raises what `open_wanted` raises."""
    if not is_zip(path):
        return
    with _archive(path) as archive:
        members = _members(path, archive)
    chosen = _choose(path, members, rank, expected)
    others = [member.name for member in members if member is not chosen]
    logger.info(f"{path}: reading {chosen.name}" + (f", not {', '.join(others)}" if others else ""))


def xml_root(start: bytes) -> str:
    """The name of an XML file's root, given its first bytes; empty if it is not XML."""
    match = _ROOT.match(start)
    return match[1].decode() if match else ""


def _archive(path: Path) -> zipfile.ZipFile:
    _check_directory(path)
    try:
        archive = zipfile.ZipFile(path)
    except (*_CORRUPT, NotImplementedError) as error:
        raise UserError(f"{path}: truncated or corrupt ({error}); download the file again") from error
    if len(archive.infolist()) > ZIP_MEMBERS:
        raise TooLargeError(
            f"{path}: {len(archive.infolist()):,} files in a zip archive, more than {ZIP_MEMBERS:,}; unpack the one "
            "that you want and name it in `paths`"
        )
    return archive


def _check_directory(path: Path) -> None:
    """Refuse an archive whose directory, which zipfile reads at once, says that it is large."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _END))
        end = file.read()
    sizes = [
        int.from_bytes(end[at.start() + 12 : at.start() + 16], "little") for at in re.finditer(rb"PK\x05\x06", end)
    ]
    if any(size > ZIP_DIRECTORY_BYTES for size in sizes) or b"PK\x06\x07" in end:
        raise TooLargeError(
            f"{path}: a zip archive with a directory of more than {ZIP_DIRECTORY_BYTES:,} bytes, or of more than 4 GB; "
            "unpack the file that you want and name it in `paths`"
        )


def _members(path: Path, archive: zipfile.ZipFile) -> list[Member]:
    """The files in an archive without those that macOS and Windows add."""
    members = []
    for info in archive.infolist():
        folded = info.filename.casefold()
        if (
            folded.endswith("/")
            or folded.startswith("__macosx/")
            or folded.rsplit("/", 1)[-1].startswith(_MADE_BY_SYSTEMS)
        ):
            continue
        try:
            with archive.open(info) as file:
                members.append(Member(info, _readable_name(info), file.read(START)))
        except (RuntimeError, NotImplementedError) as error:  # encrypted; compressed by a method that Python lacks
            raise UserError(
                f"{path}: {_readable_name(info)} cannot be unpacked ({error}); unpack it yourself"
            ) from error
        except _CORRUPT as error:
            raise UserError(f"{path}: truncated or corrupt ({error}); download the file again") from error
    return members


def _readable_name(info: zipfile.ZipInfo) -> str:
    """The name in UTF-8 or cp1252; where an archive does not say which, zipfile reads it as the DOS code page."""
    if info.flag_bits & 0x800:
        return info.filename
    name = info.filename.encode("cp437", "replace")
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("cp1252", "replace")


def _choose(path: Path, members: list[Member], rank: Rank, expected: str) -> Member:
    """The member of the best rank; of several, one that is clearly larger: long titles rather than short ones."""
    by_rank: dict[int, list[Member]] = {}
    for member in members:
        if (found := rank(member.start)) is not None:
            by_rank.setdefault(found, []).append(member)
    if not by_rank:
        raise UserError(f"{path}: expected {expected} in it; found {_describe(members)}")
    best, *others = sorted(by_rank[min(by_rank)], key=lambda member: -member.info.file_size)
    if others and best.info.file_size < others[0].info.file_size * _CLEARLY_LARGER:
        raise UserError(
            f"{path}: {best.name} and {others[0].name} are both {expected}; unpack the one that you want and name it "
            "in `paths`"
        )
    return best


def _describe(members: list[Member]) -> str:
    if any(member.name in ("xl/workbook.xml", "word/document.xml") for member in members):
        return "an Office file, which is a zip archive itself; save it as text"
    named = [f"{member.name} ({_kind(member.start)})" for member in members[:_MAX_NAMED]]
    more = f" and {len(members) - len(named):,} more" if len(members) > len(named) else ""
    return ", ".join(named) + more if named else "no file"


def _kind(start: bytes) -> str:
    """What a file is, by its first bytes; its text is not shown."""
    if root := xml_root(start):
        return f"XML, <{root}>"
    known = {b"%PDF": "PDF", b"PK\x03\x04": "a zip archive or Office file", b"\xd0\xcf\x11\xe0": "an old Office file"}
    if kind := next((name for mark, name in known.items() if start.startswith(mark)), None):
        return kind
    return "binary" if b"\0" in start else "text" if start else "empty"
