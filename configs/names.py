"""Names of files that come from outside: a manifest, an index, an archive, a listing.

A name is joined to a directory of ours, so it must not lead out of it. Where we know the form that we write, a module
matches it instead, as `training/checkpoint/files.py` does.
"""

import logging
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator

logger = logging.getLogger(__name__)

MOST_BYTES = 255
"""The longest name of common file systems."""


def is_file_name(name: str) -> bool:
    """Whether `name` is one file or directory inside the directory that it is joined to, on any system."""
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return (
        0 < size <= MOST_BYTES
        and name not in (".", "..")
        and not set("/\\") & set(name)
        and all(character.isprintable() for character in name)
    )


def require_file_name(name: str) -> str:
    """Return `name` if `is_file_name`, else raise ValueError."""
    if not is_file_name(name):
        raise ValueError(f"{shorten(name)} is not the name of a file in this directory")
    return name


FileName = Annotated[str, AfterValidator(require_file_name)]
"""The type of a name that is read from outside and used as a part of a path."""


def shorten(value: object, limit: int = 60) -> str:
    """A value from outside for a message: quoted, without control characters, and not long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


@lru_cache(maxsize=1024)
def ignore_foreign(path: Path, expected: str) -> None:
    """Warn once per process about an entry of a directory of ours that we did not write.

    Args:
        expected: the form of the names that we write there, such as `step00000008`.
    """
    logger.warning(f"{path.parent}: ignoring {shorten(path.name)}, which is not named like {expected}")
