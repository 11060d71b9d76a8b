"""Questions whose answers are spans of a context: SQuAD's JSON (1.1 and 2.0), and tables with offsets."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from ....configs.errors import UserError
from ....configs.json_text import first_problem, parse_json_object
from ....streaming_data.documents.files import explain_read_errors, open_text
from ..records import read_records
from ..values import position, read_identifier, read_text


class Question(NamedTuple):
    """A question and its answers in the context, as characters [start, end); none if the context has no answer."""

    id: str
    question: str
    context: str
    answers: tuple[tuple[int, int], ...]


class _Answer(BaseModel):
    text: str
    answer_start: int


class _Question(BaseModel):
    id: str
    question: str
    answers: list[_Answer] = []


class _Paragraph(BaseModel):
    context: str
    qas: list[_Question]


class _Article(BaseModel):
    paragraphs: list[_Paragraph]


_SQUAD = TypeAdapter(list[_Article])
_EXPECTED = "expected SQuAD's `data` of articles with `paragraphs` of a `context` and its `qas`"
_OFFSETS = "expected answers such as [12, 20] or {text, answer_start}: characters of the context"


def read_questions(path: Path) -> list[Question]:
    """The questions of a file: .json in SQuAD's layout, or a table with the columns question, context and answers.

    Raises:
        UserError: the file is missing or malformed, or an answer is not in its context.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; set `data` of the task to its directory")
    is_squad = path.name.removesuffix(".gz").endswith(".json")
    questions = list(_read_squad(path) if is_squad else _read_table(path))
    if not questions:
        raise UserError(f"{path}: no questions; {_EXPECTED}, or records with question, context and answers")
    return questions


def _read_squad(path: Path) -> Iterator[Question]:
    with open_text(path) as file, explain_read_errors(path, lambda: "its text"):
        text = file.read()
    try:
        articles = _SQUAD.validate_python(parse_json_object(text).get("data"))
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}; {_EXPECTED}") from None
    except ValueError as error:
        raise UserError(f"{path}: not a JSON object; {_EXPECTED}") from error
    for article, content in enumerate(articles, 1):
        for paragraph, part in enumerate(content.paragraphs, 1):
            for number, one in enumerate(part.qas, 1):
                where = f"{path}: article {article}, paragraph {paragraph}, question {number}"
                answers = [answer.model_dump() for answer in one.answers]
                yield _question(one.id, one.question, part.context, answers, where)


def _read_table(path: Path) -> Iterator[Question]:
    for number, record in read_records(path, ["question", "context", "answers"]):
        where = position(path, number)
        question, context = (read_text(record, column, where) for column in ("question", "context"))
        identifier = read_identifier(record, "id", where) if record.get("id") is not None else str(number)
        yield _question(identifier, question, context, _listed(record["answers"], where), where)


def _listed(value: Any, where: str) -> list[Any]:
    """Answers as a list; the columns {text: [...], answer_start: [...]} of Hugging Face's tables become one."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, Mapping) and {"text", "answer_start"} <= value.keys():
        texts, starts = (list(value[key]) for key in ("text", "answer_start"))
        if len(texts) == len(starts):
            return [{"text": text, "answer_start": start} for text, start in zip(texts, starts, strict=True)]
    if isinstance(value, list | tuple):
        return list(value)
    raise UserError(f"{where}: answers is of the type {type(value).__name__}; {_OFFSETS}, [] for none")


def _question(identifier: str, question: str, context: str, answers: Sequence[Any], where: str) -> Question:
    spans = (_span(answer, context, where) for answer in answers)
    return Question(identifier, question.strip(), context, tuple(dict.fromkeys(spans)))


def _span(answer: Any, context: str, where: str) -> tuple[int, int]:
    """The characters of an answer without the space around it."""
    expected = None
    if isinstance(answer, Mapping) and {"start", "end"} <= answer.keys():
        start, end = answer["start"], answer["end"]
    elif isinstance(answer, Mapping) and isinstance(answer.get("text"), str) and "answer_start" in answer:
        start, expected = answer["answer_start"], answer["text"]
        end = start + len(expected) if isinstance(start, int) else None
    elif isinstance(answer, list | tuple) and len(answer) == 2:
        start, end = answer
    else:
        raise UserError(f"{where}: an answer is of the type {type(answer).__name__}; {_OFFSETS}")
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in (start, end)):
        raise UserError(f"{where}: the offsets of an answer are not integers; {_OFFSETS}")
    if not 0 <= start < end <= len(context) or not context[start:end].strip():
        raise UserError(f"{where}: an answer at {start} to {end} of a context of {len(context)} characters; {_OFFSETS}")
    if expected is not None and context[start:end] != expected:
        raise UserError(
            f"{where}: the text of an answer is not what the context has at {start}; expected offsets of characters "
            "(not of bytes or tokens)"
        )
    return strip(context, start, end)


def strip(text: str, start: int, end: int) -> tuple[int, int]:
    """Characters [start, end) without the space around them."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())
