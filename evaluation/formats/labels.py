"""Labels of training and test data checked against each other, before any model is opened.

`values.py` checks each value. Here all of a task are seen together: classes that no training text has, numbers or
identifiers in the place of classes, values of several types, classes that differ in spelling only. Errors never show a
value: a wrong column may hold text.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ...configs.errors import UserError
from .annotated.text import AnnotatedText
from .records import read_records
from .values import position, read_class

logger = logging.getLogger(__name__)

_MEASURED = re.compile(r"[+-]?\d*\.\d{3,}|[+-]?\d+(\.\d+)?[eE][+-]?\d+")
"""Numbers with more decimals than a code has: those of ICD-9, such as 250.01, are classes."""
_FEW = 10
"""Texts below which each may have a class of its own."""


class Label(NamedTuple):
    """What one record has as label: file and line, and its classes, of which there may be several or none."""

    where: str
    classes: list[str]


def read_classes(record: Mapping[str, Any], column: str, where: str) -> list[str]:
    """The classes in a column that holds lists of them, as they are or as JSON; an empty list is no class.

    Raises:
        UserError: it holds something else, or a class twice.
    """
    value = record[column]
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UserError(f'{where}: {column} is not JSON; expected a list such as ["I10", "E11.9"]') from None
    if not isinstance(value, list | tuple):
        kind = "empty" if value is None or value == "" else f"of the type {type(value).__name__}"
        raise UserError(
            f'{where}: {column} is {kind}; expected a list of classes such as ["I10", "E11.9"], or [] for none'
        )
    classes = [
        one.strip() if isinstance(one, str) and one.strip() else read_class({column: one}, column, where)
        for one in value
    ]
    if len(set(classes)) < len(classes):
        raise UserError(f"{where}: {column} has a class twice; keep it once")
    return classes


def read_labels(path: Path, column: str, several: bool = False) -> list[Label]:
    """The labels in a column of a table, each checked on its own, then all of the file together.

    Args:
        several: whether a record has a list of classes instead of one.
    """
    labels: list[Label] = []
    types: dict[str, str] = {}  # CSV has only texts
    for number, record in read_records(path, [column]):
        where = position(path, number)
        classes = read_classes(record, column, where) if several else [read_class(record, column, where)]
        value = record[column]
        for one in value if isinstance(value, list) else [value]:
            types.setdefault(_kind(one), where)
        labels.append(Label(where, classes))
    if not labels:
        raise UserError(f"{path}: has no records; expected labels in the column {column}")
    if len(types) > 1:
        (first, at), (second, other), *_ = types.items()
        raise UserError(f"{other}: {column} is {second}, and {first} in {at}; expected values of one type")
    check_are_classes(labels, column)
    return labels


def check_are_classes(labels: Sequence[Label], column: str) -> None:
    """Raise UserError if the values of a column are measurements or identifiers, not classes."""
    for label in labels:
        if any(_MEASURED.fullmatch(one) for one in label.classes):
            raise UserError(
                f"{label.where}: {column} has a measured number, which is no class; expected texts or whole numbers; "
                "for numbers choose a task of the kind regression"
            )
    distinct = {one for label in labels for one in label.classes}
    if len(distinct) == len(labels) >= _FEW and all(len(label.classes) == 1 for label in labels):
        raise UserError(
            f"{labels[0].where}: {column} has a class of its own for each of {len(labels):,} records; expected classes "
            "that records share: it may hold identifiers or texts"
        )


def check_labels(train: Sequence[Label], test: Sequence[Label], names: tuple[Path, Path], column: str) -> list[str]:
    """Check the labels of a test against those of the training data; return the classes, sorted.

    Raises:
        UserError: the training data has fewer than two classes, or a test record has a class that it has not.
    """
    known = Counter(chain.from_iterable(label.classes for label in train))
    if len(known) < 2:
        raise UserError(
            f"{names[0]}: {column} has {len(known)} class in all records; expected two or more to tell apart"
        )
    unseen = [label.where for label in test if not set(label.classes) <= known.keys()]
    if unseen:
        others = f" (and {len(unseen) - 1:,} more records)" if len(unseen) > 1 else ""
        raise UserError(
            f"{unseen[0]}: no record of {names[0]} has the class of this one{others}, so no model can predict it; use "
            f"the same {len(known):,} classes in both files, or remove the others from the test"
        )
    _warn_of_spelling(known, f"{names[0]}: {column}")
    return sorted(known)


def check_span_types(train: Sequence[AnnotatedText], test: Sequence[AnnotatedText]) -> None:
    """Check the types of a test's spans against those of the training data; those that only the test has are announced.

    Raises:
        UserError: one of them has no text, or no span.
    """
    for name, texts in (("training data", train), ("test", test)):
        if not any(text.spans for text in texts):
            first = f"{texts[0].where}: " if texts else ""
            raise UserError(f"{first}no span in {len(texts):,} texts of the {name}; expected annotated spans")
    known = Counter(span.type for text in train for span in text.spans)
    found = Counter(span.type for text in test for span in text.spans)
    if unseen := sorted(found.keys() - known.keys()):
        missed = sum(found[kind] for kind in unseen)
        logger.warning(
            f"{test[0].where}: {missed:,} of {found.total():,} spans count as missed: their types "
            f"({', '.join(unseen)}) are not in the training data"
        )
    _warn_of_spelling(known + found, "types of spans")


def _warn_of_spelling(counts: Counter[str], what: str) -> None:
    """Announce classes that differ in case and spaces only."""
    folded = _grouped(counts, lambda name: " ".join(name.casefold().split()))
    if doubtful := sum(len(names) > 1 for names in folded.values()):
        logger.warning(f"{what}: {doubtful:,} classes are written in more than one way (case or spaces)")


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def _kind(value: Any) -> str:
    """The type of a value, for a message."""
    return "true or false" if isinstance(value, bool) else "a text" if isinstance(value, str) else "a number"
