"""IOB and CoNLL files: one token and its tag per line, an empty line between sentences.

The first column is the token (after a number of the token, as in CoNLL-U), the last its tag, in any scheme of
`tag_schemes.py`. Lines `-DOCSTART-`, `###ID` and `# ...` are markers and comments.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError
from ...configs.limits import RECORD_CHARACTERS
from ...storage.files import atomic_write
from ...streaming_data.documents.bounded import bounded_lines
from ...streaming_data.documents.files import explain_read_errors, open_text
from .annotated.text import AnnotatedText, Columns, Span, pair_with_source, report, single_line, single_token
from .tag_columns import misfit, not_tags
from .tag_schemes import Chunk, Scheme, Tag, chunks_of, find_scheme, find_style, iob2, letters_of, parse_tag, write_tag
from .words import chunks_in, words_of

_DOCUMENT = re.compile(r"#+\s*(?:(?:newdoc\s+)?id\s*[=:]?\s*)?(?P<id>[^\s#]\S*)")
_HEADER_TAGS = {"label", "labels", "tag", "tags", "ner", "ner_tag", "ner_tags", "entity", "entities", "iob", "bio"}


class Sentence(NamedTuple):
    """Words with one tag each, in IOB2: every entity begins with B-."""

    words: list[str]
    tags: list[str]


class _Row(NamedTuple):
    """A line with a token: its number in the file, from 0, and its columns."""

    line: int
    columns: list[str]
    tag: Tag


class _Tagged(NamedTuple):
    """A sentence as the file has it; `document` is the identifier of a marker before it."""

    document: str
    rows: list[_Row]


class _File(NamedTuple):
    """A complete file: its lines, and what they mean."""

    lines: list[str]
    sentences: list[_Tagged]
    scheme: Scheme
    word_column: int


def read_iob(path: Path) -> list[Sentence]:
    """Read the sentences of a file. Every scheme is converted to IOB2; tokens of white space are left out.

    Raises:
        UserError: a line has no tag, the last column has no tags, or the file has no sentence.
    """
    counts = Counter[str]()
    file = _read_file(path, counts)
    sentences = [_words(sentence, file.word_column) for sentence in file.sentences]
    report(path, counts)
    return [Sentence(words, iob2(chunks, len(words))) for words, _, chunks in sentences if words]


def read(path: Path, columns: Columns, counts: Counter[str]) -> Iterator[AnnotatedText]:
    """One text per sentence, its words joined by spaces."""
    file = _read_file(path, counts)
    for number, sentence in enumerate(file.sentences, start=1):
        yield _annotated(path, number, sentence, file.word_column)


def write(
    texts: Sequence[AnnotatedText], target: Path, source: Path | None, columns: Columns, counts: Counter[str]
) -> None:
    """Write a token and a tag per line; with a source, its lines with other tags, in its scheme."""
    if source:
        atomic_write(target, _with_tags(texts, source, counts))
        return
    lines: list[str] = []
    for text in texts:
        words = words_of(text.text) if text.words is None else text.words
        tags = iob2(_chunks(text.spans, words, counts), len(words))
        lines += [
            f"{single_line(text.text[start:end])}\t{tag}\n" for (start, end), tag in zip(words, tags, strict=True)
        ]
        lines.append("\n")
    atomic_write(target, "".join(lines))


def _with_tags(texts: Sequence[AnnotatedText], source: Path, counts: Counter[str]) -> str:
    """The lines of the source with the tags of these texts, which are its sentences."""
    file = _read_file(source, Counter())
    lines = list(file.lines)
    originals = [_annotated(source, number, one, file.word_column) for number, one in enumerate(file.sentences, 1)]
    for (text, original), sentence in zip(pair_with_source(texts, originals, source), file.sentences, strict=True):
        kept = _kept(sentence, file.word_column)
        chunks = [
            Chunk(kept[chunk.start], kept[chunk.end - 1] + 1, chunk.type)  # tokens of white space inside are inside
            for chunk in _chunks(text.spans, original.words or [], counts)
        ]
        tags = letters_of(chunks, len(sentence.rows), file.scheme.name)
        for row, tag in zip(sentence.rows, tags, strict=True):
            line = lines[row.line].rstrip(" \t\r\n")
            rest = lines[row.line][len(line) :]
            lines[row.line] = line.removesuffix(row.columns[-1]) + write_tag(tag, file.scheme) + rest
    return "".join(lines)


def _chunks(spans: Sequence[Span], words: Sequence[tuple[int, int]], counts: Counter[str]) -> list[Chunk]:
    chunks, off_borders, overlapping = chunks_in(words, spans)
    counts["spans off the borders of words, extended to complete words"] += off_borders
    counts["spans that overlap a longer one, left out"] += overlapping
    return [chunk._replace(type=single_token(chunk.type)) for chunk in chunks]


def _kept(sentence: _Tagged, word_column: int) -> list[int]:
    """The rows whose token is not only white space, as those of spaCy's line breaks are."""
    return [number for number, row in enumerate(sentence.rows) if row.columns[word_column].strip()]


def _words(sentence: _Tagged, word_column: int) -> tuple[list[str], list[int], list[Chunk]]:
    """The words of a sentence, the rows that they are in, and the chunks of these words."""
    kept = _kept(sentence, word_column)
    chunks = []
    for chunk in chunks_of([row.tag for row in sentence.rows]):
        first, last = bisect_left(kept, chunk.start), bisect_left(kept, chunk.end)
        if first < last:
            chunks.append(Chunk(first, last, chunk.type))
    return [sentence.rows[number].columns[word_column].strip() for number in kept], kept, chunks


def _annotated(path: Path, number: int, sentence: _Tagged, word_column: int) -> AnnotatedText:
    words, _, chunks = _words(sentence, word_column)
    ends = list(accumulate(words, lambda end, word: end + 1 + len(word), initial=-1))[1:]
    ranges = [(end - len(word), end) for word, end in zip(words, ends, strict=True)]
    spans = [Span(ranges[chunk.start][0], ranges[chunk.end - 1][1], chunk.type) for chunk in chunks]
    where = f"{path}: line {sentence.rows[0].line + 1:,}"
    return AnnotatedText(f"{sentence.document or path.stem}:{number}", " ".join(words), spans, ranges, where)


def _read_file(path: Path, counts: Counter[str]) -> _File:
    if not path.is_file():
        raise UserError(f"{path}: no such file; set `data` of the task to its directory")
    lines: list[str] = []
    with open_text(path) as file, explain_read_errors(path, lambda: f"line {len(lines)}"):
        lines += bounded_lines(path, file, RECORD_CHARACTERS)
    columns = [_columns(line) for line in lines]
    rows = [row for row in columns if len(row) > 1 and not row[0].startswith("#")]
    tags = Counter(row[-1] for row in rows)
    style = find_style(tags)
    if style is None:
        raise not_tags(path, columns)
    width = Counter(map(len, rows)).most_common(1)[0][0]
    sentences = [one for one in _sentences(path, lines, columns, style, width, counts) if one.rows]
    word_column = int(_is_numbered(sentences))
    sentences = [one for one in sentences if _kept(one, word_column)]
    if not sentences:
        raise UserError(f"{path}: no sentences; expected lines of a token, a tab and a tag")
    scheme, wrong, first = find_scheme(tags, ([row.tag for row in one.rows] for one in sentences), style)
    if wrong:
        line = sentences[first].rows[0].line + 1
        counts[f"entities with tags that do not follow {scheme}, read as conlleval does (from line {line:,})"] += wrong
    blank = sum(len(one.rows) - len(_kept(one, word_column)) for one in sentences)
    counts["tokens of white space, left out"] += blank
    return _File(lines, sentences, scheme, word_column)


def _columns(line: str) -> list[str]:
    """The columns of a line, without empty ones at its end. Only tabs and spaces separate them."""
    content = line.rstrip("\r\n")
    columns = [column.strip(" ") for column in content.split("\t")] if "\t" in line else content.strip(" ").split(" ")
    columns = columns if "\t" in line else [column for column in columns if column]
    while columns and not columns[-1].strip():
        columns.pop()
    return columns


def _sentences(
    path: Path, lines: Sequence[str], columns: Sequence[list[str]], style: str, width: int, counts: Counter[str]
) -> Iterator[_Tagged]:
    document, documents, rows = "", 0, list[_Row]()
    first = next((number for number, row in enumerate(columns) if row), 0)
    for number, row in enumerate(columns):
        tag = parse_tag(row[-1], style) if len(row) > 1 else None
        if not row or row[0] == "-DOCSTART-":
            yield _Tagged(document, rows)
            rows = []
            if row:
                documents += 1
                document = str(documents)
        elif row[0].startswith("#") and (tag is None or ("\t" not in lines[number] and len(row) != width)):
            if marker := _DOCUMENT.fullmatch(lines[number].strip()):
                yield _Tagged(document, rows)
                document, rows = marker["id"], []
        elif number == first and tag is None and row[-1].lower() in _HEADER_TAGS:
            counts["header lines, left out"] += 1
        elif tag is None:
            raise misfit(path, number + 1, row, style, columns)
        else:
            rows.append(_Row(number, row, tag))
    yield _Tagged(document, rows)


def _is_numbered(sentences: Sequence[_Tagged]) -> bool:
    """Whether the first column is the number of the token in its sentence, from 0 or 1, and the token the second."""
    rows = [(number, row) for sentence in sentences for number, row in enumerate(sentence.rows)]
    return len(rows) > 1 and any(
        all(len(row.columns) > 2 and row.columns[0] == str(number + base) for number, row in rows) for base in (0, 1)
    )
