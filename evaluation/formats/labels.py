"""The classes of a file seen together, before any model is opened; `values.py` checks each value.

Errors never show a class: a wrong column may hold text.
"""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...configs.errors import UserError
from .annotated.text import AnnotatedText

logger = logging.getLogger(__name__)

_FRACTION = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.IGNORECASE)
_MOST_FRACTIONS = 20
"""Scales such as 0, 0.5, 1 have few of them."""
_FEW = 10
"""Texts below which each may have a class of its own."""


def check_classes(classes: Sequence[str], path: Path) -> None:
    """Check the classes of all records of a file. Announces those that differ in spelling only.

    Raises:
        UserError: there are fewer than two, or they are numbers, identifiers, or of several types.
    """
    counts = Counter(classes)
    if len(counts) < 2:
        raise UserError(f"{path}: fewer than two classes; expected texts of at least two")
    if (numbers := sum(bool(_FRACTION.fullmatch(name)) for name in counts)) > _MOST_FRACTIONS:
        raise UserError(f"{path}: {numbers:,} classes are numbers with a fraction; for numbers use kind: regression")
    if counts.keys() & {"True", "False"} and counts.keys() & {"0", "1"}:
        raise UserError(f"{path}: some classes are True or False, others 0 or 1; give each class one spelling")
    if len(counts) == len(classes) >= _FEW:
        raise UserError(
            f"{path}: each of {len(classes):,} records has a class of its own; expected classes that records share: "
            "the column may hold identifiers or texts"
        )
    warn_of_spelling(counts, path)


def check_span_types(train: Sequence[AnnotatedText], test: Sequence[AnnotatedText], names: tuple[Path, Path]) -> None:
    """Check the types of a test's spans against those of the training data; those that only the test has are announced.

    Args:
        names: of the training data and of the test.
    Raises:
        UserError: one of them has no text, or no span.
    """
    for name, texts in zip(names, (train, test), strict=True):
        if not any(text.spans for text in texts):
            raise UserError(f"{name}: no entity in {len(texts):,} texts; expected annotated ones")
    known = Counter(span.type for text in train for span in text.spans)
    found = Counter(span.type for text in test for span in text.spans)
    if unseen := sorted(found.keys() - known.keys()):
        missed = sum(found[kind] for kind in unseen)
        logger.warning(
            f"{names[1]}: {missed:,} of {found.total():,} entities count as missed: their types "
            f"({', '.join(unseen)}) are not in {names[0]}"
        )
    warn_of_spelling(known + found, names[0])


def warn_of_spelling(counts: Counter[str], path: Path) -> None:
    """Announce classes that differ in case and spaces only."""
    spellings: dict[str, set[str]] = {}
    for name in counts:
        spellings.setdefault(" ".join(name.casefold().split()), set()).add(name)
    if doubtful := sum(len(names) > 1 for names in spellings.values()):
        logger.warning(f"{path}: {doubtful:,} classes are written in more than one way (case or spaces)")
