"""Relations between two names in a text: each pair of names within some sentences is classified.

The text of a pair are the sentences from one name to the other, with both names marked. Every relation of the documents
is scored, also one that no pair covers, such as one across sentences: it is missed. See decision 0052.
"""

import logging
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from ...configs.errors import UserError
from ...streaming_data.locales.sentences import sentence_ends
from ..fine_tuning.head_config import HeadConfig
from ..fine_tuning.kind import ALL, Decisions, FineTunedKind, Record, Splits, Tuned
from ..formats.annotations import AnnotatedText, Span, read_annotations
from ..formats.corpora.chemprot import ChemProtFiles, read_chemprot
from ..models.protocol import Pooling, Protocol
from ..scores.units import Score, Units
from . import labels as several_labels
from .classification import softmax
from .labels import best_threshold
from .long_texts import LongTexts
from .text_task import LabeledText, cut, encode_labeled

if TYPE_CHECKING:
    from ..fine_tuning.classifier import Example, Logits
    from ..models.tokens import Tokenizes

logger = logging.getLogger(__name__)

NONE = "none"
CHEMPROT = ("CPR:3", "CPR:4", "CPR:5", "CPR:6", "CPR:9")
"""The groups that ChemProt's evaluation counts."""
ACROSS, OVERLAPPING, OTHER_TYPES = "across_sentences", "overlapping", "other_types"
"""Why no pair covers a relation."""


class RelationTask(LongTexts):
    """Annotated documents (a file or a directory) or ChemProt's files, relative to the evaluation's `data`."""

    kind: Literal["relations"]
    train: ChemProtFiles | str
    test: ChemProtFiles | str
    development: ChemProtFiles | str | None = Field(
        None, description="chooses the best checkpoint and the threshold; the test never does"
    )
    format: str | None = Field(None, description="of annotated documents; none: found from their names and content")
    relations: tuple[str, ...] | None = Field(
        None, description="types to predict; none: all of the training documents, and ChemProt's five"
    )
    pairs: tuple[tuple[str, str], ...] | None = Field(
        None, description="types of the first and the second name of a pair; none: those that training documents relate"
    )
    sentences: PositiveInt = Field(1, description="consecutive sentences that have both names of a pair")
    mark: Literal["types", "names"] = Field(
        "types", description="names are replaced by their types (@GENE$), or kept between [E1] and [/E1]"
    )
    several: bool = Field(False, description="whether a pair may have several relations")
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        splits = [split for split in (self.train, self.test, self.development) if split is not None]
        return [
            file for split in splits for file in ([split] if isinstance(split, str) else split.model_dump().values())
        ]


class Truth(NamedTuple):
    """The relations of a pair; and if it is not one that is classified, why."""

    relations: tuple[str, ...]
    out_of_reach: str = ""


def read_relations(task: RelationTask, data: Path) -> Splits:
    """The pairs of all splits. Those for training are within reach.

    Raises:
        UserError: a file is missing or malformed, or the test has a relation that no training pair has.
    """
    texts = [_read(task, data, split) for split in (task.train, task.test, task.development) if split is not None]
    names = [str(data / name) for name in _names(task)]
    wanted = _wanted(task, texts[0], names[0])
    allowed = set(task.pairs) if task.pairs else _related_types(texts[0], wanted)
    train, *others = ([*_pairs(split, task, allowed, wanted)] for split in texts)
    train = [pair for pair in train if not pair.label.out_of_reach]
    if not any(pair.label.relations for pair in train):
        raise UserError(
            f"{names[0]}: no pair of names within {_sentences_of(task)} has one of the relations to predict; expected "
            "relations of training documents: check task.relations, task.pairs and task.sentences"
        )
    known = {relation for pair in train for relation in pair.label.relations}
    for pairs, name in zip(others, names[1:], strict=True):
        _check(pairs, known, name, names[0], task)
    if not task.several:
        train = _one_each(train, names[0])
    return Splits(train, *others)


def _names(task: RelationTask) -> list[str]:
    splits = [split for split in (task.train, task.test, task.development) if split is not None]
    return [split if isinstance(split, str) else split.relations for split in splits]


def _read(task: RelationTask, data: Path, split: ChemProtFiles | str) -> list[AnnotatedText]:
    return read_annotations(data / split, task.format) if isinstance(split, str) else read_chemprot(data, split)


def _wanted(task: RelationTask, train: Sequence[AnnotatedText], name: str) -> tuple[str, ...]:
    if task.relations is not None:
        return task.relations
    if isinstance(task.train, ChemProtFiles):
        return CHEMPROT
    found = tuple(sorted({relation.type for text in train for relation in text.relations}))
    if not found:
        raise UserError(f"{name}: no relations; expected documents with relations between their spans")
    return found


def _related_types(texts: Sequence[AnnotatedText], wanted: Sequence[str]) -> set[tuple[str, str]]:
    return {
        (text.spans[relation.first].type, text.spans[relation.second].type)
        for text in texts
        for relation in text.relations
        if relation.type in wanted
    }


def _check(pairs: Sequence[LabeledText], known: set[str], name: str, train: str, task: RelationTask) -> None:
    """Errors and warnings of a split that is not for training."""
    gold = [(relation, pair.label.out_of_reach) for pair in pairs for relation in pair.label.relations]
    if unseen := sorted({relation for relation, missed in gold if not missed} - known):
        raise UserError(
            f"{train}: no pair within {_sentences_of(task)} has the relation {', '.join(unseen)} of {name}, so no "
            "model can predict it; set task.relations to those of both files"
        )
    if not any(not pair.label.out_of_reach for pair in pairs):
        raise UserError(f"{name}: no pair of names within {_sentences_of(task)}, so nothing can be predicted")
    if not gold:
        raise UserError(f"{name}: none of the relations to predict ({', '.join(sorted(known))}); nothing can be scored")
    if missed := sum(bool(reason) for _, reason in gold):
        logger.warning(
            f"{name}: {missed:,} of {len(gold):,} relations count as missed: they are across sentences or between "
            "names that are no pair"
        )


def _one_each(train: Sequence[LabeledText], name: str) -> list[LabeledText]:
    """Each training pair once for each of its relations."""
    if double := sum(len(pair.label.relations) > 1 for pair in train):
        logger.warning(
            f"{name}: {double:,} pairs have several relations, of which one per pair is predicted; set task.several to "
            "predict all"
        )
    return [
        pair._replace(label=Truth((relation,) if relation else ()))
        for pair in train
        for relation in pair.label.relations or ("",)
    ]


def _sentences_of(task: RelationTask) -> str:
    return "a sentence" if task.sentences == 1 else f"{task.sentences} sentences"


def _pairs(
    texts: Sequence[AnnotatedText], task: RelationTask, allowed: set[tuple[str, str]], wanted: Sequence[str]
) -> Iterator[LabeledText]:
    """The pairs of each text; relations that no pair covers follow as pairs without a text."""
    for text in texts:
        gold: dict[tuple[int, int], list[str]] = {}
        for relation in dict.fromkeys(text.relations):
            if relation.type in wanted:
                gold.setdefault((relation.first, relation.second), []).append(relation.type)
        sentences = split_sentences(text.text, text.spans)
        starts = np.array([start for start, _ in sentences])
        places = [int(np.searchsorted(starts, span.start, side="right")) - 1 for span in text.spans]
        for (a, first), (b, second) in _candidates(text.spans, allowed):
            if abs(places[a] - places[b]) < task.sentences and not _overlap(first, second):
                start, end = sentences[min(places[a], places[b])][0], sentences[max(places[a], places[b])][1]
                relations = Truth(tuple(gold.pop((a, b), ())))
                marked = mark_names(text.text, start, end, first, second, task.mark)
                yield LabeledText(marked, relations, id=_id(text, first, second))
        for (a, b), types in gold.items():
            first, second = text.spans[a], text.spans[b]
            reason = OVERLAPPING if _overlap(first, second) else ACROSS
            if (first.type, second.type) not in allowed:
                reason = OTHER_TYPES
            yield LabeledText("", Truth(tuple(types), reason), id=_id(text, first, second))


def _candidates(
    spans: Sequence[Span], allowed: set[tuple[str, str]]
) -> Iterator[tuple[tuple[int, Span], tuple[int, Span]]]:
    for first in enumerate(spans):
        for second in enumerate(spans):
            if first[0] != second[0] and (first[1].type, second[1].type) in allowed:
                yield first, second


def _overlap(first: Span, second: Span) -> bool:
    return first.start < second.end and second.start < first.end


def _id(text: AnnotatedText, first: Span, second: Span) -> str:
    return f"{text.id} {first.start}-{first.end} {second.start}-{second.end}"


def split_sentences(text: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Characters [start, end) of each sentence, without the space around it.

    A dot before a word in lower case or inside a name ends none, and so does one after an abbreviation.
    """
    ends = [end for end in sentence_ends(text, ("en",)) if not text[end:].lstrip()[:1].islower()]
    inside = [end for end in ends if not any(span.start < end < span.end for span in spans)]
    bounds = list(pairwise(sorted({0, *inside, len(text)})))
    stripped = [(end - len(text[start:end].lstrip()), start + len(text[start:end].rstrip())) for start, end in bounds]
    return [(start, end) for start, end in stripped if start < end] or [(0, len(text))]


def mark_names(text: str, start: int, end: int, first: Span, second: Span, mark: str) -> str:
    """Characters [start, end) of a text with two names marked.

    Types that are the same are numbered: @DRUG1$ is the first name of the pair, wherever it is.
    """
    pieces = []
    numbered = first.type == second.type
    for number, span in sorted(((1, first), (2, second)), key=lambda item: item[1].start):
        name = text[span.start : span.end]
        marked = f"@{span.type}{number if numbered else ''}$" if mark == "types" else f"[E{number}] {name} [/E{number}]"
        pieces += [text[start : span.start], marked]
        start = span.end
    return "".join([*pieces, text[start:end]])


def _labels(task: RelationTask, train: Sequence[LabeledText]) -> tuple[str, ...]:
    relations = {relation for pair in train for relation in pair.label.relations}
    return tuple(sorted(relations if task.several else {NONE, *relations}))


def _head(task: RelationTask, labels: tuple[str, ...], protocol: Protocol) -> HeadConfig:
    problem = "several classes" if task.several else "one class"
    return HeadConfig(rows="texts", labels=labels, problem=problem, pooling=task.pooling, dropout=protocol.dropout)


def _encode(
    model: "Tokenizes", task: RelationTask, pairs: Sequence[LabeledText], labels: tuple[str, ...]
) -> "list[Example]":
    import torch

    index = {name: number for number, name in enumerate(labels)}
    targets = []
    for pair in pairs:
        known = [index[relation] for relation in pair.label.relations if relation in index]
        if task.several:
            target = torch.zeros(1, len(labels))
            target[0, known] = 1.0
        else:
            target = torch.tensor([known[0] if known else index[NONE]])
        targets.append(target)
    return encode_labeled(model, task, pairs, targets)


def _decode(
    task: RelationTask, pair: LabeledText, example: "Example", logits: "Logits", labels: tuple[str, ...]
) -> Record:
    """The probability of each relation; none is predicted for what is out of reach."""
    truth: Truth = pair.label
    record: Record = {"labels": sorted(truth.relations), "predictions": [], "out_of_reach": truth.out_of_reach}
    if truth.out_of_reach:
        return {**record, "scores": {}}
    if task.several:
        return {**record, **several_labels.decode(task, pair._replace(label=truth.relations), example, logits, labels)}
    probabilities = softmax(logits[0])
    best = labels[int(probabilities.argmax())]
    scores = {label: round(float(value), 6) for label, value in zip(labels, probabilities, strict=True)}
    return {**record, "predictions": [] if best == NONE else [best], "scores": scores}


def decide(task: RelationTask, record: Record, tuned: Tuned) -> Record:
    """Adds the relations whose probability is not below the threshold, if a pair may have several."""
    return several_labels.decide(task, record, tuned) if task.several else record


def tune(task: RelationTask, records: Sequence[Record]) -> Tuned:
    """The threshold with the best F1 of pairs within reach."""
    if not task.several:
        return {}
    scored = [
        (score, label in record["labels"]) for record in records for label, score in record["scores"].items()
    ]  # fmt: skip
    scores, truth = zip(*scored, strict=True)
    return {ALL: best_threshold(np.array(scores), np.array(truth))}


def score_relations(records: Sequence[Record]) -> dict[str, Score]:
    """Micro-averages over the relations. Pairs without relation count only as false positives. A unit is a pair.

    `f1_within_reach` leaves out the relations that no pair covers; these are counted by reason.
    """
    units = _outcomes(records)
    scores = {name: Score(name, units) for name in ("f1", "precision", "recall")}
    reasons = [record["out_of_reach"] for record in records]
    reached = np.array([[not reason] for reason in reasons], np.float64)
    scores["f1_within_reach"] = Score("f1", units * reached)
    types = sorted({relation for record in records for relation in record["labels"]})
    if len(types) > 1:
        scores |= {f"f1 {name}": Score("f1", _outcomes(records, name)) for name in types}
    for reason in (ACROSS, *(reason for reason in (OVERLAPPING, OTHER_TYPES) if reason in reasons)):
        counts = [len(record["labels"]) * (record["out_of_reach"] == reason) for record in records]
        scores[reason] = Score("total", counts)
    return scores


def _outcomes(records: Sequence[Record], only: str | None = None) -> Units:
    """Correct, false and missed relations of each pair, (U, 3)."""
    rows = []
    for record in records:
        truth, found = ({name for name in record[key] if only in (None, name)} for key in ("labels", "predictions"))
        rows.append((len(truth & found), len(found - truth), len(truth - found)))
    return np.array(rows, np.float64)


def _score(task: RelationTask, records: Sequence[Record]) -> dict[str, Score]:
    return {**score_relations(records), "cut": cut(records)}


def _document(pair: LabeledText) -> str:
    return pair.id.rsplit(" ", 2)[0]


RELATIONS = FineTunedKind(
    read_relations,
    _labels,
    _head,
    _encode,
    _decode,
    _score,
    decisions=Decisions(tune, decide),
    document=_document,
)
