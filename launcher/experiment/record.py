"""What a comparison began with, in `experiment.json`: it continues only with the same recipes, data and tasks."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ...configs.errors import UserError
from ...configs.json_text import read_json
from ...configs.secrets import scrub_tree
from ...evaluation.suite import Evaluation, identity
from ...storage.files import atomic_write, hash_file
from ...storage.locks import lock
from ...storage.remote import is_remote
from ...streaming_data.shards.manifest import NAME as DATA_MANIFEST
from ...training.recipe.config import RunConfig
from ..report.comparison import differing_keys, flatten
from .arms import Arm

RECORD = "experiment.json"
_LOCK = ".lock"
_ABOUT_THE_RUN = {"run_dir", "seed"}
_MODEL_FILES = (".json", ".safetensors", ".bin", ".pt")
_FEW = 5


class Record(BaseModel):
    """The content of `experiment.json`.

    Attributes:
        arms: name -> recipe, without seed and directory.
        starts: name -> hashes of the model's files that its runs continue.
        data: hash of the data set's manifest; None if it is in an object store.
        tasks: name -> identity of the evaluation.
        claims: patterns of the scores that claims are made of, fixed before the first result.
        seeds: the numbers of seeds that were asked for, in turn.
    """

    model_config = ConfigDict(extra="forbid")

    version: Literal[1] = 1
    arms: dict[str, dict[str, Any]]
    starts: dict[str, dict[str, str]]
    data: str | None
    tasks: dict[str, str]
    equal: Literal["tokens", "flops"]
    fine_tuning_seeds: int
    claims: list[str]
    seeds: list[int]


_SCHEMA = TypeAdapter(Record)


def make_record(
    arms: Sequence[Arm], evaluations: Sequence[Evaluation], equal: Any, fine_tuning_seeds: int, claims: Sequence[str]
) -> Record:
    """The record of a comparison that is about to begin or to continue."""
    data = arms[0].config.data.path
    return Record(
        arms={arm.name: scrub_tree(arm.config.model_dump(mode="json", exclude=_ABOUT_THE_RUN)) for arm in arms},
        starts={arm.name: _start(arm.config) for arm in arms},
        data=None if is_remote(data) else hash_file(Path(data) / DATA_MANIFEST),
        tasks={evaluation.name: identity(evaluation) for evaluation in evaluations},
        equal=equal,
        fine_tuning_seeds=fine_tuning_seeds,
        claims=list(claims),
        seeds=[],
    )


def begin(out: Path, record: Record, seeds: int) -> Record:
    """Write the record, or compare it with the one in `out`, and add the number of seeds. Returns what is on disk.

    Raises:
        UserError: a different comparison is in `out`.
    """
    path = out / RECORD
    if path.is_file():
        before = read_json(path, _SCHEMA, f"restore the file, or give another directory than {out}")
        _require_same(out, before, record)
        record = before
    if record.seeds[-1:] != [seeds]:
        record = record.model_copy(update={"seeds": [*record.seeds, seeds]})
        out.mkdir(parents=True, exist_ok=True)
        atomic_write(path, json.dumps(record.model_dump(mode="json"), indent=1) + "\n")
    return record


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep other processes from running the comparison in `out` at the same time; the kernel ends it with this one.

    Raises:
        UserError: another process runs it.
    """
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        lock(descriptor, out, "this comparison is already running; wait until it ends, or stop it")
        yield
    finally:
        os.close(descriptor)


def _require_same(out: Path, before: Record, now: Record) -> None:
    flat = [dict(flatten(one.model_dump(mode="json", exclude={"seeds"}))) for one in (before, now)]
    changed = [f"{key} ({old} before, {new} now)" for key, (old, new) in differing_keys(flat).items()]
    if changed:
        more = f" and {len(changed) - _FEW} more" if len(changed) > _FEW else ""
        raise UserError(
            f"{out}: holds another comparison: {', '.join(changed[:_FEW])}{more}. Its finished runs would be compared "
            "with others: give a new --out, or change this back"
        )


def _start(config: RunConfig) -> dict[str, str]:
    """Hashes of the files in the directory that a run continues, by name; none for a model from scratch."""
    directory = config.initial_weights
    if directory is None or not Path(directory).is_dir():
        return {}
    files = sorted(file for file in Path(directory).iterdir() if file.suffix in _MODEL_FILES)
    return {file.name: hash_file(file) for file in files}
