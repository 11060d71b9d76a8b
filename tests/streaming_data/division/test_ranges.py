"""A large file read in ranges gives the documents, in their order and with their ids, that it gives as one."""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.articles import pubmed_versions
from clinical_modernbert.streaming_data.corpora.mimic_notes import MimicNotesSource
from clinical_modernbert.streaming_data.corpora.pmc import PmcSource
from clinical_modernbert.streaming_data.corpora.pubmed import PubMedSource
from clinical_modernbert.streaming_data.corpora.readers import AnySource, InputFile, read_file
from clinical_modernbert.streaming_data.corpora.tables import TableSource
from clinical_modernbert.streaming_data.division import csv_ranges
from clinical_modernbert.streaming_data.division.csv_ranges import NotDivisibleError
from clinical_modernbert.streaming_data.division.ranges import find_spans

ATOMS = ['"', '""', "\n", "\r\n", "\r", ",", ";", "a", "é", "\u2028", "\ufeff", " ", "\xa0", '5" tall', 'x,"y\nz"\n']
HEADERS = ["patient,text", '\ufeffpatient,"text"', "sep=;\npatient;text", "\n\npatient,text\r"]


def table(path: Path, **options: Any) -> TableSource:
    values = {"name": "t", "format": "table", "paths": [str(path)], "licence": "", "split_by": "patient", "clean": []}
    return TableSource.model_validate(values | options)


def documents(source: AnySource, path: Path, *spans: Any) -> list[Any]:
    keep = pubmed_versions.newest_records([pubmed_versions.scan(path)])[0] if isinstance(source, PubMedSource) else None
    return [one for span in spans or (None,) for one in read_file(source, InputFile(path, keep, span))]


def parts(source: AnySource, path: Path, size: int) -> int:
    """Compare the parts of a file with all of it, and return their number."""
    spans = find_spans(source, path, path, size)
    assert spans[0].start == 0
    assert all(a.stop == b.start for a, b in pairwise(spans))
    assert documents(source, path, *spans) == documents(source, path)
    return len(spans)


@settings(max_examples=400, deadline=None)
@given(
    header=st.sampled_from(HEADERS),
    cells=st.lists(st.lists(st.sampled_from(ATOMS), max_size=5).map("".join), max_size=30),
    quoted=st.booleans(),
    end=st.sampled_from(["\n", "\r\n", ""]),
    size=st.sampled_from([1, 10, 40]),
    block=st.sampled_from([1, 7, 64]),
)
def test_ranges_of_csv(
    tmp_path_factory: pytest.TempPathFactory,
    header: str,
    cells: list[str],
    quoted: bool,
    end: str,
    size: int,
    block: int,
) -> None:
    """Written by a program, or nearly CSV: stray and open quotes, lone carriage returns, blank records."""
    delimiter = ";" if "sep" in header else ","
    if quoted:
        cells = ['"' + cell.replace('"', '""') + '"' for cell in cells]
    rows = [f"{number}{delimiter}{cell}" for number, cell in enumerate(cells)]
    rows[::5] = [[" " * 30, delimiter, '""', f' {delimiter}" \n\xa0"', ""][len(row) % 5] for row in rows[::5]]  # blank
    path = tmp_path_factory.getbasetemp() / "ranges.csv"
    path.write_bytes((header + "\n" + (end or "\n").join(rows) + end).encode())
    source = table(path)
    before, csv_ranges._BLOCK = csv_ranges._BLOCK, block
    try:
        whole = documents(source, path)
    except UserError:
        return  # the reader of the complete file explains it
    try:
        parts(source, path, size)
    except NotDivisibleError:
        assert b'"' in path.read_bytes(), "only quotes make a file indivisible"
    finally:
        csv_ranges._BLOCK = before
    assert documents(source, path) == whole


def test_notes_are_divided_as_finely_as_wanted(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    rows = "".join(f'N{n},P{n // 3},"A ""note"",\n\nwith lines{" and more" * (n % 9)}\n"\r\n' for n in range(500))
    path.write_text("note_id,subject_id,text\r\n" + rows, newline="")
    source = MimicNotesSource(name="n", format="mimic_notes", paths=[str(path)], licence="")
    assert parts(source, path, 1) == 500 + 1
    assert parts(source, path, 5_000) == pytest.approx(path.stat().st_size / 5_000, rel=0.1)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "gbk", "utf-7"])
def test_encodings_in_which_quotes_are_bytes(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("patient,text\n" + "".join(f'{n},"+é \n"\n' for n in range(50)), encoding=encoding)
    if encoding.startswith("utf-8") or encoding == "cp1252":
        assert parts(table(path, encoding=encoding), path, 100) >= 5
    else:
        with pytest.raises(NotDivisibleError):
            find_spans(table(path, encoding=encoding), path, path, 100)


@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=1),
    ascii_only=st.booleans(),
    seed=st.integers(0, 9),
)
def test_ranges_of_lines(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], ascii_only: bool, seed: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "ranges.jsonl"
    ends = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"patient": number, "text": text}, ensure_ascii=ascii_only))
            file.write(ends.choice(["\n", "\r\n", "\n\n", "\r"]))
    parts(table(path), path, 20)


def article(pmid: int) -> str:
    text = "A text. " * (pmid % 20)
    return (
        f'<PubmedArticle>\n<MedlineCitation Status="X"><PMID Version="1">{pmid}</PMID><Article><ArticleTitle>T{pmid}'
        f"</ArticleTitle><Abstract><AbstractText>{text}</AbstractText></Abstract></Article></MedlineCitation>"
        "<PubmedData><History>x</History></PubmedData></PubmedArticle>\n"
    )


HEAD = '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE PubmedArticleSet PUBLIC "a" "b">\n<PubmedArticleSet>\n'
BOOK = "<PubmedBookArticle><BookDocument><PMID>5</PMID></BookDocument></PubmedBookArticle>\n"
DELETED = "<DeleteCitation><PMID Version='1'>5</PMID></DeleteCitation>\n"


def pubmed_source(path: Path) -> PubMedSource:
    return PubMedSource(name="p", format="pubmed", paths=[str(path)], licence="")


@pytest.mark.parametrize("size", [1, 300, 2_000, 10_000])
@pytest.mark.parametrize("more", ["", BOOK])
def test_ranges_of_citations(tmp_path: Path, size: int, more: str) -> None:
    """Newer versions of a citation in the same file included: they are judged over all of it."""
    path = tmp_path / "pubmed.xml"
    body = [article(pmid % 70) for pmid in range(100)]
    path.write_text(HEAD + "".join(body[:50]) + more + "".join(body[50:]) + DELETED + "</PubmedArticleSet>\n")
    assert parts(pubmed_source(path), path, size) > (path.stat().st_size // max(size, 1_500)) // 3


@pytest.mark.parametrize(
    "break_",
    [
        lambda text: text.replace("<PubmedArticle>", "<!-- <PubmedArticle> --><PubmedArticle>", 1),
        lambda text: text.replace("A text", "<![CDATA[</PubmedArticle>]]>", 1),
        lambda text: text.replace("</PubmedArticle>", "</PubmedArticle><x>", 1),
        lambda text: text.replace("<PubmedArticleSet>", "<a><PubmedArticleSet>") + "</a>",
        lambda text: text.replace("utf-8", "latin-1"),
        lambda text: text.replace('"b">', '"b" [<!ENTITY e "x">]>'),
        lambda text: text.replace("<PubmedArticle>", "<PubmedArticle a='b'>", 1),
        lambda text: text.replace("</PubmedArticle>", "", 1),
        lambda text: text[:-40],
        lambda text: text + text,
    ],
)
def test_xml_that_may_hide_tags_is_not_divided(tmp_path: Path, break_: Callable[[str], str]) -> None:
    path = tmp_path / "pubmed.xml"
    path.write_text(break_(HEAD + "".join(map(article, range(50))) + "</PubmedArticleSet>\n"))
    with pytest.raises(NotDivisibleError):
        find_spans(pubmed_source(path), path, path, 1_000)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_ranges_of_a_package(tmp_path: Path, form: int) -> None:
    path = tmp_path / "package.tar"
    with tarfile.open(path, "w", format=form) as package:
        for number in range(60):
            name = ("d/" * 55 if form != tarfile.USTAR_FORMAT and number % 5 == 0 else "") + f"PMC{number}.xml"
            ids = f'<article-id pub-id-type="pmcid">PMC{number}</article-id>'
            title = "<title-group><article-title>Title</article-title></title-group>"
            text = (
                f"<article><front><article-meta>{ids}{title}</article-meta></front><body><p>A{'b ' * number}</p></body>"
            )
            content = f"{text}</article>".encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    source = PmcSource(name="p", format="pmc", paths=[str(path)], licence="")
    assert len(documents(source, path)) == 60
    assert parts(source, path, 1) == 60
    assert 5 < parts(source, path, 10_000) < 20


def test_ranges_of_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "notes.parquet"
    rows = arrow.table({"patient": [f"P{n}" for n in range(100)], "text": [f"Note {n}" for n in range(100)]})
    parquet.write_table(rows, path, row_group_size=7)
    assert parts(table(path), path, 1) == 15
    assert 1 < parts(table(path), path, 300) < 15


def test_a_compressed_file_is_divided_as_its_content(tmp_path: Path) -> None:
    path, content = tmp_path / "notes.csv.gz", tmp_path / "unpacked"
    text = ("patient,text\n" + "".join(f'{n},"Note\n{n}"\n' for n in range(200))).encode()
    path.write_bytes(gzip.compress(text))
    content.write_bytes(text)
    spans = find_spans(table(path), path, content, 500)
    assert len(spans) > 3
    assert documents(table(path), path, *spans) == documents(table(path), path)
    assert documents(table(path), path, spans[1])[0].id == f"notes.csv.gz:{spans[1].first + 1}"
