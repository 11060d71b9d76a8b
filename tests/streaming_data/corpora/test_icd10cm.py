"""ICD-10-CM codes as text, from each kind of file that CMS publishes."""

import gzip
import zipfile
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.icd10cm import Icd10CmSource
from clinical_modernbert.streaming_data.corpora.readers import InputFile, read, read_file
from clinical_modernbert.streaming_data.documents.census import Census
from clinical_modernbert.streaming_data.documents.document import Document

TABULAR = """<?xml version="1.0" encoding="utf-8"?>
<ICD10CM.tabular><version>2026</version>
<chapter><name>4</name><desc>Endocrine diseases (E00-E89)</desc>
<includes><note>of the chapter</note></includes>
<section id="E08-E13"><desc>Diabetes mellitus (E08-E13)</desc>
<diag><name>E11</name><desc>Type 2 diabetes mellitus</desc>
 <includes><note>diabetes NOS</note></includes>
 <excludes1><note>type 1 diabetes (E10.-)</note></excludes1><excludes2><note>other</note></excludes2>
 <diag><name>E11.2</name><desc>Type 2 diabetes with kidney complications</desc>
  <diag><name>E11.21</name><desc>Type 2 diabetes with nephropathy</desc>
   <inclusionTerm><note>with glomerulosclerosis</note><note>with Kimmelstiel-Wilson disease</note></inclusionTerm>
  </diag>
 </diag>
 <diag><name>E11.9</name><desc>Type 2 diabetes mellitus without complications</desc></diag>
</diag></section></chapter></ICD10CM.tabular>
"""


def source(path: Path | str, **options: object) -> Icd10CmSource:
    config = {"name": "codes", "format": "icd10cm", "licence": "public domain", "paths": [str(path)], **options}
    return Icd10CmSource.model_validate(config)


def codes(path: Path | str, **options: object) -> list[Document]:
    return list(read(source(path, **options)))


def test_the_tabular_list_as_text(tmp_path: Path) -> None:
    path = tmp_path / "tabular.xml"
    path.write_text(TABULAR)
    result = codes(path)
    assert [document.id for document in result] == ["E11", "E11.2", "E11.21", "E11.9"]
    assert {document.meta["category"] for document in result} == {"ICD 10 E11"}
    assert result[2].text == (
        "ICD 10 code for E11.21: Type 2 diabetes with nephropathy\n"
        "Hierarchy: Endocrine diseases (E00-E89) > Diabetes mellitus (E08-E13) > Type 2 diabetes mellitus (E11)"
        " > Type 2 diabetes with kidney complications (E11.2)\n"
        "Inclusion terms: with glomerulosclerosis; with Kimmelstiel-Wilson disease"
    )
    assert codes(path, details=["includes", "excludes"])[0].text == (
        "ICD 10 code for E11: Type 2 diabetes mellitus\n"
        "Includes: diabetes NOS\nExcludes1: type 1 diabetes (E10.-)\nExcludes2: other"
    )


def test_the_tabular_list_in_its_zip(tmp_path: Path) -> None:
    path = tmp_path / "icd10cm-table-index-2026.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tables/icd10cm-tabular-2026.xml", TABULAR)
        archive.writestr("tables/icd10cm-index-2026.xml", "<index/>")
    assert len(codes(path)) == 4


def test_notes_without_text_give_no_line(tmp_path: Path) -> None:
    path = tmp_path / "tabular.xml"
    path.write_text(TABULAR.replace("diabetes NOS", " ").replace("<note>other</note>", "<note/>"))
    assert codes(path, details=["includes", "excludes"])[0].text == (
        "ICD 10 code for E11: Type 2 diabetes mellitus\nExcludes1: type 1 diabetes (E10.-)"
    )


@pytest.mark.parametrize("details", [[], ["hierarchy"], ["includes", "excludes"], ["inclusion_terms"]])
@pytest.mark.parametrize("seventh_characters", [True, False])
def test_notes_that_are_in_no_text_are_counted(tmp_path: Path, details: list[str], seventh_characters: bool) -> None:
    more = "<codeFirst><note>cause</note></codeFirst><sevenChrDef><extension char='A'>initial</extension></sevenChrDef>"
    path = tmp_path / "tabular.xml"
    path.write_text(TABULAR.replace("<includes><note>diabetes", f"{more}<includes><note>diabetes"))
    left_out = Census()
    options = {"details": details, "seventh_characters": seventh_characters, "template": "{code}{description}"}
    texts = [document.text for document in read_file(source(path, **options), InputFile(path), left_out=left_out)]
    kinds = {"includes of chapters and sections": 12, "codeFirst": 5}
    kinds |= {} if "includes" in details else {"includes": 11}
    kinds |= {} if "excludes" in details else {"excludes1": 20, "excludes2": 5}
    kinds |= {} if "inclusion_terms" in details else {"inclusionTerm": 51}
    kinds |= {} if seventh_characters else {"sevenChrDef": 7}
    assert {kind: characters for kind, (_, characters) in left_out.counts().items()} == kinds
    assert any("initial" in text for text in texts) == seventh_characters


SEVENTH = """<ICD10CM.tabular><chapter><desc>Injury (S00-T88)</desc><section><desc>Poisoning (T36-T50)</desc>
<diag><name>T40</name><desc>Narcotics</desc>
 <sevenChrDef><extension char="A">initial encounter</extension><extension char="S">sequela</extension></sevenChrDef>
 <diag><name>T40.0</name><desc>Opium</desc>
  <diag><name>T40.0X1</name><desc>Opium, accidental</desc></diag>
  <diag><name>T40.0X5</name><desc>Adverse effect of opium</desc>
   <sevenChrDef><extension char="1">right</extension></sevenChrDef></diag></diag>
 <diag><name>T40.9</name><desc>Other</desc></diag></diag>
<diag><name>Y38</name><desc>Terrorism</desc><sevenChrDef><extension char="D">later</extension></sevenChrDef></diag>
<diag><name>Y39</name><desc>None</desc></diag>
</section></chapter></ICD10CM.tabular>"""


def test_seventh_characters_and_placeholders(tmp_path: Path) -> None:
    path = tmp_path / "tabular.xml"
    path.write_text(SEVENTH)
    by_code = {document.id: document for document in codes(path)}
    seventh = ["T40.0X1A", "T40.0X1S", "T40.0X51", "T40.9XXA", "T40.9XXS", "Y38.XXXD"]
    assert [code for code in by_code if len(code) == 8] == seventh
    assert by_code["T40.9XXA"].text == (
        "ICD 10 code for T40.9XXA: Other, initial encounter\n"
        "Hierarchy: Injury (S00-T88) > Poisoning (T36-T50) > Narcotics (T40) > Other (T40.9)"
    )
    assert by_code["T40.0X51"].meta["category"] == "ICD 10 T40"
    assert codes(path, details=[])[3].text == "ICD 10 code for T40.0X1A: Opium, accidental, initial encounter"
    assert [document.id for document in codes(path, seventh_characters=False)] == [
        code for code in by_code if code not in seventh
    ]


def test_the_papers_template_without_details(tmp_path: Path) -> None:
    path = tmp_path / "tabular.xml.gz"
    path.write_bytes(gzip.compress(TABULAR.encode()))
    assert codes(path, details=[])[3].text == "ICD 10 code for E11.9: Type 2 diabetes mellitus without complications"
    assert codes(path, details=[], template="{code} is {description}")[3].text.startswith("E11.9 is Type 2")
    with pytest.raises(ValueError, match=r"may contain only \{code\}, \{description\}"):
        codes(path, template="{name}")


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("<name>E11.9</name>", "after E11.21: the code is none of ICD-10-CM, such as A000; it has the form of HPO"),
        ("<name>E11.2</name>", "describes E11.9 a second time, differently"),
    ],
)
def test_wrong_codes_in_the_tabular_list(tmp_path: Path, before: str, message: str) -> None:
    path = tmp_path / "tabular.xml"
    path.write_text(TABULAR.replace(before, "<name>HP:0000001</name>" if "HPO" in message else "<name>E11.9</name>"))
    with pytest.raises(UserError, match=message):
        codes(path)


def test_order_files_and_code_lists(tmp_path: Path) -> None:
    order, listed = tmp_path / "icd10cm_order_2026.txt", tmp_path / "icd10cm-codes-2026.txt"
    order.write_text(
        f"00001 A00     0 {'Cholera':60} Cholera\n"
        f"00002 A000    1 {'Cholera due to Vibrio cholerae 01, biovar cholerae':60} "
        "Cholera due to Vibrio cholerae 01, biovar cholerae\n"
    )
    listed.write_text(
        "A000    Cholera due to Vibrio cholerae 01, biovar cholerae\nS52001A Fracture\nQA001   New in 2026\n"
    )
    cholera = "ICD 10 code for A00.0: Cholera due to Vibrio cholerae 01, biovar cholerae"
    assert [document.text for document in codes(order)] == ["ICD 10 code for A00: Cholera", cholera]
    assert [document.text for document in codes(listed)] == [
        cholera,
        "ICD 10 code for S52.001A: Fracture",
        "ICD 10 code for QA0.01: New in 2026",
    ]


def test_bad_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "codes.txt"
    path.write_text("A000    Cholera\nnonsense\n")
    with pytest.raises(UserError, match=r"codes\.txt: line 2 is not a code and its description, such as"):
        codes(path)
    path = tmp_path / "tabular.xml"
    path.write_text("<ICD10CM.tabular></ICD10CM.tabular>")
    with pytest.raises(UserError, match="contains no codes"):
        codes(path)
    path.write_text(TABULAR.replace("</section>", ""))
    with pytest.raises(UserError, match=r"tabular\.xml: malformed XML at line 15"):
        codes(path)


@pytest.mark.slow
def test_the_table_of_the_demo_recipe() -> None:
    """Compared with the codes that its Python package extracts from the same table."""
    simple = pytest.importorskip("simple_icd_10_cm", reason="the extra `demo` is not installed")
    result = codes("package:simple-icd-10-cm/simple_icd_10_cm/data/*.xml")
    assert len(result) == len({document.id for document in result})
    is_a_code = (code for code in simple.get_all_codes(with_dots=True) if simple.is_category_or_subcategory(code))
    assert {document.id for document in result} == set(is_a_code)
    by_code = {document.id: document.text for document in result}
    assert by_code["E11.9"].splitlines()[0] == "ICD 10 code for E11.9: Type 2 diabetes mellitus without complications"


def test_seventh_characters_of_the_table_agree_with_the_code_list(dev_data: Path) -> None:
    """51,060 of 51,126 descriptions are identical to the publisher's; the others were revised since."""
    table = codes(dev_data / "codes" / "simple_icd_10_cm" / "icd10c-tabular-April-1-2026.xml.gz", details=[])
    listed = codes(dev_data / "codes" / "cms" / "icd10cm-codes-2024.txt.gz")
    ours, theirs = ({each.id: each.text for each in codes if len(each.id) == 8} for codes in (table, listed))
    both = ours.keys() & theirs.keys()
    assert len(both) > 51_000
    assert sum(ours[code] == theirs[code] for code in both) > 0.998 * len(both)


def test_the_code_list_of_2024(dev_data: Path) -> None:
    result = codes(dev_data / "codes" / "cms" / "icd10cm-codes-2024.txt.gz")
    assert len(result) == 74_044
    assert result[0].text == "ICD 10 code for A00.0: Cholera due to Vibrio cholerae 01, biovar cholerae"
