"""Correlations against those of embeddings computed with transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import AutoModel

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models import embed as embedding
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.tasks.similarity import SimilarityTask, read_similarity, run_similarity

PAIRS = [("fever", "acute fever", 3.5), ("lung pain", "heart", 1), ("cough", "cough", 5), ("left lung", "aspirin", 0)]


def write(directory: Path, scores: list[object]) -> None:
    rows = "".join(f"{a}\t{b}\t{score}\n" for (a, b, _), score in zip(PAIRS, scores, strict=True))
    (directory / "test.tsv").write_text(f"text1\ttext2\tscore\n{rows}")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_correlations_equal_those_of_transformers(
    pooling: str, ours: EvaluatedModel, our_directory: Path, tmp_path: Path, quick: Protocol
) -> None:
    write(tmp_path, [score for *_, score in PAIRS])
    task = SimilarityTask.model_validate({"kind": "similarity", "test": "test.tsv", "pooling": pooling})
    scores = run_similarity(ours, task, tmp_path, quick, 0)
    model = AutoModel.from_pretrained(our_directory).eval()

    def vector(text: str) -> torch.Tensor:
        hidden = model(torch.tensor([ours.tokenizer(text)["input_ids"]])).last_hidden_state[0]
        return hidden.mean(0) if pooling == "mean" else hidden[0]

    with torch.no_grad():
        cosines = [float(torch.cosine_similarity(vector(a), vector(b), dim=0)) for a, b, _ in PAIRS]
    similarities = [score for *_, score in PAIRS]
    assert scores["pearson"] == pytest.approx(stats.pearsonr(cosines, similarities)[0], abs=1e-4)
    assert scores["spearman"] == pytest.approx(stats.spearmanr(cosines, similarities)[0], abs=1e-6)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([1, "much", 2, 3], r"test\.tsv: line 3: score is not a number"),
        ([1, 2, "nan", 3], r"test\.tsv: line 4: score is not a number"),
        ([1, 1, 1, 1], r"every score is the same"),
    ],
)
def test_invalid_scores_are_errors(
    scores: list[object], message: str, ours: EvaluatedModel, tmp_path: Path, quick: Protocol
) -> None:
    write(tmp_path, scores)
    with pytest.raises(UserError, match=message):
        run_similarity(ours, SimilarityTask(kind="similarity", test="test.tsv"), tmp_path, quick, 0)


def test_a_missing_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test.jsonl").write_text('{"text1": "a", "text2": null, "score": 1}\n')
    with pytest.raises(UserError, match=r"test\.jsonl: line 1 has no text2"):
        read_similarity(SimilarityTask(kind="similarity", test="test.jsonl"), tmp_path)


def test_equal_cosines_have_no_correlation(
    ours: EvaluatedModel, tmp_path: Path, quick: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that gives every text one vector has no defined correlation; NaN is not valid JSON."""
    write(tmp_path, [score for *_, score in PAIRS])
    monkeypatch.setattr(embedding, "embed", lambda model, texts, *_: np.ones((len(texts), 4), np.float32))
    scores = run_similarity(ours, SimilarityTask(kind="similarity", test="test.tsv"), tmp_path, quick, 0)
    assert scores == {"pearson": 0.0, "spearman": 0.0, "cut": 0.0}
