"""The graphs of ICD-10-CM's tabular list and of CMS's list of ICD-9-CM, with CMS's crosswalks between the two."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ..documents.census import Census
from ..documents.files import find_files
from . import dotted_codes, icd10cm
from .code_lists import ICD9_DIAGNOSES, ICD10CM, CodeForm, check_code, read_code_list
from .crosswalks import equivalents, read_by_code, unmatched_crosswalk
from .icd10cm import Icd10CmSource, element_words
from .ontology.graph import Fact, Graph, Node, connect

_NOTES = {
    "inclusionTerm": "inclusion_terms",
    "includes": "includes",
    "excludes1": "excludes1",
    "excludes2": "excludes2",
    "codeFirst": "code_first",
    "useAdditionalCode": "use_additional",
    "codeAlso": "code_also",
}
_READ = {"name", "desc", "section", "diag", "sevenChrDef", *_NOTES}
_IN_PARENTHESES = re.compile(r"\(([^()]*)\)")
_CODES = re.compile(r"\b([A-Z]\d[0-9A-Z](?:\.[0-9A-Z]{1,4})?)(?:[.-]*-([A-Z]\d[0-9A-Z](?:\.[0-9A-Z]{1,4})?))?")
_CODE = "ICD-10-CM code"
_ICD9_CHAPTERS = (  # the first and last category, and the title of each chapter and supplement of ICD-9-CM
    "001-139 Infectious and parasitic diseases|140-239 Neoplasms|"
    "240-279 Endocrine, nutritional and metabolic diseases, and immunity disorders|"
    "280-289 Diseases of the blood and blood-forming organs|290-319 Mental disorders|"
    "320-389 Diseases of the nervous system and sense organs|390-459 Diseases of the circulatory system|"
    "460-519 Diseases of the respiratory system|520-579 Diseases of the digestive system|"
    "580-629 Diseases of the genitourinary system|"
    "630-679 Complications of pregnancy, childbirth, and the puerperium|"
    "680-709 Diseases of the skin and subcutaneous tissue|"
    "710-739 Diseases of the musculoskeletal system and connective tissue|740-759 Congenital anomalies|"
    "760-779 Certain conditions originating in the perinatal period|"
    "780-799 Symptoms, signs, and ill-defined conditions|800-999 Injury and poisoning|"
    "E000-E999 External causes of injury and poisoning|"
    "V01-V91 Factors influencing health status and contact with health services"
)


def icd10_graph(path: Path, left_out: Census) -> Graph:
    """The graph of a tabular list: chapters, blocks and codes with all their notes."""
    if not icd10cm.is_tabular(path):
        raise UserError(
            f"{path}: a list of codes, without relations between them; expected the tabular list of ICD-10-CM (XML)"
        )
    nodes: dict[str, Node] = {}
    last = ""
    for chapter in icd10cm.read_chapters(path, lambda: last, left_out):  # noqa: B023 - the last code, not the first
        for node in _below(chapter, None, (), left_out):
            if node.noun == _CODE:
                check_code(node.code.replace(".", ""), f"{path}: after {last or 'its start'}", ICD10CM)
                last = node.code
            if node.code in nodes:
                raise UserError(f"{path}: has {node.code} a second time; expected each code once")
            nodes[node.code] = node
    if not last:
        raise icd10cm.without_codes(path)
    for code, node in nodes.items():
        facts = tuple(fact._replace(targets=_targets(fact.text, nodes)) for fact in node.facts)
        nodes[code] = node._replace(facts=facts)
    return connect(nodes.values(), left_out, path)


def _below(element: Any, parent: Node | None, groups: tuple[str, ...], left_out: Census) -> Iterator[Node]:
    """The node of a chapter, block or code, then those below it, depth first.

    Args:
        groups: the codes of the chapter and block that it is in.
    """
    if element.tag == "diag":
        name, code, noun = element_words(element.find("desc")), element_words(element.find("name")), _CODE
        own = icd10cm.groups_of(code, groups)
    else:
        name, code = icd10cm.range_of(element)
        noun = "ICD-10-CM block" if parent else "ICD-10-CM chapter"
        groups = (*groups, code)
        own = {**icd10cm.groups_of(code, groups), "category": f"ICD 10 {code}"}
    node = Node(
        code=code,
        name=name,
        noun=noun,
        label=f"{name} ({code})",
        short=code,
        parents=(parent.code,) if parent else (),
        above="kind" if parent and parent.noun == _CODE else "member",
        facts=tuple(_facts(element)),
        groups=(own["category"], own["block"], own["chapter"]),
    )
    yield node
    for child in element:
        if child.tag not in _READ:
            left_out.add_element(child.tag, child)
    for child in element.iterchildren("section", "diag"):
        yield from _below(child, node, groups, left_out)


def _facts(element: Any) -> Iterator[Fact]:
    for tag, relation in _NOTES.items():
        opening = ""
        for note in element.iterfind(f"{tag}/note"):
            text = element_words(note).removeprefix(",").strip()
            if text.endswith(":"):
                opening = text
            elif text:
                yield Fact(relation, text, opening=opening)
    for character, meaning in icd10cm.seventh_characters(element).items():
        yield Fact("seventh_characters", f"{character} for {meaning}")


def _targets(text: str, nodes: Mapping[str, Node]) -> tuple[str, ...]:
    """The codes in the parentheses of a note: `(E10.-)`, `(N18.1-N18.6)`, `(E08-E13)`, which may be a block."""
    found: list[str] = []
    for inside in _IN_PARENTHESES.findall(text):
        for match in _CODES.finditer(inside):
            block = f"{match[1]}-{match[2]}"
            found += [block] if block in nodes else [code for code in match.groups() if code]
    return tuple(found)


def icd9_graph(path: Path, left_out: Census) -> Graph:
    """The graph of CMS's list of ICD-9-CM diagnoses: chapters, categories, codes. Categories have no names there."""
    chapters = [entry.split(" ", 1) for entry in _ICD9_CHAPTERS.split("|")]
    nodes = {
        codes: Node(
            codes, name, "ICD-9-CM chapter", f"{name} ({codes})", codes, (), "member", (), (f"ICD 9 {codes}",) * 3
        )
        for codes, name in chapters
    }
    for plain, name in read_code_list(path, ICD9_DIAGNOSES):
        category, code = plain[: dotted_codes.icd9_category(plain)], dotted_codes.icd9(plain)
        chapter = next(codes for codes, _ in reversed(chapters) if codes.split("-")[0] <= category)
        groups = (f"ICD 9 {category}", f"ICD 9 {chapter}", f"ICD 9 {chapter}")
        if code != category and category not in nodes:
            label = f"ICD-9-CM category {category}"
            nodes[category] = Node(category, "", "", label, label, (chapter,), "member", (), groups)
        above = category if code != category else chapter
        nodes[code] = Node(code, name, "ICD-9-CM code", f"{name} ({code})", code, (above,), "member", (), groups)
    if len(nodes) == len(chapters):
        raise UserError(f"{path}: contains no codes; expected CMS's list of ICD-9-CM diagnoses")
    return connect(nodes.values(), left_out, path)


def with_crosswalk(
    graph: Graph, crosswalks: Sequence[str], names: Sequence[str], to_icd9: bool, path: Path, left_out: Census
) -> Graph:
    """The graph with CMS's equivalents in the other edition as facts.

    Args:
        crosswalks: files that map from the codes of the graph.
        names: files with the names of the codes of the other edition; codes that are not there are left out. Without
            files, codes are given without names.
        to_icd9: whether the other edition is ICD-9-CM.
        path: of the graph, for messages.
    """
    forms: tuple[CodeForm, CodeForm] = (ICD10CM, ICD9_DIAGNOSES) if to_icd9 else (ICD9_DIAGNOSES, ICD10CM)
    other = "ICD-9-CM" if to_icd9 else "ICD-10-CM"
    dotted = dotted_codes.icd9 if to_icd9 else dotted_codes.icd10
    from_dotted = dotted_codes.icd10 if to_icd9 else dotted_codes.icd9
    known = _names(names, to_icd9)
    nodes = dict(graph.nodes)
    mapped = False
    for plain, mappings in read_by_code(crosswalks, *forms).items():
        code = from_dotted(plain)
        if code not in nodes:
            left_out.add("crosswalks of codes that are not in the file", code)
            continue
        mapped = True
        if unknown := [each.target for each in mappings if names and not each.no_map and each.target not in known]:
            for target in unknown:
                left_out.add("crosswalks to codes that are not in crosswalk_names", target)
            continue

        def show(target: str) -> str:
            return f"{known[target]} ({other} {dotted(target)})" if names else f"{other} {dotted(target)}"

        exact, alternatives = equivalents(mappings, show)
        facts = tuple(Fact("same" if exact else "near", text) for text in alternatives)
        nodes[code] = nodes[code]._replace(facts=nodes[code].facts + facts)
    if crosswalks and not mapped:
        raise unmatched_crosswalk(path)
    return graph._replace(nodes=nodes)


def _names(paths: Sequence[str], is_icd9: bool) -> dict[str, str]:
    """Names by code without its dot."""
    if not paths:
        return {}
    if is_icd9:
        return {code: name for path in find_files(paths) for code, name in read_code_list(path, ICD9_DIAGNOSES)}
    source = Icd10CmSource(
        name="names", format="icd10cm", paths=list(paths), licence="", template="{description}", details=[]
    )
    return {
        document.id.replace(".", ""): document.text
        for path in find_files(paths)
        for document in icd10cm.read(path, source, Census())
    }
