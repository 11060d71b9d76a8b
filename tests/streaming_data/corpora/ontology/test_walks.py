"""Passages state every relation, are about connected terms, stay in their group, and depend on nothing else."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from clinical_modernbert.streaming_data.corpora.icd_graphs import icd10_graph
from clinical_modernbert.streaming_data.corpora.ontology.graph import LEVELS, Graph, Level
from clinical_modernbert.streaming_data.corpora.ontology.sentences import KEYS, RELATIONS, Statement, sentence
from clinical_modernbert.streaming_data.corpora.ontology.walks import Passage, Walker
from clinical_modernbert.streaming_data.documents.census import Census

TABULAR = """<ICD10CM.tabular>
<chapter><name>4</name><desc>Endocrine diseases (E00-E89)</desc><includes><note>hormones</note></includes>
<section id="E08-E13"><desc>Diabetes mellitus (E08-E13)</desc>
 <diag><name>E10</name><desc>Type 1 diabetes</desc><excludes1><note>type 2 diabetes (E11.-)</note></excludes1></diag>
 <diag><name>E11</name><desc>Type 2 diabetes</desc>
  <includes><note>diabetes NOS</note></includes>
  <excludes1><note>type 1 diabetes (E10.-)</note><note>gestational diabetes (O24.4-)</note></excludes1>
  <excludes2><note>adiposity (E66)</note></excludes2>
  <useAdditionalCode><note>code to identify control using:</note><note>insulin (Z79.4)</note><note>oral drugs (Z79.84)
  </note></useAdditionalCode>
  <diag><name>E11.2</name><desc>Kidney complications</desc>
   <diag><name>E11.21</name><desc>Nephropathy</desc>
    <inclusionTerm><note>glomerulosclerosis</note><note>Kimmelstiel-Wilson disease</note></inclusionTerm></diag>
   <diag><name>E11.22</name><desc>Chronic kidney disease</desc><codeAlso><note>, if applicable, stage</note></codeAlso>
   </diag></diag>
  <diag><name>E11.9</name><desc>No complications</desc><codeFirst><note>the cause.</note></codeFirst></diag>
 </diag></section>
<section id="E65-E68"><desc>Obesity (E65-E68)</desc>
 <diag><name>E66</name><desc>Overweight and obesity</desc>
  <sevenChrDef><extension char="A">initial encounter</extension><extension char="S">sequela</extension></sevenChrDef>
  <excludes1><note>diabetes in obesity (E08-E13)</note></excludes1></diag></section>
</chapter></ICD10CM.tabular>"""
PARENTS = {
    "E08-E13": "E00-E89", "E10": "E08-E13", "E11": "E08-E13", "E11.2": "E11", "E11.21": "E11.2", "E11.22": "E11.2",
    "E11.9": "E11", "E65-E68": "E00-E89", "E66": "E65-E68",
}  # fmt: skip
REFERENCES = {("E10", "E11"), ("E11", "E10"), ("E11", "E66"), ("E66", "E08-E13")}
NOTES = {
    "E00-E89": ["hormones"],
    "E10": ["type 2 diabetes (E11.-)"],
    "E11": [
        "diabetes NOS", "type 1 diabetes (E10.-)", "gestational diabetes (O24.4-)", "adiposity (E66)",
        "code to identify control using: insulin (Z79.4) and oral drugs (Z79.84)",
    ],
    "E11.21": ["glomerulosclerosis", "Kimmelstiel-Wilson disease"],
    "E11.22": ["if applicable, stage"],
    "E11.9": ["the cause."],
    "E66": ["A for initial encounter; S for sequela", "diabetes in obesity (E08-E13)"],
}  # fmt: skip
GROUPS: dict[Level, dict[str, str]] = {
    "chapter": dict.fromkeys(["E00-E89", *PARENTS], "E00-E89"),
    "block": {
        code: "E65-E68" if code in ("E66", "E65-E68") else "E00-E89" if code == "E00-E89" else "E08-E13"
        for code in ["E00-E89", *PARENTS]
    },
    "category": {code: code if "-" in code else code[:3] for code in ["E00-E89", *PARENTS]},
}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path: Path = tmp_path_factory.mktemp("graph") / "tabular.xml"
    path.write_text(TABULAR)
    return icd10_graph(path, Census())


def walks(graph: Graph, level: Level, words: int, number: int = 1) -> Iterator[tuple[str, Passage]]:
    walker = Walker(graph, level, KEYS, words, number)
    return ((code, passage) for code in graph.nodes for passage in walker.passages(code))


CASES = [(level, words) for level in LEVELS for words in (10, 40, 150, 10_000)]


def test_every_relation_is_stated_in_a_passage_that_begins_with_its_term(graph: Graph) -> None:
    for level, words in CASES:
        sentences: dict[str, list[str]] = {}
        for code, passage in walks(graph, level, words):
            sentences.setdefault(code, []).append(passage.text)
        for child, parent in PARENTS.items():
            label = graph.nodes[parent].label
            assert any(label in text for text in sentences[child]), (level, words, child, parent)
            if GROUPS[level][child] == GROUPS[level][parent]:
                assert any(graph.nodes[child].label in text for text in sentences[parent]), (level, words, parent)
        for code, notes in NOTES.items():
            for note in notes:
                assert any(note in text for text in sentences[code]), (level, words, note)


def test_a_passage_is_about_connected_terms_of_its_group_and_as_long_as_asked(graph: Graph) -> None:
    edges = {*PARENTS.items(), *REFERENCES} | {
        (one, other) for one in PARENTS for other in PARENTS if PARENTS[one] == PARENTS[other]
    }
    edges |= {(other, one) for one, other in edges}
    for level, words in CASES:
        for code, passage in walks(graph, level, words):
            assert passage.codes[0] == code
            assert len(set(passage.codes)) == len(passage.codes)
            for number, each in enumerate(passage.codes[1:], 1):
                assert any((each, earlier) in edges for earlier in passage.codes[:number]), (level, words, passage)
            assert len({GROUPS[level][each] for each in passage.codes}) == 1
            for note in (note for notes in NOTES.values() for note in notes):
                assert passage.text.count(note) <= 1, (level, words, note, passage)
            for each in passage.codes:  # is named, at least where the walk came from
                assert graph.nodes[each].name in passage.text or each in passage.text, (level, words, each, passage)
            length = len(passage.text.split())
            longest = max(len(each.split()) for each in passage.text.split(". "))
            assert length < words + longest or passage.text.count(". ") <= 1, (level, words, passage)
            group = {each for each in GROUPS[level] if GROUPS[level][each] == GROUPS[level][code]}
            assert length >= words or set(passage.codes) == group or passage.part, (level, words, passage)


def test_a_fact_is_stated_in_the_passages_of_one_group_only(graph: Graph) -> None:
    """Of a term in another group nothing but names: above the term, and in its own notes."""
    for level, words in CASES:
        for code, passage in walks(graph, level, words):
            group = GROUPS[level][code]
            for owner, notes in NOTES.items():
                if GROUPS[level][owner] != group:
                    assert not any(note in passage.text for note in notes), (level, code, owner)
            for child in PARENTS:
                if GROUPS[level][child] != group:
                    above = any(child in graph.path(each) for each in passage.codes)
                    assert above or graph.nodes[child].label not in passage.text, (level, code, child)


def test_passages_are_a_function_of_the_graph_and_the_code_and_words_vary(graph: Graph) -> None:
    walker = Walker(graph, "chapter", KEYS, 60, 3)
    first = {code: list(walker.passages(code)) for code in graph.nodes}
    again = {code: list(walker.passages(code)) for code in reversed(list(graph.nodes))}
    assert first == again
    one = Walker(graph, "chapter", KEYS, 60, 1)
    for code, passages in first.items():
        assert list(one.passages(code)) == [passage for passage in passages if passage.walk == 0]
        starts = [[each.text for each in passages if each.walk == walk] for walk in range(3)]
        assert all(before != after for before, after in pairwise(starts)), code


def test_only_the_relations_that_are_asked_for_are_stated_and_walked(graph: Graph) -> None:
    owners = {"hormones": "includes", "gestational": "excludes", "control using": "use_additional"}
    owners |= {
        "stage": "code_also",
        "glomerulosclerosis": "synonyms",
        "the cause": "code_first",
        "sequela": "seventh_characters",
    }
    stated = set()
    for key in KEYS:
        for code in graph.nodes:
            for passage in Walker(graph, "chapter", [key], 10_000, 1).passages(code):
                found = {owner for note, owner in owners.items() if note in passage.text}
                assert found <= {key}, (key, passage)
                stated |= found
                if key not in ("parents", "children", "siblings", "excludes"):
                    assert passage.codes == (code,)
    assert stated == set(owners.values())


def test_every_template_is_a_sentence() -> None:
    """Each names its subject and its items once, whatever they are, and is chosen at some time."""
    for name, relation in RELATIONS.items():
        subjects = [("It", "it"), ("Type 2 (E11)", "Type 2 (E11)")]
        for template in relation.templates:
            assert len(re.findall(r"\{[Xx]\}", template)) == 1, template
            assert template.count("{list}") == 1, template
            assert template[0] == "{" or template[0].isupper()
            assert template.endswith("."), template
        for subject, inside in subjects:
            said = {sentence(Statement(name, "", ("one, two", "Three.")), subject, str(n)) for n in range(200)}
            assert len(said) == len(relation.templates)
            assert all(subject in text or inside in text for text in said)
            assert all(text.endswith(".") and ".." not in text for text in said), said
