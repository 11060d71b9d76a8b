"""Bombs: compressed files, archives, records and XML that would take all memory or time are refused with a message."""

import gzip
import io
import logging
import os
import re
import resource
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import fuzz_formats
import pytest

from clinical_modernbert.configs import limits
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora import readers
from clinical_modernbert.streaming_data.corpora.pmc import PmcSource
from clinical_modernbert.streaming_data.corpora.pubmed import PubMedSource
from clinical_modernbert.streaming_data.corpora.tables import read_records
from clinical_modernbert.streaming_data.documents import bounded, csv_records
from clinical_modernbert.streaming_data.documents.archives import open_wanted
from clinical_modernbert.streaming_data.documents.csv_records import read_csv
from clinical_modernbert.streaming_data.documents.files import open_binary
from clinical_modernbert.streaming_data.documents.html_text import convert_html
from clinical_modernbert.streaming_data.documents.markup import find_markup
from clinical_modernbert.streaming_data.documents.rtf import convert_rtf

SECONDS = 10
ARTICLE = (
    b'<article><front><article-meta><article-id pub-id-type="pmc">5</article-id></article-meta></front>'
    b"<body><p>%s</p></body></article>"
)


@pytest.fixture(autouse=True)
def in_time() -> object:
    """Interrupts a test that hangs: each of these took minutes, or more time than there is."""

    def interrupt(number: int, frame: object) -> None:
        raise TimeoutError(f"longer than {6 * SECONDS} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(6 * SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def read_all(kind: type[PmcSource] | type[PubMedSource], path: Path) -> list[object]:
    values = {"name": "s", "licence": "none", "paths": [str(path)]}
    return list(readers.read(kind.model_validate(values | {"format": kind.__name__.removesuffix("Source").lower()})))


def write_gzip(path: Path, start: bytes, block: bytes, times: int) -> Path:
    with gzip.open(path, "wb", compresslevel=6) as file:
        file.write(start)
        for _ in range(times):
            file.write(block)
    return path


@pytest.mark.slow
def test_a_gzip_bomb_is_refused_with_its_sizes(tmp_path: Path) -> None:
    path = write_gzip(tmp_path / "bomb.xml.gz", b"<PubmedArticleSet>", bytes(1 << 20), 300)
    message = r"bomb\.xml\.gz: [\d,]+ compressed bytes expand to more than [\d,]+.*unpack it"
    with open_binary(path) as file, pytest.raises(UserError, match=message):
        for _ in iter(lambda: file.read(1 << 20), b""):
            pass
    with pytest.raises(UserError, match=r"bomb\.xml\.gz: more than"):
        read_all(PubMedSource, path)


@pytest.mark.slow
def test_a_small_file_may_have_any_ratio_and_a_large_one_that_of_text(tmp_path: Path) -> None:
    equal = write_gzip(tmp_path / "equal.gz", b"", b"a,b\n" * 1024, 10_000)
    assert len(open_binary(equal).read()) == 4096 * 10_000 < limits.FREE_EXPANSION
    numbers = b"".join(b"%d is the number of note %d\n" % (number * 7919 % 100_003, number) for number in range(60_000))
    large = write_gzip(tmp_path / "large.gz", b"", numbers, 40)
    with open_binary(large) as file:
        size = sum(map(len, iter(lambda: file.read(1 << 20), b"")))
    assert size == len(numbers) * 40 > limits.FREE_EXPANSION


@pytest.mark.slow
def test_reading_a_bomb_can_be_interrupted(tmp_path: Path) -> None:
    """With a bound that is not reached, so that the reader is at work when the signal comes."""
    path = write_gzip(tmp_path / "bomb.xml.gz", b"<PubmedArticleSet>", bytes(1 << 20), 1000)
    program = (
        "import sys; from pathlib import Path; from clinical_modernbert.streaming_data.documents import bounded\n"
        "from clinical_modernbert.streaming_data.corpora import pubmed\n"
        "bounded.FREE_EXPANSION = 1 << 50; print('started', flush=True)\n"
        "while True: pubmed.open_binary(Path(sys.argv[1])).read(1 << 28)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", program, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=SECONDS)
    assert b"KeyboardInterrupt" in errors


def write_tar(path: Path, *members: tuple[str, bytes, int], content: bytes = b"") -> Path:
    """Members of a name, a type and a size; all but links have the content, or zeros."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, kind, size in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, "/etc/passwd", size
            archive.addfile(member, io.BytesIO(content or bytes(size)))
    return path


def test_a_tar_bomb_takes_no_memory(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "bomb.tar.gz", ("a.xml", tarfile.REGTYPE, 200 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"bomb\.tar\.gz: a\.xml: more than [\d,]+ bytes"):
        read_all(PmcSource, path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 << 10


def test_names_of_members_are_no_paths_and_links_and_devices_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("clinical_modernbert"), "propagate", True)
    article = ARTICLE % b"x"
    members = [(name, tarfile.REGTYPE, len(article)) for name in ("../../up.xml", f"{tmp_path}/absolute.xml", "a.xml")]
    links = [
        ("l.xml", tarfile.SYMTYPE, 0),
        ("h.xml", tarfile.LNKTYPE, 0),
        ("c.xml", tarfile.CHRTYPE, 0),
        ("f.xml", tarfile.FIFOTYPE, 0),
    ]
    path = write_tar(tmp_path / "a.tar", *members, *links, content=article)
    assert len(read_all(PmcSource, path)) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar"]
    assert "ignored 2 devices, 2 links" in caplog.text


def test_an_extended_header_of_a_tar_package_is_small(tmp_path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    with pytest.raises(UserError, match=r"a\.tar: an extended header of 1,099,511,627,776 bytes"):
        read_all(PmcSource, tmp_path / "a.tar")


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("codes.txt", bytes(limits.FREE_EXPANSION + (1 << 22)))
    with pytest.raises(UserError, match=r"bomb\.zip: codes\.txt: .* compressed bytes expand"):
        open_wanted(path, lambda start: 0, "codes").read()


def test_an_archive_of_too_many_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(limits.ZIP_MEMBERS + 1):
            archive.writestr(f"{number}.txt", "")
    with pytest.raises(UserError, match=r"1,001 files in a zip archive"):
        open_wanted(tmp_path / "a.zip", lambda start: 0, "codes")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[-10:-6] = b"\xff\xff\xff\x7f"  # the size of the directory
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(UserError, match=r"a zip archive with a directory of more than"):
        open_wanted(tmp_path / "a.zip", lambda start: 0, "codes")


@pytest.fixture
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds on records and documents that a test reaches quickly."""
    for module in (csv_records, readers.tables):
        monkeypatch.setattr(module, "RECORD_CHARACTERS", 10_000)
        monkeypatch.setattr(module, "DOCUMENT_CHARACTERS", 5_000)
    monkeypatch.setattr(csv_records, "HEADER_CHARACTERS", 1_000)
    monkeypatch.setattr(bounded, "DOCUMENT_CHARACTERS", 5_000)


@pytest.mark.usefixtures("small_records")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id,text\n1,a\n2," + "x" * 6_000,
            "record 2 has a text of 6,000 characters; a document may have 5,000: split it",
        ),
        ("id,text\n1,a\n2," + "x" * 20_000, "line 2 has more than 10,000 characters"),
        (
            'id,text\n1,a\n2,"' + "x\n" * 20_000,
            "after record 1: the next one has more than 10,000 characters; a quote that",
        ),
        ("id,text" + ",x" * 1_000, "line 1 has more than 1,000 characters"),
    ],
)
def test_records_of_a_table_are_bounded(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        list(read_csv(path, ["id", "text"]))


@pytest.mark.usefixtures("small_records")
def test_lines_of_json_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": "' + "x" * 6_000 + '"}\n')
    with pytest.raises(UserError, match="line 2 has a text of 6,000 characters"):
        list(read_records(path, ["text"]))
    path.write_text('{"text": "a"}\n' + "[" * 20_000)
    with pytest.raises(UserError, match="line 2 has more than 10,000 characters"):
        list(read_records(path, ["text"]))


def test_a_parquet_bomb_is_refused(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    texts = arrow.array(["x" * 1_000_000] * 100)
    for compression in ("zstd", "none"):
        parquet.write_table(
            arrow.table({"text": texts}),
            tmp_path / f"{compression}.parquet",
            use_dictionary=False,
            compression=compression,
        )
    assert len(list(read_records(tmp_path / "none.parquet", ["text"]))) == 100
    with pytest.raises(UserError, match=r"zstd\.parquet: [\d,]+ bytes of Parquet expand to 10\d,\d+,\d+"):
        list(read_records(tmp_path / "zstd.parquet", ["text"]))


def test_damaged_metadata_of_a_parquet_column_ends_no_process(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    path.write_bytes(fuzz_formats.mutate(fuzz_formats.parquet_table(tmp_path), 364))
    with pytest.raises(UserError, match="truncated or corrupt Parquet file"):
        list(read_records(path, ["text", "patient"]))


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        (b"<a/>" * 1_600_000, "tags and attributes in one document"),
        (
            b"<a " + b" ".join(b"b%d=''" % number for number in range(800_000)) + b"/>" + b"<a/>" * 800_000,
            "tags and attrib",
        ),
        (b"x" * (limits.XML_BYTES + 1), "bytes, which is no file of this kind"),
        (b"<a>" * 300, "malformed XML"),
    ],
)
def test_an_article_is_bounded(tmp_path: Path, inside: bytes, message: str) -> None:
    path = tmp_path / "a.nxml"
    path.write_bytes(ARTICLE % inside)
    with pytest.raises(UserError, match=message):
        read_all(PmcSource, path)


@pytest.mark.parametrize(
    "inside",
    [
        b'<xref ref-type="bibr">a' * 60 + b"</xref>" * 60,  # 2^60 visits
        b" " * 1_000_000 + b"x",
        b"<inline-formula><tex-math>" + b"\\begin{document} " * 60_000 + b"</tex-math></inline-formula>",
        b"<inline-formula><tex-math>\\begin{document}" + b" " * 1_000_000 + b"</tex-math></inline-formula>",
    ],
)
def test_an_article_takes_time_in_proportion_to_its_size(tmp_path: Path, inside: bytes) -> None:
    path = tmp_path / "a.nxml"
    path.write_bytes(ARTICLE % inside)
    started = time.process_time()
    assert len(read_all(PmcSource, path)) == 1
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize(
    "inside",
    [
        b"<x/>" * 1_600_000,
        b"<PubmedData>" + b"x" * (limits.XML_BYTES + (1 << 21)),
        b"x" * (limits.XML_BYTES + (2 << 20)),
    ],
)
def test_a_citation_is_bounded(tmp_path: Path, inside: bytes) -> None:
    path = tmp_path / "a.xml"
    path.write_bytes(b"<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>1</PMID>" + inside)
    with pytest.raises(UserError, match=r"a\.xml: .*(?:without the end of|malformed XML)"):
        read_all(PubMedSource, path)


@pytest.mark.parametrize("digits", [10, 5000])
def test_a_pmid_has_eight_digits(tmp_path: Path, digits: int) -> None:
    path = tmp_path / "a.xml"
    path.write_text(
        f"<PubmedArticleSet><MedlineCitation><PMID>{'4' * digits}</PMID></MedlineCitation></PubmedArticleSet>"
    )
    with pytest.raises(UserError, match=f"a PMID of {digits:,} digits"):
        read_all(PubMedSource, path)


@pytest.mark.parametrize(
    "text",
    [
        "<p>x</p>" + "<!-- " * 200_000,
        "<p>x</p>" + "<?xml " * 200_000,
        "<p>x</p>" + "<![CDATA[" * 100_000,
        "<p>x</p>" + "<![a[" * 1_000,
        "<!-- -->" * 100_000 + "x",
        "<p>x</p>" + "<table>" * 100_000,
        "<p>x</p>" + "a<b>b</b> " * 400_000,
        "x" * (limits.MARKUP_CHARACTERS + 1) + "<p>x</p>",
        "{\\rtf1 " + '{\\field{\\*\\fldinst{HYPERLINK "' * 10_000,
        "{\\rtf1 " + "{" * 1_000_000,
        "{\\rtf1 {\\fonttbl {\\f" + "0" * 100_000,
        "{\\rtf1 {\\fonttbl" + "{\\f0\\fcharset0 x" * 1_500,
        "{\\rtf1 {\\fonttbl" + "{\\f0" * 4_000 + "\\fcharset0" + ";" * 8_000,
        "{\\rtf1 {\\fonttbl{\\f0\\fcharset" + "9" * 4_000,
        "{\\rtf1 {\\fonttbl {\\f0" + "\\" * 100_000,
        "{\\rtf1 {\\fonttbl{\\f0\\fcharset" + "9" * 5_000 + " x;}}",
        "{\\rtf1 " + "x" * limits.MARKUP_CHARACTERS,
    ],
)
@pytest.mark.parametrize("convert", [find_markup, convert_html, convert_rtf])
def test_markup_is_converted_or_refused_in_time(convert: Callable[[str], object], text: str) -> None:
    started = time.process_time()
    with suppress(UserError):
        convert(text)
    assert time.process_time() - started < SECONDS


def test_what_looks_like_the_start_of_a_comment_is_text() -> None:
    assert convert_html("<p>a <!-- b</p>") == "a <!-- b"
    assert convert_html("<p>a <!-- b --> <![if !supportLists]>c<![endif]></p>") == "a c"
