"""Crosswalks between the editions of ICD add a line to a code's text, from CMS's files or the NBER's tables."""

from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.codes import CodesSource
from clinical_modernbert.streaming_data.corpora.icd10cm import Icd10CmSource
from clinical_modernbert.streaming_data.corpora.readers import read

I10GEM = """A000    0010    00000
A001    00845   10000
A001    E8490   10000
R6521   78552   10111
R6521   99592   10112
R6521   99591   10112
R6521   0389    10000
T7500XA NoDx    11000
"""
LINES = {
    "A00.0": ["Same in ICD 9: 001.0"],
    "A00.1": ["Near in ICD 9: 008.45; E849.0"],
    "R65.21": ["Near in ICD 9: 038.9; 785.52 with 995.92 or 995.91"],
    "T75.00XA": [],
    "B01.9": [],
}


def texts(source: type[CodesSource] | type[Icd10CmSource], paths: list[Path], **options: Any) -> dict[str, list[str]]:
    """The lines after the first, by code."""
    config = {"name": "codes", "licence": "", "paths": [str(path) for path in paths], **options}
    return {document.meta["code"]: document.text.split("\n")[1:] for document in read(source.model_validate(config))}


@pytest.fixture
def icd10(tmp_path: Path) -> Path:
    path = tmp_path / "codes.txt"
    path.write_text("".join(f"{code.replace('.', '')}  Name\n" for code in LINES))
    return path


@pytest.mark.parametrize("kind", ["text", "csv"])
def test_equivalents_and_combinations(tmp_path: Path, icd10: Path, kind: str) -> None:
    path = tmp_path / ("gem.csv" if kind == "csv" else "2018_I10gem.txt")
    rows = [line.split() for line in I10GEM.splitlines()]
    header = '"icd10cm","icd9cm","flags","approximate"\n'
    quoted = "".join('"{}","{}","{}",{}\n'.format(*row, row[2][0]) for row in rows)
    path.write_text(header + quoted if kind == "csv" else I10GEM)
    assert texts(Icd10CmSource, [icd10], format="icd10cm", crosswalks=[str(path)]) == LINES


@pytest.mark.parametrize(
    ("system", "code", "mapping", "line"),
    [
        ("icd9_diagnoses", "0010 Cholera", "0010  A000  00000", "Same in ICD 10: A00.0"),
        ("icd9_procedures", "3961 Bypass", "3961  5A1221Z  10000", "Near in ICD 10 procedure: 5A1221Z"),
        ("icd10pcs", "5A1221Z Performance", "5A1221Z 3961 10000", "Near in ICD 9 procedure: 39.61"),
    ],
)
def test_crosswalks_of_the_other_systems(tmp_path: Path, system: str, code: str, mapping: str, line: str) -> None:
    names, gem = tmp_path / "codes.txt", tmp_path / "gem.txt"
    names.write_text(code)
    gem.write_text(mapping)
    (lines,) = texts(CodesSource, [names], format="codes", system=system, crosswalks=[str(gem)]).values()
    assert lines == [line]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A000  0010\n", r"gem\.txt: line 1 is not two codes and five flags"),
        ("0010  A000  00000\n", r"codes\.txt: `crosswalks` maps none of its codes"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, icd10: Path, content: str, message: str) -> None:
    path = tmp_path / "gem.txt"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        texts(Icd10CmSource, [icd10], format="icd10cm", crosswalks=[str(path)])
    path = tmp_path / "gem.csv"
    path.write_text("icd10cm,icd9cm,flags\nA000,0010,1\n")
    with pytest.raises(UserError, match=r"gem\.csv: record 1: flags '1'; expected five digits"):
        texts(Icd10CmSource, [icd10], format="icd10cm", crosswalks=[str(path)])


def test_a_system_without_crosswalks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hpo has none; they exist only for icd9_diagnoses"):
        texts(CodesSource, [tmp_path], format="codes", system="hpo", crosswalks=["gem.txt"])


def test_the_publishers_files(dev_data: Path) -> None:
    cms = dev_data / "codes" / "cms"
    ten = texts(
        Icd10CmSource,
        [cms / "icd10cm-codes-2024.txt.gz"],
        format="icd10cm",
        crosswalks=[str(cms / "icd10cmtoicd9gem.csv.gz")],
    )
    nine = texts(
        CodesSource,
        [cms / "CMS32_DESC_LONG_DX.txt.gz"],
        format="codes",
        system="icd9_diagnoses",
        crosswalks=[str(cms / "icd9toicd10cmgem.csv.gz")],
    )
    assert ten["R65.21"] == ["Near in ICD 9: 785.52 with 995.92"]
    assert ten["T40.0X1A"] == ["Near in ICD 9: 965.00 with E850.2"]
    assert nine["001.0"] == ["Same in ICD 10: A00.0"]
    assert sum(map(bool, ten.values())) / len(ten) > 0.9
    assert sum(map(bool, nine.values())) / len(nine) > 0.9
