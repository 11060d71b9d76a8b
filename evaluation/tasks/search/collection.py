"""A collection in BEIR's format (documents, queries and judgments), and the scores of rankings of its documents."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ....configs.errors import UserError
from ...formats.records import read_records
from ...formats.values import position, read_identifier, read_number, read_text
from ...scores.ranking import ndcg, recall, reciprocal_rank
from ...scores.units import Score

Qrels = dict[str, dict[str, float]]
"""The grades of documents, by query and document; above 0 is relevant."""


class SearchTask(BaseModel):
    """BEIR's files, relative to the evaluation's `data`: corpus and queries as JSON lines, qrels as TSV."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    corpus: str = "corpus.jsonl"
    queries: str = "queries.jsonl"
    test: str = "qrels/test.tsv"


def score_ranking(rankings: Sequence[Sequence[int]], relevances: Sequence[Mapping[int, float]]) -> dict[str, Score]:
    """Mean metrics over the queries, from rankings of the 100 nearest documents. A unit is a query."""
    pairs = list(zip(rankings, relevances, strict=True))
    return {
        "ndcg@10": Score("mean", [ndcg(ranked, relevance, 10) for ranked, relevance in pairs]),
        "recall@10": Score("mean", [recall(ranked, relevance, 10) for ranked, relevance in pairs]),
        "mrr@100": Score("mean", [reciprocal_rank(ranked, relevance) for ranked, relevance in pairs]),
    }


def read_texts(path: Path) -> dict[str, str]:
    """Texts by identifier; a title precedes its text. A document may be empty."""
    texts: dict[str, str] = {}
    for number, record in read_records(path, ["_id", "text"]):
        where = position(path, number)
        identifier = read_identifier(record, "_id", where)
        if identifier in texts:
            raise UserError(f"{where}: an earlier text has the same _id; give each text its own")
        parts = [read_text(record, column, where) for column in ("title", "text") if record.get(column)]
        texts[identifier] = " ".join(parts)
    if not texts:
        raise UserError(f"{path}: no texts; expected records with _id and text")
    return texts


def read_qrels(path: Path, queries: Mapping[str, str], corpus: Mapping[str, str]) -> Qrels:
    """The judgments of a file, each of a query and a document that exist."""
    qrels: Qrels = {}
    for number, record in read_records(path, ["query-id", "corpus-id", "score"]):
        where = position(path, number)
        query, document = (read_identifier(record, column, where) for column in ("query-id", "corpus-id"))
        if query not in queries or document not in corpus:
            raise UserError(f"{where} refers to a query or document that is not in the queries or the corpus")
        qrels.setdefault(query, {})[document] = read_number(record, "score", where)
    if not qrels:
        raise UserError(f"{path}: no relevance judgments; expected lines with query-id, corpus-id and score")
    return qrels
