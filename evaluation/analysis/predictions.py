"""Predictions of the seeds of an evaluation, as `seeds/NAME.predictions.jsonl` has them: one object per test example.

{"id", "label", "prediction", "scores": {class: probability}, "tokens"}      one class
{"id", "labels": [...], "predictions": [...], "scores": {...}, "tokens"}      several classes
{"id", "label": 1.5, "prediction": 1.4, "tokens"}                             a number
{"id", "spans": [[start, end, type]], "predictions": [...], "tokens"}         spans
{"id", "answers", ...}                                                       answers and rankings: not read
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from ...configs.errors import UserError
from ...configs.json_text import first_problem, parse_json, read_json

Kind = Literal["class", "classes", "number", "spans"]
Span: TypeAlias = tuple[int, int, str]
Item: TypeAlias = str | Span
"""A class, or a span."""
_ADVICE = "remove the file of this seed to run it again"


class Prediction(BaseModel):
    """One test example. What its kind of task does not have is absent; keys of later versions are ignored."""

    id: Annotated[str, Field(coerce_numbers_to_str=True)]
    label: str | float | None = None
    prediction: str | float | None = None
    labels: list[str] | None = None
    spans: list[Span] | None = None
    predictions: list[str] | list[Span] | None = None
    scores: dict[str, float] = {}
    tokens: int | None = None

    def wanted(self) -> frozenset[Item]:
        """What is right: the class, the classes or the spans."""
        if self.spans is not None:
            return frozenset(self.spans)
        return frozenset(self.labels) if self.labels is not None else frozenset([str(self.label)])

    def found(self) -> frozenset[Item]:
        """What was predicted, as `wanted`."""
        return frozenset([str(self.prediction)]) if self.predictions is None else frozenset(self.predictions)


class Run(NamedTuple):
    """The predictions of one seed, in the order of the test set."""

    seed: int
    examples: list[Prediction]


class _Seed(BaseModel):
    """What is read of a seed's file."""

    task: str
    subject: str
    seed: int
    scores: dict[str, float]


_SEED = TypeAdapter(_Seed)


def read_runs(seeds: Path, task: str, model: str, scores: Mapping[int, Mapping[str, float]]) -> list[Run]:
    """The predictions of a model for a task, one run per seed of which there are any.

    Args:
        seeds: the directory of the seeds' files.
        scores: of each seed; it has files of earlier protocols too, whose scores are others.
    Raises:
        UserError: a file is not as it was written.
    """
    runs = {}
    for path in sorted(seeds.glob(f"{task}-*.predictions.jsonl")):
        facts = path.with_name(path.name.removesuffix(".predictions.jsonl") + ".json")
        if not facts.is_file():
            continue
        seed = read_json(facts, _SEED, _ADVICE)
        here = (seed.task, seed.subject) == (task, model) and seed.scores == scores.get(seed.seed)
        if here and not _has_answers(path):
            runs[seed.seed] = Run(seed.seed, _read(path))
    return [runs[seed] for seed in sorted(runs) if runs[seed].examples]


def kind_of(example: Prediction) -> Kind:
    """The kind of a task, by one of its predictions."""
    if example.spans is not None:
        return "spans"
    if example.labels is not None:
        return "classes"
    return "class" if isinstance(example.label, str) else "number"


def classes_of(runs: Sequence[Run]) -> list[str]:
    """The classes or types of spans in labels and predictions, by how many labels they have, then by name."""
    counts: dict[str, int] = {}
    for run in runs:
        for example in run.examples:
            for item in example.found():
                counts.setdefault(name_of(item), 0)
            for item in example.wanted():
                counts[name_of(item)] = counts.get(name_of(item), 0) + 1
    return sorted(counts, key=lambda name: (-counts[name], name))


def name_of(item: Item) -> str:
    """The class of an item of `wanted` or `found`."""
    return item if isinstance(item, str) else item[2]


def _has_answers(path: Path) -> bool:
    """Whether these are answers to questions or queries, which have no classes to count."""
    with path.open("rb") as file:
        return b'"answers"' in file.readline()


def _read(path: Path) -> list[Prediction]:
    examples: list[Prediction] = []
    try:
        with path.open(encoding="utf-8") as file:
            examples.extend(Prediction.model_validate(parse_json(line)) for line in file)
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"{path}: line {len(examples) + 1} cannot be read ({type(error).__name__}): {_ADVICE}"
        ) from error
    except ValidationError as error:
        raise UserError(f"{path}: line {len(examples) + 1}: {first_problem(error)}: {_ADVICE}") from error
    except ValueError as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise UserError(f"{path}: line {len(examples) + 1} is not JSON ({why}): {_ADVICE}") from error
    return examples
