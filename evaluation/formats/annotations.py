"""Annotated texts in the formats that clinical people have: read, and given back in the format that came.

`docs/annotations.md` has the table of what is read, written, kept and counted. Errors name the file and the line, the
record or the document, and never show text.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...configs.spelling import nearest_name
from ...storage.files import stage_directory
from ...streaming_data.corpora.tables import table_form
from ...streaming_data.documents.files import explain_read_errors, open_text
from .annotated.files import data_files
from .annotated.pairs import file_names
from .annotated.text import AnnotatedText, Columns, Relation, Span, report
from .tag_schemes import find_style

__all__ = ["FORMATS", "AnnotatedText", "Columns", "Relation", "Span", "read_annotations", "write_annotations"]

FORMATS = {
    "iob": "iob",
    "brat": "brat",
    "pubtator": "pubtator",
    "bioc": "bioc",
    "i2b2": "i2b2_xml",
    "i2b2-2010": "i2b2_concepts",
    "label-studio": "label_studio",
    "table": "text_tables",
}
"""The formats, and the module of each."""
_IN_PAIRS = {"brat": ".ann", "i2b2-2010": ".con"}
"""Formats with two files per document, which read and write directories themselves."""
_ONE_PER_FILE = {"i2b2": ".xml"}
_BY_SUFFIX = {
    **dict.fromkeys((".iob", ".iob2", ".bio", ".conll", ".conllu", ".tag"), "iob"),
    ".ann": "brat",
    ".con": "i2b2-2010",
    ".pubtator": "pubtator",
}
_START = 1 << 16
_PUBTATOR = re.compile(r"[^|\t]+\|t\|")
USUAL = Columns()
"""The usual names of columns."""


def read_annotations(
    path: Path,
    format: str | None = None,
    columns: Columns = USUAL,
    counts: Counter[str] | None = None,
) -> list[AnnotatedText]:
    """The texts of a file, or of all files of a directory and those below it.

    Args:
        format: a name of `FORMATS`; None finds it from the name and the content.
        columns: of tables and Label Studio.
        counts: gets what is left out or changed, by kind; None logs it.
    Raises:
        UserError: nothing is there, the format is unknown, or a record is malformed.
    """
    found = Counter[str]() if counts is None else counts
    name = _checked(format) if format else find_format(path, columns)
    module = _module(name)
    _require_exists(path)
    one_by_one = path.is_dir() and name not in _IN_PAIRS
    texts = list(
        _read_directory(module, path, columns, found, name) if one_by_one else module.read(path, columns, found)
    )
    _require_unique(texts)
    if counts is None:
        report(path, found)
    return texts


def write_annotations(
    texts: Sequence[AnnotatedText],
    target: Path,
    format: str | None = None,
    source: Path | None = None,
    columns: Columns = USUAL,
    counts: Counter[str] | None = None,
) -> None:
    """Write texts with their spans, such as predicted ones.

    Args:
        target: a file; a new directory for a format of one file per document.
        format: a name of `FORMATS`; None takes that of the target's name, or else that of the source.
        source: what the texts were read from, in this format: all of it but the annotations is kept.
        counts: gets what could not be written as it is, by kind; None logs it.
    Raises:
        UserError: the format cannot hold a text, or the source has other texts. Nothing is written then.
    """
    found = Counter[str]() if counts is None else counts
    name = _checked(format) if format else _format_to_write(target, source, columns)
    if source and find_format(source, columns) != name:
        source = None  # of another format, so there is nothing to keep
    if target.suffix == ".gz":
        raise UserError(f"{target}: annotations are not written compressed; leave out .gz")
    module = _module(name)
    if name in _IN_PAIRS:
        module.write(texts, target, source, columns, found)
    elif source and source.is_dir():
        _write_files(module, texts, target, source, columns, found, name)
    elif name in _ONE_PER_FILE and source is None and (len(texts) != 1 or target.suffix != _ONE_PER_FILE[name]):
        names = file_names(texts, target)
        with stage_directory(target) as directory:
            for text, file in zip(texts, names, strict=True):
                path = directory / f"{file}{_ONE_PER_FILE[name]}"
                path.parent.mkdir(parents=True, exist_ok=True)
                module.write([text], path, None, columns, found)
    else:
        module.write(texts, target, source, columns, found)
    if counts is None:
        report(target, found)


def find_format(path: Path, columns: Columns = USUAL) -> str:
    """The format of a file or a directory, from its names and its content."""
    _require_exists(path)
    if not path.is_dir():
        return _format_of_file(path, columns)
    names = {suffix: name for name, suffix in _IN_PAIRS.items()}
    found = {names[file.suffix] for file in path.rglob("*") if file.suffix in names}
    found = found or {_format_of_file(file, columns) for file in data_files(path)}
    if len(found) != 1:
        seen = f"files of {', '.join(sorted(found))}" if found else "no files"
        raise UserError(f"{path}: has {seen}; expected files of one format: set `format`, or name one file")
    return found.pop()


def _write_files(
    module: Any,
    texts: Sequence[AnnotatedText],
    target: Path,
    source: Path,
    columns: Columns,
    counts: Counter[str],
    name: str,
) -> None:
    """Write a directory whose files have the names, and the numbers of texts, of those of the source."""
    rest = list(texts)
    with stage_directory(target) as directory:
        for file in data_files(source):
            size = len(list(module.read(file, columns, Counter())))
            path = directory / file.relative_to(source).as_posix().removesuffix(".gz")
            path.parent.mkdir(parents=True, exist_ok=True)
            module.write(rest[:size], path, file, columns, counts)
            rest = rest[size:]
        if rest:
            raise UserError(f"{source}: has {len(rest):,} texts less than are to be written; read it again")


def _format_to_write(target: Path, source: Path | None, columns: Columns) -> str:
    if name := _BY_SUFFIX.get(target.suffix.lower()):
        return name
    if source:
        name = find_format(source, columns)
        is_table = table_form(target) is not None and not (name == "iob" and target.suffix.lower() == ".tsv")
        return "table" if is_table else name
    if table_form(target):
        return "table"
    raise UserError(f"{target}: its name says no format; set `format` to one of {', '.join(FORMATS)}")


def _format_of_file(path: Path, columns: Columns) -> str:
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix == ".xml":
        from .annotated.files import xml_root_name

        return "bioc" if xml_root_name(path) == "collection" else "i2b2"
    if suffix == ".json":
        return _format_of_json(path)
    if suffix == ".tsv" or not table_form(path):
        return _format_of_lines(path, suffix, columns)
    return "table"


def _format_of_json(path: Path) -> str:
    from .annotated.files import read_json_values
    from .bioc import holds_documents
    from .label_studio import holds_tasks

    value = read_json_values(path)
    if holds_documents(value) or holds_tasks(value):
        return "bioc" if holds_documents(value) else "label-studio"
    raise UserError(f"{path}: neither BioC nor an export of Label Studio; expected `documents`, or a list of tasks")


def _format_of_lines(path: Path, suffix: str, columns: Columns) -> str:
    """Of a text file, by its first line that is not empty, and for .txt by the files next to it."""
    for name, other in _IN_PAIRS.items():
        if suffix == ".txt" and path.with_suffix(other).is_file():
            return name
    with open_text(path) as file, explain_read_errors(path, lambda: "its start"):
        lines = [line.rstrip("\r\n") for line in file.read(_START).split("\n") if line.strip()]
    if lines and _PUBTATOR.match(lines[0]):
        return "pubtator"
    if suffix == ".tsv" and lines and columns.text in lines[0].split("\t"):
        return "table"
    rows = [line.split() for line in lines]
    width = Counter(map(len, rows)).most_common(1)[0][0] if rows else 0
    tags = Counter(row[-1] for row in rows if len(row) == width)
    is_iob = width in range(2, 11) and len(rows) > 1 and 10 * tags.total() >= 9 * len(rows) and find_style(tags)
    return "iob" if suffix != ".txt" or is_iob else "brat"


def _read_directory(
    module: Any, directory: Path, columns: Columns, counts: Counter[str], name: str
) -> Iterator[AnnotatedText]:
    """The texts of all files. One per file has the file's path as identifier, as do others whose own are not unique."""
    seen: set[str] = set()
    for file in data_files(directory):
        base = file.relative_to(directory).with_suffix("").as_posix()
        for text in module.read(file, columns, counts):
            identifier = base if name in _ONE_PER_FILE else f"{base}:{text.id}" if text.id in seen else text.id
            seen.add(identifier)
            yield text._replace(id=identifier)


def _require_unique(texts: Sequence[AnnotatedText]) -> None:
    counts = Counter(text.id for text in texts)
    if repeated := [text for text in texts if counts[text.id] > 1]:
        raise UserError(
            f"{repeated[1].where}: another text has its identifier, and so have {len(repeated):,} in all; make them "
            "unique, or name another column"
        )


def _require_exists(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such file or directory")


def _checked(name: str) -> str:
    if name not in FORMATS:
        near = nearest_name(name, set(FORMATS))
        hint = f"did you mean {near}?" if near else f"expected one of {', '.join(FORMATS)}"
        raise UserError(f"format {name!r} is unknown; {hint}")
    return name


def _module(name: str) -> Any:
    return import_module(f".{FORMATS[name]}", __package__)
