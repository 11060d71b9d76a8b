"""The documents that are reranked for a query: of a file, or those with the same words."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from ....configs.errors import UserError
from ....configs.json_text import first_problem, parse_json
from ....streaming_data.documents.files import explain_read_errors, open_text
from ...scores.optional_dependencies import require
from ...scores.ranking import top

Candidates = dict[str, list[str]]
"""The names of documents by query, best first."""
_QUERIES = 256
"""Scored at a time."""


class _Ranking(BaseModel):
    """What is read of a prediction of retrieval; a line of `predictions.jsonl`."""

    id: str = Field(coerce_numbers_to_str=True)
    ranking: list[str]


def find_candidates(queries: Mapping[str, str], corpus: Mapping[str, str], depth: int) -> Candidates:
    """The `depth` documents that are nearest to each query by the TF-IDF of their words.

    Raises:
        UserError: the documents have no words.
    """
    vectorizer = require("sklearn.feature_extraction.text").TfidfVectorizer(sublinear_tf=True, dtype=np.float32)
    try:
        documents = vectorizer.fit_transform(corpus.values()).T.tocsc()
    except ValueError as error:
        raise UserError("the documents of the corpus have no words by which to find candidates") from error
    names, asked, found = list(corpus), list(queries), Candidates()
    for start in range(0, len(asked), _QUERIES):
        block = asked[start : start + _QUERIES]
        scores = (vectorizer.transform([queries[name] for name in block]) @ documents).toarray()
        found |= {
            query: [names[number] for number in row] for query, row in zip(block, top(scores, depth), strict=True)
        }
    return found


def read_candidates(path: Path, queries: Mapping[str, str], corpus: Mapping[str, str], depth: int) -> Candidates:
    """The first `depth` documents of each query in a file: `predictions.jsonl` of retrieval, or a run in TREC's format.

    Raises:
        UserError: the file is malformed, or has a query or document that does not exist, or a document twice.
    """
    rankings = _read_rankings(path) if path.name.removesuffix(".gz").endswith(".jsonl") else _read_run(path)
    for query, documents in rankings.items():
        unknown = sum(document not in corpus for document in documents)
        if query not in queries or unknown:
            raise UserError(f"{path}: a query, or {unknown:,} of its documents, are not in the queries or the corpus")
        if len(set(documents)) < len(documents):
            raise UserError(f"{path}: a query has the same document twice; expected each once")
    return {query: documents[:depth] for query, documents in rankings.items()}


def _read_rankings(path: Path) -> Candidates:
    found, number = Candidates(), 0
    with open_text(path) as file, explain_read_errors(path, lambda: f"line {number}"):
        for number, line in enumerate(file, start=1):
            try:
                one = _Ranking.model_validate(parse_json(line))
            except ValidationError as error:
                raise UserError(f"{path}: line {number}: {first_problem(error)}; expected id and ranking") from error
            except ValueError as error:
                raise UserError(f"{path}: line {number} is not JSON; expected an object with id and ranking") from error
            found[one.id] = one.ranking
    return found


def _read_run(path: Path) -> Candidates:
    """TREC's run: a query, `Q0`, a document, its rank, its score and the name of the run; the order is by score."""
    scores: dict[str, list[tuple[float, str]]] = {}
    number = 0
    with open_text(path) as file, explain_read_errors(path, lambda: f"line {number}"):
        for number, line in enumerate(file, start=1):
            if not (fields := line.split()):
                continue
            try:
                query, _, document, _, score, _ = fields
                scores.setdefault(query, []).append((-float(score), document))
            except ValueError as error:
                raise UserError(
                    f"{path}: line {number} has {len(fields)} fields; expected the six of a TREC run: query, Q0, "
                    "document, rank, score (a number), name"
                ) from error
    return {query: [name for _, name in sorted(found, key=lambda one: one[0])] for query, found in scores.items()}
