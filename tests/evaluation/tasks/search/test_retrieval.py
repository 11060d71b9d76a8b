"""Retrieval in BEIR's format, without and with fine-tuning on relevance judgments."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation import results
from clinical_modernbert.evaluation.models.embed import embed
from clinical_modernbert.evaluation.models.model import EvaluatedModel, open_model
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.models.tokens import encode_texts
from clinical_modernbert.evaluation.scores.ranking import nearest_late, normalize
from clinical_modernbert.evaluation.suite import Evaluation
from clinical_modernbert.evaluation.tasks.search.retrieval import RetrievalTask, read_retrieval, run_retrieval

from ...conftest import WORDS


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
    scores = run_retrieval(ours, task(pooling=pooling), tmp_path, quick, 0).scores
    assert scores.pop("cut") == 0
    assert set(scores.values()) == {1.0}


def test_relevance_judgments_are_learned(ours: EvaluatedModel, tmp_path: Path, quick: Protocol) -> None:
    """Each query word belongs to a document word; only the relevance judgments define which."""
    query_words, document_words = WORDS[:6], WORDS[6:12]
    queries = {f"q{i}{j}": f"{word} {filler}" for i, word in enumerate(query_words) for j, filler in enumerate(WORDS)}
    corpus = {f"d{i}": word for i, word in enumerate(document_words)}
    pairs = [f"{query}\td{query[1]}" for query in queries]
    write(tmp_path, corpus, queries, {"train": pairs[::2], "test": pairs[1::2]})
    protocol = quick.model_copy(update={"epochs": 12, "batch": 6})
    before = run_retrieval(ours, task(), tmp_path, protocol, 0).scores
    after = run_retrieval(ours, task(train="train.tsv", temperature=0.2), tmp_path, protocol, 0).scores
    assert before["mrr@100"] < 0.7
    assert after["mrr@100"] > 0.9
    hard = run_retrieval(ours, task(train="train.tsv", temperature=0.2, hard_negatives=2), tmp_path, protocol, 0).scores
    assert hard["mrr@100"] > 0.9
    late = run_retrieval(ours, task(train="train.tsv", temperature=0.2, late=16), tmp_path, protocol, 0).scores
    assert late["mrr@100"] > 0.9


def test_nearest_late_is_maxsim() -> None:
    generator = np.random.default_rng(0)
    queries, corpus = (
        [generator.normal(size=(n, 4)).astype(np.float32) for n in sizes] for sizes in ((2, 3), (5, 1, 4))
    )
    expected = [[sum((query @ document.T).max(1)) for document in corpus] for query in queries]
    assert nearest_late(queries, corpus, 3).tolist() == np.argsort(-np.array(expected), axis=1).tolist()


def test_a_kept_model_gives_the_vectors_of_sentence_transformers(
    ours: EvaluatedModel, tmp_path: Path, quick: Protocol
) -> None:
    texts = {f"d{n}": f"{a} {b}" for n, (a, b) in enumerate(zip(WORDS, WORDS[3:], strict=False))}
    write(tmp_path, texts, texts, {"test": [f"{name}\t{name}" for name in texts]})
    settings = task(train="test.tsv", pooling="cls", dimensions=[8])
    evaluation = Evaluation(name="toy", data=tmp_path, task=settings, protocol=quick)
    out = tmp_path / "out"
    [result] = results.evaluate([ours], [evaluation], 1, out, keep=True)
    directory = results.saved_directory(out, "toy", 0)
    theirs = pytest.importorskip("sentence_transformers").SentenceTransformer(str(directory), device="cpu")
    vectors = theirs.encode(list(texts.values()))
    opened = open_model(str(directory))
    expected = normalize(embed(opened, list(texts.values()), "cls", 512))
    assert np.abs(vectors - expected).max() < 1e-4
    records = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    assert result.scores["recall@10"] == np.mean([record["id"] in record["ranking"][:10] for record in records])


def test_a_kept_model_of_late_interaction_has_the_layout_of_pylate(
    ours: EvaluatedModel, tmp_path: Path, quick: Protocol
) -> None:
    """Its vectors were compared with pylate's by hand: pylate does not admit the transformers of this project."""
    texts = {f"d{n}": f"{a} {b}" for n, (a, b) in enumerate(zip(WORDS, WORDS[3:], strict=False))}
    write(tmp_path, texts, texts, {"test": [f"{name}\t{name}" for name in texts]})
    evaluation = Evaluation(name="toy", data=tmp_path, task=task(train="test.tsv", late=8), protocol=quick)
    out = tmp_path / "out"
    list(results.evaluate([ours], [evaluation], 1, out, keep=True))
    directory = results.saved_directory(out, "toy", 0)
    modules = [module["path"] for module in json.loads((directory / "modules.json").read_text())]
    assert modules == ["", "1_Dense"]
    weight = load_file(directory / "1_Dense" / "model.safetensors")["linear.weight"]
    assert weight.shape == (8, ours.hidden_size)
    opened = open_model(str(directory))
    hidden = opened.encode(opened.encoder, encode_texts(opened, list(texts.values())))
    vectors = torch.nn.functional.normalize(hidden @ weight.T, dim=1)
    lengths = [len(ids) for ids in encode_texts(opened, list(texts.values()))]
    rows = [part.detach().numpy() for part in vectors.split(lengths)]
    records = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    names = list(texts)
    expected = [[names[number] for number in row] for row in nearest_late(rows, rows, len(rows))]
    assert [record["ranking"] for record in records] == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("q0\tnowhere\t1", r"test\.tsv: line 2 refers to a query or document that is not in"),
        ("q0\td0\tgood", r"test\.tsv: line 2: score is not a number"),
        ("q0\td0\tnan", r"test\.tsv: line 2: score is not a number"),
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


@pytest.mark.parametrize("spelled", ["7", '"7"', "7.0"])
def test_identifiers_match_whatever_their_type(spelled: str, tmp_path: Path) -> None:
    """The corpus has text or numbers as identifiers, and the judgments are in JSON lines or a table."""
    (tmp_path / "corpus.jsonl").write_text(f'{{"_id": {spelled}, "title": null, "text": "fever"}}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": 12, "text": "cough"}\n')
    (tmp_path / "a.jsonl").write_text('{"query-id": 12, "corpus-id": 7, "score": 1}\n')
    (tmp_path / "a.tsv").write_text("query-id\tcorpus-id\tscore\n12\t7\t1\n")
    for name in ("a.jsonl", "a.tsv"):
        assert read_retrieval(task(test=name), tmp_path).test == {"12": {"7": 1.0}}


def test_two_texts_of_one_identifier_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"d": "fever"}, {"q": "cough"}, {"test": ["q\td"]})
    with (tmp_path / "corpus.jsonl").open("a") as file:
        file.write('\n{"_id": "d", "text": "cough"}')
    with pytest.raises(UserError, match=r"corpus\.jsonl: line 2: an earlier text has the same _id"):
        read_retrieval(task(), tmp_path)
