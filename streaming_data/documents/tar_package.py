"""Tar packages, read as a stream: nothing is unpacked, and the name of a member is never used as a path."""

import logging
import tarfile
from collections import Counter
from collections.abc import Iterator
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
        if member.size < 0:
            raise tarfile.ReadError("a member of negative size")
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
    with tarfile.open(fileobj=file, mode="r|", tarinfo=_Member) as archive:
        for member in _next_members(path, archive):
            if member.name.endswith(suffixes) and not member.isdir():
                if member.isreg() and not member.issparse() and (content := archive.extractfile(member)):
                    yield member.name, cast(BinaryIO, content)
                else:
                    ignored[
                        "sparse file" if member.issparse() else "link" if member.islnk() or member.issym() else "device"
                    ] += 1
    if ignored:
        counts = ", ".join(f"{count:,} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(ignored.items()))
        logger.warning(f"{path}: ignored {counts}; only regular files are read from a tar package")


def _next_members(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members in order, without keeping them, of which a package may have millions."""
    while True:
        try:
            member = archive.next()
        except TooLargeError as error:
            raise TooLargeError(f"{path}: {error}") from error
        except (
            ValueError,
            OverflowError,
            KeyError,
            IndexError,
        ) as error:  # numbers that are none, in an extended header
            raise tarfile.ReadError(f"{type(error).__name__} in a header") from error
        if member is None:
            return
        yield member
        archive.members = []
