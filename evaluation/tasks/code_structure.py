"""What an encoder knows of code systems: do codes of a chapter lie together, and codes of the same meaning?

Clinical ModernBERT's paper shows a t-SNE of ICD-9 codes by chapter. Here its picture has numbers: neighbours of one
chapter, silhouette, and for each code of ICD-9 the rank of its equivalent in ICD-10 (CMS's GEMs). Every number is given
for the codes' descriptions and for the bare codes, and neighbours of a code's own category do not count: 250.00 beside
250.01 shows nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ...configs.errors import UserError
from ...streaming_data.corpora.codes import CodesSource
from ...streaming_data.corpora.crosswalks import read_mappings
from ...streaming_data.corpora.icd10cm import Icd10CmSource
from ...streaming_data.corpora.readers import read
from ...streaming_data.documents.document import uniform_hash
from ..models.classifier import Pooling
from ..models.embed import embed
from ..models.fine_tune import Protocol
from ..models.model import Subject
from ..scores.libraries import require
from ..scores.ranking import Vectors, nearest, normalised, recall, reciprocal_rank
from .code_chapters import icd9_chapter, icd10_chapter

NEIGHBOURS = 10
Embedder = Callable[[Sequence[str]], Vectors]
_SILHOUETTE_CODES = 2000


class CodesTask(BaseModel):
    """CMS's files, relative to the evaluation's `data`: code lists (text) and the mapping from ICD-9 to ICD-10."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["codes"]
    icd9: str
    icd10: str
    crosswalk: str
    codes: PositiveInt = Field(4000, description="of each system, chosen by hash; the crosswalk searches all of them")
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        return [self.icd9, self.icd10, self.crosswalk]


class Code(NamedTuple):
    """A code with its dot, the chapter it stands in, and its first characters, which its nearest relatives share."""

    code: str
    description: str
    chapter: str
    category: str


class CodeSystems(NamedTuple):
    """Codes to place, and for codes of ICD-9, by place in its list, the places of their equivalents in ICD-10's."""

    icd9: list[Code]
    icd10: list[Code]
    equivalents: dict[int, list[int]]


def run_codes(subject: Subject, task: CodesTask, data: Path, protocol: Protocol, seed: int) -> dict[str, float]:
    systems = read_systems(task, data)
    return structure(systems, lambda texts: embed(subject, texts, task.pooling, protocol.tokens))


def structure(systems: CodeSystems, vectors_of: Embedder) -> dict[str, float]:
    """All numbers; `vectors_of` gives texts (N) their vectors (N, d)."""
    scores: dict[str, float] = {}
    for kind in ("description", "bare"):
        vectors = [vectors_of(_texts(codes, kind)) for codes in (systems.icd9, systems.icd10)]
        for name, codes, placed in zip(("icd9", "icd10"), (systems.icd9, systems.icd10), vectors, strict=True):
            scores[f"{name} {kind} purity"] = purity(placed, codes)
            scores[f"{name} {kind} silhouette"] = silhouette(placed, codes)
        found = crosswalk(vectors[0], vectors[1], systems.equivalents)
        scores |= {f"crosswalk {kind} {measure}": value for measure, value in found.items()}
    return scores


def purity(vectors: Vectors, codes: Sequence[Code], neighbours: int = NEIGHBOURS) -> float:
    """The mean share of a code's nearest codes of other categories that stand in its chapter."""
    shares = []
    categories, chapters = _numbers([c.category for c in codes]), _numbers([c.chapter for c in codes])
    largest = int(np.bincount(categories).max())
    for row, found in enumerate(nearest(vectors, vectors, neighbours + largest)):
        others = found[categories[found] != categories[row]][:neighbours]
        shares.append(np.mean(chapters[others] == chapters[row]) if len(others) else 0.0)
    return float(np.mean(shares))


def silhouette(vectors: Vectors, codes: Sequence[Code]) -> float:
    """Of chapters as clusters, by cosine, over at most 2,000 codes: 1 apart, 0 mixed, below 0 in the wrong place."""
    labels = [code.chapter for code in codes[:_SILHOUETTE_CODES]]
    metrics = require("sklearn.metrics")
    return float(metrics.silhouette_score(normalised(vectors[: len(labels)]), labels, metric="cosine"))


def crosswalk(queries: Vectors, corpus: Vectors, equivalents: Mapping[int, Sequence[int]]) -> dict[str, float]:
    """How near to each code of ICD-9 its equivalents in ICD-10 are among all codes there."""
    asked = sorted(equivalents)
    ranked = nearest(queries[asked], corpus, 100).tolist()
    relevances = [dict.fromkeys(equivalents[place], 1.0) for place in asked]
    pairs = list(zip(ranked, relevances, strict=True))
    return {
        "mrr": float(np.mean([reciprocal_rank(found, relevance) for found, relevance in pairs])),
        "recall@10": float(np.mean([recall(found, relevance) for found, relevance in pairs])),
    }


def read_systems(task: CodesTask, data: Path) -> CodeSystems:
    """A sample of both systems: ICD-9 codes with an equivalent, their equivalents, and other codes of ICD-10.

    The same files and numbers give the same sample.
    """
    ninth = CodesSource(
        name="icd9", paths=[str(data / task.icd9)], licence="", format="codes", system="icd9_diagnoses",
        template="{description}", details=False,
    )  # fmt: skip
    tenth = Icd10CmSource(
        name="icd10", paths=[str(data / task.icd10)], licence="", format="icd10cm", template="{description}",
        details=[], seventh_characters=False,
    )  # fmt: skip
    icd9 = {code.code.replace(".", ""): code for code in _read(ninth)}
    icd10 = {code.code.replace(".", ""): code for code in _read(tenth)}
    pairs = _equivalents(data / task.crosswalk, icd9, icd10)
    asked = _sample(list(pairs), task.codes)
    wanted = {target for source in asked for target in pairs[source]}
    held = _sample([code for code in icd10 if code not in wanted], task.codes - len(wanted))
    pool = sorted({*wanted, *held}, key=lambda code: uniform_hash("codes", code))
    place = {code: number for number, code in enumerate(pool)}
    return CodeSystems(
        [icd9[code] for code in asked],
        [icd10[code] for code in pool],
        {number: [place[target] for target in pairs[code]] for number, code in enumerate(asked)},
    )


def _equivalents(path: Path, icd9: Mapping[str, Code], icd10: Mapping[str, Code]) -> dict[str, list[str]]:
    """Codes of ICD-9 and the single codes of ICD-10 that CMS maps them to; combinations are no equivalents."""
    pairs: dict[str, list[str]] = {}
    for mapping in read_mappings(path):
        if not (mapping.combination or mapping.no_map) and mapping.source in icd9 and mapping.target in icd10:
            pairs.setdefault(mapping.source, []).append(mapping.target)
    if not pairs:
        raise UserError(
            f"{path}: maps none of the codes of the two lists; of CMS's two files take the one from ICD-9 to ICD-10"
        )
    return pairs


def _read(source: CodesSource | Icd10CmSource) -> Iterator[Code]:
    chapter = icd9_chapter if source.name == "icd9" else icd10_chapter
    for document in read(source):
        code = document.meta["code"]
        yield Code(code, document.text, chapter(code), document.meta["category"])


def _sample(codes: Sequence[str], count: int) -> list[str]:
    return sorted(codes, key=lambda code: uniform_hash("codes", code))[: max(0, count)]


def _texts(codes: Sequence[Code], kind: str) -> list[str]:
    return [code.description if kind == "description" else code.code for code in codes]


def _numbers(names: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.unique(names, return_inverse=True)[1]
