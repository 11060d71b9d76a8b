"""Retrieval in BEIR's format, without and with fine-tuning on relevance judgments."""

import json
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.fine_tune import Protocol
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.tasks.retrieval import RetrievalTask, run_retrieval

from ..conftest import WORDS


def write(directory: Path, corpus: dict[str, str], queries: dict[str, str], qrels: dict[str, list[str]]) -> None:
    for name, texts in (("corpus", corpus), ("queries", queries)):
        lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in texts.items()]
        (directory / f"{name}.jsonl").write_text("\n".join(lines))
    for name, pairs in qrels.items():
        rows = "".join(f"{pair}\t1\n" for pair in pairs)
        (directory / f"{name}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")


def task(**fields: object) -> RetrievalTask:
    return RetrievalTask.model_validate({"kind": "retrieval", "test": "test.tsv", **fields})


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_a_document_retrieves_itself(pooling: str, ours: EvaluatedModel, tmp_path: Path, quick: Protocol) -> None:
    texts = {f"d{number}": f"{a} {b}" for number, (a, b) in enumerate(zip(WORDS, WORDS[3:], strict=False))}
    write(tmp_path, texts, texts, {"test": [f"{name}\t{name}" for name in texts]})
    assert set(run_retrieval(ours, task(pooling=pooling), tmp_path, quick, 0).values()) == {1.0}


def test_relevance_judgments_are_learned(ours: EvaluatedModel, tmp_path: Path, quick: Protocol) -> None:
    """Each query word belongs to a document word; only the relevance judgments define which."""
    query_words, document_words = WORDS[:6], WORDS[6:12]
    queries = {f"q{i}{j}": f"{word} {filler}" for i, word in enumerate(query_words) for j, filler in enumerate(WORDS)}
    corpus = {f"d{i}": word for i, word in enumerate(document_words)}
    pairs = [f"{query}\td{query[1]}" for query in queries]
    write(tmp_path, corpus, queries, {"train": pairs[::2], "test": pairs[1::2]})
    protocol = quick.model_copy(update={"epochs": 12, "batch": 6})
    before = run_retrieval(ours, task(), tmp_path, protocol, 0)
    after = run_retrieval(ours, task(train="train.tsv", temperature=0.2), tmp_path, protocol, 0)
    assert before["mrr@100"] < 0.7
    assert after["mrr@100"] > 0.9


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q0\tnowhere\t1", r"test\.tsv: record 1 refers to a query or document that is not in"),
        ("q0\td0\tgood", r"test\.tsv: record 1: score is not a number"),
        ("", r"test\.tsv: no relevance judgments"),
    ],
)
def test_errors_in_relevance_judgments(
    row: str, message: str, ours: EvaluatedModel, tmp_path: Path, quick: Protocol
) -> None:
    write(tmp_path, {"d0": "fever"}, {"q0": "cough"}, {})
    (tmp_path / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{row}\n")
    with pytest.raises(UserError, match=message):
        run_retrieval(ours, task(), tmp_path, quick, 0)
