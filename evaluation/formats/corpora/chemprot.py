"""ChemProt's files (BioCreative VI): abstracts, the chemicals and genes in them, and their relations."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ....configs.errors import UserError
from ..annotations import AnnotatedText, Relation, Span
from ..records import read_rows

_RELATION = "article, CPR group, Y or N, relation, Arg1:T1, Arg2:T2"


class ChemProtFiles(BaseModel):
    """The files of one split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    abstracts: str
    entities: str
    relations: str


def read_chemprot(data: Path, files: ChemProtFiles) -> list[AnnotatedText]:
    """The articles, "title abstract" each. Chemicals have the type CHEMICAL, genes and proteins GENE.

    Raises:
        UserError: a file is missing or malformed, or refers to no article, entity or character.
    """
    entities = _read_entities(data / files.entities)
    relations = _read_relations(data / files.relations, entities)
    return list(_articles(data, files, entities, relations))


def _articles(
    data: Path,
    files: ChemProtFiles,
    entities: Mapping[str, Mapping[str, Span]],
    relations: Mapping[str, list[tuple[str, str, str]]],
) -> Iterator[AnnotatedText]:
    path = data / files.abstracts
    for number, (article, title, abstract) in read_rows(path, 3, "article, title, abstract"):
        text, spans = f"{title} {abstract}", entities.get(article, {})
        if outside := [name for name, span in spans.items() if span.end > len(text)]:
            raise UserError(
                f"{data / files.entities}: {outside[0]} of article {article} ends after the article's text; expected "
                "offsets into the title, a space and the abstract"
            )
        index = {name: place for place, name in enumerate(spans)}
        related = [
            Relation(group, index[first], index[second])
            for group, first, second in dict.fromkeys(relations.get(article, []))
        ]
        yield AnnotatedText(article, text, [*spans.values()], None, f"{path}: line {number}", related)


def _read_entities(path: Path) -> dict[str, dict[str, Span]]:
    entities: dict[str, dict[str, Span]] = defaultdict(dict)
    for number, row in read_rows(path, 6, "article, T1, CHEMICAL or GENE, start, end, name"):
        article, name, kind, start, end, _ = row
        if not (start.isdigit() and end.isdigit() and int(start) < int(end)):
            raise UserError(f"{path}: line {number}: start and end must be two increasing numbers")
        entities[article][name] = Span(int(start), int(end), "GENE" if kind.startswith("GENE") else kind)
    return entities


def _read_relations(path: Path, entities: Mapping[str, Mapping[str, Span]]) -> dict[str, list[tuple[str, str, str]]]:
    """By article (group, chemical, gene)."""
    relations: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for number, (article, group, _, _, first, second) in read_rows(path, 6, _RELATION):
        if not (first.startswith("Arg1:") and second.startswith("Arg2:")):
            raise UserError(f"{path}: line {number}: expected {_RELATION}")
        if not {first[5:], second[5:]} <= entities.get(article, {}).keys():
            raise UserError(f"{path}: line {number}: an entity of the relation is not in the file of entities")
        relations[article].append((group, first[5:], second[5:]))
    return relations
