"""Yes/no questions about abstracts, from the JSON of PubMedQA and BioASQ: records with question, context and answer.

PubMedQA's two files are read as they are published. `ori_pqal.json` has all questions, and `test_ground_truth.json` the
answers of those that are the test; each file is read with the other one in its directory, so that the first is the
training split and the second is the test.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from ...configs.errors import UserError
from ...configs.json_text import first_problem, parse_json_object
from ...streaming_data.documents.files import explain_read_errors, open_text

_COLUMNS = ("question", "context", "answer")
_ALL, _TEST = "ori_pqal.json", "test_ground_truth.json"
_EXPECTED = (
    "expected PubMedQA's questions by PMID (QUESTION, CONTEXTS, final_decision), its answers by PMID, or BioASQ's "
    "`questions` (type, body, snippets, exact_answer)"
)


class _PubMedQuestion(BaseModel):
    QUESTION: str
    CONTEXTS: list[str]
    final_decision: str


class _Snippet(BaseModel):
    text: str


class _BioAsqQuestion(BaseModel):
    type: str
    body: str
    snippets: list[_Snippet] = []
    exact_answer: Any = None


_PUBMED = TypeAdapter(dict[str, _PubMedQuestion])
_ANSWERS = TypeAdapter(dict[str, str])
_BIOASQ = TypeAdapter(list[_BioAsqQuestion])


def read_questions(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the questions of a file, numbered from 1.

    Args:
        required: of question, context and answer, what the caller reads.
    Raises:
        UserError: the file, or the one that it needs, is missing or has another structure; another column is required.
    """
    if unknown := [name for name in required if name not in _COLUMNS]:
        raise UserError(f"{path}: its records have {', '.join(_COLUMNS)}, not {', '.join(unknown)}")
    yield from enumerate(_records(path), start=1)


def _records(path: Path) -> Iterator[dict[str, Any]]:
    name = path.name.removesuffix(".gz")
    content = _read(path)
    if "questions" in content:
        for one in _check(path, _BIOASQ, content["questions"]):
            if one.type == "yesno":
                context = " ".join(snippet.text for snippet in one.snippets)
                yield {"question": one.body, "context": context, "answer": str(one.exact_answer).lower()}
        return
    if name == _TEST:
        answers = _check(path, _ANSWERS, content)
        other = _beside(path, _ALL)
        questions = _check(other, _PUBMED, _read(other))
        if absent := sum(pmid not in questions for pmid in answers):
            raise UserError(f"{other}: {absent:,} of the {len(answers):,} questions of {path} are not in it")
        chosen = [(questions[pmid], answer) for pmid, answer in answers.items()]
    else:
        questions = _check(path, _PUBMED, content)
        test = _check(other := _beside(path, _TEST), _ANSWERS, _read(other)) if name == _ALL else {}
        chosen = [(one, one.final_decision) for pmid, one in questions.items() if pmid not in test]
    for one, answer in chosen:
        yield {"question": one.QUESTION, "context": " ".join(one.CONTEXTS), "answer": answer}


def _beside(path: Path, name: str) -> Path:
    for other in (path.with_name(name), path.with_name(f"{name}.gz")):
        if other.is_file():
            return other
    raise UserError(f"{path.with_name(name)}: no such file; it says which questions of {path.name} are the test")


def _read(path: Path) -> dict[str, Any]:
    with open_text(path) as file, explain_read_errors(path, lambda: "its text"):
        text = file.read()
    try:
        return parse_json_object(text)
    except ValueError as error:
        raise UserError(f"{path}: not a JSON object; {_EXPECTED}") from error


def _check(path: Path, schema: TypeAdapter[Any], content: Any) -> Any:
    try:
        return schema.validate_python(content)
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}; {_EXPECTED}") from None
