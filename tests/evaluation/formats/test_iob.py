"""IOB files: real exports, all schemes and layouts of columns, errors without tokens, and writing."""

from collections import Counter
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.formats import iob
from clinical_modernbert.evaluation.formats.annotated.text import AnnotatedText, Columns, Span
from clinical_modernbert.evaluation.formats.iob import read_iob

CASES = "cases/15-ner-formats"
REFUSED = {"tag-middle"}
SENTENCE = [("acute", "B-D"), ("pain", "I-D"), ("and", "O"), ("fever", "B-S")]


def read(path: Path) -> list[AnnotatedText]:
    return list(iob.read(path, Columns(), Counter()))


def write(texts: list[AnnotatedText], target: Path, source: Path | None = None) -> Counter[str]:
    counts = Counter[str]()
    iob.write(texts, target, source, Columns(), counts)
    return +counts


def test_exports_of_other_tools_have_the_same_entities(dev_data: Path, tmp_path: Path) -> None:
    folders = sorted(folder for folder in (dev_data / CASES).iterdir() if folder.is_dir())
    assert len(folders) >= 17
    plain = read_iob(dev_data / CASES / "bio-tab/test.tsv")
    for folder in folders:
        if folder.name in REFUSED:
            continue
        sentences = read_iob(folder / "test.tsv")
        entities = sum(tag.startswith("B-") for sentence in sentences for tag in sentence.tags)
        assert (len(sentences), entities) == (32, 56), folder.name
        if folder.name in ("bioes", "iob1", "suffix", "underscore", "trailing-tab", "header", "spacy-whitespace"):
            assert sentences == plain, folder.name
        write(read(folder / "test.tsv"), tmp_path / "again", folder / "test.tsv")
        original = (folder / "test.tsv").read_bytes().removeprefix(b"\xef\xbb\xbf")
        assert (tmp_path / "again").read_bytes() == original, f"{folder.name}: other tags, or another byte"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("acute\tNN\t\tB-D\t\t\npain\tNN\tx\tI-D\nand\tCC\tx\tO\nfever\tNN\tx\tB-S\n", SENTENCE),
        ("1\tacute\t_\tS-D\n2\tpain\t_\tO\n\n1\tfever\t_\tS-S\n", [("acute", "B-D"), ("pain", "O"), ("fever", "B-S")]),
        ("0 acute x B-D\n1 5\xa0mg x I-D\n", [("acute", "B-D"), ("5\xa0mg", "I-D")]),
        ("# sent_id = 1\n# text = a b\n#\tO\n#x\tB-D\ny\tO\n", [("#", "O"), ("#x", "B-D"), ("y", "O")]),
        ("# a NN O\na NN B-D\n# NN O\nb NN O\n", [("a", "B-D"), ("#", "O"), ("b", "O")]),
        ("a\tL-D\nb\tO\nc\tU-D\n", [("a", "B-D"), ("b", "O"), ("c", "B-D")]),
        ("a\tI-D\nb\tE-D\nc\tI-D\nd\tE-D\n", [("a", "B-D"), ("b", "I-D"), ("c", "B-D"), ("d", "I-D")]),
        ("a\tB-D\n\xa0\tI-D\nb\tI-D\n \tB-D\nc\tI-D\n", [("a", "B-D"), ("b", "I-D"), ("c", "B-D")]),
        ("x\tB-D\r\n\tO\r\ny\tI-D\r\n", [("x", "B-D"), ("y", "B-D")]),
    ],
)
def test_columns_and_schemes(content: str, expected: list[tuple[str, str]], tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text(content, newline="")
    pairs = [pair for sentence in read_iob(path) for pair in zip(sentence.words, sentence.tags, strict=True)]
    assert pairs == expected


def test_markers_of_documents_name_their_sentences(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("###MEDLINE:95\n\na\tO\n\nb\tO\n\n# id = n7\nc\tB-D\n\n# newdoc id = n8\n# text = c d\nd\tO\n")
    assert [text.id for text in read(path)] == ["MEDLINE:95:1", "MEDLINE:95:2", "n7:3", "n8:4"]
    path.write_text("-DOCSTART- -X- O\n\na NN O\n\n-DOCSTART- -X- O\nb NN O\n")
    assert [(text.id, text.where) for text in read(path)] == [("1:1", f"{path}: line 3"), ("2:2", f"{path}: line 6")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("secret\n", "line 1 does not end in a tag: it has one column"),
        ("a\tO\nsecret\n", "line 2 does not end in a tag: it has one column"),
        (
            "secret\tNN\nsecret\tVBZ\n",
            "line 1 does not end in a tag: it has 2 columns, the last with a part of speech, NN",
        ),
        ("secret\tB-D\tNN\nb\tO\tNN\n", "column 2 of 3 has tags: make it the last"),
        ("B-D\tsecret\nO\tother\n", "something else (6 characters)"),
        ("secret\tB-D\t0\t6\n", "the last with a number, such as an offset"),
        ("a\tB-D\nsecret\tX-D\nb\tO\n", "line 2 does not end in a tag: it ends in X-D; expected"),
        ("a\tB-D\nsecret\tD\nb\tO\n", "line 2 does not end in a tag: it ends in D; expected"),
        ("a\tB-D\nsecret\tsecret-x\nb\tO\n", "something else (8 characters)"),
        ("a\tB-D\nb\tO\nsecret\tI\n", "something else (1 characters)"),
        ("a\tD-B\nc\tD-I\nsecret\tI-D\nb\tO\n", "; the others have the form TYPE-B"),
        ("a\tO\nsecret\tQ-D\n", "line 2 does not end in a tag: it has 2 columns, the last with something else"),
        ("# secret\n\n-DOCSTART- O\n", "no sentences"),
        ("", "no sentences"),
    ],
)
def test_errors_say_what_a_line_ends_in_and_no_token(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.tsv"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        read_iob(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "secret" not in str(error.value)


def test_tags_that_do_not_follow_the_scheme_are_reported(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("a\tB-D\n\nb\tB-D\n\nsecret\tO\nb\tI-D\n")
    read_iob(path)
    assert (
        f"{path}: 1 entities with tags that do not follow IOB2, read as conlleval does (from line 5)"
        in messages.messages
    )


def test_predicted_spans_are_written_in_the_scheme_of_the_source(tmp_path: Path) -> None:
    source, target = tmp_path / "a.conll", tmp_path / "b.conll"
    source.write_text("# id = 1\na NN U-D \nb NN O\nc NN O\n\nd NN B-D\ne NN L-D\n")
    first, second = read(source)
    write([first._replace(spans=[Span(0, 3, "Long name"), Span(4, 5, "D")]), second._replace(spans=[])], target, source)
    lines = "# id = 1\na NN B-Long_name \nb NN L-Long_name\nc NN U-D\n\nd NN O\ne NN O\n"
    assert target.read_text() == lines
    with pytest.raises(UserError, match="has 2 texts, not the 1"):
        write([first], target, source)
    with pytest.raises(UserError, match=r"a\.conll: line 2: this is not the text to be written"):
        write([first._replace(text="x"), second], target, source)


def test_free_text_is_written_by_words(tmp_path: Path) -> None:
    text = AnnotatedText(
        "1", "Took beta-blockers,\ndaily", [Span(5, 18, "Drug"), Span(20, 24, "Freq"), Span(5, 9, "X")]
    )
    counts = write([text], tmp_path / "a.iob")
    assert read_iob(tmp_path / "a.iob") == [
        iob.Sentence(
            ["Took", "beta", "-", "blockers", ",", "daily"], ["O", "B-Drug", "I-Drug", "I-Drug", "O", "B-Freq"]
        )
    ]
    assert sorted(counts.values()) == [1, 1]
