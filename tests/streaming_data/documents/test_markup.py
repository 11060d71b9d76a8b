"""Texts that are no plain text are noticed, clinical shorthand is not, and a source says what it does with them."""

import csv
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.mimic_notes import MimicNotesSource
from clinical_modernbert.streaming_data.corpora.pubmed import PubMedSource
from clinical_modernbert.streaming_data.corpora.readers import AnySource, input_files, read, read_file
from clinical_modernbert.streaming_data.corpora.tables import TableSource
from clinical_modernbert.streaming_data.documents.clean import clean
from clinical_modernbert.streaming_data.documents.files import open_text
from clinical_modernbert.streaming_data.documents.markup import find_markup
from clinical_modernbert.streaming_data.synthetic.notes import generate

PRIVATE = "Smith"
RTF = r"{\rtf1\ansi\b Smith\b0\par seen}"
HTML = "<html><body><p>Smith</p><p>seen</p></body></html>"
SHORTHAND = [
    *("<5 mg", "BP < 120", "K <3.5 >2", "{x}", "a & b", "-> <-", "<NAME>", "<DATE> </DATE>", "<b and c>", "p<0.05;"),
    *("R&D", "&lt;", "\\par", "<<>>", "\n", "\t", "___", "<p", "</", "<=", "<!", "<?", "<address>", "MAP <60", "x<y>z"),
]


@given(st.lists(st.sampled_from(SHORTHAND), max_size=30), st.sampled_from(["", "<br>", "<b>", "<p>", "</p>", "<br/>"]))
def test_shorthand_and_a_stray_tag_are_plain(parts: list[str], stray: str) -> None:
    text = " ".join([*parts, stray])
    assert find_markup(text) is None
    plain = " ".join(parts)
    assert clean(plain, ["rtf", "html"], Counter()) == plain


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (RTF, "RTF"),
        (f"Report of 3 May\n{RTF}", "RTF"),
        (HTML, "HTML"),
        ("<!DOCTYPE html>\n<title>x", "HTML"),
        ('<?xml version="1.0"?><!-- by a program --><html xmlns="x">', "HTML"),
        ("one<br>two<br>three<br>four", "HTML"),
        ("see <B>this</B>", "HTML"),
        ('<td class="a">1<td>2<td>3', "HTML"),
        ("&lt;p&gt;escaped once more&lt;/p&gt;", "HTML"),
        ('<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"/>', "XML"),
        ("JVBERi0xLjcKJeLjz9MK", "an encoded file"),
        ("%PDF-1.7", "an encoded file"),
        ("e1xydGYxXGFuc2k=", "an encoded file"),
    ],
)
def test_documents_are_noticed(text: str, kind: str) -> None:
    assert find_markup(text) == kind


def test_no_note_is_taken_for_markup(dev_data: Path) -> None:
    """Measured on dictated notes, abstracts with literal angle brackets, and the synthetic notes."""
    texts = [row["text"] for row in itertools.islice(generate(5), 5_000)]
    csv.field_size_limit(1 << 25)  # of the process: readers of other tests lower it
    for path in sorted((dev_data / "notes").rglob("*.csv*")):
        with open_text(path) as file:
            texts += [value for row in csv.reader(file) for value in row]
    pubmed = [str(dev_data / "pubmed_xml_samples" / "*.xml*"), str(dev_data / "pubmed" / "example_*.xml.gz")]
    source = PubMedSource(name="pubmed", format="pubmed", licence="", paths=pubmed)
    texts += [document.text for document in read(source)]
    assert sum("<" in text for text in texts) > 50
    found = [text for text in texts if find_markup(text)]
    assert len(found) <= 1  # an abstract in which PubMed has `mm<PRE>3</PRE>`
    assert all("</PRE>" in text for text in found)


def table(path: Path, **options: Any) -> TableSource:
    return TableSource(
        name="own", format="table", licence="", paths=[str(path)], text="text", split_by="mrn", **options
    )


def write(path: Path, texts: list[str]) -> Path:
    rows = [
        {"mrn": f"p{number}", "note_id": f"n{number}", "subject_id": number, "text": text}
        for number, text in enumerate(texts)
    ]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
        pytest.importorskip("pyarrow.parquet").write_table(arrow.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


def refusal(source: AnySource) -> str:
    with pytest.raises(UserError) as error:
        list(read(source))
    assert PRIVATE not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_source_with_markup_is_refused_once_with_the_fix(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, ["plain", RTF, "BP < 120", HTML, RTF])
    unit = "line" if name == "a.jsonl" else "record"
    assert refusal(table(path)) == (
        f"{path}: the text of {unit} 2 (and 2 of the next 3) is RTF or HTML, not plain; to convert, list `rtf`, `html` "
        "in `clean` of this source"
    )
    assert "list `rtf` in `clean`" in refusal(table(path, clean=["html"]))


def test_notes_of_mimic_are_refused_too(tmp_path: Path) -> None:
    path = write(tmp_path / "discharge.csv", ["plain", HTML])
    source = MimicNotesSource(name="m", format="mimic_notes", licence="", paths=[str(path)])
    assert "the text of record 2 is HTML, not plain" in refusal(source)


def test_an_encoded_file_cannot_be_converted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["JVBERi0xLjcKJeLjz9MK"])
    assert "is an encoded file, not plain; extract the text of XML, PDF or Office files before" in refusal(
        table(path, clean=["rtf", "html"])
    )


def test_the_steps_convert_and_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ["plain\n  <5 mg", RTF, HTML, f"{RTF[:-1]} &amp; x}}"])
    source = table(path, clean=["encoding", "html", "rtf"])
    changed: Counter[str] = Counter()
    documents = list(read_file(source, input_files(source)[0], changed))
    expected = ["plain\n  <5 mg", "Smith\nseen", "Smith\n\nseen", "Smith\nseen & x"]
    assert [document.text for document in documents] == expected
    assert changed == {"rtf": 2, "html": 1, "encoding": 1}
