"""Tar packages, read as a stream: nothing is unpacked, and the name of a member is never used as a path."""

import logging
import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from ...configs.limits import TAR_HEADER_BYTES, TooLargeError

logger = logging.getLogger(__name__)

_EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Member(tarfile.TarInfo):
    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        """The header in a block; an extended one, which tarfile reads at once, must be small."""
        member = super().frombuf(buf, encoding, errors)
        if not 0 <= member.size < 1 << 62:
            raise tarfile.ReadError(f"a member of {member.size} bytes")
        if member.type in _EXTENDED and member.size > TAR_HEADER_BYTES:
            raise TooLargeError(
                f"an extended header of {member.size:,} bytes in this tar package; expected at most "
                f"{TAR_HEADER_BYTES:,}: download the file again"
            )
        return member


def read_members(path: Path, file: BinaryIO, suffixes: tuple[str, ...]) -> Iterator[tuple[str, BinaryIO]]:
    """The regular files with these suffixes: their names, for messages, and their bytes, valid until the next one.

    Links, devices and sparse files with such a name are ignored, with a warning that counts them.

    Raises:
        tarfile.TarError: the package is truncated or corrupt.
        TooLargeError: a header is above its bound.
    """
    ignored: Counter[str] = Counter()
    for member, content in _members(path, file):
        if not member.name.endswith(suffixes) or member.isdir():
            continue
        if content is not None:
            yield member.name, content
        else:
            ignored["sparse file" if member.issparse() else "device" if member.isdev() else "link"] += 1
    if ignored:
        counts = ", ".join(f"{count:,} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(ignored.items()))
        logger.warning(f"{path}: ignored {counts}; only regular files are read from a tar package")


def member_starts(path: Path, file: BinaryIO) -> Iterator[int]:
    """Where the members of a package begin, from their headers; a part that begins there is a package of its own.

    Raises:
        tarfile.TarError: the package is truncated or corrupt, or a header of it applies to all members.
    """
    with _explain_headers(path), tarfile.open(fileobj=file, mode="r:", tarinfo=_Member) as archive:
        while member := archive.next():
            if archive.pax_headers:
                raise tarfile.ReadError("a header for all members")
            yield member.offset
            archive.members = []  # type: ignore[attr-defined]


def _members(path: Path, file: BinaryIO) -> Iterator[tuple[tarfile.TarInfo, BinaryIO | None]]:
    """The members in order, with the bytes of regular files; they are not kept, since a package may have millions."""
    with ExitStack() as stack:
        with _explain_headers(path):
            archive = stack.enter_context(tarfile.open(fileobj=file, mode="r|", tarinfo=_Member))
        while True:
            with _explain_headers(path):
                member = archive.next()
            if member is None:
                return
            is_plain = member.isreg() and not member.issparse()
            yield member, cast(BinaryIO, archive.extractfile(member)) if is_plain else None
            archive.members = []  # type: ignore[attr-defined]


@contextmanager
def _explain_headers(path: Path) -> Iterator[None]:
    try:
        yield
    except TooLargeError as error:
        raise TooLargeError(f"{path}: {error}") from error
    except (ValueError, OverflowError, KeyError, IndexError) as error:  # wrong numbers in an extended header
        raise tarfile.ReadError(f"{type(error).__name__} in a header") from error
