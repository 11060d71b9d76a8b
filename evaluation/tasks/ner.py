"""Named entities: each word's class is read at its first subword, and whole entities are scored."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict

from ...configs.errors import UserError
from ..formats.iob import Sentence, read_iob
from ..models.classifier import Example, predict, train_classifier
from ..models.fine_tune import Protocol
from ..models.model import Subject
from ..models.tokens import EncodedWords, encode_words
from ..scores.libraries import require


class NerTask(BaseModel):
    """Files in IOB, relative to the evaluation's `data`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ner"]
    train: str
    test: str

    def files(self) -> list[str]:
        return [self.train, self.test]


def run_ner(subject: Subject, task: NerTask, data: Path, protocol: Protocol, seed: int) -> dict[str, float]:
    """Fine-tune and score; words that lie beyond the subject's longest sequence count as predicted O."""
    train, test = read_iob(data / task.train), read_iob(data / task.test)
    tags = sorted({tag for sentence in train for tag in sentence.tags})
    if tags == ["O"]:
        raise UserError(f"{data / task.train}: every tag is O; expected B-TYPE and I-TYPE where entities are")
    learned = _examples(train, _encoded(subject, train), tags)
    classifier = train_classifier(subject, learned, len(tags), protocol, seed)
    encoded = _encoded(subject, test)
    guesses = [["O"] * len(sentence.words) for sentence in test]
    predicted = predict(classifier, _examples(test, encoded, tags), protocol.tokens)
    for guess, (_, words, _), classes in zip(guesses, encoded, predicted, strict=True):
        for word, number in zip(words.tolist(), classes, strict=True):
            guess[word] = tags[number]
    return score_entities([sentence.tags for sentence in test], guesses)


def score_entities(truth: Sequence[Sequence[str]], guesses: Sequence[Sequence[str]]) -> dict[str, float]:
    """Of entities whose first word, last word and type all agree: micro-averages, and F1 of each type.

    `f1` is seqeval's default, which like conlleval takes an I- without B- for the begin of an entity; in `strict_f1`
    only entities count that begin with B-.
    """
    metrics = require("seqeval.metrics")
    scheme = require("seqeval.scheme").IOB2
    arguments = {"y_true": [list(tags) for tags in truth], "y_pred": guesses, "zero_division": 0}
    scores = {
        "f1": metrics.f1_score(**arguments),
        "precision": metrics.precision_score(**arguments),
        "recall": metrics.recall_score(**arguments),
        "strict_f1": metrics.f1_score(**arguments, mode="strict", scheme=scheme),
    }
    types = sorted({tag[2:] for tags in truth for tag in tags if tag != "O"})
    if len(types) > 1:
        report = metrics.classification_report(**arguments, output_dict=True)
        scores |= {f"f1 {kind}": report[kind]["f1-score"] for kind in types}
    return {name: float(value) for name, value in scores.items()}


def _encoded(subject: Subject, sentences: Sequence[Sentence]) -> list[EncodedWords]:
    return encode_words(subject, [sentence.words for sentence in sentences])


def _examples(sentences: Sequence[Sentence], encoded: Sequence[EncodedWords], tags: Sequence[str]) -> list[Example]:
    """A tag that training has not seen is -100 here, and wrong in the test."""
    number = {tag: index for index, tag in enumerate(tags)}
    return [
        Example(ids, torch.tensor([number.get(sentence.tags[word], -100) for word in words.tolist()]).long(), places)
        for sentence, (ids, words, places) in zip(sentences, encoded, strict=True)
    ]
