"""Code systems from their publishers' files: codes with dots, in the paper's template."""

import zipfile
from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.codes import CodesSource
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.documents.document import Document


def codes(path: Path, system: str, **options: Any) -> list[Document]:
    config = {"name": "codes", "format": "codes", "licence": "public domain", "paths": [str(path)], "system": system}
    return list(read(CodesSource.model_validate(config | options)))


def texts(path: Path, system: str, content: str, encoding: str = "utf-8", **options: Any) -> list[str]:
    path.write_text(content, encoding=encoding)
    return [document.text for document in codes(path, system, **options)]


@pytest.mark.parametrize(
    ("system", "line", "text"),
    [
        ("icd9_diagnoses", "25000 Diabetes mellitus", "ICD 9 code for 250.00: Diabetes mellitus"),
        ("icd9_diagnoses", "E8497 Accident in hospital", "ICD 9 code for E849.7: Accident in hospital"),
        ("icd9_diagnoses", "V10   History", "ICD 9 code for V10: History"),
        ("icd9_diagnoses", "38600 Ménière's disease", "ICD 9 code for 386.00: Ménière's disease"),
        ("icd9_procedures", "3961 Bypass", "ICD 9 procedure code for 39.61: Bypass"),
        ("icd10pcs", "0016070 Bypass Cerebral", "ICD 10 procedure code for 0016070: Bypass Cerebral"),
    ],
)
def test_code_lists_of_cms(tmp_path: Path, system: str, line: str, text: str) -> None:
    encoding = "utf-8" if system == "icd10pcs" else "latin-1"
    assert texts(tmp_path / "codes.txt", system, f"{line}\r\n", encoding) == [text]


def test_the_template_is_configurable(tmp_path: Path) -> None:
    content = "0010  Cholera\n"
    path = tmp_path / "codes.txt"
    assert texts(path, "icd9_diagnoses", content, template="{code} ({system}): {description}") == [
        "001.0 (ICD 9): Cholera"
    ]
    with pytest.raises(ValueError, match=r"may contain only \{system\}, \{code\}, \{description\}"):
        codes(path, "icd9_diagnoses", template="{}")


HCPCS = "".join(
    f"{code}{number:05}{kind}{text:80}{'':28}\n"
    for code, number, kind, text in [
        ("   P2", 100, "7", "A patient with mild systemic disease"),
        ("A0021", 100, "3", "Ambulance service, outside state per mile, transport"),
        ("A0021", 200, "4", "(medicaid only)"),
        ("V5362", 100, "3", "Speech screening"),
    ]
)


@pytest.mark.parametrize("packed", [False, True])
def test_hcpcs_records_of_several_lines_are_joined(tmp_path: Path, packed: bool) -> None:
    content = f"***Disclaimers\t\n{HCPCS}".encode("latin-1")
    path = tmp_path / ("hcpcs.zip" if packed else "HCPC2019_ANWEB.txt")
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("HCPC2019_CONTR_ANWEB.txt", content)
            archive.writestr("readme.txt", "")
    else:
        path.write_bytes(content)
    assert [document.text for document in codes(path, "hcpcs")] == [
        "HCPCS modifier code for P2: A patient with mild systemic disease",
        "HCPCS code for A0021: Ambulance service, outside state per mile, transport (medicaid only)",
        "HCPCS code for V5362: Speech screening",
    ]


def test_mesh_terms_include_their_hierarchy(tmp_path: Path) -> None:
    content = "C14.280\tHeart Diseases\nC\tDiseases\nC14\tCardiovascular Diseases\nC14.280.647\tMyocardial Ischemia\n"
    result = texts(tmp_path / "mesh.txt", "mesh", content)
    assert result[-1] == (
        "MeSH code for C14.280.647: Myocardial Ischemia\nHierarchy: Diseases > Cardiovascular Diseases > Heart Diseases"
    )
    assert result[1] == "MeSH code for C: Diseases"
    assert texts(tmp_path / "mesh.txt", "mesh", content, details=False)[-1] == result[-1].split("\n")[0]


def test_mesh_in_the_spelling_of_nlm(tmp_path: Path) -> None:
    ours = texts(tmp_path / "mesh.txt", "mesh", "C14\tHeart; and vessels\nC14.280\tHeart Diseases\n")
    assert texts(tmp_path / "mtrees.bin", "mesh", "Heart; and vessels;C14\nHeart Diseases;C14.280\n") == ours


def test_hpo_terms_include_definition_synonyms_and_parents(tmp_path: Path) -> None:
    content = """format-version: 1.2

[Term]
id: HP:0000003
name: Kidney dysplasia
def: "Characterized by \\"cysts\\"." [orcid]
synonym: "Dysplastic kidney" EXACT []
synonym: "Kidney cysts" EXACT layperson []
is_a: HP:0000002 ! Renal cyst

[Term]
id: HP:0000004
name: old
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""
    assert texts(tmp_path / "hp.obo", "hpo", content) == [
        'HPO code for HP:0000003: Kidney dysplasia\nDefinition: Characterized by "cysts".\n'
        "Synonyms: Dysplastic kidney; Kidney cysts\nIs a: Renal cyst"
    ]


def test_dictionaries_of_mimic(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    content = "icd_code,icd_version,long_title\n25000,9,Diabetes\nE119,10,Type 2 diabetes\n"
    assert texts(path, "mimic_diagnoses", content) == [
        "ICD 9 code for 250.00: Diabetes",
        "ICD 10 code for E11.9: Type 2 diabetes",
    ]
    assert texts(path, "mimic_diagnoses", "icd9_code,long_title\n0010,Cholera\n") == ["ICD 9 code for 001.0: Cholera"]
    content = "icd_code,icd_version,long_title\n3961,9,Bypass\n0016070,10,Bypass Cerebral\n"
    assert texts(path, "mimic_procedures", content) == [
        "ICD 9 procedure code for 39.61: Bypass",
        "ICD 10 procedure code for 0016070: Bypass Cerebral",
    ]
    content = "code,category,long_description,short_description\n0001F,1,,Heart failure composite\n"
    assert texts(path, "mimic_hcpcs", content) == ["HCPCS code for 0001F: Heart failure composite"]
    content = "itemid,label,fluid,category\n50813,Lactate,Blood,Blood Gas\n"
    assert texts(path, "mimic_lab_items", content) == ["MIMIC lab item code for 50813: Lactate (Blood, Blood Gas)"]


@pytest.mark.parametrize(
    ("system", "content", "message"),
    [
        ("icd9_diagnoses", "0010 Cholera\n???\n", "line 2 is not a code and its description"),
        ("icd10pcs", "", "contains no codes; expected a file of icd10pcs"),
        ("hcpcs", "nothing\n", "contains no codes"),
        ("hcpcs", HCPCS.splitlines(keepends=True)[2], "line 1 continues A0021, whose first line is missing"),
        ("mesh", "C14 Diseases\n", "line 1 is not a tree number, a tab and a heading, nor"),
        ("hpo", "x\n\n[Term]\nname: y\n", "no id or no name"),
        ("mesh", "C14\tHeart\nC14\tHead\n", "line 2 describes C14 a second time, differently"),
        ("mesh", "*NEWRECORD\nRECTYPE = D\n", "line 1 is not a tree number, a tab and a heading, nor a heading, a s"),
        ("mesh", "*NEWRECORD\nRECTYPE = D\n", "it is of NLM's descriptor records (d2026.bin)"),
        ("mesh", "A000 Cholera\n", "its code has the form of ICD-10-CM"),
        (
            "hpo",
            "x\n\n[Term]\nid: DOID:4\nname: disease\n",
            "a [Term] of DOID: the code is none of HPO, such as HP:0000003",
        ),
        (
            "hpo",
            "x\n\n[Term]\nid: HP:0000001\nname: a\n\n[Term]\nid: HP:0000001\nname: b\n",
            "HP:0000001 a second time",
        ),
        ("hcpcs", HCPCS.replace("A0021", "0021T"), "line 2: the code is none of HCPCS, such as A0021"),
        ("hcpcs", HCPCS + HCPCS.replace("Speech", "Hearing"), "V5362 a second time, differently"),
        (
            "mimic_hcpcs",
            "code,short_description\n100,Anesthesia\n",
            "record 1: the code is none of HCPCS, such as A0021",
        ),
        ("mimic_diagnoses", "icd_code,icd_version,long_title\n1,11,x\n", "record 1: expected an icd_code"),
        (
            "mimic_diagnoses",
            "icd_code,icd_version,long_title\n90,9,x\n",
            "it has 2 digits, as a code that lost its leading",
        ),
        (
            "mimic_diagnoses",
            "icd_code,icd_version,long_title\n0010,10,x\n",
            "has the form of ICD-9-CM diagnoses or ICD-9-CM p",
        ),
        (
            "mimic_procedures",
            "icd_code,icd_version,long_title\n39,9,x\n",
            "record 1: the code is none of ICD-9-CM proc",
        ),
        ("mimic_procedures", "icd9_code,long_title\n0010,x\n0010,y\n", "describes 00.10 a second time, differently"),
        (
            "mimic_lab_items",
            "itemid,label,fluid,category\nx,y,z,a\n",
            "record 1: itemid is not a number of five or six",
        ),
        ("mimic_lab_items", "itemid,label\n1,x\n", "no column fluid, category"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, system: str, content: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    with pytest.raises(UserError) as error:
        texts(path, system, content)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_bad_archives_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "hcpcs.zip"
    path.write_bytes(b"PK")
    with pytest.raises(UserError, match="truncated or corrupt"):
        codes(path, "hcpcs")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "")
    with pytest.raises(UserError, match=r"expected CMS's alpha-numeric HCPCS .* found other.txt \(empty\)"):
        codes(path, "hcpcs")


def test_the_publishers_files(dev_data: Path) -> None:
    expected = {
        ("icd9_diagnoses", "codes/cms/CMS32_DESC_LONG_DX.txt.gz"): (
            14_567,
            "ICD 9 code for 250.00: Diabetes mellitus ",
        ),
        ("icd9_procedures", "codes/cms/CMS32_DESC_LONG_SG.txt"): (3_882, "ICD 9 procedure code for 39.61: "),
        ("icd10pcs", "codes/cms/icd10pcs-codes-2024.txt.gz"): (78_603, "ICD 10 procedure code for 0016070: Bypass "),
        ("hcpcs", "codes/hcpcs/2019-Alpha-Numeric-HCPCS-File.zip"): (6_800, "HCPCS code for V5362: Speech screening"),
        ("mesh", "codes/mesh/mesh2020.nodes.gz"): (60_682, "MeSH code for C14.280.647: Myocardial Ischemia\n"),
        ("hpo", "codes/hpo/hp.obo.gz"): (19_034, "HPO code for HP:0000003: Multicystic kidney dysplasia\n"),
        ("mimic_lab_items", "mimic3_demo/D_LABITEMS.csv"): (753, "MIMIC lab item code for 50813: Lactate"),
    }
    for (system, name), (count, start) in expected.items():
        result = codes(dev_data / name, system)
        assert len(result) == len({document.id for document in result}) == count
        assert any(document.text.startswith(start) for document in result), system


def test_cms_and_mimic_agree_on_icd9(dev_data: Path) -> None:
    cms = {document.text for document in codes(dev_data / "codes/cms/CMS32_DESC_LONG_DX.txt.gz", "icd9_diagnoses")}
    mimic = {document.text for document in codes(dev_data / "mimic3_demo/D_ICD_DIAGNOSES.csv", "mimic_diagnoses")}
    assert len(cms & mimic) > 0.9 * len(cms)


@pytest.mark.parametrize(
    ("system", "name", "content"),
    [
        ("mesh", "mtrees2026.bin", "Body Regions;A01\r\nBreast;A01.236\r\n"),
        ("hpo", "hp.obo", "format-version: 1.2\n\n[Term]\nid: HP:0000001\nname: All\n"),
    ],
)
def test_archives_made_on_macos(tmp_path: Path, system: str, name: str, content: str) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"__MACOSX/._{name}", b"\0\5\x16\7" + b"x" * 100)
        archive.writestr("readme.txt", "Read me.")
        archive.writestr(f"folder/{name}", content)
    (tmp_path / name).write_text(content)
    assert [document.text for document in codes(path, system)] == [
        document.text for document in codes(tmp_path / name, system)
    ]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "Read me.")
    with pytest.raises(UserError, match=r"expected .* in it; found readme\.txt \(text\)"):
        codes(path, system)


SAMPLES = {
    "icd9_diagnoses": "0010  Cholera\nV10   History\n",
    "icd9_procedures": "0001 Ultrasound\n3961 Bypass\n",
    "icd10pcs": "0016070 Bypass\nB0001ZZ Scan\n",
    "hcpcs": HCPCS,
    "mesh": "C14\tHeart\n",
    "hpo": "format-version: 1.2\n\n[Term]\nid: HP:0000001\nname: All\n",
    "mimic_diagnoses": "icd_code,icd_version,long_title\n0010,9,Cholera\n",
    "mimic_hcpcs": "code,category,long_description,short_description\nA0021,1,x,y\n",
    "mimic_lab_items": "itemid,label,fluid,category\n50813,Lactate,Blood,Gas\n",
}


@pytest.mark.parametrize("system", SAMPLES)
@pytest.mark.parametrize("other", SAMPLES)
def test_a_file_of_one_system_is_no_file_of_another(tmp_path: Path, system: str, other: str) -> None:
    if system == other:
        assert texts(tmp_path / "codes.csv", system, SAMPLES[other])
    else:
        with pytest.raises(UserError):
            texts(tmp_path / "codes.csv", system, SAMPLES[other])
