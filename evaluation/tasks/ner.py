"""Named entity recognition: each word is classified at its first subword, and complete entities are scored."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from ...configs.errors import UserError
from ..formats.iob import Sentence, read_iob
from ..models.protocol import Protocol
from ..scores.optional_dependencies import require
from ..scores.units import Score, Units

if TYPE_CHECKING:
    from ..models.classifier import Example
    from ..models.model import EvaluatedModel
    from ..models.tokens import EncodedWords

logger = logging.getLogger(__name__)


class NerTask(BaseModel):
    """IOB files, relative to the evaluation's `data`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ner"]
    train: str
    test: str

    def files(self) -> list[str]:
        return [self.train, self.test]


def run_ner(model: "EvaluatedModel", task: NerTask, data: Path, protocol: Protocol, seed: int) -> dict[str, Score]:
    """Fine-tune and score; words beyond the model's maximum length count as predicted O."""
    from ..models.classifier import predict, train_classifier

    train, test = read_ner(task, data)
    tags = sorted({tag for sentence in train for tag in sentence.tags})
    examples = _examples(train, _encoded(model, train), tags)
    classifier = train_classifier(model, examples, len(tags), protocol, seed)
    encoded = _encoded(model, test)
    predictions = [["O"] * len(sentence.words) for sentence in test]
    classes_of = predict(classifier, _examples(test, encoded, tags), protocol.tokens)
    for predicted, (_, words, _), classes in zip(predictions, encoded, classes_of, strict=True):
        for word, number in zip(words.tolist(), classes, strict=True):
            predicted[word] = tags[number]
    return score_entities([sentence.tags for sentence in test], predictions)


def read_ner(task: NerTask, data: Path) -> tuple[list[Sentence], list[Sentence]]:
    """The training and the test sentences.

    Raises:
        UserError: a file is missing or malformed, or has no entity.
    """
    train, test = read_iob(data / task.train), read_iob(data / task.test)
    for path, sentences in ((data / task.train, train), (data / task.test, test)):
        if not _types(sentences):
            raise UserError(f"{path}: every tag is O; expected B-TYPE and I-TYPE for entities")
    return train, test


def check_ner(task: NerTask, data: Path) -> None:
    """Read both files, and warn of entity types that only the test has: a model misses all of these entities."""
    train, test = read_ner(task, data)
    if unseen := sorted(_types(test) - _types(train)):
        types = [tag[2:] for sentence in test for tag in sentence.tags if tag.startswith("B-")]
        missed = sum(kind in unseen for kind in types)
        logger.warning(
            f"{data / task.test}: {missed:,} of {len(types):,} entities count as missed: their types "
            f"({', '.join(unseen)}) are not in {data / task.train}"
        )


def _types(sentences: Sequence[Sentence]) -> set[str]:
    return {tag[2:] for sentence in sentences for tag in sentence.tags if tag != "O"}


def score_entities(tags: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> dict[str, Score]:
    """Micro-averaged scores and F1 of each type. An entity is correct if first word, last word and type are correct.

    `f1` is seqeval's default: like conlleval, it treats an I- without B- as the beginning of an entity. `strict_f1`
    counts only entities that begin with B-. A unit is a sentence.
    """
    found, truth = ([_entities(sentence) for sentence in sentences] for sentences in (predictions, tags))
    units = _outcomes(truth, found)
    strict = _outcomes(*([_strict_entities(sentence) for sentence in sentences] for sentences in (tags, predictions)))
    scores = {
        "f1": Score("f1", units),
        "precision": Score("precision", units),
        "recall": Score("recall", units),
        "strict_f1": Score("f1", strict),
    }
    types = sorted({entity[0] for entities in truth for entity in entities})
    if len(types) > 1:
        for kind in types:
            of_kind = ([{entity for entity in one if entity[0] == kind} for one in side] for side in (truth, found))
            scores[f"f1 {kind}"] = Score("f1", _outcomes(*of_kind))
    return scores


def _entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """(type, first word, last word)."""
    return set(require("seqeval.metrics.sequence_labeling").get_entities(list(tags)))


def _strict_entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    scheme = require("seqeval.scheme")
    [entities] = scheme.Entities([list(tags)], scheme=scheme.IOB2).entities
    return {entity.to_tuple()[1:] for entity in entities}


def _outcomes(truth: Sequence[set[Any]], found: Sequence[set[Any]]) -> Units:
    """Correct, false and missed entities of each sentence, (U, 3)."""
    return np.array([(len(a & b), len(b - a), len(a - b)) for a, b in zip(truth, found, strict=True)], np.float64)


def _encoded(model: "EvaluatedModel", sentences: Sequence[Sentence]) -> "list[EncodedWords]":
    from ..models.tokens import encode_words

    return encode_words(model, [sentence.words for sentence in sentences])


def _examples(sentences: Sequence[Sentence], encoded: "Sequence[EncodedWords]", tags: Sequence[str]) -> "list[Example]":
    """Examples of the sentences; a tag that is not in the training data is -100, and wrong in the test."""
    import torch

    from ..models.classifier import Example

    index = {tag: number for number, tag in enumerate(tags)}
    return [
        Example(ids, torch.tensor([index.get(sentence.tags[word], -100) for word in words.tolist()]).long(), positions)
        for sentence, (ids, words, positions) in zip(sentences, encoded, strict=True)
    ]
