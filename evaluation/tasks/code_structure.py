"""The structure of code systems in an encoder's vectors: chapters as clusters, and codes with the same meaning.

Clinical ModernBERT's paper shows a t-SNE of ICD-9 codes by chapter. This task measures it: the share of neighbors in
the same chapter, the silhouette, and for each ICD-9 code the rank of its equivalents in ICD-10 (CMS's GEMs). All scores
are computed for the descriptions of the codes and for the bare codes, of the vectors as they are and, if the task asks
for it, centered or whitened. Neighbors in a code's own category are ignored, since it is trivial that 250.00 is near
250.01.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ...configs.errors import UserError
from ...streaming_data.corpora.code_lists import ICD9_DIAGNOSES, ICD10CM
from ...streaming_data.corpora.codes import CodesSource
from ...streaming_data.corpora.crosswalks import read_mappings
from ...streaming_data.corpora.icd10cm import Icd10CmSource
from ...streaming_data.corpora.ontology.graph import Level
from ...streaming_data.corpora.readers import read
from ...streaming_data.documents.document import is_held_out, uniform_hash
from ..models.protocol import Pooling, Protocol
from ..scores.optional_dependencies import require
from ..scores.ranking import Vectors, nearest, normalize, recall, reciprocal_rank
from ..scores.units import Score
from ..scores.vectors import TRANSFORMS, Transform
from .code_chapters import icd9_chapter, icd10_chapter

if TYPE_CHECKING:
    from ..models.model import EvaluatedModel

NEIGHBORS = 10
Embedder = Callable[[Sequence[str]], Vectors]
_SILHOUETTE_CODES = 2000


class HeldOutCodes(BaseModel):
    """Which codes a data set holds out: the keys of its recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    split_by: Level = Field("block", description="of the sources of ICD-10-CM: category, block or chapter")
    share: float = Field(gt=0, lt=1, description="`held_out` of the data set")
    seed: int = Field(0, description="`seed` of the data set")


class CodesTask(BaseModel):
    """CMS's files, relative to the evaluation's `data`: code lists and the crosswalk from ICD-9 to ICD-10."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["codes"]
    icd9: str
    icd10: str
    crosswalk: str
    codes: PositiveInt = Field(
        4000, description="number of codes per system, sampled by hash; the crosswalk searches all of them"
    )
    pooling: Pooling = "mean"
    vectors: tuple[Transform, ...] = Field(
        ("raw",), min_length=1, description="score the vectors as they are (raw), centered, whitened"
    )
    held_out: HeldOutCodes | None = Field(
        None,
        description="score only ICD-10 codes that a data set holds out, among all others; `icd10` is then the tabular "
        "list, if groups are blocks or chapters",
        exclude_if=lambda held_out: held_out is None,  # results of before stay valid
    )

    def files(self) -> list[str]:
        return [self.icd9, self.icd10, self.crosswalk]


class Code(NamedTuple):
    """A code with its dot, its chapter, and its category, the first characters that closely related codes share."""

    code: str
    description: str
    chapter: str
    category: str


class CodeSystems(NamedTuple):
    """Sampled codes, and for the index of an ICD-9 code the indices of its equivalents in `icd10`.

    `held_out` are the indices in `icd10` of the codes to score; None for all, and for ICD-9 and the crosswalk too.
    """

    icd9: list[Code]
    icd10: list[Code]
    equivalents: dict[int, list[int]]
    held_out: list[int] | None = None


def run_codes(model: "EvaluatedModel", task: CodesTask, data: Path, protocol: Protocol, seed: int) -> dict[str, Score]:
    """The scores of `structure`; `cut` is the share of descriptions that are truncated."""
    from ..models.embed import embed
    from ..models.tokens import are_cut

    systems = read_systems(task, data)
    scores = structure(systems, lambda texts: embed(model, texts, task.pooling, protocol.tokens), task.vectors)
    descriptions = [code.description for code in (*systems.icd9, *systems.icd10)]
    return {**scores, "cut": Score("mean", are_cut(model, descriptions))}


def structure(
    systems: CodeSystems, vectors_of: Embedder, transforms: Sequence[Transform] = ("raw",)
) -> dict[str, Score]:
    """Compute all scores; `vectors_of` maps N texts to their vectors (N, d), which are transformed together.

    The names of scores of transformed vectors end with the transform: `icd9 bare purity centered`.
    """
    scores: dict[str, Score] = {}
    for kind in ("description", "bare"):
        vectors = vectors_of([*_texts(systems.icd9, kind), *_texts(systems.icd10, kind)])
        for transform in transforms:
            icd9, icd10 = np.split(TRANSFORMS[transform](vectors), [len(systems.icd9)])
            suffix = "" if transform == "raw" else f" {transform}"
            scores |= {f"{name}{suffix}": value for name, value in _scores(systems, kind, icd9, icd10).items()}
    return scores


def _scores(systems: CodeSystems, kind: str, icd9: Vectors, icd10: Vectors) -> dict[str, Score]:
    scores: dict[str, Score] = {}
    both = [("icd9", systems.icd9, icd9), ("icd10", systems.icd10, icd10)]
    for name, codes, vectors in both if systems.held_out is None else both[1:]:
        scores[f"{name} {kind} purity"] = purity(vectors, codes)
        scores[f"{name} {kind} silhouette"] = silhouette(vectors, codes)
    if systems.held_out is not None:
        return {name: _only(score, systems.held_out) for name, score in scores.items()}
    ranking = crosswalk(icd9, icd10, systems.equivalents)
    return scores | {f"crosswalk {kind} {measure}": value for measure, value in ranking.items()}


def _only(score: Score, codes: Sequence[int]) -> Score:
    """The mean over some of the codes; a silhouette has only the first ones."""
    return Score("mean", score.units[[code for code in codes if code < len(score.units)], 0])


def purity(vectors: Vectors, codes: Sequence[Code], neighbors: int = NEIGHBORS) -> Score:
    """The mean share of a code's nearest neighbors, outside its category, that are in its chapter."""
    shares = []
    categories, chapters = _as_indices([c.category for c in codes]), _as_indices([c.chapter for c in codes])
    largest = int(np.bincount(categories).max())
    for row, ranked in enumerate(nearest(vectors, vectors, neighbors + largest)):
        others = ranked[categories[ranked] != categories[row]][:neighbors]
        shares.append(np.mean(chapters[others] == chapters[row]) if len(others) else 0.0)
    return Score("mean", shares)


def silhouette(vectors: Vectors, codes: Sequence[Code]) -> Score:
    """Silhouette of the chapters as clusters, by cosine, over at most 2,000 codes: 1 separated, 0 mixed, < 0 wrong."""
    labels = [code.chapter for code in codes[:_SILHOUETTE_CODES]]
    metrics = require("sklearn.metrics")
    return Score("mean", metrics.silhouette_samples(normalize(vectors[: len(labels)]), labels, metric="cosine"))


def crosswalk(queries: Vectors, corpus: Vectors, equivalents: Mapping[int, Sequence[int]]) -> dict[str, Score]:
    """Rank the equivalents of each ICD-9 code among all ICD-10 codes."""
    sources = sorted(equivalents)
    rankings = nearest(queries[sources], corpus, 100).tolist()
    relevances = [dict.fromkeys(equivalents[source], 1.0) for source in sources]
    pairs = list(zip(rankings, relevances, strict=True))
    return {
        "mrr": Score("mean", [reciprocal_rank(ranked, relevance) for ranked, relevance in pairs]),
        "recall@10": Score("mean", [recall(ranked, relevance) for ranked, relevance in pairs]),
    }


def read_systems(task: CodesTask, data: Path) -> CodeSystems:
    """Sample both systems: ICD-9 codes with an equivalent, their equivalents, and other ICD-10 codes.

    The sample is deterministic.
    """
    icd9_source = CodesSource(
        name="icd9", paths=[str(data / task.icd9)], licence="", format="codes", system="icd9_diagnoses",
        template="{description}", details=False,
    )  # fmt: skip
    icd10_source = Icd10CmSource(
        name="icd10", paths=[str(data / task.icd10)], licence="", format="icd10cm", template="{description}",
        details=[], seventh_characters=False,
    )  # fmt: skip
    icd9 = {code.code.replace(".", ""): code for code in _read(icd9_source)}
    icd10 = {code.code.replace(".", ""): code for code in _read(icd10_source)}
    pairs = _equivalents(data / task.crosswalk, icd9, icd10)
    sources = _sample(list(pairs), task.codes)
    targets = {target for source in sources for target in pairs[source]}
    others = _sample([code for code in icd10 if code not in targets], task.codes - len(targets))
    candidates = sorted({*targets, *others}, key=lambda code: uniform_hash("codes", code))
    index = {code: number for number, code in enumerate(candidates)}
    held_out = _held_out(icd10_source, task.held_out, index) if task.held_out else None
    return CodeSystems(
        [icd9[code] for code in sources],
        [icd10[code] for code in candidates],
        {number: [index[target] for target in pairs[code]] for number, code in enumerate(sources)},
        held_out,
    )


def _held_out(source: Icd10CmSource, held_out: HeldOutCodes, index: Mapping[str, int]) -> list[int]:
    """The indices of the sampled codes that a data set holds out."""
    by_group = source.model_copy(update={"split_by": held_out.split_by})
    codes = (
        document.meta["code"].replace(".", "")
        for document in read(by_group)
        if is_held_out(document, held_out.split_by, held_out.share, held_out.seed)
    )
    found = sorted(index[code] for code in codes if code in index)
    if not found:
        raise UserError(
            f"{source.paths[0]}: none of the {len(index):,} sampled codes is held out; raise task.codes, or check "
            "task.held_out"
        )
    return found


def _equivalents(path: Path, icd9: Mapping[str, Code], icd10: Mapping[str, Code]) -> dict[str, list[str]]:
    """ICD-9 codes and the single ICD-10 codes to which CMS maps them, without combinations of codes."""
    pairs: dict[str, list[str]] = {}
    for mapping in read_mappings(path, ICD9_DIAGNOSES, ICD10CM):
        if not (mapping.combination or mapping.no_map) and mapping.source in icd9 and mapping.target in icd10:
            pairs.setdefault(mapping.source, []).append(mapping.target)
    if not pairs:
        raise UserError(
            f"{path}: maps none of the codes in the two lists; use the one of CMS's two files that maps ICD-9 to ICD-10"
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


def _as_indices(names: Sequence[str]) -> npt.NDArray[np.int64]:
    return np.unique(names, return_inverse=True)[1]
