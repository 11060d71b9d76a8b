"""Relation extraction from ChemProt's files (BioCreative VI): five relations, or none, within a sentence.

Each pair of a chemical and a gene in a sentence is classified from the sentence with both names replaced by
`@CHEMICAL$` and `@GENE$` (as in BLURB and BLUE). The score is the micro-averaged F1 of the relations.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from ...configs.errors import UserError
from ..fine_tuning.head_config import HeadConfig
from ..fine_tuning.kind import FineTunedKind, Record, Splits
from ..formats.records import read_rows
from ..models.protocol import Protocol
from ..scores.units import Score, micro, outcomes
from .classification import LabeledText, decode, encode, labels_of
from .long_texts import LongTexts

logger = logging.getLogger(__name__)

NONE = "none"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9(\[])")


class ChemProtFiles(BaseModel):
    """The files of one split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    abstracts: str
    entities: str
    relations: str


class RelationTask(LongTexts):
    """ChemProt's files, relative to the evaluation's `data`."""

    kind: Literal["relations"]
    train: ChemProtFiles
    test: ChemProtFiles
    relations: tuple[str, ...] = ("CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9")

    def files(self) -> list[str]:
        return [file for split in (self.train, self.test) for file in split.model_dump().values()]


class Entity(NamedTuple):
    """The span of a name in the text "title abstract": characters [start, end)."""

    kind: str
    start: int
    end: int


def read_relations(task: RelationTask, data: Path) -> Splits:
    """The pairs of all splits; warns of test relations across sentences, which are not scored.

    Raises:
        UserError: a file is missing or malformed, or the test has a relation that no training pair has.
    """
    train, _ = read_chemprot(data, task.train, task.relations)
    test, across_sentences = read_chemprot(data, task.test, task.relations)
    if unseen := sorted({pair.label for pair in test} - {pair.label for pair in train}):
        raise UserError(
            f"{data / task.train.relations}: no pair within a sentence has the relation {', '.join(unseen)} of "
            f"{data / task.test.relations}, so no model can predict it; set task.relations to those of both files"
        )
    if across_sentences:
        logger.warning(f"{data / task.test.relations}: {across_sentences:,} relations across sentences are not scored")
    return Splits(train, test)


def score_relations(labels: Sequence[str], predictions: Sequence[str], relations: Sequence[str]) -> dict[str, Score]:
    """Micro-averages over the relations. Pairs without relation count only as false positives. A unit is a pair."""
    units = micro(outcomes(labels, predictions, relations))
    return {"f1": Score("f1", units), "precision": Score("precision", units), "recall": Score("recall", units)}


def _head(task: RelationTask, labels: tuple[str, ...], protocol: Protocol) -> HeadConfig:
    return HeadConfig(rows="texts", labels=labels, dropout=protocol.dropout)


def _score(task: RelationTask, records: Sequence[Record]) -> dict[str, Score]:
    labels, predictions = ([record[key] for record in records] for key in ("label", "prediction"))
    return score_relations(labels, predictions, task.relations)


def read_chemprot(data: Path, files: ChemProtFiles, relations: Sequence[str]) -> tuple[list[LabeledText], int]:
    """Read the pairs of a split with their relation or NONE, and the number of relations across sentences."""
    gold = _read_relations(data / files.relations, relations)
    entities = _read_entities(data / files.entities)
    examples: list[LabeledText] = []
    for _, (article, title, abstract) in read_rows(data / files.abstracts, 3, "article, title, abstract"):
        text = f"{title} {abstract}"
        if outside := [name for name, entity in entities[article].items() if entity.end > len(text)]:
            raise UserError(
                f"{data / files.entities}: {outside[0]} of article {article} ends after the article's text; expected "
                "offsets into the title, a space and the abstract"
            )
        for start, end in _sentences(text):
            inside = {name: entity for name, entity in entities[article].items() if start <= entity.start < end}
            for pair, masked in _pairs(text[start:end], inside, start):
                label = gold.pop((article, *pair), NONE)
                examples.append(LabeledText(masked, label, id=f"{article} {' '.join(pair)}"))
    if not examples:
        raise UserError(f"{data / files.entities}: no chemical and gene in one sentence of {data / files.abstracts}")
    return examples, len(gold)


def _pairs(sentence: str, entities: dict[str, Entity], offset: int) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield ((chemical, gene), sentence with both names masked). Overlapping names are not a pair."""
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
            raise UserError(f"{path}: line {number}: start and end must be two increasing numbers")
        entities[article][name] = Entity(kind, int(start), int(end))
    return entities


def _read_relations(path: Path, relations: Sequence[str]) -> dict[tuple[str, str, str], str]:
    """Map (article, chemical, gene) to the relation, if it is one of `relations`."""
    gold: dict[tuple[str, str, str], str] = {}
    expected = "article, CPR group, Y or N, relation, Arg1:T1, Arg2:T2"
    for number, (article, group, _, _, first, second) in read_rows(path, 6, expected):
        if not (first.startswith("Arg1:") and second.startswith("Arg2:")):
            raise UserError(f"{path}: line {number}: expected {expected}")
        if group in relations:
            gold[article, first[5:], second[5:]] = group
    return gold


def _article(pair: LabeledText) -> str:
    return pair.id.rsplit(" ", 2)[0]


RELATIONS = FineTunedKind(read_relations, labels_of, _head, encode, decode, _score, document=_article)
