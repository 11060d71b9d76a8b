"""Pydantic's errors -> readable problems, each with the file and line where the value was written."""

import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ..spelling import nearest_name
from .tree import KeyPath, Node, Problem, dotted_path, nearest_node, quote_value

_WHOLE, _NUMBER, _LIST, _SECTION = "a whole number", "a number", "a list", "a section (key: value)"
_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": _SECTION,
    "float_type": _NUMBER,
    "frozen_set_type": _LIST,
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "list_type": _LIST,
    "model_type": _SECTION,
    "none_required": "null",
    "path_type": "a path",
    "set_type": _LIST,
    "string_type": "text",
    "tuple_type": _LIST,
}
_KINDS: dict[Any, str] = {int: _WHOLE, float: _NUMBER, str: "text", bool: "true or false", Path: "a path"}

RENAMED = {
    "batch.packs": "batch.global_batch_size",
    "batch.micro_packs": "batch.micro_batch_size",
    "batch.warmup.packs": "batch.warmup.global_batch_size",
    "held_out": "validation",
    "rehearse": "memory_check",
}
"""Former key (without list positions) -> its present name. A former name is an error that gives the present one."""


@dataclass(frozen=True)
class SchemaPosition:
    """Where an error's `loc` points: the keys of the document, and the types that pydantic accepts there."""

    path: KeyPath
    types: tuple[Any, ...]


def explain(model: type[BaseModel], error: ValidationError, tree: Node) -> list[Problem]:
    """Return every problem that `error` reports about `tree`; the branches of a union share one message."""
    problems: list[Problem] = []
    expected: dict[KeyPath, list[str]] = {}
    for detail in error.errors(include_url=False, include_context=True):
        position = locate(model, detail["loc"])
        phrase = _phrase(detail)
        if phrase and detail["loc"][-1:] == ("[key]",):
            key = Node(position.path[-1], nearest_node(tree, position.path).location)
            problems.append(
                Problem(key.location, dotted_path(position.path), f"the key should be {phrase}, got {quote_value(key)}")
            )
        elif phrase is None:
            problems.append(_problem(model, detail, position, tree))
        elif phrase not in expected.setdefault(position.path, []):
            expected[position.path].append(phrase)
    for path, phrases in expected.items():
        node = nearest_node(tree, path)
        text = f"expected {' or '.join(phrases)}, got {quote_value(node)}{_hint(node, phrases)}"
        problems.append(Problem(node.location, dotted_path(path), text))
    return problems


def locate(model: type[BaseModel], loc: tuple[str | int, ...]) -> SchemaPosition:
    """Follow `loc` through the types of `model`, skipping the names of union branches that pydantic inserts."""
    path: list[str | int] = []
    options = _union_members(model)
    names_branch = False
    for part in loc:
        if names_branch:
            options = tuple(option for option in options if _is_branch(option, part)) or options
            names_branch = False
        elif part != "[key]":
            path.append(part)
            inner = [kind for option in options for kind in _entry_types(option, part)]
            options = _union_members(inner[0]) if inner else ()
            names_branch = len(options) > 1
    return SchemaPosition(tuple(path), options)


def is_section(model: type[BaseModel], path: tuple[str | int, ...]) -> bool:
    """Whether the keys at `path` are fields of the model, rather than names chosen by the user."""
    return any(map(_is_model, locate(model, path).types))


def _union_members(annotation: Any) -> tuple[Any, ...]:
    """Return the types that `annotation` accepts, without None, in pydantic's order of union branches."""
    if get_origin(annotation) is Annotated:
        return _union_members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(kind for arm in get_args(annotation) if arm is not types.NoneType for kind in _union_members(arm))
    return (annotation,)


def _is_branch(option: Any, name: str | int) -> bool:
    if not _is_model(option):
        return False
    tags = [tag for field in option.model_fields.values() for tag in get_args(field.annotation)]
    return name == option.__name__ or name in tags


def _entry_types(option: Any, part: str | int) -> list[Any]:
    """Return the type of entry `part` of a value of type `option`; empty if it has no such entry."""
    if _is_model(option):
        return [field.annotation for name, field in option.model_fields.items() if name == part]
    arguments = get_args(option)
    if not arguments or get_origin(option) is Literal:
        return []
    if get_origin(option) is tuple and isinstance(part, int) and Ellipsis not in arguments:
        return [arguments[part]] if part < len(arguments) else []
    return [arguments[0] if isinstance(part, int) else arguments[-1]]


def _is_model(option: Any) -> bool:
    return isinstance(option, type) and issubclass(option, BaseModel)


def _phrase(detail: ErrorDetails) -> str | None:
    """Return what was expected, for errors about the type of a value or a choice of values; None for other errors."""
    if detail["type"] in ("literal_error", "enum"):
        return detail["ctx"]["expected"]
    return _EXPECTED.get(detail["type"])


def _hint(node: Node, phrases: list[str]) -> str:
    choices = [choice for phrase in phrases for choice in phrase.split("'")[1::2]]
    if isinstance(node.value, str):
        close = nearest_name(node.value, choices)
        if close:
            return f"; did you mean {close}?"
        if "true or false" in phrases and node.value.lower() in ("yes", "no", "on", "off"):
            return "; in YAML 1.2 only true and false are truth values"
    if "text" in phrases and isinstance(node.value, int | float):
        return "; put it in quotes to make it text"
    return ""


def _problem(model: type[BaseModel], detail: ErrorDetails, position: SchemaPosition, tree: Node) -> Problem:
    """Describe an error that is not about the type of one value."""
    node = nearest_node(tree, position.path)
    context = detail.get("ctx", {})
    path = position.path
    match detail["type"]:
        case "extra_forbidden":
            parent = locate(model, detail["loc"][:-1])
            renamed = RENAMED.get(".".join(str(part) for part in path if not isinstance(part, int)))
            if renamed and renamed.rpartition(".")[2] in _keys(parent):
                text = f"this key is now called {renamed.rpartition('.')[2]}"
            else:
                text = f"unknown key{_did_you_mean(model, parent, path)}"
        case "missing":
            text = f"missing{_expected_kind(position)}"
        case "union_tag_not_found":
            name = context["discriminator"].strip("'")
            path = (*path, name)
            text = f"missing; expected {' or '.join(map(repr, _tags(position, name)))}"
        case "union_tag_invalid":
            name = context["discriminator"].strip("'")
            path = (*path, name)
            node = nearest_node(tree, path)
            text = f"expected {context['expected_tags'].replace(', ', ' or ')}, got {quote_value(node)}"
            text += _hint(node, [context["expected_tags"]])
        case "value_error" | "assertion_error":
            text = " ".join(str(context["error"]).split())
        case "string_pattern_mismatch":
            text = f"should match {context['pattern'].strip('^$')}, got {quote_value(node)}"
        case _:
            text = f"{detail['msg'].replace('Input should', 'should')}, got {quote_value(node)}"
    return Problem(node.location, dotted_path(path), text)


def _did_you_mean(model: type[BaseModel], parent: SchemaPosition, path: KeyPath) -> str:
    keys = _keys(parent)
    key = str(path[-1])
    elsewhere = next((other for other in _paths_to(key, model) if other != dotted_path(path)), None)
    close = [name for name in (nearest_name(key, keys), elsewhere) if name]
    question = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{question} (keys here: {', '.join(keys)})"


def _keys(section: SchemaPosition) -> list[str]:
    return [name for option in section.types if _is_model(option) for name in option.model_fields]


def _paths_to(key: str, model: type[BaseModel], above: tuple[type, ...] = (), prefix: str = "") -> Iterator[str]:
    """Yield the dotted paths at which `model` has a key of this name; `above` are the enclosing models."""
    for name, field in model.model_fields.items():
        if name == key:
            yield prefix + name
        for kind in _union_members(field.annotation):
            if _is_model(kind) and kind not in (*above, model):
                yield from _paths_to(key, kind, (*above, model), f"{prefix}{name}.")


def _expected_kind(position: SchemaPosition) -> str:
    """Name the type of a missing value, where one word is enough."""
    kinds = [_SECTION if _is_model(kind) else _KINDS.get(kind, "") for kind in position.types]
    return f"; expected {' or '.join(dict.fromkeys(kinds))}" if kinds and all(kinds) else ""


def _tags(position: SchemaPosition, discriminator: str) -> list[Any]:
    return [tag for option in position.types for tag in get_args(option.model_fields[discriminator].annotation)]
