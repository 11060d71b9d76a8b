"""Relations of entities in a sentence, from ChemProt's files (BioCreative VI): which of five, or none.

A pair of a chemical and a gene in one sentence is classified by the sentence with both names replaced by `@CHEMICAL$`
and `@GENE$` (as BLURB and BLUE do); the score is the micro-average of the relations' F1.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from ...configs.errors import UserError
from ..formats.records import read_rows
from ..models.fine_tune import Protocol
from ..models.model import Subject
from ..scores.libraries import require
from .classification import Labelled, classify

NONE = "none"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(\[])")


class ChemProtFiles(BaseModel):
    """One split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    abstracts: str
    entities: str
    relations: str


class RelationTask(BaseModel):
    """ChemProt's files, relative to the evaluation's `data`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["relations"]
    train: ChemProtFiles
    test: ChemProtFiles
    relations: tuple[str, ...] = ("CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9")

    def files(self) -> list[str]:
        return [file for split in (self.train, self.test) for file in split.model_dump().values()]


class Entity(NamedTuple):
    """Where a name stands in title, a space and abstract: characters [start, end)."""

    kind: str
    start: int
    end: int


def run_relations(subject: Subject, task: RelationTask, data: Path, protocol: Protocol, seed: int) -> dict[str, float]:
    """Fine-tune and score; `across_sentences` counts test relations that no sentence holds, which nobody can find."""
    train, _ = read_chemprot(data, task.train, task.relations)
    test, across = read_chemprot(data, task.test, task.relations)
    truth, guesses, _ = classify(subject, train, test, None, "mean", protocol, seed)
    return {**score_relations(truth, guesses, task.relations), "across_sentences": float(across)}


def score_relations(truth: Sequence[str], guesses: Sequence[str], relations: Sequence[str]) -> dict[str, float]:
    """Micro-averages over the relations; pairs without relation count only where they are taken for one."""
    metrics = require("sklearn.metrics")
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, guesses, labels=list(relations), average="micro", zero_division=0
    )
    return {"f1": float(f1), "precision": float(precision), "recall": float(recall)}


def read_chemprot(data: Path, files: ChemProtFiles, relations: Sequence[str]) -> tuple[list[Labelled], int]:
    """The pairs of a split with their relation or NONE, and the number of relations across sentences."""
    gold = _read_relations(data / files.relations, relations)
    entities = _read_entities(data / files.entities)
    examples: list[Labelled] = []
    for _, (article, title, abstract) in read_rows(data / files.abstracts, 3, "article, title, abstract"):
        text = f"{title} {abstract}"
        if outside := [name for name, entity in entities[article].items() if entity.end > len(text)]:
            raise UserError(
                f"{data / files.entities}: {outside[0]} of article {article} ends beyond the article's text; expected "
                "places in title, a space and abstract"
            )
        for start, end in _sentences(text):
            inside = {name: entity for name, entity in entities[article].items() if start <= entity.start < end}
            for pair, masked in _pairs(text[start:end], inside, start):
                examples.append(Labelled(masked, gold.pop((article, *pair), NONE)))
    if not examples:
        raise UserError(f"{data / files.entities}: no chemical and gene in one sentence of {data / files.abstracts}")
    return examples, len(gold)


def _pairs(sentence: str, entities: dict[str, Entity], offset: int) -> Iterator[tuple[tuple[str, str], str]]:
    """((chemical, gene), the sentence without their names); names that overlap are one name, and no pair."""
    for chemical, first in entities.items():
        for gene, second in entities.items():
            overlap = first.start < second.end and second.start < first.end
            if first.kind == "CHEMICAL" and second.kind.startswith("GENE") and not overlap:
                masked = sentence
                for entity, mark in sorted([(first, "@CHEMICAL$"), (second, "@GENE$")], reverse=True, key=_start):
                    masked = masked[: entity.start - offset] + mark + masked[entity.end - offset :]
                yield (chemical, gene), masked


def _start(marked: tuple[Entity, str]) -> int:
    return marked[0].start


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for end in _SENTENCE_END.finditer(text):
        yield start, end.start()
        start = end.end()
    yield start, len(text)


def _read_entities(path: Path) -> dict[str, dict[str, Entity]]:
    entities: dict[str, dict[str, Entity]] = defaultdict(dict)
    for number, row in read_rows(path, 6, "article, T1, CHEMICAL or GENE, start, end, name"):
        article, name, kind, start, end, _ = row
        if not (start.isdigit() and end.isdigit() and int(start) < int(end)):
            raise UserError(f"{path}: line {number}: start and end are not two rising numbers")
        entities[article][name] = Entity(kind, int(start), int(end))
    return entities


def _read_relations(path: Path, relations: Sequence[str]) -> dict[tuple[str, str, str], str]:
    """(article, chemical, gene) to the relation; others than `relations` are none."""
    gold: dict[tuple[str, str, str], str] = {}
    expected = "article, CPR group, Y or N, relation, Arg1:T1, Arg2:T2"
    for number, (article, group, _, _, first, second) in read_rows(path, 6, expected):
        if not (first.startswith("Arg1:") and second.startswith("Arg2:")):
            raise UserError(f"{path}: line {number}: expected {expected}")
        if group in relations:
            gold[article, first[5:], second[5:]] = group
    return gold
