"""Ontologies as passages, from each kind of file that publishers have; what is dropped is counted."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.icd10cm import Icd10CmSource
from clinical_modernbert.streaming_data.corpora.ontology_passages import OntologySource, read_graph
from clinical_modernbert.streaming_data.corpora.readers import InputFile, read, read_file
from clinical_modernbert.streaming_data.documents.census import Census
from clinical_modernbert.streaming_data.documents.document import Document

TABULAR = """<ICD10CM.tabular><introduction>how to</introduction>
<chapter><name>2</name><desc>Neoplasms (C00-D49)</desc><notes><note>Functional activity</note></notes>
<section id="C7A"><desc>Malignant neuroendocrine tumors (C7A)</desc>
<diag><name>C7A</name><desc>Malignant neuroendocrine tumors</desc><excludes2><note>lymphoma (C81-C96)</note></excludes2>
 <diag><name>C7A.0</name><desc>Malignant carcinoid tumors</desc></diag></diag></section></chapter>
<chapter><name>19</name><desc>Injury</desc><section id="S00-S09"><desc>Injuries to the head (S00-S09)</desc>
<diag><name>S01</name><desc>Open wound of head</desc></diag></section></chapter></ICD10CM.tabular>"""
MESH = """Body Regions;A01
Breast;A01.236
Diabetes Mellitus;C18.452.394.750
Diabetes Mellitus;C19.246
Glucose Metabolism Disorders;C18.452.394
Metabolic Diseases;C18.452
Nutritional and Metabolic Diseases;C18
Endocrine System Diseases;C19
"""
HPO = """format-version: 1.2

[Term]
id: HP:0000001
name: All

[Term]
id: HP:0000118
name: Phenotypic abnormality
is_a: HP:0000001 ! All

[Term]
id: HP:0000119
name: Abnormality of the genitourinary system
comment: kidneys
is_a: HP:0000118 ! Phenotypic abnormality

[Term]
id: HP:0000107
name: Renal cyst
def: "A fluid filled sac in the kidney, or \\"cyst\\"." [orcid]
synonym: "Kidney cyst" EXACT layperson []
synonym: "Kidney lesion" BROAD []
synonym: "Cystic thing" EXACT obsolete_synonym []
xref: UMLS:C3887499 "Renal cyst"
is_a: HP:0000119 ! Abnormality of the genitourinary system
is_a: HP:0000009 ! gone

[Term]
id: HP:0000009
name: gone
is_obsolete: true
"""


def descriptor(name: str, ui: str, numbers: str, more: str = "", concept: str = "") -> str:
    tree = "".join(f"<TreeNumber>{number}</TreeNumber>" for number in numbers.split())
    return (
        f"<DescriptorRecord DescriptorClass='1'><DescriptorUI>{ui}</DescriptorUI><DescriptorName><String>{name}"
        f"</String></DescriptorName>{more}<TreeNumberList>{tree}</TreeNumberList><ConceptList>"
        f"<Concept PreferredConceptYN='Y'>{concept}"
        f"<TermList><Term IsPermutedTermYN='N'><String>{name}</String></Term></TermList></Concept>"
        "</ConceptList></DescriptorRecord>"
    )


RELATED = "<DescriptorReferredTo><DescriptorName><String>{}</String></DescriptorName></DescriptorReferredTo>"
DESCRIPTORS = (
    "<?xml version='1.0'?><!DOCTYPE DescriptorRecordSet SYSTEM 'desc2026.dtd'><DescriptorRecordSet LanguageCode='eng'>"
    + descriptor(
        "Calcimycin", "D000001", "D03.633.100",
        f"<SeeRelatedList><SeeRelatedDescriptor>{RELATED.format('Ionophores')}</SeeRelatedDescriptor>"
        f"<SeeRelatedDescriptor>{RELATED.format('Unknown')}</SeeRelatedDescriptor></SeeRelatedList>"
        "<PharmacologicalActionList><PharmacologicalAction>"
        f"{RELATED.format('Anti-Bacterial Agents')}</PharmacologicalAction></PharmacologicalActionList>",
        "<ScopeNote>An ionophorous,\n polyether antibiotic.\n    </ScopeNote><TermList><Term IsPermutedTermYN='N'>"
        "<String>Antibiotic A23187</String></Term><Term IsPermutedTermYN='Y'><String>A23187, Antibiotic</String></Term>"
        "</TermList>",
    )
    + descriptor("Heterocyclic Compounds", "D006571", "D03")
    + descriptor("Ionophores", "D007476", "D27.505 D03.633")
    + descriptor("Anti-Bacterial Agents", "D000900", "D27.505.954")
    + descriptor("Female", "D005260", "")
    + "</DescriptorRecordSet>"
)  # fmt: skip
CMS_ICD9 = "25000 Diabetes mellitus without mention of complication\n042 HIV disease\nE8497 Accident in hospital\n"


def source(path: Path, system: str, **options: Any) -> OntologySource:
    values = {"name": "o", "format": "ontology", "system": system, "paths": [str(path)], "licence": "public", **options}
    return OntologySource.model_validate(values)


def passages(path: Path, system: str, **options: Any) -> tuple[dict[str, Document], dict[str, int]]:
    """By id, and the number of what was left out by kind."""
    left_out = Census()
    documents = list(read_file(source(path, system, **options), InputFile(path), left_out=left_out))
    by_id = {document.id: document for document in documents}
    assert len(by_id) == len(documents)
    return by_id, {kind: number for kind, (number, _) in left_out.counts().items()}


def test_the_tabular_list(tmp_path: Path) -> None:
    path = tmp_path / "tabular.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("icd10cm-tabular-2026.xml", TABULAR)
        archive.writestr("icd10cm-index-2026.xml", "<index/>")
    found, left_out = passages(path, "icd10cm")
    assert [document.meta["code"] for document in found.values()] == [
        "C00-D49", "C7A-C7A", "C7A", "C7A.0", "19", "S00-S09", "S01",
    ]  # fmt: skip
    assert found["C7A.0 0.0"].meta == {
        "code": "C7A.0", "category": "ICD 10 C7A", "block": "ICD 10 C7A-C7A", "chapter": "ICD 10 C00-D49",
    }  # fmt: skip
    assert left_out == {"introduction": 1, "notes": 1, "references to codes that are not in the file": 2}
    table = Icd10CmSource(name="t", format="icd10cm", licence="", paths=[str(path)])
    for document in read(table):  # the code table of the same file, which is in the same split, by any group
        assert found[f"{document.id} 0.0"].meta == document.meta


def test_icd9_has_chapters_and_categories(tmp_path: Path) -> None:
    path = tmp_path / "CMS32_DESC_LONG_DX.txt"
    path.write_text(CMS_ICD9)
    found, left_out = passages(path, "icd9", words=400)
    assert left_out == {}
    assert len(found) == 19 + 3 + 2
    text = found["250.00 0.0"].text
    assert "ICD-9-CM code 250.00" in text
    assert "Diabetes mellitus without mention of complication (250.00)" in text
    assert "Endocrine, nutritional and metabolic diseases, and immunity disorders (240-279)" in text
    assert found["250.00 0.0"].meta["category"] == "ICD 9 250"
    assert found["042 0.0"].meta["chapter"] == "ICD 9 001-139"
    assert found["E849.7 0.0"].meta["category"] == "ICD 9 E849"


def test_crosswalks_have_the_names_of_the_other_edition(tmp_path: Path) -> None:
    path, other, gem = tmp_path / "CMS32_DESC_LONG_DX.txt", tmp_path / "codes.txt", tmp_path / "2018_I9gem.txt"
    path.write_text(CMS_ICD9)
    other.write_text("E119    Type 2 diabetes mellitus without complications\nZ21     HIV infection\n")
    gem.write_text(
        "25000 E119   10000\n042   B20    00000\n042   Z21    10000\nE8497 NoDx   11000\n99999 E119   00000\n"
    )
    found, left_out = passages(path, "icd9", crosswalks=[str(gem)], crosswalk_names=[str(other)])
    assert "Type 2 diabetes mellitus without complications (ICD-10-CM E11.9)" in found["250.00 0.0"].text
    assert "Z21" not in found["042 0.0"].text  # with one of its two equivalents unknown, none is stated
    assert left_out == {
        "crosswalks of codes that are not in the file": 1,
        "crosswalks to codes that are not in crosswalk_names": 1,
    }
    found, _ = passages(path, "icd9", crosswalks=[str(gem)])
    assert "ICD-10-CM B20 and ICD-10-CM Z21" in found["042 0.0"].text
    gem.write_text("E119 25000 10000\n")
    with pytest.raises(UserError, match=r"DX\.txt: `crosswalks` maps none of its codes"):
        passages(path, "icd9", crosswalks=[str(gem)])


def test_a_heading_of_mesh_is_one_term_whatever_its_tree_numbers(tmp_path: Path) -> None:
    path = tmp_path / "mtrees2026.bin"
    path.write_text(MESH)
    found, left_out = passages(path, "mesh", words=400)
    assert left_out == {}
    assert [document.meta["code"] for document in found.values()].count("C18.452.394.750") == 1
    text = found["C18.452.394.750 0.0"].text
    assert "The path" in text or "found under" in text or "hierarchy above" in text
    for said in ("C19.246", "Glucose Metabolism Disorders", "Endocrine System Diseases"):
        assert said in text
    assert found["C18.452.394.750 0.0"].meta == {
        "code": "C18.452.394.750", "category": "MeSH C18.452", "block": "MeSH C18", "chapter": "MeSH C",
    }  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_descriptors_of_mesh(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("desc2026.gz" if packed else "desc2026.xml")
    path.write_bytes(gzip.compress(DESCRIPTORS.encode()) if packed else DESCRIPTORS.encode())
    found, left_out = passages(path, "mesh", words=400)
    text = found["D03.633.100 0.0"].text
    for said in ("An ionophorous, polyether antibiotic.", "Antibiotic A23187", "Ionophores", "Anti-Bacterial Agents"):
        assert said in text
    assert "Unknown" in text
    assert "A23187, Antibiotic" not in text
    assert left_out == {
        "headings without a tree number": 1,
        "permuted terms": 1,
        "parents that are not in the file": 1,
        "references to codes that are not in the file": 1,
    }


def test_terms_of_hpo(tmp_path: Path) -> None:
    path = tmp_path / "hp.obo"
    path.write_text(HPO)
    found, left_out = passages(path, "hpo", words=400)
    assert list(found) == ["HP:0000001 0.0", "HP:0000118 0.0", "HP:0000119 0.0", "HP:0000107 0.0"]
    text = found["HP:0000107 0.0"].text
    for said in ('A fluid filled sac in the kidney, or "cyst".', "Kidney cyst", "Kidney lesion", "UMLS:C3887499"):
        assert said in text
    assert "Abnormality of the genitourinary system" in text
    assert "gone" not in text
    assert "Cystic thing" not in text
    assert found["HP:0000107 0.0"].meta["chapter"] == "HPO HP:0000119"
    without, fewer = passages(path, "hpo", words=400, relations=["parents", "definitions"])
    assert "Kidney cyst" not in without["HP:0000107 0.0"].text
    assert fewer == {**left_out, "synonyms (not in `relations`)": 2, "xrefs (not in `relations`)": 1}
    assert left_out == {
        "comments": 1, "obsolete synonyms": 1, "obsolete terms": 1, "parents that are not in the file": 1,
    }  # fmt: skip


ERRORS = [
    ("icd10cm", TABULAR.replace("<section id", "<section <id"), r"malformed XML at line 3, before any code"),
    ("icd10cm", "A000    Cholera due to Vibrio cholerae\n", r"a list of codes, without relations .* tabular list"),
    ("icd10cm", "<ICD10CM.tabular></ICD10CM.tabular>", r"contains no codes; its root is <ICD10CM.tabular>"),
    ("icd10cm", TABULAR.replace(">S01<", ">C7A.0<"), r"has C7A\.0 a second time; expected each code once"),
    ("icd10cm", TABULAR.replace(">S01<", ">HP:0000001<"), r"after C7A\.0: the code is none of ICD-10-CM"),
    ("icd9", "A000    Cholera\n", r"line 1 is not a code and its description, such as"),
    ("mesh", MESH + "nonsense\n", r"line 9 is not a tree number, a tab and a heading"),
    ("mesh", DESCRIPTORS.replace("D03.633.100", "D3"), r"record 1, descriptor D000001: the code is none of MeSH tree"),
    (
        "mesh",
        DESCRIPTORS.replace(">Heterocyclic Compounds<", "><", 1),
        r"record 2, after descriptor D000001, has no Des",
    ),
    ("mesh", DESCRIPTORS.replace(">Ionophores<", ">Calcimycin<"), r"describes 'Calcimycin' a second time"),
    ("mesh", DESCRIPTORS[:-40], r"malformed XML at line \d+, after descriptor"),
    ("mesh", "<DescriptorRecordSet/>", r"contains no <DescriptorRecord>; expected NLM's descriptors"),
    ("hpo", HPO.replace("name: Renal cyst\n", ""), r"line 18: a \[Term\] has no id or no name"),
    ("hpo", HPO.replace("id: HP:0000107", "id: DOID:7"), r"line 18: a \[Term\] of DOID: the code is none of HPO"),
    ("hpo", HPO.replace("HP:0000119\n", "HP:0000001\n"), r"has HP:0000001 a second time; expected each term once"),
    ("hpo", "format-version: 1.2\n", r"contains no \[Term\]; expected HPO's OBO file"),
]


def test_bad_files_are_refused_with_their_position(tmp_path: Path) -> None:
    for number, (system, content, message) in enumerate(ERRORS):
        path = tmp_path / f"{number}-file"
        path.write_text(content)
        with pytest.raises(UserError, match=rf"{number}-file: .*{message}"):
            passages(path, system)


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    for options, message in (
        ({"system": "snomed"}, "icd10cm"),
        ({"split_by": "code"}, "category"),
        ({"relations": ["parent"]}, "parents"),
        ({"relations": []}, "relations"),
        ({"words": 5}, "words"),
        ({"walks_per_node": 0}, "walks_per_node"),
        ({"crosswalks": ["gem.txt"]}, "mesh has none; they exist only for icd10cm and icd9"),
        ({"system": "icd9", "crosswalk_names": ["codes.txt"]}, "without crosswalks there is nothing to name"),
    ):
        with pytest.raises(ValueError, match=message):
            source(tmp_path, str(options.get("system", "mesh")), **{k: v for k, v in options.items() if k != "system"})
    path = tmp_path / "codes.txt"
    path.write_text("A000    Cholera due to Vibrio cholerae\n")
    flat = Icd10CmSource(name="t", format="icd10cm", licence="", paths=[str(path)], split_by="block")
    with pytest.raises(UserError, match=r"split_by: block: of this file it may be code, category; block and chapter"):
        list(read(flat))


@pytest.mark.slow
def test_the_publishers_files(dev_data: Path) -> None:
    """Every code is in a passage of its own, about connected codes; what is dropped is known."""
    folder = dev_data / "codes"
    path = folder / "simple_icd_10_cm" / "icd10c-tabular-April-1-2026.xml.gz"
    found, left_out = passages(path, "icd10cm")
    codes = {document.meta["code"] for document in found.values()}
    table = Icd10CmSource(name="t", format="icd10cm", licence="", paths=[str(path)], seventh_characters=False)
    assert codes == {document.id for document in read(table)} | {code for code in codes if "-" in code}
    assert len(codes) == 46_881 + 297 + 22
    assert left_out.pop("references to codes that are not in the file") == 4
    assert set(left_out) == {"introduction", "notes", "sectionIndex", "sevenChrNote", "visualImpairment"}
    assert len({document.text for document in found.values()}) == len(found)
    for system, name, terms, dropped in (
        ("mesh", "mesh/mesh2020.nodes.gz", 29_650, {"parents that close a cycle": 3}),
        ("hpo", "hpo/hp.obo.gz", 19_034, {"comments": 4_233, "obsolete synonyms": 4, "obsolete terms": 450}),
    ):
        census = Census()
        graph = read_graph(folder / name, source(folder / name, system), census)
        assert len(graph.nodes) == terms
        assert {kind: number for kind, (number, _) in census.counts().items()} == dropped
