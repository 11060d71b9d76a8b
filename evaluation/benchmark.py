"""A suite of tasks, such as a published benchmark: what of it is in a directory, and what is missing."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator

if TYPE_CHECKING:
    from .suite import Evaluation


class Entry(BaseModel):
    """A task of a suite: the name of its file, and where it differs from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    name: str | None = None
    directory: Path | None = Field(None, description="of its files, in that of the suite; none: as in the task file")


class Elsewhere(BaseModel):
    """A set of the benchmark that no task file can describe yet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    needs: str
    source: str
    licence: str


class Suite(BaseModel):
    """The content of a suite's file (`cmbert evaluate --suite NAME`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    tasks: list[Entry] = Field(min_length=1)
    elsewhere: list[Elsewhere] = []

    @field_validator("tasks", mode="before")
    @classmethod
    def _names(cls, tasks: object) -> object:
        """A name alone is an entry."""
        return [{"task": one} if isinstance(one, str) else one for one in tasks] if isinstance(tasks, list) else tasks


class Found(NamedTuple):
    """A task of a suite, and the first of its files that is missing."""

    evaluation: "Evaluation"
    missing: Path | None


def find_task(evaluation: "Evaluation", entry: Entry, directory: Path) -> Found:
    """The task with its files in `directory`; each may be gzipped."""
    data = directory / (entry.directory or evaluation.data.name)
    packed = {
        key: f"{name}.gz"
        for key, name in evaluation.task
        if isinstance(name, str) and not (data / name).is_file() and (data / f"{name}.gz").is_file()
    }
    task = evaluation.task.model_copy(update=packed)
    name = entry.name or evaluation.name
    located = evaluation.model_copy(update={"data": data, "task": task, "name": name})
    absent = (data / file for file in task.files() if not (data / file).is_file())
    return Found(located, next(absent, None))
