"""The graphs of MeSH, from NLM's descriptors or tree, and of the Human Phenotype Ontology."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lxml import etree

from ...configs.errors import UserError
from ...configs.limits import CODE_LINES, TooLargeError
from ..documents.archives import START, open_wanted, xml_root
from ..documents.census import Census
from ..documents.files import explain_read_errors
from ..documents.xml_bounds import BoundedXml, Budget
from .code_lists import MESH, check_code
from .icd10cm import element_words
from .ontologies import EXPECTED_MESH, hpo_terms, mesh_names, mesh_rank, unquoted
from .ontology.graph import Fact, Graph, Node, connect

_DESCRIPTORS = "DescriptorRecordSet"
EXPECTED_DESCRIPTORS = f"NLM's descriptors (desc2026.xml, <{_DESCRIPTORS}>) or {EXPECTED_MESH}"
_SYNONYM = re.compile(r'"(?:[^"\\]|\\.)*" (\w+)(?: (\w+))?')
_TOP = 2
"""The level of HPO's chapters: below `All` and `Phenotypic abnormality` there is one per organ system."""


def mesh_descriptors_rank(start: bytes) -> int | None:
    """The descriptors, which say most, then the tree."""
    if xml_root(start) == _DESCRIPTORS:
        return 0
    rank = mesh_rank(start)
    return None if rank is None else rank + 1


def mesh_graph(path: Path, left_out: Census) -> Graph:
    """The graph of MeSH: a node per heading, however many tree numbers it has. Its code is the first of them."""
    with (
        open_wanted(path, mesh_descriptors_rank, EXPECTED_DESCRIPTORS) as file,
        explain_read_errors(path, lambda: "its first bytes"),
    ):
        is_xml = bool(xml_root(file.read(START)))
    headings = _descriptors(path, left_out) if is_xml else _headings(path)
    places: dict[str, tuple[str, ...]] = {}
    facts: dict[str, tuple[Fact, ...]] = {}
    for name, numbers, said in headings:
        if name in places:
            raise UserError(f"{path}: describes {name!r} a second time; expected each heading once")
        if not numbers:
            left_out.add("headings without a tree number", name)
            continue
        places[name], facts[name] = tuple(sorted(numbers)), tuple(said)
    codes = {number: numbers[0] for numbers in places.values() for number in numbers}
    names = {name: numbers[0] for name, numbers in places.items()}
    return connect((_mesh_node(name, places[name], facts[name], codes, names) for name in places), left_out, path)


def _mesh_node(
    name: str, numbers: tuple[str, ...], facts: Sequence[Fact], codes: Mapping[str, str], names: Mapping[str, str]
) -> Node:
    """A heading.

    Args:
        codes: the code of the node at each tree number.
        names: the code of the node of each name.
    """
    above = [number.rpartition(".")[0] or (number[0] if len(number) > 1 else "") for number in numbers]
    top = {number for number in above if len(number) == 1 and number not in codes}  # NLM's tree has no such line
    parents = dict.fromkeys(codes.get(number, number) for number in above if number and number not in top)
    first = numbers[0].split(".")
    return Node(
        code=numbers[0],
        name=name,
        noun="MeSH heading",
        label=name,
        short=name,
        parents=tuple(parents),
        above="member",
        facts=(
            *(fact._replace(targets=tuple(names.get(target, target) for target in fact.targets)) for fact in facts),
            *(Fact("places", number) for number in numbers[1:]),
        ),
        groups=(f"MeSH {'.'.join(first[:2])}", f"MeSH {first[0]}", f"MeSH {numbers[0][0]}"),
    )


def _headings(path: Path) -> Iterator[tuple[str, list[str], list[Fact]]]:
    numbers: dict[str, list[str]] = {}
    for number, name in mesh_names(path).items():
        numbers.setdefault(name, []).append(number)
    yield from ((name, found, []) for name, found in numbers.items())


def _descriptors(path: Path, left_out: Census) -> Iterator[tuple[str, list[str], list[Fact]]]:
    """Names, tree numbers and facts of NLM's descriptors."""
    last, found = "", 0
    position = lambda: f"descriptor {last}" if last else "its start"  # noqa: E731
    with open_wanted(path, mesh_descriptors_rank, EXPECTED_DESCRIPTORS) as file, explain_read_errors(path, position):
        budget = Budget(str(path), "a descriptor")
        records = etree.iterparse(BoundedXml(file, budget), tag="DescriptorRecord", no_network=True, load_dtd=False)
        try:
            for _, record in records:
                budget.reset()
                found += 1
                if found > CODE_LINES:
                    raise TooLargeError(f"{path}: more than {CODE_LINES:,} descriptors; expected MeSH's")
                name = element_words(record.find("DescriptorName/String"))
                if not name:
                    raise UserError(f"{path}: record {found:,}, after {position()}, has no DescriptorName")
                last = element_words(record.find("DescriptorUI"))
                numbers = [element_words(number) for number in record.iterfind("TreeNumberList/TreeNumber")]
                for number in numbers:
                    check_code(number, f"{path}: record {found:,}, descriptor {last}", MESH)
                yield name, numbers, list(_mesh_facts(name, record, left_out))
                record.clear()
                while record.getprevious() is not None:
                    del record.getparent()[0]
        except etree.XMLSyntaxError as error:
            raise UserError(
                f"{path}: malformed XML at line {error.lineno}, after {position()} ({error.msg})"
            ) from error
    if not found:
        raise UserError(f"{path}: contains no <DescriptorRecord>; expected {EXPECTED_DESCRIPTORS}")


def _mesh_facts(name: str, record: Any, left_out: Census) -> Iterator[Fact]:
    """Scope note, entry terms, related headings and actions of a descriptor.

    Terms that only change the order of words (`Mellitus, Diabetes`) are left out.
    """
    for concept in record.iterfind("ConceptList/Concept"):
        preferred = concept.get("PreferredConceptYN") == "Y"
        if note := element_words(concept.find("ScopeNote")):
            if preferred:
                yield Fact("definition", note)
            else:
                left_out.add("scope notes of narrower concepts", note)
        for term in concept.iterfind("TermList/Term"):
            text = element_words(term.find("String"))
            if term.get("IsPermutedTermYN") == "Y":
                left_out.add("permuted terms", text)
            elif text and text != name:
                yield Fact("synonyms" if preferred else "close_terms", text)
    for tag, relation in (
        ("SeeRelatedList/SeeRelatedDescriptor", "related"),
        (".//PharmacologicalActionList/PharmacologicalAction", "actions"),
    ):
        for other in record.iterfind(f"{tag}/DescriptorReferredTo/DescriptorName/String"):
            if text := element_words(other):
                yield Fact(relation, text, (text,))


def hpo_graph(path: Path, left_out: Census) -> Graph:
    """The graph of HPO's terms that are not obsolete."""
    terms: dict[str, Node] = {}
    for fields in hpo_terms(path):
        code, name = fields["id"][0], fields["name"][0]
        if fields.get("is_obsolete") == ["true"]:
            left_out.add("obsolete terms", name)
            continue
        if code in terms:
            raise UserError(f"{path}: has {code} a second time; expected each term once")
        for comment in fields.get("comment", ()):
            left_out.add("comments", comment)
        parents = tuple(parent.split(" ", 1)[0] for parent in fields.get("is_a", ()))
        terms[code] = Node(
            code, name, "HPO term", name, name, parents, "kind", tuple(_hpo_facts(fields, left_out)), ("", "", "")
        )
    if not terms:
        raise UserError(f"{path}: contains no [Term]; expected HPO's OBO file (hp.obo)")
    graph = connect(terms.values(), left_out, path)
    return graph._replace(
        nodes={code: node._replace(groups=_hpo_groups(graph.path(code))) for code, node in graph.nodes.items()}
    )


def _hpo_facts(fields: Mapping[str, Sequence[str]], left_out: Census) -> Iterator[Fact]:
    for value in fields.get("def", ()):
        yield Fact("definition", unquoted(value))
    for value in fields.get("synonym", ()):
        match = _SYNONYM.match(value)
        if match and match[2] == "obsolete_synonym":
            left_out.add("obsolete synonyms", unquoted(value))
        else:
            yield Fact("synonyms" if match and match[1] == "EXACT" else "close_terms", unquoted(value))
    for value in fields.get("xref", ()):
        yield Fact("xrefs", value.split(" ", 1)[0])


def _hpo_groups(path: Sequence[str]) -> tuple[str, str, str]:
    """Category, block and chapter of a term: the terms above it on three levels, or itself if it is higher."""
    chapter, block, category = (path[min(_TOP + depth, len(path) - 1)] for depth in range(3))
    return f"HPO {category}", f"HPO {block}", f"HPO {chapter}"
