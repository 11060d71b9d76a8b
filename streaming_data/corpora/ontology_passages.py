"""Ontologies as passages of English: ICD-10-CM, ICD-9-CM, MeSH and HPO, with all that their publishers say of a term.

The text of a passage is made by templates from the relations of a few connected terms (`ontology/walks.py`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ..documents.archives import report_choice
from ..documents.census import Census
from ..documents.document import Document
from . import icd10cm
from .code_lists import ICD9_DIAGNOSES, expected_list, list_rank
from .icd_graphs import icd9_graph, icd10_graph, with_crosswalk
from .ontologies import EXPECTED_HPO, hpo_rank
from .ontology.graph import LEVELS, Graph, Level
from .ontology.sentences import KEYS, RELATIONS, RelationKey
from .ontology.walks import Walker
from .source import Source
from .term_graphs import EXPECTED_DESCRIPTORS, hpo_graph, mesh_descriptors_rank, mesh_graph


class OntologySource(Source):
    """Ontologies as passages: walks over terms and their relations, in sentences.

    Attributes:
        system: the ontology: ICD-10-CM's tabular list, CMS's list of ICD-9-CM diagnoses, MeSH's descriptors (XML) or
            tree, HPO's OBO file.
        split_by: the group of terms that a walk does not leave and that is in one split: a category (`E11`), a block
            (`E08-E13`) or a chapter (`E00-E89`).
        relations: what is stated. An ontology has only some of them.
        words: of a passage, about; a passage ends with the sentence that reaches them.
        walks_per_node: walks that begin with each term, in different words.
        crosswalks: for ICD-9 and ICD-10-CM, CMS files that map from these codes to the other edition.
        crosswalk_names: a list of the other edition, with which its codes have names; null text without it.
    """

    format: Literal["ontology"]
    system: Literal["icd10cm", "icd9", "mesh", "hpo"]
    public: bool = True
    split_by: Level = "category"
    relations: list[RelationKey] = Field(default=list(KEYS), min_length=1)
    words: int = Field(default=150, ge=10, le=10_000)
    walks_per_node: int = Field(default=1, ge=1, le=100)
    crosswalks: list[str] = []
    crosswalk_names: list[str] = []

    @model_validator(mode="after")
    def _check_crosswalks(self) -> "OntologySource":
        if self.crosswalks and self.system not in ("icd10cm", "icd9"):
            raise ValueError(f"crosswalks: {self.system} has none; they exist only for icd10cm and icd9")
        if self.crosswalk_names and not self.crosswalks:
            raise ValueError(
                "crosswalk_names: without crosswalks there is nothing to name; add crosswalks or remove it"
            )
        return self


_ARCHIVES = {
    "icd9": (list_rank(ICD9_DIAGNOSES), expected_list(ICD9_DIAGNOSES)),
    "mesh": (mesh_descriptors_rank, EXPECTED_DESCRIPTORS),
    "hpo": (hpo_rank, EXPECTED_HPO),
}


def check_archive(path: Path, source: OntologySource) -> None:
    """Log which member of a zip archive is read; raise UserError if there is none."""
    if source.system == "icd10cm":
        icd10cm.check_archive(path)
    else:
        report_choice(path, *_ARCHIVES[source.system])


def read(path: Path, source: OntologySource, left_out: Census) -> Iterator[Document]:
    """The passages of one file, term by term in its order; meta holds the code and the groups of the first term.

    `left_out` counts what the file has and no passage.
    """
    graph = read_graph(path, source, left_out)
    walker = Walker(graph, source.split_by, source.relations, source.words, source.walks_per_node)
    for code, node in graph.nodes.items():
        for fact in node.facts:
            if (key := RELATIONS[fact.relation].key) not in source.relations:
                left_out.add(f"{key} (not in `relations`)", fact.text)
        meta = {"code": code} | {level: node.group(level) for level in LEVELS}
        for passage in walker.passages(code):
            yield Document(f"{code} {passage.walk}.{passage.part}", source.name, passage.text, meta)


def read_graph(path: Path, source: OntologySource, left_out: Census) -> Graph:
    match source.system:
        case "mesh":
            return mesh_graph(path, left_out)
        case "hpo":
            return hpo_graph(path, left_out)
        case "icd9":
            graph = icd9_graph(path, left_out)
        case "icd10cm":
            graph = icd10_graph(path, left_out)
    to_icd9 = source.system == "icd10cm"
    return with_crosswalk(graph, source.crosswalks, source.crosswalk_names, to_icd9, path, left_out)
