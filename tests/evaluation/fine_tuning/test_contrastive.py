"""Contrastive losses: those of sentence-transformers, and MaxSim computed one pair at a time."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clinical_modernbert.evaluation.fine_tuning import contrastive
from clinical_modernbert.evaluation.fine_tuning.contrastive import (
    Loss,
    Triple,
    also_relevant,
    max_similarity,
    train_contrastive,
)
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol

TRIPLES = [
    Triple("acute pain", "aspirin with fever", ("cough",)),
    Triple("left lung", "right heart", ("chronic pain",)),
    Triple("cough at", "lung and heart", ("aspirin",)),
]


def first_loss(
    model: EvaluatedModel, loss: Loss, triples: list[Triple], monkeypatch: pytest.MonkeyPatch, quick: Protocol
) -> tuple[float, list[torch.Tensor]]:
    """The loss of the first batch, and the vectors of queries and documents that gave it."""
    seen: list[Any] = []

    def record(trained: Any, examples: Any, losses: Any, protocol: Any, seed: int) -> None:
        seen.append(sum(losses(examples)).item())

    monkeypatch.setattr(contrastive, "fine_tune", record)
    embedder = train_contrastive(model, triples, "mean", loss, quick, 0)
    documents = [one.document for one in triples] + [text for one in triples for text in one.negatives]
    vectors = [torch.from_numpy(embedder.embed(texts, 512)) for texts in ([one.query for one in triples], documents)]
    return seen[0], vectors


@pytest.mark.parametrize("dimensions", [(), (8, 16)])
def test_the_losses_are_those_of_sentence_transformers(
    dimensions: tuple[int, ...], ours: EvaluatedModel, quick: Protocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = pytest.importorskip("sentence_transformers.losses")
    value, (queries, documents) = first_loss(ours, Loss(0.1, dimensions), TRIPLES, monkeypatch, quick)
    multiple = losses.MultipleNegativesRankingLoss(None, scale=10.0)
    sizes = (queries.shape[1], *dimensions)
    parts = [documents[: len(TRIPLES)], documents[len(TRIPLES) :]]
    theirs = sum(
        multiple.compute_loss_from_embeddings([F.normalize(part[:, :size], dim=1) for part in (queries, *parts)], None)
        for size in sizes
    )
    assert value == pytest.approx(float(theirs), rel=1e-4)


def test_documents_that_answer_the_query_are_no_negatives() -> None:
    both = frozenset({"d0", "d1"})
    triples = [
        Triple("a", "x", (), both, "d0"),
        Triple("a", "y", ("z",), both, "d1"),
        Triple("b", "x", (), frozenset({"d0"}), "d0"),
    ]
    assert also_relevant(triples, 4).tolist() == [
        [False, True, True, False],
        [True, False, True, False],
        [True, False, False, False],
    ]


def test_max_similarity_is_that_of_each_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, documents = ([torch.randn(n, 6, generator=generator) for n in sizes] for sizes in ((3, 1), (4, 2, 5)))
    scores = max_similarity(torch.cat(queries), torch.cat(documents), [3, 1], [4, 2, 5])
    expected = [[(query @ document.T).amax(1).sum() for document in documents] for query in queries]
    assert torch.allclose(scores, torch.tensor(expected))
