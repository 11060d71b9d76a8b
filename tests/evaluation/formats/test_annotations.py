"""Every format: what is written is read again, with and without a source; formats are found; errors show no text."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.formats.annotations import (
    FORMATS,
    AnnotatedText,
    Columns,
    Relation,
    Span,
    find_format,
    read_annotations,
    write_annotations,
)
from clinical_modernbert.evaluation.formats.words import words_of

TARGETS = {
    "a.jsonl": "table",
    "a.csv": "table",
    "a.parquet": "table",
    "a.pubtator": "pubtator",
    "bioc.json": "bioc",
    "bioc.xml": "bioc",
    "tasks.json": "label-studio",
    "brat": "brat",
    "xml": "i2b2",
    "2010": "i2b2-2010",
    "a.iob": "iob",
}
IN_LINES = {"pubtator"}
"""Formats in which line breaks of the text become spaces."""
BY_WORDS = {"iob", "i2b2-2010"}
"""Formats that can hold only spans of complete words that do not overlap."""
WITHOUT_RELATIONS = {"a.csv", "a.parquet", "a.iob"}
ALPHABET = st.sampled_from([*"ab1 .,-|\"'\\&<>]\n\té😀\u0301\u2028\xa0", "\r\n", "]]>", "a ", "b "])


@st.composite
def annotated(draw: st.DrawFn, by_words: bool) -> list[AnnotatedText]:
    """Some texts with spans, each with an identifier that may be the name of a file."""
    texts = []
    for number in range(draw(st.integers(1, 3))):
        text = "a" + "".join(draw(st.lists(ALPHABET, max_size=25))) + "b"
        words = words_of(text)
        if by_words:
            text = " ".join(text[start:end] for start, end in words)
            words = words_of(text)
            borders = draw(st.lists(st.sampled_from(range(len(words) + 1)), max_size=6, unique=True).map(sorted))
            found = [
                (words[first][0], words[last - 1][1]) for first, last in zip(borders[::2], borders[1::2], strict=False)
            ]
        else:
            every = [pair for pair in combinations(range(min(len(text), 12) + 1), 2) if text[slice(*pair)].strip()]
            found = draw(st.lists(st.sampled_from(every), max_size=4))
        types = st.sampled_from(["Disease", "PATIENT", "Cell-line", "E"])
        spans = [Span(start, end, draw(types)) for start, end in found]
        ends = st.sampled_from(range(len(spans))) if spans else st.nothing()
        distinct = len({span[:2] for span in spans}) == len(spans)
        related = st.lists(st.builds(Relation, st.sampled_from(["CID", "TrAP"]), ends, ends), max_size=2)
        relations = draw(related) if spans and distinct else []
        texts.append(AnnotatedText(f"n{number}", text, spans, None, f"made: {number}", relations))
    return texts


def without_breaks(text: str) -> str:
    title, line_break, abstract = text.partition("\n")
    return title.replace("\r", " ") + line_break + abstract.replace("\r", " ").replace("\n", " ")


def same(read: list[AnnotatedText], written: list[AnnotatedText], target: str) -> None:
    name = TARGETS[target]
    expected = [without_breaks(text.text) if name in IN_LINES else text.text for text in written]
    assert [text.text for text in read] == expected
    assert [sorted(text.spans) for text in read] == [sorted(text.spans) for text in written]
    if target not in WITHOUT_RELATIONS:
        ends = [
            [[(one.type, text.spans[one.first], text.spans[one.second]) for one in text.relations] for text in texts]
            for texts in (read, written)
        ]
        assert ends[0] == ends[1]
    if name != "iob":
        assert [text.id for text in read] == [text.id for text in written]


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_written_is_read_again(target: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    name = TARGETS[target]

    @settings(max_examples=25)
    @given(annotated(name in BY_WORDS), st.data())
    def there_and_back(texts: list[AnnotatedText], data: st.DataObject) -> None:
        folder = tmp_path_factory.mktemp("texts")
        counts = Counter[str]()
        write_annotations(texts, folder / target, name, counts=counts)
        assert find_format(folder / target) == name
        read = read_annotations(folder / target, counts=counts)
        same(read, texts, target)
        dropped = {kind for kind, count in counts.items() if count and "line breaks" not in kind}
        assert dropped <= {"relations, which only .jsonl can hold"}, "nothing else is lost"
        again = folder / f"again-{target}"
        write_annotations(read, again, source=folder / target)
        same(read_annotations(again), read, target)
        moved = [
            text._replace(
                spans=[one._replace(type="Other") for one in text.spans if data.draw(st.booleans())], relations=[]
            )
            for text in read
        ]
        write_annotations(moved, folder / f"moved-{target}", source=folder / target)
        same(read_annotations(folder / f"moved-{target}"), moved, target)

    there_and_back()


def test_every_format_is_tried() -> None:
    assert set(TARGETS.values()) == FORMATS.keys()


MALFORMED: dict[str, tuple[str, str]] = {
    "a.jsonl": (
        '{"text": "secret x", "spans": [[0, 90, "D"]]}',
        "line 1: span 1: characters 0 to 90 are not in the text",
    ),
    "b.jsonl": ('{"text": "secret x", "spans": [[0, 6.5, "secret"]]}', "line 1: span 1: its end is not a whole number"),
    "c.jsonl": ('{"text": "secret x", "entities": [[3, 3, "secret"]]}', "span 1: characters 3 to 3"),
    "d.jsonl": ('{"text": ["secret"], "spans": []}', "line 1: text is of the type list; expected a text"),
    "e.jsonl": ('{"text": "secret x", "spans": [[0, 6, " "]]}', "its type is empty; expected the type of the span"),
    "a.csv": ('text,spans\nsecret x,"[[0, 6, 7]]"\n', "record 1: span 1: its type is of the type int"),
    "b.csv": ("text,spans\nsecret x,secret\n", "record 1: spans is not JSON; expected a list such as"),
    "c.csv": ("id,spans\nsecret,[]\n", "no column text"),
    "d.csv": ("id,text\n7,secret\n7,secret\n", ""),
    "a.pubtator": ("1|t|secret x\n1\t0\t6\tSecret\tD\tM1\n", "line 2: characters 0 to 6 of the text are not those"),
    "b.pubtator": ("1|t|secret x\n2\t0\t6\tsecret\tD\tM1\n", "line 2: the line has another ID than the title"),
    "c.pubtator": ("secret\n", "line 1: not the title of a document"),
    "d.pubtator": ("1|t|secret x\n2|a|secret\n", "line 2: an abstract that does not follow its title"),
    "e.pubtator": ("1|t|secret x\n1\t0\tsecret\n", "line 2: 3 columns that are no span and no relation"),
    "f.pubtator": ("1|t|é secret\n1\t3\t9\tsecret\tD\t\n", "(they are right if counted in bytes)"),
    "g.pubtator": ("1|t|secret x\n1\t1\t7\tsecret\tD\t\n", "(they are right if counted from 1)"),
    "a.json": ('{"documents": [{"id": "1", "passages": [{"offset": "secret"}]}]}', "document 1: passages.0.offset: "),
    "b.json": ('{"documents": [{"id": "secret"}]}', "not a BioC collection"),
    "c.json": (
        '{"documents": [{"id": "1", "passages": [{"offset": 0, "text": "secret", "annotations": [{"text": "secret", '
        '"locations": [{"offset": 0, "length": 6}]}]}]}]}',
        "document 1: annotation 1: its infon `type` is of the type NoneType",
    ),
    "d.json": (
        '{"documents": [{"id": "1", "passages": [{"offset": 0, "text": "secret"}, {"offset": 2, "text": "x"}]}]}',
        "document 1: passage 2 begins at 2, and the text before it ends at 6",
    ),
    "e.json": ('[{"id": 1, "data": {"other": "secret"}}]', "task 1: has no text `text` in its data"),
    "f.json": (
        '[{"data": {"text": "secret x"}, "annotations": [{"result": [{"value": {"start": 1, "end": 4, "text": "sec", '
        '"labels": ["D"]}}]}]}]',
        "task 1: region 1: characters 1 to 4 of the text are not those",
    ),
    "g.json": ('{"secret": [', "line 1 is not JSON"),
    "h.json": ('{"secret": 1}', "neither BioC nor an export of Label Studio"),
    "a.xml": (
        "<x><TEXT>secret x</TEXT><TAGS><D start='0' end='x'/></TAGS></x>",
        "line 1, <D>: end is not a whole number",
    ),
    "b.xml": ("<x><TEXTS>secret x</TEXTS></x>", "its root <x> has no <TEXT>"),
    "c.xml": ("<x><TEXT>secret", "malformed XML at line 1"),
    "d.xml": ('<!DOCTYPE x [<!ENTITY a "secret">]><x><TEXT>&a;</TEXT></x>', "declares or uses XML entities"),
    "e.xml": (
        '<!DOCTYPE collection [<!ENTITY a SYSTEM "/etc/passwd">]><collection><document>&a;</document></collection>',
        "declares or uses XML entities",
    ),
    "f.xml": ("<x><TEXT>secret x</TEXT><TAGS><D start='0' end='3' text='x'/></TAGS></x>", "<D>: characters 0 to 3 of"),
    "g.xml": ("<collection><source/></collection>", "not a BioC collection; expected <document> elements"),
    "a.ann": ("T1\tDisease 0 6\tsecret x\n", "line 1: characters 0 to 6 of the text are not those"),
    "b.ann": ("T1\tDisease\tsecret\n", "line 1: not a span; expected an id such as T1"),
    "c.ann": ("R1\tCID Arg1:T1 Arg2:secret\n", "line 1: a relation of an annotation that is not in the file"),
    "d.ann": ("secret\n", "line 1: not an annotation; expected a line that begins with T, R"),
    "e.ann": ("T1\tD 0 6\tsecret\nT1\tD 0 6\tsecret\n", "line 2: another span of the file has this id"),
    "f.ann": ("R1\tsecret\n", "line 1: not a relation"),
    "a.con": ('c="secret" 1:1 1:1||t="D"\n', "tokens (1, 1) to (1, 1) (line, token)"),
    "b.con": ("secret\n", 'line 1: not as expected, c="..." LINE:TOKEN LINE:TOKEN||t="TYPE"'),
}


def test_each_malformed_file_is_one_error_without_its_text(tmp_path: Path) -> None:
    for name, (content, message) in MALFORMED.items():
        path = tmp_path / name
        path.write_text(content)
        if path.suffix in (".ann", ".con"):
            path.with_suffix(".txt").write_text("secret x\n")
        if not message:
            read_annotations(path)
            message = "another text has its identifier, and so have 2 in all"
            with pytest.raises(UserError) as error:
                read_annotations(path, columns=Columns(id="id"))
        else:
            with pytest.raises(UserError) as error:
                pytest.fail(f"{name}: {read_annotations(path)}")
        assert message in str(error.value), name
        assert str(path) in str(error.value), name
        assert "secret" not in str(error.value), name


def test_what_a_format_cannot_hold_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    one = AnnotatedText("n|1", "a\x01\nsecret", [], None, "notes.csv: record 7")
    cases: list[tuple[str, list[AnnotatedText], str]] = [
        ("a.pubtator", [one], "notes.csv: record 7: its identifier has a |"),
        ("a.tsv", [one], "record 1 has a tab or a line break"),
        ("a.ann", [one, one], "2 texts do not fit into one file"),
        ("a.csv.gz", [one], "leave out .gz"),
        ("notes", [one], "its name says no format"),
    ]
    by_format: list[tuple[str, str, list[AnnotatedText], str]] = [
        ("bioc", "a.xml", [one], "character 1 is U+0001, which XML cannot hold"),
        ("i2b2", "a.xml", [one], "character 1 is U+0001, which XML cannot hold"),
        ("i2b2", "directory", [one._replace(id="../1")], "its identifier cannot be the name of a file"),
        ("brat", "directory", [one._replace(id="/1")], "its identifier cannot be the name of a file"),
        ("brat", "directory", [one, one], "another text has its identifier"),
        ("brats", "directory", [one], "format 'brats' is unknown; did you mean brat?"),
    ]
    for name, target, texts, message in [*((None, *case) for case in cases), *by_format]:
        with pytest.raises(UserError) as error:
            write_annotations(texts, tmp_path / target, name)
        assert message in str(error.value)
        assert "secret" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_directories_are_read_file_by_file_and_written_with_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "b").mkdir(parents=True)
    (folder / "README.md").write_text("About.")
    (folder / "a.jsonl").write_text('{"id": 1, "text": "one x"}\n{"id": 2, "text": "two x"}\n')
    (folder / "b/a.jsonl").write_text('{"id": 1, "text": "three x", "k": [1]}\n')
    texts = read_annotations(folder)
    assert [text.id for text in texts] == ["1", "2", "b/a:1"]
    write_annotations([text._replace(spans=[Span(0, 3, "N")]) for text in texts], tmp_path / "out", source=folder)
    assert (
        tmp_path / "out/b/a.jsonl"
    ).read_text() == '{"id": 1, "text": "three x", "k": [1], "spans": [[0, 3, "N"]]}\n'
    with pytest.raises(UserError, match="1 texts less than are to be written"):
        write_annotations([*texts, texts[0]], tmp_path / "other", source=folder)
    assert not (tmp_path / "other").exists()
    (folder / "c.pubtator").write_text("1|t|x\n")
    with pytest.raises(UserError, match="has files of pubtator, table; expected files of one format"):
        read_annotations(folder)


def test_texts_alone_have_no_spans_and_notes_in_a_table_come_back_as_brat(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/1.txt").write_text("Hepatitis B\n")
    (tmp_path / "in/2.txt").write_text("Pt. seen\nin O\nby me and B\n")
    assert [(text.id, text.spans) for text in read_annotations(tmp_path / "in")] == [("1", []), ("2", [])]
    (tmp_path / "notes.csv").write_text("note_id,text\n7,Chest pain\n8,No fever\n")
    texts = read_annotations(tmp_path / "notes.csv", columns=Columns(id="note_id"))
    predicted = [text._replace(spans=[Span(text.text.index(" ") + 1, len(text.text), "Problem")]) for text in texts]
    write_annotations(predicted, tmp_path / "out", "brat", tmp_path / "notes.csv")
    assert (tmp_path / "out/8.ann").read_text() == "T1\tProblem 3 8\tfever\n"
    write_annotations(predicted[:1], tmp_path / "notes.ann", source=tmp_path / "notes.csv")
    assert (tmp_path / "notes.txt").read_text() == "Chest pain"


def describe(path: Path) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (text.id, [(text.text[one.start : one.end], one.type) for one in text.spans]) for text in read_annotations(path)
    ]


Read = Callable[[Path], list[AnnotatedText]]
