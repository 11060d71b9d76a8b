"""Tables in the forms that hospital programs write: read if unambiguous, else refused without showing text."""

import codecs
import csv
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.mimic_notes import MimicNotesSource
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.corpora.tables import TableSource
from clinical_modernbert.streaming_data.documents.document import Document

PRIVATE = "Smith"


def source(path: object, **options: Any) -> TableSource:
    options = {"text": "body", "split_by": "mrn"} | options
    return TableSource(name="own", format="table", licence="own", paths=[str(path)], **options)


def table(path: object, **options: Any) -> list[Document]:
    return list(read(source(path, **options)))


def patient_table(path: Path, **options: Any) -> list[Document]:
    """The documents of a table whose columns are `text` and `patient`."""
    return table(path, **{"text": "text", "split_by": "patient"} | options)


def refusal(path: object, **options: Any) -> str:
    with pytest.raises(UserError) as error:
        table(path, **options)
    message = str(error.value).removeprefix(f"{path}: ")
    assert message != str(error.value)
    assert PRIVATE not in message
    return message


NAMELESS = "none with a required name; expected"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", json.dumps({f"{n} John Smith": "note" for n in range(99)}), f"99 keys, {NAMELESS} keys named body"),
        ("a.csv", "n1,p1,Smith\nn2,p2,Jones\n", f"3 columns, {NAMELESS} columns named body, mrn"),
        ("a.csv", "Smith\n", f"1 column, {NAMELESS}"),
        ("a.csv", "MRN;Note\n1;Smith\n", "no column body, mrn; the file has MRN, Note"),
        ("a.csv", "MRN,note\n1,Smith\n", "no column body, mrn; the file has MRN, note"),
        ("a.jsonl", '{"mrn": 1, "no\\nte\\ud83d": "Smith"}', "line 1 has no body; it has mrn and 1 more"),
        ("a.csv", "mrn" + ",x" * 99, f"the file has mrn{', x' * 19} and 80 more"),
        ("a.csv", "mrn,note_text1,Mr. Smith; seen\n", "no column body; the file has mrn, note_text1 and 1 more"),
    ],
)
def test_messages_show_only_plausible_column_names(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    error = refusal(tmp_path / name)
    assert message in error
    assert len(error) < 200


def test_parquet_messages_show_only_plausible_column_names(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"1 John Smith": ["note"]}), path)
    assert f"1 column, {NAMELESS} columns named body, mrn" in refusal(path)
    parquet.write_table(arrow.table([["m"], ["a"], ["b"]], names=["mrn", "body", "body"]), path)
    assert "more than one column is named body" in refusal(path)
    parquet.write_table(arrow.table({"mrn": [1.0, 2.0], "body": [1.5, 2.5]}), path)
    assert "record 1: body is of the type float; expected text" in refusal(path)
    bad = arrow.array([b"Smith \xed\xa0\xbd"], arrow.binary()).buffers()
    parquet.write_table(arrow.table({"mrn": ["m"], "body": arrow.StringArray.from_buffers(1, *bad[1:])}), path)
    assert "after record 0 is not UTF-8" in refusal(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "truncated or corrupt Parquet file" in refusal(path)


@pytest.mark.parametrize("value", ["NaN", "5", "0", "false", "[]", '["Smith"]', '{"note": "Smith"}'])
def test_text_of_another_type_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"mrn": "1", "body": "fine"}}\n\n{{"mrn": "1", "body": {value}}}\n')
    assert "line 3: body is of the type " in refusal(path)


def test_null_and_empty_texts_are_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"mrn": "1", "body": null}\n{"mrn": "1", "body": ""}\n')
    assert [document.text for document in table(path)] == ["", ""]


def test_a_required_column_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("note_id,mrn,body,body\n1,1,Smith,Smith\n")
    assert "more than one column is named body; rename or remove all but one" in refusal(path)
    path.write_text("x,mrn,body,x\n1,2,3,4\n")
    assert [document.text for document in table(path)] == ["3"]


def test_a_patient_has_one_identifier_across_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("key,mrn,body\n1.0, 7 ,x\n")
    (tmp_path / "b.jsonl").write_text('{"key": 1, "mrn": 7.0, "body": "x"}\n')
    (tmp_path / "discharge.csv").write_text("note_id,subject_id,text\n1.0,7.0,x\n")
    mimic = MimicNotesSource(name="m", format="mimic_notes", licence="", paths=[str(tmp_path / "discharge.csv")])
    documents = [*table(tmp_path / "a.csv", id="key"), *table(tmp_path / "b.jsonl", id="key"), *read(mimic)]
    assert [document.id for document in documents] == ["1", "1", "1"]
    assert [document.meta["mrn"] for document in documents[:2]] == ["7", "7"]
    assert documents[2].meta["subject_id"] == "7"


@pytest.mark.parametrize("absent", ["", "NULL", "nan", "NaN", "None", "n/a"])
def test_records_without_a_patient_are_counted(tmp_path: Path, absent: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"mrn,body\n1,a\n{absent},Smith\n2,b\n{absent},c\n , \n{absent},d\n")
    assert "record 2 (and 2 after it) has no mrn; " in refusal(path)
    path.write_text(f"key,mrn,body\n{absent},1,Smith\n")
    assert "record 1 has no mrn or no key; " in refusal(path, id="key")


def test_a_lone_surrogate_becomes_the_replacement_character(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"mrn": "m\\ude00", "body": "\\ud83d lone"}\n{"mrn": "m", "body": "\\ud83d\\ude00 whole"}\n')
    documents = table(path, clean=[], id="mrn")
    assert [document.text for document in documents] == ["\ufffd lone", "\U0001f600 whole"]
    assert documents[0].meta["mrn"] == documents[0].id == "m\ufffd"


@pytest.mark.parametrize("value", ["9" * 5_000, "[" * 100_000])
def test_json_beyond_the_parsers_limits_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"mrn": "1", "body": "a"}}\n{{"mrn": {value}, "body": "Smith"}}\n')
    assert "line 2 is not JSON" in refusal(path)


CSV = 'mrn,body\n1,"a, b; c\td"\n2,é\n'
TEXTS = ["a, b; c\td", "é"]


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV.replace("mrn", '"mrn"'), encoding="utf-8-sig")
    (tmp_path / "a.jsonl").write_text('{"mrn": 1, "body": "é"}\n', encoding="utf-8-sig")
    assert [document.text for document in table(tmp_path / "a.csv")] == TEXTS
    assert [document.text for document in table(tmp_path / "a.jsonl")] == ["é"]


@pytest.mark.parametrize("blank", ["\n", "\r\n", "  \n", ",\n"])
def test_blank_lines_are_skipped(tmp_path: Path, blank: str) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("\n" + blank.join(CSV.splitlines(keepends=True)) + blank)
    assert [(document.id, document.text) for document in table(path)] == [("a.csv:1", TEXTS[0]), ("a.csv:2", TEXTS[1])]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'mrn;body\n1;"a, b; c\td"\n2;é\n'),
        ("a.csv", '"mrn";"body"\n1;"a, b; c\td"\n2;é\n'),
        ("a.csv", 'mrn;body;note, free text\n1;"a, b; c\td";x\n2;é;y\n'),
        ("a.csv", 'mrn\tbody\n1\t"a, b; c\td"\n2\té\n'),
        ("A.CSV", 'mrn;body\n1;"a, b; c\td"\n2;é\n'),
        ("A.TSV", '"a;mrn;body"\tmrn\tbody\nx\t1\t"a, b; c\td"\ny\t2\té\n'),
        ("a.tsv", 'mrn\tbody\n1\t"a, b; c\td"\n2\té\n'),
        ("a.csv", '"a;b\tc",mrn,body\nx,1,"a, b; c\td"\ny,2,é\n'),
    ],
)
def test_the_delimiter_is_detected_from_the_header(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    documents = table(tmp_path / name)
    assert [(document.text, document.meta["mrn"]) for document in documents] == [(TEXTS[0], "1"), (TEXTS[1], "2")]


def test_backslash_escapes_are_explained(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('mrn,body\n1,"says \\"Smith\\" is"\n')
    assert 'written twice, "", not after a backslash' in refusal(path)


@pytest.mark.parametrize(("name", "line"), [("a.csv", "1,{}\n"), ("a.jsonl", '{{"mrn": 1, "body": "{}"}}\n')])
def test_errors_name_the_first_line_that_is_invalid_in_the_encoding(tmp_path: Path, name: str, line: str) -> None:
    path = tmp_path / name
    header = b"mrn,body\n" if name == "a.csv" else b""
    lines = [line.format("naïve Smith " * 20).encode()] * 2_000
    lines[1_234] = line.format("naïve Smith").encode("latin-1")
    path.write_bytes(header + b"".join(lines))
    expected = f"line {1_235 + len(header.splitlines()):,} is not UTF-8 (invalid continuation byte)"
    assert expected in refusal(path)
    assert "set the `encoding` of a source" in refusal(path)
    zipped = tmp_path / f"{name}.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert expected in refusal(zipped)
    zipped.write_bytes(gzip.compress(b"\xff\xff" + os.urandom(50_000))[:-9])
    assert "line 1 is not UTF-8" in refusal(zipped)
    assert table(path, encoding="latin-1")[1_234].text == "naïve Smith"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(CSV.encode(encoding))
    assert [document.text for document in table(path, encoding=encoding)] == TEXTS
    if encoding == "cp1252":
        assert "line 3 is not UTF-8" in refusal(path)
        assert "is not UTF-16 (" in refusal(path, encoding="utf-16")
    elif encoding != "utf-16":
        assert (
            "has NUL characters in its first line; if the file is UTF-16 without a byte order mark, set the `encoding`"
            in refusal(path)
        )


@pytest.mark.parametrize("configured", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_a_byte_order_mark_decides_the_encoding(tmp_path: Path, mark: bytes, encoding: str, configured: str) -> None:
    rows = '{"mrn": 1, "body": "a, b; c\\td"}\r\n{"mrn": 2, "body": "é"}\r\n'
    for name, content in {"a.csv": f"sep=,\r\n{CSV}", "a.jsonl": rows}.items():
        path = tmp_path / name
        path.write_bytes(mark + content.encode(encoding))
        assert [document.text for document in table(path, encoding=configured)] == TEXTS
        zipped = tmp_path / f"{name}.gz"
        zipped.write_bytes(gzip.compress(path.read_bytes()))
        assert [document.text for document in table(zipped, encoding=configured)] == TEXTS


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "^"])
@pytest.mark.parametrize("line", ["sep={}", "SEP={}", '"sep={}"'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_separator_line_of_excel(tmp_path: Path, separator: str, line: str, end: str) -> None:
    path = tmp_path / "a.csv"
    rows = [
        line.format(separator),
        separator.join(['"note, free; text"', "mrn", "body"]),
        separator.join(["x", "1", "Smith"]),
    ]
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        file.write(end.join(rows) + end)
    assert [(document.text, document.id) for document in table(path)] == [("Smith", "a.csv:1")]
    with path.open("a") as file:
        file.write("short\n")
    assert "record 2, ending at line 4, has 1 fields where the header has 3" in refusal(path)


@pytest.mark.parametrize("spelling", ["note\u00a0text", "\ufeffnote text\u00a0", " note\u2007 text", "note\u200b text"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_invisible_characters_in_column_names(tmp_path: Path, spelling: str, name: str) -> None:
    path = tmp_path / name
    if name == "a.csv":
        path.write_text(f"mrn;{spelling};other, column\n1;fine;x\n", encoding="utf-8")
    elif name == "a.jsonl":
        path.write_text(json.dumps({"mrn": 1, spelling: "fine"}) + "\n")
    else:
        arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
        pytest.importorskip("pyarrow.parquet").write_table(arrow.table({"mrn": [1], spelling: ["fine"]}), path)
    assert [document.text for document in table(path, text="note text")] == ["fine"]
    assert [document.text for document in table(path, text="note\u00a0text")] == ["fine"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("windows1252", "did you mean windows_1252?"),
        ("hex", "not a text encoding"),
        ("\u20ac", "such as utf-8, cp1252"),
    ],
)
def test_an_unknown_encoding_is_refused(name: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message.replace("?", r"\?")):
        source("a.csv", encoding=name)


def test_paths_that_look_like_patterns(tmp_path: Path) -> None:
    folder = tmp_path / "Süd [alpha]"
    folder.mkdir()
    path = folder / "notes é*.csv"
    path.write_text(CSV, encoding="utf-8")
    (folder / "notes é2.csv").write_text(CSV, encoding="utf-8")
    assert len(table(path)) == 2
    inside = refusal(folder).removeprefix("is a directory; name its files in `paths`, such as ")
    assert len(table(inside)) == 4
    assert "write a [ that is part of a name as [[]" in refusal(folder / "*.csv")
    assert len(table(tmp_path / "Süd [[]alpha]" / "*.csv")) == 4


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n")), min_size=1, max_size=5))
def test_any_text_is_unchanged_by_csv_and_json_lines(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("tables")
    rows = [{"patient": f"p{number}", "text": text} for number, text in enumerate(texts)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["patient", "text"])
        writer.writeheader()
        writer.writerows(rows)
    for name in ("a.jsonl", "a.csv"):
        documents = patient_table(folder / name, clean=[])
        assert [document.text for document in documents] == texts
        assert [document.meta["patient"] for document in documents] == [row["patient"] for row in rows]


def test_columns_are_named_in_the_config(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"key,mrn,body,other\nk1,m1,hello,x\n"))
    assert patient_table(path, text="body", id="key", split_by="mrn") == [Document("k1", "own", "hello", {"mrn": "m1"})]


def test_parquet_is_read(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"patient": ["p1", "p2"], "text": ["one", None]}), path)
    assert [document.text for document in patient_table(path)] == ["one", ""]
    with pytest.raises(UserError, match="no column mrn; the file has patient, text"):
        patient_table(path, split_by="mrn")


def test_parquet_without_pyarrow_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="pip install pyarrow"):
        patient_table(tmp_path / "a.parquet")


BAD_TABLES = {
    "a.csv": {
        "patient,note\np,x\n": "no column text; the file has patient, note",
        "": "the file is empty; expected a header with text, patient",
        "p1,Seen today for chest pain\n": "2 columns, none with a required name; expected columns named text, pa",
        "patient,text\np1,a\np2\n": "record 2, ending at line 3, has 1 fields where the header has 2",
        'patient,text\np1,a\np2,"open\n': "after record 1, near line 3: not CSV",
        'patient,text\np1,"a"b\n': "not CSV",
        "patient,text\np1,a\n ,b\n": "record 2 has no patient",
    },
    "a.jsonl": {
        '{"patient": 1, "text": "a"}\n{"patient": 2, "text"\n': "line 2 is not JSON",
        '["a"]\n': "line 1 is not a JSON object",
        '{"patient": 1, "note": "a"}\n': "line 1 has no text; it has patient, note",
        '{"patient": null, "text": "a"}\n': "line 1 has no patient",
    },
    "a.txt": {"hello": "not a table; expected .csv, .tsv, .jsonl"},
}


@pytest.mark.parametrize(("name", "content"), [(name, text) for name, texts in BAD_TABLES.items() for text in texts])
def test_bad_tables_are_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        patient_table(tmp_path / name)
    assert BAD_TABLES[name][content] in str(error.value)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "chest pain" not in str(error.value)


def test_paths_are_matched_and_checked(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text(f"patient,text\np,{name}\n")
    assert [document.text for document in patient_table(tmp_path / "*.csv")] == ["a.csv", "b.csv"]
    with pytest.raises(UserError, match="no such file"):
        patient_table(tmp_path / "c.csv")
    with pytest.raises(UserError, match="named twice"):
        list(
            read(TableSource(name="o", format="table", licence="", split_by="patient", paths=[str(tmp_path / "*")] * 2))
        )
    with pytest.raises(UserError, match="pip install no-such-package"):
        patient_table(Path("package:no-such-package/data.csv"))


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.csv.gz"]),
    cut=st.tuples(st.integers(0, 120), st.integers(0, 9)),
    put=st.sampled_from([b"", b"\0", b"\xff\xfe", b'"', b"\n", b"\r", b"[", b"\xed\xa0\x80", b"1e999", b'"a":{']),
    encoding=st.sampled_from(["utf-8", "utf-8", "utf-16", "cp1252", "utf-7", "unicode_escape"]),
)
def test_mangled_tables_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, name: str, cut: tuple[int, int], put: bytes, encoding: str
) -> None:
    rows = "".join(f'{{"mrn": {number}.0, "body": "é \\ud83d, so"}}\n' for number in range(3))
    text = rows if name == "a.jsonl" else CSV.replace(",", "\t") if name == "a.tsv" else CSV
    start, length = cut
    content = text.encode()[:start] + put + text.encode()[start + length :]
    path = tmp_path_factory.getbasetemp() / f"mangled-{name}"
    path.write_bytes(gzip.compress(content)[: -length or None] if name.endswith(".gz") else content)
    try:
        documents, message = table(path, encoding=encoding), ""
    except UserError as error:
        documents, message = [], str(error)
    assert not message or message.startswith(f"{path}: ")
    assert len(message.splitlines()) <= 1
    for document in documents:
        assert document.text.encode().decode() == document.text
        assert document.meta["mrn"]
