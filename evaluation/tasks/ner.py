"""Named entity recognition: each word is classified at its first subword, and complete entities are scored."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from ...configs.errors import UserError
from ..fine_tuning.head_config import HeadConfig
from ..fine_tuning.kind import FineTunedKind, Record, Splits
from ..formats.iob import read_iob
from ..formats.words import Words, words_as_text
from ..models.protocol import Protocol
from ..scores.optional_dependencies import require
from ..scores.units import Score, Units
from .long_texts import LongTexts

if TYPE_CHECKING:
    from ..fine_tuning.classifier import Example, Logits
    from ..models.tokens import Tokenizes

logger = logging.getLogger(__name__)

Span = tuple[int, int, str]
"""Characters [start, end) of a text, and the type of the entity there."""


class NerTask(LongTexts):
    """IOB files, relative to the evaluation's `data`."""

    kind: Literal["ner"]
    train: str
    test: str
    development: str | None = Field(None, description="chooses the best checkpoint; the test never does")

    def files(self) -> list[str]:
        return [self.train, self.test, *([self.development] if self.development else [])]


class TaggedText(NamedTuple):
    """A text, its words as characters [start, end) with a tag in IOB2 each, and its entities.

    An entity that does not begin and end with a word is in no tag, so no model finds it.
    """

    id: str
    text: str
    words: Words
    tags: list[str]
    spans: list[Span]


def read_ner(task: NerTask, data: Path) -> Splits:
    """The texts. Warns of entity types that only the test has: a model misses all of these entities.

    Raises:
        UserError: a file is missing or malformed, or has no entity.
    """
    train, test, *development = (_read(data / name) for name in task.files())
    if unseen := sorted(_types(test) - _types(train)):
        types = [span[2] for text in test for span in text.spans]
        missed = sum(kind in unseen for kind in types)
        logger.warning(
            f"{data / task.test}: {missed:,} of {len(types):,} entities count as missed: their types "
            f"({', '.join(unseen)}) are not in {data / task.train}"
        )
    return Splits(train, test, *development)


def _read(path: Path) -> list[TaggedText]:
    texts = []
    for number, sentence in enumerate(read_iob(path), 1):
        text, words = words_as_text(sentence.words)
        texts.append(TaggedText(str(number), text, words, sentence.tags, spans_of(words, sentence.tags)))
    if not _types(texts):
        raise UserError(f"{path}: every tag is O; expected B-TYPE and I-TYPE for entities")
    return texts


def _types(texts: Sequence[TaggedText]) -> set[str]:
    return {span[2] for text in texts for span in text.spans}


def spans_of(words: Words, tags: Sequence[str]) -> list[Span]:
    """The entities of tags, as characters: like conlleval, an I- without B- begins one."""
    return [(words[first][0], words[last][1], kind) for kind, first, last in sorted(_entities(tags), key=_first)]


def score_entities(tags: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> dict[str, Score]:
    """The scores of `score_spans` for sentences of words with tags."""
    truth, found = ([_entities(sentence) for sentence in sentences] for sentences in (tags, predictions))
    strict = _outcomes(*([_strict_entities(sentence) for sentence in sentences] for sentences in (tags, predictions)))
    return _scores(truth, found, strict)


def score_spans(records: Sequence[Record]) -> dict[str, Score]:
    """Micro-averaged scores and F1 of each type. An entity is correct if its first and last character and type are.

    `f1` is seqeval's default: like conlleval, it treats an I- without B- as the beginning of an entity. `strict_f1`
    counts only predicted entities that begin with B-. A unit is a text.
    """
    truth, found = (
        [{_by_type(span) for span in record[key]} for record in records] for key in ("spans", "predictions")
    )
    opened = [predicted - {_by_type(record["predictions"][n]) for n in record["unopened"]}
              for record, predicted in zip(records, found, strict=True)]  # fmt: skip
    return _scores(truth, found, _outcomes(truth, opened))


def _by_type(span: Sequence[Any]) -> tuple[str, int, int]:
    start, end, kind = span
    return kind, start, end


def _scores(truth: Sequence[set[Any]], found: Sequence[set[Any]], strict: Units) -> dict[str, Score]:
    units = _outcomes(truth, found)
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


def _first(entity: tuple[str, int, int]) -> int:
    return entity[1]


def _labels(task: NerTask, train: Sequence[TaggedText]) -> tuple[str, ...]:
    return tuple(sorted({"O"}.union(*(text.tags for text in train))))


def _head(task: NerTask, labels: tuple[str, ...], protocol: Protocol) -> HeadConfig:
    return HeadConfig(rows="tokens", labels=labels, dropout=protocol.dropout)


def _encode(model: "Tokenizes", task: NerTask, texts: Sequence[TaggedText], labels: tuple[str, ...]) -> "list[Example]":
    """Examples of the texts; a tag that is not in the training data is -100, and wrong in the test."""
    import torch

    from ..fine_tuning.classifier import Example
    from ..models.tokens import Lengths, encode_words

    index = {tag: number for number, tag in enumerate(labels)}
    lengths = Lengths(task.max_length, task.shared_tokens())
    encoded = encode_words(model, [text.text for text in texts], [text.words for text in texts], lengths)
    return [
        Example(
            tuple(one.windows),
            torch.tensor([index.get(text.tags[word], -100) for word in one.words.tolist()], dtype=torch.int64),
            one.positions,
            one.words,
            one.cut,
        )
        for text, one in zip(texts, encoded, strict=True)
    ]


def _decode(task: NerTask, text: TaggedText, example: "Example", logits: "Logits", labels: tuple[str, ...]) -> Record:
    """The entities; words that are cut are predicted O. `unopened` are the predictions that do not begin with B-."""
    assert example.words is not None
    tags = ["O"] * len(text.words)
    for word, row in zip(example.words.tolist(), logits, strict=True):
        tags[word] = labels[int(row.argmax())]
    first = {start: tag for (start, _), tag in zip(text.words, tags, strict=True)}
    predictions = spans_of(text.words, tags)
    return {
        "spans": text.spans,
        "predictions": predictions,
        "unopened": [number for number, span in enumerate(predictions) if not first[span[0]].startswith("B-")],
        "words": len(text.words),
    }


def _score(task: NerTask, records: Sequence[Record]) -> dict[str, Score]:
    return {**score_spans(records), "cut": Score("mean", [record["cut"] for record in records])}


NER = FineTunedKind(read_ner, _labels, _head, _encode, _decode, _score, ("seqeval", "scikit-learn"))
