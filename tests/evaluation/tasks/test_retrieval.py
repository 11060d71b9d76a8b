"""Retrieval in BEIR's files, as it is and after learning from judgements."""

import json
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.fine_tune import Protocol
from clinical_modernbert.evaluation.models.model import Subject
from clinical_modernbert.evaluation.tasks.retrieval import RetrievalTask, run_retrieval

from ..conftest import WORDS


def write(directory: Path, corpus: dict[str, str], queries: dict[str, str], judged: dict[str, list[str]]) -> None:
    for name, texts in (("corpus", corpus), ("queries", queries)):
        lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in texts.items()]
        (directory / f"{name}.jsonl").write_text("\n".join(lines))
    for name, found in judged.items():
        rows = "".join(f"{pair}\t1\n" for pair in found)
        (directory / f"{name}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")


def task(**fields: object) -> RetrievalTask:
    return RetrievalTask.model_validate({"kind": "retrieval", "test": "test.tsv", **fields})


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_document_finds_itself(pooling: str, ours: Subject, tmp_path: Path, quick: Protocol) -> None:
    texts = {f"d{number}": f"{a} {b}" for number, (a, b) in enumerate(zip(WORDS, WORDS[3:], strict=False))}
    write(tmp_path, texts, texts, {"test": [f"{name}\t{name}" for name in texts]})
    assert set(run_retrieval(ours, task(pooling=pooling), tmp_path, quick, 0).values()) == {1.0}


def test_judgements_are_learned(ours: Subject, tmp_path: Path, quick: Protocol) -> None:
    """Each word asks for another one: nothing but the judgements tells which."""
    asked, held = WORDS[:6], WORDS[6:12]
    queries = {f"q{i}{j}": f"{word} {filler}" for i, word in enumerate(asked) for j, filler in enumerate(WORDS)}
    corpus = {f"d{i}": word for i, word in enumerate(held)}
    pairs = [f"{query}\td{query[1]}" for query in queries]
    write(tmp_path, corpus, queries, {"train": pairs[::2], "test": pairs[1::2]})
    protocol = quick.model_copy(update={"epochs": 12, "batch": 6})
    before = run_retrieval(ours, task(), tmp_path, protocol, 0)
    after = run_retrieval(ours, task(train="train.tsv", temperature=0.2), tmp_path, protocol, 0)
    assert before["mrr@100"] < 0.7
    assert after["mrr@100"] > 0.9


@pytest.mark.parametrize(
    ("judgement", "message"),
    [
        ("q0\tnowhere\t1", r"test\.tsv: record 1 judges a query or document that is not among"),
        ("q0\td0\tgood", r"test\.tsv: record 1: score is not a number"),
        ("", r"test\.tsv: holds no judgement"),
    ],
)
def test_bad_judgements_are_told(judgement: str, message: str, ours: Subject, tmp_path: Path, quick: Protocol) -> None:
    write(tmp_path, {"d0": "fever"}, {"q0": "cough"}, {})
    (tmp_path / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judgement}\n")
    with pytest.raises(UserError, match=message):
        run_retrieval(ours, task(), tmp_path, quick, 0)
