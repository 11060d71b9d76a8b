"""Notes come through exactly as they were written; every kind of bad table has its own clear error."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.mimic_notes import COLUMNS, MimicNotesSource
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.corpora.tables import TableSource
from clinical_modernbert.streaming_data.documents.document import Document

NOTE = 'Name:  ___       Unit No:   ___\n \nChief Complaint:\n"chest, pain"\n\n\nHistory:\n\tMr. ___ is\n'


def mimic_csv(*rows: dict[str, str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def notes(path: Path) -> list[Document]:
    source = MimicNotesSource(name="notes", format="mimic_notes", licence="PhysioNet", paths=[str(path)])
    return list(read(source))


def table(path: Path, **options: str) -> list[Document]:
    options = {"split_by": "patient", **options}
    return list(read(TableSource(name="own", format="table", licence="own", paths=[str(path)], **options)))


@pytest.mark.parametrize("name", ["discharge.csv", "discharge.csv.gz"])
def test_a_note_keeps_its_lines_and_blanks(tmp_path: Path, name: str) -> None:
    content = mimic_csv({"note_id": "100-DS-1", "subject_id": "100", "hadm_id": "7", "note_type": "DS", "text": NOTE})
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    (document,) = notes(path)
    assert document.text == NOTE.strip("\n")
    assert (document.id, document.source) == ("100-DS-1", "notes")
    assert document.meta == {"subject_id": "100", "hadm_id": "7", "note_type": "DS", "synthetic": "false"}


def test_notes_longer_than_the_csv_modules_own_limit(tmp_path: Path) -> None:
    path = tmp_path / "discharge.csv"
    path.write_text(mimic_csv({"note_id": "1", "subject_id": "1", "text": "word " * 100_000}))
    assert len(notes(path)[0].text) == 500_000


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n")), min_size=1, max_size=5))
def test_any_text_survives_csv_and_json_lines(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.mktemp("tables")
    rows = [{"patient": f"p{number}", "text": text} for number, text in enumerate(texts)]
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with (folder / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["patient", "text"])
        writer.writeheader()
        writer.writerows(rows)
    for name in ("a.jsonl", "a.csv"):
        got = table(folder / name, clean=[])
        assert [document.text for document in got] == texts
        assert [document.meta["patient"] for document in got] == [row["patient"] for row in rows]


def test_named_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"key,mrn,body,other\nk1,m1,hello,x\n"))
    assert table(path, text="body", id="key", split_by="mrn") == [Document("k1", "own", "hello", {"mrn": "m1"})]


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"patient": ["p1", "p2"], "text": ["one", None]}), path)
    assert [document.text for document in table(path)] == ["one", ""]
    with pytest.raises(UserError, match="no column mrn; the file has patient, text"):
        table(path, split_by="mrn")


def test_without_pyarrow_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"pip install clinical-modernbert\[parquet\]"):
        table(tmp_path / "a.parquet")


BAD_TABLES = {
    "a.csv": {
        "patient,note\np,x\n": "no column text; the file has patient, note",
        "": "the file is empty; expected a header with text, patient",
        "p1,Seen today for chest pain\n": "2 columns, none with a name that is needed; expected columns named text, pa",
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
def test_bad_tables(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        table(tmp_path / name)
    assert BAD_TABLES[name][content] in str(error.value)
    assert str(error.value).startswith(str(tmp_path / name))
    assert "chest pain" not in str(error.value)


def test_bad_notes(tmp_path: Path) -> None:
    path = tmp_path / "discharge.csv"
    path.write_text(mimic_csv({"note_id": "1", "subject_id": "", "text": "x"}))
    with pytest.raises(UserError, match="record 1 has no note_id or no subject_id"):
        notes(path)
    path.write_text("note_id,subject_id\n1,1\n")
    with pytest.raises(UserError, match="no column text; the file has note_id, subject_id"):
        notes(path)


def test_damaged_files(tmp_path: Path) -> None:
    whole = mimic_csv(*({"note_id": str(n), "subject_id": "1", "text": f"{n} {n * n}"} for n in range(20_000)))
    path = tmp_path / "discharge.csv.gz"
    path.write_bytes(gzip.compress(whole.encode())[:-5000])
    with pytest.raises(UserError, match=r"discharge\.csv\.gz: cut short or damaged after record \d+"):
        notes(path)
    path.write_bytes(whole.encode())
    with pytest.raises(UserError, match=r"named \.gz but not gzip"):
        notes(path)
    path = tmp_path / "latin.csv"
    path.write_bytes(mimic_csv({"note_id": "1", "subject_id": "1", "text": "café"}).encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        notes(path)


def test_paths(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv"):
        (tmp_path / name).write_text(f"patient,text\np,{name}\n")
    assert [document.text for document in table(tmp_path / "*.csv")] == ["a.csv", "b.csv"]
    with pytest.raises(UserError, match="no such file"):
        table(tmp_path / "c.csv")
    with pytest.raises(UserError, match="named twice"):
        list(
            read(TableSource(name="o", format="table", licence="", split_by="patient", paths=[str(tmp_path / "*")] * 2))
        )
    with pytest.raises(UserError, match="pip install no-such-package"):
        table(Path("package:no-such-package/data.csv"))
