"""Reranking by a cross-encoder: a query and a document are one input, whose score says whether they belong together.

The head has one column, trained with binary cross-entropy on relevant documents and on candidates that are not known
to be relevant, so that `CrossEncoder` of sentence-transformers opens the kept model.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt

from ....configs.errors import UserError
from ...fine_tuning.head_config import HeadConfig
from ...fine_tuning.kind import FineTunedKind, Record, Splits
from ...models.protocol import Pooling, Protocol
from ...scores.units import Score
from ..long_texts import LongTexts
from ..text_task import LabeledText, cut, encode_labeled
from .candidates import Candidates, find_candidates, read_candidates
from .collection import Qrels, SearchTask, read_qrels, read_texts, score_ranking

if TYPE_CHECKING:
    from ...fine_tuning.classifier import Example, Logits
    from ...models.tokens import Tokenizes


class RerankingTask(SearchTask, LongTexts):
    """A collection, of which the candidates of each query are ranked anew."""

    kind: Literal["reranking"]
    train: str = Field("qrels/train.tsv", description="relevance judgments for training")
    development: str | None = Field(None, description="judgments that choose the best checkpoint; the test never does")
    candidates: str | None = Field(
        None,
        description="predictions.jsonl of retrieval, or a TREC run, with the queries of all splits; none: the nearest "
        "documents by TF-IDF",
    )
    depth: PositiveInt = Field(100, description="candidates of a query that are ranked")
    negatives: PositiveInt = Field(
        4, description="candidates that are not known to be relevant, for each relevant document of a training query"
    )
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        judgments = [self.train, self.test, *([self.development] if self.development else [])]
        return [self.corpus, self.queries, *judgments, *([self.candidates] if self.candidates else [])]


class Pair(NamedTuple):
    """A query and a document.

    Attributes:
        text: of the query.
        pair: of the document.
        grade: its relevance; 0 if it is not judged.
        missed: grades of the relevant documents that are no candidates, at the first pair of a query, so that scores
            count them.
    """

    id: str
    query: str
    text: str
    pair: str
    grade: float = 0.0
    missed: tuple[float, ...] = ()


def read_reranking(task: RerankingTask, data: Path) -> Splits:
    """The pairs: of training queries the relevant documents and some negatives, of others all candidates.

    Raises:
        UserError: a file is missing or malformed, or a judged query has no candidates.
    """
    corpus, queries = read_texts(data / task.corpus), read_texts(data / task.queries)
    names = [task.train, task.test, *([task.development] if task.development else [])]
    train, *others = (read_qrels(data / name, queries, corpus) for name in names)
    if not any(grade > 0 for judged in train.values() for grade in judged.values()):
        raise UserError(f"{data / task.train}: no score above 0, so there is no pair to train on")
    asked = {query: queries[query] for judged in (train, *others) for query in judged}
    if task.candidates:
        candidates = read_candidates(data / task.candidates, queries, corpus, task.depth)
        if without := len(asked.keys() - candidates.keys()):
            raise UserError(
                f"{data / task.candidates}: {without:,} of {len(asked):,} judged queries have no candidates"
            )
    else:
        candidates = find_candidates(asked, corpus, task.depth)
    chosen = {query: _for_training(judged, candidates[query], task.negatives) for query, judged in train.items()}
    splits = [_pairs(train, chosen, queries, corpus)]
    splits += [_pairs(qrels, candidates, queries, corpus) for qrels in others]
    return Splits(*map(list, splits))


def _for_training(judged: dict[str, float], candidates: Sequence[str], negatives: int) -> list[str]:
    """The relevant documents of a query, and the first candidates that are not relevant."""
    relevant = [name for name, grade in judged.items() if grade > 0]
    others = [name for name in candidates if judged.get(name, 0.0) <= 0]
    return [*relevant, *others[: negatives * len(relevant)]]


def _pairs(qrels: Qrels, candidates: Candidates, queries: dict[str, str], corpus: dict[str, str]) -> Iterator[Pair]:
    for query, judged in qrels.items():
        documents = candidates[query]
        missed = tuple(grade for name, grade in judged.items() if grade > 0 and name not in set(documents))
        for name in documents:
            grade = judged.get(name, 0.0)
            yield Pair(f"{query} {name}", query, queries[query], corpus[name], grade, missed)
            missed = ()


def _labels(task: RerankingTask, train: Sequence[Pair]) -> tuple[str, ...]:
    return ("relevance",)


def _head(task: RerankingTask, labels: tuple[str, ...], protocol: Protocol) -> HeadConfig:
    return HeadConfig(
        rows="texts", labels=labels, problem="several classes", pooling=task.pooling, dropout=protocol.dropout
    )


def _encode(model: "Tokenizes", task: RerankingTask, pairs: Sequence[Pair], labels: tuple[str, ...]) -> "list[Example]":
    import torch

    texts = [LabeledText(pair.text, None, pair.pair) for pair in pairs]
    return encode_labeled(model, task, texts, [torch.tensor([[float(pair.grade > 0)]]) for pair in pairs])


def _decode(task: RerankingTask, pair: Pair, example: "Example", logits: "Logits", labels: tuple[str, ...]) -> Record:
    """The logit, which ranks, and what is true."""
    answers = {"query": pair.query, "grade": pair.grade, "missed": list(pair.missed)}
    return {"answers": answers, "score": float(f"{float(logits[0, 0]):.7g}")}


def _score(task: RerankingTask, records: Sequence[Record]) -> dict[str, Score]:
    """Of the new order, and nDCG in the order of the candidates (`candidates_ndcg@10`). A unit is a query."""
    before, after, relevances = [], [], []
    for _, group in groupby(records, key=lambda record: record["answers"]["query"]):
        rows = list(group)
        grades = [row["answers"]["grade"] for row in rows] + rows[0]["answers"]["missed"]
        relevances.append(dict(enumerate(grades)))
        before.append(list(range(len(rows))))
        after.append(np.argsort([-row["score"] for row in rows], kind="stable").tolist())
    scores = score_ranking(after, relevances)
    return {**scores, "candidates_ndcg@10": score_ranking(before, relevances)["ndcg@10"], "cut": cut(records)}


def _columns(task: RerankingTask) -> tuple[str, ...]:
    return ("query", "document")


def _unlabeled(name: str, values: Sequence[str]) -> Pair:
    return Pair(name, "", values[0], values[1])


RERANKING = FineTunedKind(
    read_reranking,
    _labels,
    _head,
    _encode,
    _decode,
    _score,
    _columns,
    _unlabeled,
    packages=("scikit-learn",),
    document=attrgetter("query"),
)
