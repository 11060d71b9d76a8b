"""The list of a data set's canaries: a file next to the data set, which only its owner can read.

It is not part of the data set and is never uploaded with it. Whoever has it can tell the planted lines from text.
"""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ...configs.errors import UserError
from ...configs.json_text import read_json
from ...storage.files import stage_file
from .identifiers import Canary

VERSION: Literal[1] = 1
_ADVICE = "restore the file, or prepare the data set again, which writes the same list"


class CanaryFile(BaseModel):
    """The list.

    Attributes:
        data: hash of the data set's manifest, as checkpoints record it.
        recipe: hash of the data recipe.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = VERSION
    data: str
    recipe: str
    canaries: list[Canary] = Field(min_length=1)


_SCHEMA = TypeAdapter(CanaryFile)


def canary_file(data: Path) -> Path:
    """Where the canaries of the data set in this directory are listed."""
    return data.with_name(f"{data.name}.canaries.json")


def read_canaries(path: Path) -> CanaryFile:
    """Raises UserError if there is no such file, or it is no list of canaries."""
    return read_json(path, _SCHEMA, _ADVICE)


def require_unused(path: Path, recipe: str) -> None:
    """Require that no file is there, or that of an interrupted run with the same recipe.

    Raises:
        UserError: it lists the canaries of another data set.
    """
    if path.exists() and read_canaries(path).recipe != recipe:
        raise _other_data(path)


def write_canaries(content: CanaryFile, path: Path) -> None:
    """Write the file, with mode 0600, in one step.

    Raises:
        UserError: it lists the canaries of another data set, and nothing was written.
    """
    if path.exists() and read_canaries(path).data != content.data:
        raise _other_data(path)
    with stage_file(path) as staging:
        descriptor = os.open(staging, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(content.model_dump_json(indent=1) + "\n")


def count_kept(canaries: Sequence[Canary], held: Iterable[str]) -> list[Canary]:
    """The canaries with how often each is among the lines that a data set's training documents hold."""
    counts = Counter(held)
    return [canary.model_copy(update={"kept": counts[canary.line]}) for canary in canaries]


def _other_data(path: Path) -> UserError:
    return UserError(
        f"{path}: lists the canaries of another data set, and is the only way to find them in models trained on it; "
        "move it next to that data set, or choose another `output`"
    )
