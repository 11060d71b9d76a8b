"""Tables of texts: CSV, TSV, JSON lines, Parquet, PubMed-RCT's format, and the JSON of PubMedQA and BioASQ."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...streaming_data.corpora.readers import tables
from ...streaming_data.documents.files import explain_read_errors, open_text
from .question_json import read_questions

_RCT_LABEL = re.compile(r"[A-Za-z_]+(?: [A-Za-z_]+)*")


def read_records(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the records of a table, numbered from 1. They have at least the columns `required`.

    Raises:
        UserError: no such file, a column is missing, or a record is malformed.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; set `data` of the task to its directory")
    name = path.name.removesuffix(".gz")
    if name.endswith(".tsv"):
        yield from _read_tsv(path, required)
    elif name.endswith(".json"):
        yield from read_questions(path, required)
    else:
        yield from tables.read_records(path, required)


def read_rows(path: Path, columns: int, expected: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a tab-separated file without header, numbered from 1; errors show `expected`, the columns."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; set `data` of the task to its directory")
    number = 0
    with open_text(path) as file, explain_read_errors(path, lambda: f"line {number}"):
        for number, line in enumerate(file, start=1):
            row = line.rstrip("\r\n").split("\t")
            if len(row) != columns and line.strip():
                raise UserError(f"{path}: line {number} has {len(row)} columns; expected {columns}: {expected}")
            if line.strip():
                yield number, row


def read_rct(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, sentence, role) from PubMed-RCT's format: `###PMID`, then lines of a role, a tab and a sentence."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; set `data` of the task to its directory")
    number = 0
    with open_text(path) as file, explain_read_errors(path, lambda: f"line {number}"):
        for number, line in enumerate(file, start=1):
            label, tab, sentence = line.strip().partition("\t")
            if not line.strip() or line.startswith("###"):
                continue
            if not tab or not _RCT_LABEL.fullmatch(label):
                raise UserError(f"{path}: line {number}: expected a role, a tab and a sentence, or `###` and a PMID")
            yield number, sentence, label


def _read_tsv(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Tab-separated with a header; quotes have no special meaning."""
    header: list[str] = []
    number = 0
    with open_text(path) as file, explain_read_errors(path, lambda: f"line {number}"):
        for number, line in enumerate(file, start=1):
            row = line.rstrip("\r\n").split("\t")
            if not header:
                header = [name.strip().removeprefix("\ufeff") for name in row]
                if missing := [name for name in required if name not in header]:
                    raise UserError(
                        f"{path}: its header has no column {', '.join(missing)}; it has {len(header)} columns "
                        f"separated by tabs, and the task requires {', '.join(required)}"
                    )
            elif len(row) != len(header):
                if line.strip():
                    raise UserError(
                        f"{path}: line {number} has {len(row)} columns, its header {len(header)}; fix its tabs"
                    )
            else:
                yield number - 1, dict(zip(header, row, strict=True))
