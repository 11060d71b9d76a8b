"""Named entity recognition: each word is classified at its first subword, and complete entities are scored."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from ..fine_tuning.head_config import HeadConfig
from ..fine_tuning.kind import FineTunedKind, Record, Splits
from ..formats.annotated.text import report
from ..formats.annotations import AnnotatedText, Columns, Span, read_annotations
from ..formats.labels import check_span_types
from ..formats.words import Words, spans_of, tags_of, words_of
from ..models.protocol import Protocol
from ..scores.optional_dependencies import require
from ..scores.units import Score, Units
from .long_texts import LongTexts

if TYPE_CHECKING:
    from ..fine_tuning.classifier import Example, Logits
    from ..models.tokens import Tokenizes


class NerTask(LongTexts):
    """Annotated texts: files, or directories of a format with one file per document, relative to `data`."""

    kind: Literal["ner"]
    train: str
    test: str
    development: str | None = Field(None, description="chooses the best checkpoint; the test never does")
    format: str | None = Field(None, description="of the files, such as iob or brat; none: found from their content")
    columns: Columns = Columns()

    def files(self) -> list[str]:
        return [self.train, self.test, *([self.development] if self.development else [])]


class TaggedText(NamedTuple):
    """A text, its words as characters [start, end) with a tag in IOB2 each, and its entities as they were annotated."""

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
    return read_splits(task, [data / name for name in task.files()])


def read_splits(task: NerTask, paths: Sequence[Path]) -> Splits:
    """The texts of training, test and, if there is a third path, development."""
    train, test, *development = (read_annotations(path, task.format, task.columns) for path in paths)
    for texts, path in zip((test, *development), paths[1:], strict=True):
        check_span_types(train, texts, (paths[0], path))
    named = zip((train, test, *development), paths, strict=True)
    return Splits(*(tagged(texts, path) for texts, path in named))


def tagged(texts: Sequence[AnnotatedText], path: Path) -> list[TaggedText]:
    """The texts with their words and tags; warns of entities that no tags express."""
    counts = Counter[str]()
    found = []
    for text in texts:
        words = words_of(text.text) if text.words is None else text.words
        tags, off_borders, overlapping = tags_of(words, text.spans)
        counts["entities do not begin and end with a word: a model finds the words that they touch"] += off_borders
        counts["entities share a word with a longer one, and count as missed"] += overlapping
        found.append(TaggedText(text.id, text.text, words, tags, list(text.spans)))
    report(path, counts)
    return found


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
        "spans": [list(span) for span in text.spans],
        "predictions": [list(span) for span in predictions],
        "unopened": [number for number, span in enumerate(predictions) if not first[span[0]].startswith("B-")],
        "words": len(text.words),
    }


def _score(task: NerTask, records: Sequence[Record]) -> dict[str, Score]:
    return {**score_spans(records), "cut": Score("mean", [record["cut"] for record in records])}


def _columns(task: NerTask) -> tuple[str, ...]:
    return (task.columns.text,)


def untagged(name: str, values: Sequence[str], words: Words | None = None) -> TaggedText:
    """A text without entities, to be predicted."""
    [text] = values
    words = words_of(text) if words is None else words
    return TaggedText(name, text, words, ["O"] * len(words), [])


NER = FineTunedKind(
    read_ner, _labels, _head, _encode, _decode, _score, _columns, untagged, packages=("seqeval", "scikit-learn")
)
