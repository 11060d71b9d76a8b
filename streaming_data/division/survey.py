"""The first pass over large files: unpack what is compressed, find ranges, and keep the result for other processes."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock

from ...storage.files import stage_file
from ..corpora.readers import AnySource
from ..documents.files import FoundFile, is_gzip, open_binary
from ..documents.spans import Span
from ..parallel import Count
from . import ranges
from .ranges import find_spans, is_divisible

logger = logging.getLogger(__name__)

UNPACK_BYTES = 1 << 26
"""Of a compressed file: only larger ones are unpacked, because unpacked text takes three to ten times as much disk."""

_MOST_EXPANSION = 12
_COPIED = 1 << 20


class SurveyTask(NamedTuple):
    """A large file to divide.

    Attributes:
        content: where it is unpacked if it is compressed and has at least `unpack_bytes`.
        done: the marker with the result.
        range_bytes: the size of a part.
    """

    source: AnySource
    file: FoundFile
    content: Path
    done: Path
    range_bytes: int
    unpack_bytes: int


def is_large(source: AnySource, file: FoundFile) -> bool:
    return file.size >= 2 * ranges.RANGE_BYTES and is_divisible(source, Path(file.path))


def survey(task: SurveyTask, count: Count) -> None:
    """Run a task unless it is done. Processes that survey one file at the same time wait for the first of them."""
    if task.done.is_file():
        return
    task.done.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(task.done.with_suffix(".lock")):
        if not task.done.is_file():
            spans = divide(task)
            with stage_file(task.done) as staging, staging.open("wb") as file:
                np.save(file, np.array([span[1:] for span in spans], np.int64).reshape(-1, 4), allow_pickle=False)


def load_spans(task: SurveyTask) -> Sequence[Span]:
    """The spans of a file whose task is done; none if it is read as one."""
    found = np.load(task.done, allow_pickle=False)
    content = str(task.content) if is_gzip(Path(task.file.path)) else task.file.path
    return [Span(content, *numbers) for numbers in found.tolist()]


def unpack(path: Path, content: Path) -> None:
    """Write the decompressed bytes of a file, readable only by its owner, unless that was done."""
    if content.exists():
        return
    content.parent.mkdir(parents=True, exist_ok=True)
    with stage_file(content) as staging, open_binary(path) as packed:
        descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as unpacked:
            shutil.copyfileobj(packed, unpacked, _COPIED)


def divide(task: SurveyTask) -> list[Span]:
    """The spans of a file; none if it is read as one."""
    path = Path(task.file.path)
    content = path
    try:
        if is_gzip(path):
            if task.file.size < task.unpack_bytes or not _has_room(task):
                return []
            unpack(path, task.content)
            content = task.content
        return find_spans(task.source, path, content, task.range_bytes)
    except Exception as error:  # whatever a damaged file raises: its reader will explain it
        logger.info(f"{path}: read by one process, because it cannot be divided ({type(error).__name__})")
        task.content.unlink(missing_ok=True)
        return []


def _has_room(task: SurveyTask) -> bool:
    return shutil.disk_usage(task.done.parent).free > _MOST_EXPANSION * task.file.size
