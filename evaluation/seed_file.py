"""The files of a seed's results: scores as JSON, the units of each score as a .npz, and predictions as JSON lines.

The JSON is written last, so a seed that has it is complete. Only tasks that fine-tune have predictions.
"""

import json
import zipfile
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
from pydantic import BaseModel, Field, TypeAdapter

from ..configs.errors import UserError
from ..configs.json_text import read_json
from ..storage.files import atomic_write
from .fine_tuning.kind import Record, Scores
from .scores.units import Function, Score

_ADVICE = "remove the file to run this seed again"
_DAMAGED = (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)


class _Scores(BaseModel):
    """What is read back of a seed's file."""

    scores: dict[str, float]
    functions: dict[str, Function] = Field(default={}, description="of the units of each score; absent in old files")


_SCHEMA = TypeAdapter(_Scores)


def is_complete(path: Path) -> bool:
    """Whether a seed has been run. Files of before scores had units are run again."""
    return path.is_file() and path.with_suffix(".npz").is_file()


def write_seed(path: Path, scores: Scores, records: Sequence[Record], facts: dict[str, Any]) -> None:
    """Write the scores and the predictions of a seed, and the facts that a reader of the file wants to know."""
    buffer = BytesIO()
    np.savez_compressed(buffer, *(score.units for score in scores.values()), allow_pickle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path.with_suffix(".npz"), buffer.getvalue())
    if records:
        atomic_write(predictions_of(path), as_lines(records))
    functions = {name: score.function for name, score in scores.items()}
    atomic_write(path, json.dumps({**facts, "scores": scores, "functions": functions}, indent=1) + "\n")


def predictions_of(path: Path) -> Path:
    """The file of predictions of a seed."""
    return path.with_suffix(".predictions.jsonl")


def as_lines(records: Sequence[Record]) -> str:
    """Records as JSON lines."""
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def read_seed(path: Path) -> dict[str, Score]:
    """The scores of a seed, with their units.

    Raises:
        UserError: one of the two files is not as it was written.
    """
    content = read_json(path, _SCHEMA, _ADVICE)
    if content.functions.keys() != content.scores.keys():
        raise UserError(f"{path}: not every score has its function ({', '.join(get_args(Function))}): {_ADVICE}")
    units = path.with_suffix(".npz")
    try:
        with np.load(units, allow_pickle=False) as arrays:
            return {
                name: Score(function, arrays[f"arr_{number}"])
                for number, (name, function) in enumerate(content.functions.items())
            }
    except _DAMAGED as error:
        raise UserError(f"{units}: {type(error).__name__}: {_ADVICE}") from error
