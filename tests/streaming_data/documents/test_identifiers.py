"""Identifier columns: an identifier has one spelling, however programs write it."""

from decimal import Decimal

import pytest

from clinical_modernbert.streaming_data.documents.identifiers import normalize_identifier


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1"), (1.0, "1"), ("1", "1"), ("1.0", "1"), (" 1.000\t", "1"), (Decimal("1.00"), "1"), (-2.0, "-2"),
        (1e16, "10000000000000000"), (1.5, "1.5"), ("1.50", "1.50"), ("007", "007"), ("p 1", "p 1"), ("A.0", "A.0"),
        *((absent, "") for absent in ("", " ", "nan", "NaN", "NULL", "null", "None", "N/A", "n/a", "NA", "<NA>")),
        *((absent, "") for absent in ("-NaN", None, float("nan"), True, ["1"], {"a": 1}, b"1")),
    ],
)  # fmt: skip
def test_normalize_identifier(value: object, expected: str) -> None:
    assert normalize_identifier(value) == expected
