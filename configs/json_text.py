"""JSON that comes back from a disk or a store: whatever its content is, the result is a value or one ValueError."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, TypeAdapter, ValidationError

from .errors import UserError

DEEPEST = 100
"""Levels of nesting. Our own files have about ten; a parser that recurses fails at about a thousand."""

Value = TypeVar("Value")


def _require_timestamp(text: str) -> str:
    try:
        datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"expected a time such as 2026-01-31T12:00:00+00:00 ({error})") from None
    return text


Timestamp = Annotated[str, AfterValidator(_require_timestamp)]
"""The type of a time in ISO 8601."""


def parse_json(content: str | bytes, limit: int | None = None) -> Any:
    """The value of a JSON text.

    Args:
        limit: the largest size that such a file may have.
    Raises:
        ValueError: it is larger, is not JSON in UTF-8, or is nested too deeply.
    """
    if limit is not None and len(content) > limit:
        raise ValueError(f"{len(content):,} bytes, more than the {limit:,} that such a file may have")
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} levels deep") from None
    if _is_deep(value):
        raise ValueError(f"nested more than {DEEPEST} levels deep")
    return value


def parse_json_object(content: str | bytes, limit: int | None = None) -> dict[str, Any]:
    """As `parse_json`, of a file that must hold an object; anything else is a ValueError too."""
    value = parse_json(content, limit)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, found {type(value).__name__}")
    return value


def read_json(path: Path, schema: TypeAdapter[Value], advice: str) -> Value:
    """The content of a JSON file, checked against a schema.

    Args:
        advice: what to do about a file that is not as it was written.
    Raises:
        UserError: it cannot be read, is not JSON, or does not fit the schema; the message names the file and the key.
    """
    try:
        return schema.validate_python(parse_json(path.read_bytes()))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): {advice}") from error
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}: {advice}") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}): {advice}") from error


def first_problem(error: ValidationError) -> str:
    """The first problem that a schema found: the key, and what was expected."""
    first = error.errors(include_url=False, include_input=False)[0]
    key = ".".join(map(str, first["loc"])) or "top level"
    return f"{key}: {first['msg'].removeprefix('Value error, ')}"


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [child for item in level for child in _children(item) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _children(item: Any) -> Any:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()
