"""Reranking: candidates by words or from a file, a cross-encoder that learns, and scores that miss no judgment."""

import json
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation import results
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.scores.ranking import ndcg
from clinical_modernbert.evaluation.suite import Evaluation
from clinical_modernbert.evaluation.tasks.search.reranking import RERANKING, RerankingTask, read_reranking

from ...conftest import WORDS

CORPUS = {f"d{a}{b}": f"{WORDS[a]} {WORDS[b]}" for a in range(6) for b in range(6) if a != b}
QUERIES = {f"q{a}": f"{WORDS[a]} acute" for a in range(6)}


def task(**fields: object) -> RerankingTask:
    return RerankingTask.model_validate({"kind": "reranking", "train": "train.tsv", "test": "test.tsv", **fields})


def write(directory: Path, train: dict[str, dict[str, int]], test: dict[str, dict[str, int]]) -> None:
    for name, texts in (("corpus", CORPUS), ("queries", QUERIES)):
        lines = [json.dumps({"_id": key, "title": "", "text": text}) for key, text in texts.items()]
        (directory / f"{name}.jsonl").write_text("\n".join(lines))
    for name, qrels in (("train", train), ("test", test)):
        rows = "".join(f"{q}\t{d}\t{grade}\n" for q, judged in qrels.items() for d, grade in judged.items())
        (directory / f"{name}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}")


def first_of(queries: range) -> dict[str, dict[str, int]]:
    """A document is relevant if it begins with the word of the query; words alone cannot tell first from second."""
    return {f"q{a}": {f"d{a}{b}": 1 for b in range(6) if a != b} for a in queries}


@pytest.mark.slow
@pytest.mark.parametrize("which", ["ours", "bert"])
def test_the_order_of_candidates_is_learned_and_kept(
    which: str, tmp_path: Path, quick: Protocol, request: pytest.FixtureRequest
) -> None:
    model: EvaluatedModel = request.getfixturevalue(which)
    write(tmp_path, first_of(range(6)), first_of(range(6)))
    protocol = quick.model_copy(update={"epochs": 25, "batch": 16})
    evaluation = Evaluation(name="toy", data=tmp_path, task=task(depth=10), protocol=protocol)
    out = tmp_path / "out"
    [result] = results.evaluate([model], [evaluation], 1, out, keep=True)
    assert result.scores["candidates_ndcg@10"] < 0.9
    assert result.scores["ndcg@10"] > 0.95
    directory = results.saved_directory(out, "toy", 0)
    theirs = pytest.importorskip("sentence_transformers").CrossEncoder(str(directory), device="cpu", max_length=64)
    records = [json.loads(line) for line in (directory / "predictions.jsonl").read_text().splitlines()]
    chosen = records[::7]
    pairs = [(QUERIES[query], CORPUS[name]) for query, name in (record["id"].split() for record in chosen)]
    probabilities = theirs.predict(pairs)
    from scipy.special import expit

    assert probabilities == pytest.approx(expit([record["score"] for record in chosen]), abs=2e-5)


def test_candidates_are_ranked_by_words_and_negatives_are_not_relevant(tmp_path: Path) -> None:
    write(tmp_path, {"q0": {"d01": 2, "d10": 0}}, {"q1": {"d12": 1, "d45": 2}})
    train, test, _ = read_reranking(task(depth=10, negatives=3), tmp_path)
    assert [pair.id.split()[1] for pair in train if pair.grade] == ["d01"]
    assert len(train) == 4
    assert {pair.grade for pair in train[1:]} == {0}
    assert len(test) == 10
    assert all("1" in pair.id.split()[1] for pair in test), "the word of q1 is in all of its candidates"
    assert test[0].missed == (2.0,), "d45 has no word of the query"
    assert not any(pair.missed for pair in test[1:])


def test_judgments_outside_the_candidates_count(tmp_path: Path) -> None:
    """As an independent computation over all judgments."""
    write(tmp_path, {"q0": {"d01": 1}}, {"q1": {"d12": 1, "d45": 2}, "q2": {"d21": 1}})
    settings = task(depth=4)
    test = read_reranking(settings, tmp_path).test
    scores = [(position * 7) % 5 for position in range(len(test))]
    records = [
        {
            "id": pair.id,
            "cut": False,
            "score": score,
            "answers": {"query": pair.query, "grade": pair.grade, "missed": list(pair.missed)},
        }
        for pair, score in zip(test, scores, strict=True)
    ]
    names = list(CORPUS)
    judged = {"q1": {"d12": 1.0, "d45": 2.0}, "q2": {"d21": 1.0}}
    expected = []
    for query, grades in judged.items():
        mine = [(-record["score"], place, record["id"].split()[1]) for place, record in enumerate(records)
                if record["id"].startswith(query)]  # fmt: skip
        ranked = [names.index(name) for *_, name in sorted(mine)]
        expected.append(ndcg(ranked, {names.index(name): grade for name, grade in grades.items()}))
    assert list(RERANKING.score(settings, records)["ndcg@10"].units[:, 0]) == pytest.approx(expected)


@pytest.mark.parametrize("form", ["run", "predictions"])
def test_candidates_of_a_file_are_in_its_order(form: str, tmp_path: Path) -> None:
    write(tmp_path, {"q0": {"d01": 1}}, {"q1": {"d12": 1}})
    if form == "run":
        rows = ["q0 Q0 d23 9 0.5 x", "q0 Q0 d45 1 0.1 x", "q1 Q0 d12 2 1e-3 x", "q1 Q0 d54 1 3.5 x"]
        (tmp_path / "found").write_text("\n".join(rows) + "\n\n")
        name = "found"
    else:
        name = "found.jsonl"
        lines = [{"id": "q0", "answers": {}, "ranking": ["d23", "d45"]}, {"id": "q1", "ranking": ["d54", "d12"]}]
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    train, test, _ = read_reranking(task(candidates=name), tmp_path)
    assert [pair.id for pair in train] == ["q0 d01", "q0 d23", "q0 d45"]
    assert [pair.id for pair in test] == ["q1 d54", "q1 d12"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q0 Q0 d01 1 0.5 x\n", "1 of 2 judged queries have no candidates"),
        ("q0 d01 secret\n", "line 1 has 3 fields; expected the six"),
        ("q0 Q0 d01 1 secret x\n", "line 1 has 6 fields; .*score .a number."),
        ("q0 Q0 secret 1 0.5 x\nq1 Q0 d01 1 1 x\n", "1 of its documents, are not in"),
        ("q0 Q0 d01 1 0.5 x\nq0 Q0 d01 2 0.4 x\n", "the same document twice"),
    ],
)
def test_errors_of_candidates(content: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, {"q0": {"d01": 1}}, {"q1": {"d12": 1}})
    (tmp_path / "run").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_reranking(task(candidates="run"), tmp_path)
    assert "secret" not in str(error.value)
