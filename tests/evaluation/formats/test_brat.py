"""BRAT: pieces, line ends and byte order marks of other programs, what is counted, and bytes of texts."""

from collections import Counter
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.formats.annotations import (
    AnnotatedText,
    Relation,
    Span,
    read_annotations,
    write_annotations,
)

TEXT = "Ménière’s disease 😀\nand chest\tor back pain.\n"


def line(text: str, name: str, kind: str, *words: str, joined: str = " ") -> str:
    """A span over the words, as BRAT writes it, with offsets in characters of the text."""
    pieces = [(text.index(word), text.index(word) + len(word)) for word in words]
    offsets = ";".join(f"{start} {end}" for start, end in pieces)
    return f"{name}\t{kind} {offsets}\t{joined.join(words)}\n"


def test_pieces_relations_and_what_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    lines = [line(TEXT, "T1", "Disease", "Ménière’s disease"), line(TEXT, "T7", "Problem", "chest", "pain", joined="")]
    lines += [
        "R1\tSame Arg1:T7 Arg2:T1\t\n",
        "E1\tProblem:T7 Theme:T1\n",
        "R2\tAt Arg1:E1 Arg2:T1\n",
        "A1\tNegated T1\n",
    ]
    lines += ["N1\tReference T1 UMLS:C1\tx\n", "#1\tAnnotatorNotes T1\tsecret\n", "*\tEquiv T1 T7\n", "\n"]
    (tmp_path / "a.ann").write_text("".join(lines))
    counts = Counter[str]()
    [text] = read_annotations(tmp_path / "a.txt", counts=counts)
    assert [(TEXT[one.start : one.end], one.type) for one in text.spans] == [
        ("Ménière’s disease", "Disease"),
        ("chest\tor back pain", "Problem"),
    ]
    assert text.relations == [Relation("Same", 1, 0)]
    assert {kind.split(",")[0] for kind in counts} == {
        *("discontinuous spans", "events", "relations of events", "attributes", "normalizations", "notes"),
        "equivalences",
    }
    write_annotations([text], tmp_path / "out.ann", source=tmp_path / "a.ann")
    assert (tmp_path / "out.ann").read_text().splitlines() == [
        "T1\tDisease 0 17\tMénière’s disease",
        "T2\tProblem 24 42\tchest or back pain",
        "R1\tSame Arg1:T2 Arg2:T1\t",
    ]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("counted_as", ["raw", "without mark", "lines", "both"])
def test_offsets_of_other_programs_are_right_and_no_byte_changes(mark: str, counted_as: str, tmp_path: Path) -> None:
    """Programs count a mark or not, and a line end of two characters as two or one; the words fit one of these."""
    raw = mark + TEXT.replace("\n", "\r\n")
    counted = raw.removeprefix("\ufeff") if counted_as in ("without mark", "both") else raw
    counted = counted.replace("\r\n", "\n") if counted_as in ("lines", "both") else counted
    folder = tmp_path / "in/ward 1"
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(raw.encode())
    (folder / "a.ann").write_bytes(f"{mark}{line(counted, 'T1', 'Problem', 'back pain')}".encode())
    [text] = read_annotations(tmp_path / "in")
    assert (text.id, [text.text[one.start : one.end] for one in text.spans]) == ("ward 1/a", ["back pain"])
    predicted = [text._replace(spans=[*text.spans, Span(0, 7, "Name")])]
    write_annotations(predicted, tmp_path / "out", source=tmp_path / "in")
    assert (tmp_path / "out/ward 1/a.txt").read_bytes() == raw.encode()
    assert read_annotations(tmp_path / "out")[0].spans == predicted[0].spans


def test_files_of_a_directory_are_paired(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    for name in ("txt/1.txt", "txt/2.txt", "ann/1.ann", "b/1.txt", "b/1.ann"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x" if name.endswith(".txt") else "T1\tD 0 1\tx\n")
    texts = read_annotations(tmp_path)
    assert [(text.id, len(text.spans)) for text in texts] == [("b/1", 1), ("txt/1", 1), ("txt/2", 0)]
    assert messages.messages == [f"{tmp_path}: 1 texts without annotations"]
    (tmp_path / "ann/9.ann").write_text("")
    with pytest.raises(UserError, match=r"9\.ann: has no text; expected 9\.txt next to it"):
        read_annotations(tmp_path)


def test_nothing_that_exists_is_overwritten_and_the_source_stays(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.txt").write_text("x y")
    text = AnnotatedText("a", "x y", [Span(0, 1, "D")])
    with pytest.raises(UserError, match="exists already"):
        write_annotations([text], tmp_path / "in", source=tmp_path / "in")
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["a.txt"]
    write_annotations([text], tmp_path / "in/a.ann", source=tmp_path / "in/a.txt")
    assert (tmp_path / "in/a.txt").read_text() == "x y"
    assert read_annotations(tmp_path / "in")[0].spans == [Span(0, 1, "D")]
    with pytest.raises(UserError, match="this is not the text to be written"):
        write_annotations([text._replace(text="z")], tmp_path / "out", source=tmp_path / "in")
