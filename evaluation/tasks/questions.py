"""Extractive question answering: the answer to a question is a span of a context, or there is none.

The model gives each token a logit for the start and one for the end of the answer; the first token of a window stands
for no answer there. The best span over all windows is the answer, unless having none is more likely by a threshold.
"""

import logging
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt

from ...configs.errors import UserError
from ..fine_tuning.head_config import HeadConfig
from ..fine_tuning.kind import Decisions, FineTunedKind, Record, Splits, Tuned
from ..formats.corpora.squad import Question, read_questions, strip
from ..models.protocol import Protocol
from ..scores.answers import exact_match, token_f1
from ..scores.units import Score
from .long_texts import LongTexts
from .text_task import cut

if TYPE_CHECKING:
    from ..fine_tuning.classifier import Example, Logits
    from ..models.tokens import Tokenizes

logger = logging.getLogger(__name__)

NO_ANSWER = "no answer"
"""The key of the threshold: an answer whose score is lower is withheld."""


class QuestionsTask(LongTexts):
    """SQuAD's JSON, or tables with the columns question, context and answers, relative to the evaluation's `data`."""

    kind: Literal["questions"]
    train: str
    test: str
    development: str | None = Field(
        None, description="chooses the best checkpoint and the threshold; the test never does"
    )
    unanswerable: bool = Field(False, description="whether a context may have no answer (SQuAD 2.0)")
    longest_answer: PositiveInt = Field(30, description="in tokens")

    def files(self) -> list[str]:
        return [self.train, self.test, *([self.development] if self.development else [])]


def read_questions_task(task: QuestionsTask, data: Path) -> Splits:
    """The questions.

    Raises:
        UserError: a file is missing or malformed, or a question has no answer although the task expects one.
    """
    splits = []
    for name in task.files():
        questions = read_questions(data / name)
        without = sum(not question.answers for question in questions)
        if without == len(questions):
            raise UserError(f"{data / name}: no question has an answer, so nothing can be learned or scored")
        if without and not task.unanswerable:
            raise UserError(
                f"{data / name}: {without:,} of {len(questions):,} questions have no answer; set task.unanswerable "
                "to true if their contexts have none"
            )
        splits.append(questions)
    return Splits(*splits)


class Answer(NamedTuple):
    """The best span as characters [start, end), and its logits minus those of no answer."""

    span: tuple[int, int]
    score: float


def best_answer(
    logits: "Logits", windows: Sequence[int], characters: npt.NDArray[np.int64], context: str, longest: int
) -> Answer:
    """The best span of at most `longest` tokens.

    Args:
        logits: of start and end, (T, 2) of the tokens of all windows.
        windows: numbers of their tokens.
        characters: int64 (T, 2), where the tokens are in the context; -1 for others.
    """
    best, span, none = -np.inf, (0, 0), np.inf
    first = 0
    for size in windows:
        rows, places = logits[first : first + size].astype(np.float64), characters[first : first + size]
        none = min(none, rows[0].sum())
        usable = np.array([start >= 0 and bool(context[start:end].strip()) for start, end in places.tolist()])
        starts, ends = (np.where(usable, side, -np.inf) for side in rows.T)
        for more in range(min(longest, size)):
            sums = starts[: size - more] + ends[more:]
            if (highest := sums.max()) > best:
                token = int(sums.argmax())
                best, span = highest, (int(places[token, 0]), int(places[token + more, 1]))
        first += size
    return Answer(strip(context, *span), float(best - none))


def _labels(task: QuestionsTask, train: Sequence[Question]) -> tuple[str, ...]:
    return ("start", "end")


def _head(task: QuestionsTask, labels: tuple[str, ...], protocol: Protocol) -> HeadConfig:
    return HeadConfig(rows="spans", labels=labels, dropout=protocol.dropout)


def _encode(
    model: "Tokenizes", task: QuestionsTask, questions: Sequence[Question], labels: tuple[str, ...]
) -> "list[Example]":
    """Examples whose labels are the first and the last token of the first answer in each window that has it."""
    import torch

    from ..fine_tuning.classifier import Example
    from ..models.tokens import Lengths, encode_contexts

    lengths = Lengths(task.max_length, task.shared_tokens())
    encoded = encode_contexts(model, [one.question for one in questions], [one.context for one in questions], lengths)
    examples = []
    for question, one in zip(questions, encoded, strict=True):
        targets = [_target(characters, question.answers) for characters in one.characters]
        examples.append(
            Example(
                tuple(one.windows),
                torch.tensor(targets, dtype=torch.int64),
                characters=torch.from_numpy(np.concatenate(one.characters)),
                cut=one.cut,
            )
        )
    return examples


def _target(characters: npt.NDArray[np.int64], answers: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The first and the last token of the first answer in a window; the window's first token if it has none."""
    context = np.flatnonzero(characters[:, 0] >= 0)
    if not answers or not len(context):
        return 0, 0
    (start, end), starts, ends = answers[0], characters[context, 0], characters[context, 1]
    if starts[0] > start or ends[-1] < end:
        return 0, 0
    return int(context[(ends > start).argmax()]), int(context[np.flatnonzero(starts < end)[-1]])


def _decode(
    task: QuestionsTask, question: Question, example: "Example", logits: "Logits", labels: tuple[str, ...]
) -> Record:
    """The best span, and how well it matches the answers."""
    assert example.characters is not None
    windows = [len(window) for window in example.windows]
    (start, end), score = best_answer(
        logits, windows, example.characters.numpy(), question.context, task.longest_answer
    )  # fmt: skip
    expected = [question.context[first:last] for first, last in question.answers]
    found = question.context[start:end]
    return {
        "answers": question.answers,
        "prediction": (start, end) if end > start else None,
        "score": round(score, 6),
        "exact_match": exact_match(found, expected),
        "f1": round(token_f1(found, expected), 6),
    }


def decide(task: QuestionsTask, record: Record, tuned: Tuned) -> Record:
    """Withholds an answer whose score is below the threshold."""
    if not task.unanswerable or record["score"] >= tuned.get(NO_ANSWER, 0.0):
        return record
    right = float(not record["answers"])
    return {**record, "prediction": None, "exact_match": right, "f1": right}


def tune(task: QuestionsTask, records: Sequence[Record]) -> Tuned:
    """The threshold with the highest F1: halfway between two scores; of equal ones, that nearest to 0."""
    if not task.unanswerable:
        return {}
    order = sorted(records, key=lambda record: record["score"])
    scores = np.array([record["score"] for record in order])
    answered = np.array([record["f1"] for record in order])
    withheld = np.array([float(not record["answers"]) for record in order])
    # total[n]: the n lowest scores are withheld. A threshold lies between different scores only.
    total = np.concatenate([[0.0], withheld.cumsum()]) + np.concatenate([answered[::-1].cumsum()[::-1], [0.0]])
    thresholds = np.concatenate([[scores[0] - 1], (scores[1:] + scores[:-1]) / 2, [scores[-1] + 1]])
    possible = np.concatenate([[True], scores[1:] > scores[:-1], [True]])
    best = np.flatnonzero(possible & np.isclose(total, total[possible].max(), rtol=0, atol=1e-9))
    return {NO_ANSWER: float(min(thresholds[best], key=abs))}


def score_questions(records: Sequence[Record]) -> dict[str, Score]:
    """SQuAD's scores. A unit is a question."""
    scores = {name: Score("mean", [record[name] for record in records]) for name in ("f1", "exact_match")}
    answerable = np.array([float(bool(record["answers"])) for record in records])
    if answerable.all():
        return scores
    for name, chosen in (("with answer", answerable), ("without answer", 1 - answerable)):
        scores |= {
            f"{score} {name}": Score("mean", np.stack([chosen * [record[score] for record in records], chosen], axis=1))
            for score in ("f1", "exact_match")
        }
    return scores


def _score(task: QuestionsTask, records: Sequence[Record]) -> dict[str, Score]:
    return {**score_questions(records), "cut": cut(records)}


def _columns(task: QuestionsTask) -> tuple[str, ...]:
    return ("question", "context")


def _unanswered(name: str, values: Sequence[str]) -> Question:
    question, context = values
    return Question(name, question, context, ())


QUESTIONS = FineTunedKind(
    read_questions_task,
    _labels,
    _head,
    _encode,
    _decode,
    _score,
    _columns,
    _unanswered,
    decisions=Decisions(tune, decide),
    document=attrgetter("context"),
)
