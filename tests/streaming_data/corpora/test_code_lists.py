"""CMS's lists and archives: the file that is meant is recognized by its content, others are named, never misread."""

import logging
import zipfile
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.codes import CodesSource
from clinical_modernbert.streaming_data.corpora.icd10cm import Icd10CmSource
from clinical_modernbert.streaming_data.corpora.readers import read

TABULAR = """<?xml version="1.0" encoding="utf-8"?><!-- CMS --><ICD10CM.tabular><chapter><desc>C</desc><section>
<desc>S</desc><diag><name>A00</name><desc>Cholera</desc></diag></section></chapter></ICD10CM.tabular>"""


def order(*entries: tuple[str, int, str]) -> str:
    return "".join(
        f"{number:05} {code:7} {valid} {title[:60]:60} {title}\r\n"
        for number, (code, valid, title) in enumerate(entries, 1)
    )


CM_ORDER = order(("A00", 0, "Cholera"), ("A000", 1, "Cholera due to Vibrio cholerae"))
CM_LIST = "A000    Cholera due to Vibrio cholerae\r\n"
PCS_ORDER = order(("001", 0, "Nervous system, Bypass"), ("0016070", 1, "Bypass Cerebral Ventricle to Nasopharynx"))
PCS_LIST = "0016070 Bypass Cerebral Ventricle to Nasopharynx\r\n0016071 Bypass Cerebral Ventricle\r\n"
LONG_DX = "0010  Cholera due to vibrio cholerae\r\n00320 Local salmonella infection\r\nV10   History\r\n"
SHORT_DX = "0010  Cholera\r\n00320 Salm inf\r\nV10   Hx\r\n"
LONG_SG = "0001 Therapeutic ultrasound of vessels of head and neck\r\n3961 Bypass\r\n"
ADDENDA = "Add:    U099    Post COVID-19 condition\r\nNo change A000\r\n"
PDF = b"%PDF-1.7\n\xff"
FILES: dict[str, str | bytes] = {
    "icd10cm_order_2026.txt": CM_ORDER,
    "icd10cm_codes_2026.txt": CM_LIST,
    "icd10cm-tabular-2026.xml": TABULAR,
    "icd10cm-index-2026.xml": "<ICD10CM.index/>",
    "icd10pcs_order_2026.txt": PCS_ORDER,
    "icd10pcs_codes_2026.txt": PCS_LIST,
    "CMS32_DESC_LONG_DX.txt": LONG_DX,
    "CMS32_DESC_SHORT_DX.txt": SHORT_DX,
    "CMS32_DESC_LONG_SG.txt": LONG_SG,
    "order_addenda_2026.txt": ADDENDA,
    "2018_I9gem.txt": "0010  A000    00000\r\n",
    "2018_I10gem.txt": "A000    0010  10000\r\n",
    "gem_i9pcs.txt": "3961 0016070 10000\r\n",
    "gem_pcsi9.txt": "0016070 3961 10000\r\n",
    "guide.pdf": PDF,
}
SYSTEMS = {
    "icd10cm": ("A00",),
    "icd10pcs": ("ICD 10 procedure 0016070",),
    "icd9_diagnoses": ("ICD 9 001.0", "ICD 9 003.20", "ICD 9 V10"),
    "icd9_procedures": ("ICD 9 procedure 00.01", "ICD 9 procedure 39.61"),
}


def source(system: str, *paths: Path, crosswalks: tuple[Path, ...] = ()) -> Icd10CmSource | CodesSource:
    options = {"name": "codes", "licence": "", "paths": list(map(str, paths)), "crosswalks": list(map(str, crosswalks))}
    if system == "icd10cm":
        return Icd10CmSource.model_validate(options | {"format": "icd10cm"})
    return CodesSource.model_validate(options | {"format": "codes", "system": system})


def refusal(system: str, path: Path) -> str:
    with pytest.raises(UserError) as error:
        list(read(source(system, path)))
    message = str(error.value).removeprefix(f"{path}: ")
    assert message != str(error.value)
    return message


def pack(path: Path, files: dict[str, str | bytes], folder: str = "Any Folder/") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(folder + name, content)
            archive.writestr(f"__MACOSX/{folder}._{name}", b"\0\5\x16\7" + b"x" * 100)
        archive.writestr(folder + ".DS_Store", b"\0")
    return path


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("suffix", [".zip", ".ZIP", ""])
def test_an_archive_with_everything_gives_the_codes_of_the_system(
    tmp_path: Path, system: str, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    # By content only: every name says nothing, or the wrong thing.
    path = pack(tmp_path / f"cms{suffix}", {f"{number}.txt": content for number, content in enumerate(FILES.values())})
    with caplog.at_level(logging.INFO):
        documents = list(read(source(system, path)))
    assert tuple(document.id for document in documents) == SYSTEMS[system]
    (record,) = caplog.records
    assert f"{path}: reading Any Folder/" in record.getMessage()
    assert record.getMessage().count(".txt") == len(FILES)
    assert "MACOSX" not in record.getMessage()


@pytest.mark.parametrize(
    ("system", "name", "line"),
    [
        ("icd10cm", "2018_I10gem.txt", "Near in ICD 9: 001.0"),
        ("icd9_diagnoses", "2018_I9gem.txt", "Same in ICD 10: A00.0"),
        ("icd9_procedures", "gem_i9pcs.txt", "Near in ICD 10 procedure: 0016070"),
        ("icd10pcs", "gem_pcsi9.txt", "Near in ICD 9 procedure: 39.61"),
    ],
)
def test_the_crosswalk_of_the_direction_is_taken_from_an_archive(
    tmp_path: Path, system: str, name: str, line: str
) -> None:
    path = pack(tmp_path / "all.zip", {**FILES, "icd10cm-tabular-2026.xml": ""})
    texts = [document.text for document in read(source(system, path, crosswalks=(path,)))]
    assert any(text.endswith(f"\n{line}") for text in texts)


@pytest.mark.parametrize(("system", "name"), [(system, name) for system in SYSTEMS for name in FILES])
def test_a_file_of_another_system_is_refused(tmp_path: Path, system: str, name: str) -> None:
    path = tmp_path / name
    content = FILES[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    wanted = {
        "icd10cm": ("icd10cm_order", "icd10cm_codes", "icd10cm-tabular"),
        "icd10pcs": ("icd10pcs_",),
        "icd9_diagnoses": ("CMS32_DESC_LONG_DX", "CMS32_DESC_SHORT_DX"),
        "icd9_procedures": ("CMS32_DESC_LONG_SG",),
    }[system]
    if name.startswith(wanted):
        assert list(read(source(system, path)))
    else:
        message = refusal(system, path)
        assert "expected" in message or "contains no codes" in message or "neither UTF-8 nor" in message


@pytest.mark.parametrize(
    ("system", "content", "message"),
    [
        ("icd9_diagnoses", "10 Cholera\n", "its code has 2 digits, as a code that lost its leading zeros"),
        ("icd10pcs", "16070 Bypass\n", "has the form of ICD-9-CM diagnoses and has 5 digits, as a code that lost"),
        ("icd10pcs", CM_LIST, "its code has the form of ICD-10-CM"),
        ("icd10pcs", CM_ORDER, "its code has the form of ICD-10-CM"),
        ("icd10cm", PCS_ORDER.splitlines()[1], "its code has the form of ICD-10-PCS"),
        ("icd10cm", ADDENDA, "it looks like an addenda file, which lists changes only"),
        ("icd10cm", "".join(f"A{n:04} Bed\n" for n in range(300)), "each of its 300 codes has the form of HCPCS or "),
        ("icd10cm", "".join(f"B{n:04}ZZ Scan\n" for n in range(300)), "has the form of HCPCS or ICD-10-PCS too"),
        ("icd10cm", "A00.0 Cholera\n", "its code has a dot, which the publisher's codes do not have"),
        ("icd10cm", "A000\n", "it has a code and no description"),
        ("icd10cm", "00100 Anesthesia\n", "has the form of ICD-9-CM diagnoses"),
        ("icd10cm", "C14.280\tHeart\n", "its code has the form of MeSH tree numbers"),
        ("icd10cm", "HP:0000003 Kidney\n", "its code has the form of HPO"),
        ("icd9_diagnoses", "E119 Type 2 diabetes\n", "its code has the form of ICD-10-CM"),
        ("icd9_diagnoses", "A0021 Ambulance\n", "its code has the form of ICD-10-CM or HCPCS"),
        ("icd9_diagnoses", '"dgns_cd","longdesc","shortdesc"\n', "it has columns separated by commas, as a table has"),
        ("icd9_diagnoses", "0010  A000    00000\n", "it has two codes and flags, as a crosswalk has"),
        ("icd9_procedures", "<ICD10PCS.tabular/>\n", "it is XML, <ICD10PCS.tabular>"),
        ("icd9_procedures", "25000 Diabetes\n", "its code has the form of ICD-9-CM diagnoses"),
        ("icd10cm", "A000 Cholera\nA000 Typhus\n", "line 2 describes A000 a second time, differently"),
        (
            "icd9_diagnoses",
            "".join(f"{n:04} Bypass\n" for n in range(1000, 1300)),
            "each of its 300 codes has the form of ICD-9-CM pro",
        ),
    ],
)
def test_lists_that_are_not_meant_name_what_they_are(tmp_path: Path, system: str, content: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(content)
    assert message in refusal(system, path)


def test_archives_without_the_list_name_what_they_have(tmp_path: Path) -> None:
    tables: dict[str, str | bytes] = {
        "icd10pcs_tables_2026.xml": "<ICD10PCS.tabular/>",
        "guide.pdf": PDF,
        "more.zip": b"PK\3\4",
        "empty.txt": "",
    }
    assert refusal("icd10pcs", pack(tmp_path / "tables.zip", tables, "")) == (
        "expected a code list or order file of ICD-10-PCS in it; found icd10pcs_tables_2026.xml (XML, "
        "<ICD10PCS.tabular>), guide.pdf (PDF), more.zip (a zip archive or Office file), empty.txt (empty)"
    )
    assert "found an Office file" in refusal("icd10cm", pack(tmp_path / "a.xlsx", {"xl/workbook.xml": "<x/>"}, ""))
    assert "found no file" in refusal("icd10cm", pack(tmp_path / "none.zip", {}))
    two = pack(tmp_path / "two.zip", {"2025.txt": CM_ORDER, "2026.txt": CM_ORDER})
    assert "Any Folder/2025.txt and Any Folder/2026.txt are both ICD-10-CM" in refusal("icd10cm", two)


def test_names_in_the_code_page_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    name = "Übersicht für Ärzte.txt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x" * len(name), "")
    path.write_bytes(path.read_bytes().replace(b"x" * len(name), name.encode("cp1252")))
    assert refusal("icd10cm", path).endswith(f"found {name} (empty)")


def test_descriptions_in_either_encoding(tmp_path: Path) -> None:
    for encoding in ("utf-8", "utf-8-sig", "cp1252", "utf-16"):
        path = tmp_path / f"{encoding}.txt"
        path.write_bytes("H8101   Ménière’s disease\r\n".encode(encoding))
        (document,) = read(source("icd10cm", path))
        assert document.text == "ICD 10 code for H81.01: Ménière’s disease"
    path.write_bytes(b"H8101   M\x81\x8d\r\n")
    assert "line 1 is neither UTF-8 nor Windows-1252 text" in refusal("icd10cm", path)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "a.zip", {"order.txt": CM_ORDER * 99})
    path.write_bytes(path.read_bytes().replace(b"Cholera due", b"Cholera DUE", 1))
    assert "truncated or corrupt" in refusal("icd10cm", path)
