"""JSON from outside is a value or one ValueError."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.json_text import DEEPEST, parse_json, parse_json_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(VALUES)
def test_json_is_read_as_it_was_written(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode(), limit=1 << 20) == value


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_anything_is_a_value_or_a_value_error(content: bytes | str) -> None:
    with suppress(ValueError):
        parse_json(content)


@pytest.mark.parametrize("depth", [DEEPEST + 1, 500, 5_000, 200_000])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_nesting_is_bounded(depth: int, opening: str, closing: str) -> None:
    with pytest.raises(ValueError, match="nested more than 100 levels deep"):
        parse_json(opening * depth + "1" + closing * depth)


def test_the_size_is_bounded_before_anything_is_parsed() -> None:
    assert parse_json(b"[1]", limit=3) == [1]
    with pytest.raises(ValueError, match="4 bytes, more than the 3 that such a file may have"):
        parse_json(b"[[[[", limit=3)


@pytest.mark.parametrize("content", ["null", "[]", "1", '"text"', "true"])
def test_another_type_than_an_object_is_a_value_error(content: str) -> None:
    with pytest.raises(ValueError, match="expected a JSON object, found"):
        parse_json_object(content)
