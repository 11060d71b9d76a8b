"""A recipe: a YAML file, the file it extends and the overrides of the command line, checked against a pydantic model.

Every mistake is reported at once, each with the place where it was written:

    configs/tiny.yaml:12: data.seq_lenght: unknown key; did you mean seq_length? (keys here: seq_length, sources)
"""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import UserError
from .explain import explain, is_section, locate
from .recipes import find_recipe
from .tree import KeyPath, Node, Place, Problem, merge, parse, plain, replace, show, to_yaml

Model = TypeVar("Model", bound=BaseModel)
IsSection: TypeAlias = "Callable[[KeyPath], bool]"


def load(model: type[Model], path: Path, overrides: Sequence[str] = ()) -> Model:
    """The `model` that the recipe at `path` and the `overrides` (`a.b=value`, the value in YAML) describe.

    Keys that the model does not have are mistakes, whatever its `extra` setting; values are not converted, but a
    whole float such as `13e9` serves as an integer. Raises UserError with one line for each mistake.
    """
    problems: list[Problem] = []
    tree = _read(path, problems, partial(is_section, model))
    for override in overrides:
        tree = _override(tree, override, problems)
    try:
        config = _validate(model, plain(tree))
    except ValidationError as error:
        unread = {problem.path for problem in problems if problem.unread}
        problems += [problem for problem in explain(model, error, tree) if problem.path not in unread]
    if problems:
        raise _mistakes(problems)
    return config


def sections(path: Path) -> set[str]:
    """The first keys of a recipe and of what it extends, by which kinds of recipes are told apart."""
    tree = _read(path, [], lambda path: True)
    return set(tree.value) if isinstance(tree.value, dict) else set()


def dump(config: BaseModel) -> str:
    """`config` as YAML, defaults included; `load` reads it back equal."""
    return to_yaml(config.model_dump(mode="json", round_trip=True))


def _validate(model: type[Model], values: object) -> Model:
    """Strictly, as JSON: no text is taken for a number, while paths, tuples and enums may be written as YAML can."""
    try:
        return model.model_validate_json(json.dumps(values), strict=True, extra="forbid")
    except ValidationError as error:
        if not _make_whole(values, model, error):
            raise
    return model.model_validate_json(json.dumps(values), strict=True, extra="forbid")


def _make_whole(values: Any, model: type[BaseModel], error: ValidationError) -> bool:
    """Turns the floats of `values` that were refused as integers, but are whole, into integers; False if none."""
    found = False
    for detail in error.errors(include_url=False):
        if detail["type"] == "int_type" and isinstance(detail["input"], float) and detail["input"].is_integer():
            *parents, last = locate(model, detail["loc"]).path
            section = values
            for key in parents:
                section = section[key]
            section[last] = int(detail["input"])
            found = True
    return found


def _read(path: Path, problems: list[Problem], is_section: IsSection, children: tuple[Path, ...] = ()) -> Node:
    """The tree of the file at `path`, laid on the one it extends; `children` are the files that led here."""
    source = _shown(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    tree = parse(text, lambda line: Place(source, line), problems)
    if tree is None:
        raise _mistakes(problems)
    if tree.value is None:
        tree = Node({}, tree.place)
    if not isinstance(tree.value, dict):
        raise UserError(f"{source}: not a recipe: expected keys and their values (key: value)")
    if "extends" not in tree.value:
        return tree
    own = {key: node for key, node in tree.value.items() if key != "extends"}
    base = _read_base(tree.value["extends"], path, problems, is_section, (*children, path.resolve()))
    return merge(base, Node(own, tree.place), is_section)


def _read_base(
    extends: Node, path: Path, problems: list[Problem], is_section: IsSection, children: tuple[Path, ...]
) -> Node:
    if not isinstance(extends.value, str):
        raise UserError(f"{extends.place}: extends: expected the name of one file, got {show(extends)}")
    try:
        base = find_recipe(extends.value, path.parent)
    except UserError as error:
        raise UserError(f"{extends.place}: extends: {error}") from error
    if base.resolve() in children:
        circle = " -> ".join(_shown(file) for file in (*children[children.index(base.resolve()) :], base))
        raise UserError(f"{extends.place}: extends: files extend each other in a circle: {circle}")
    return _read(base, problems, is_section, children)


def _override(tree: Node, override: str, problems: list[Problem]) -> Node:
    key, equals, text = override.partition("=")
    place = Place(f"--set {key}")
    if not (equals and all(key.split("."))):
        problems.append(Problem(place, "", "expected key=value with a dotted key, such as data.seq_length=512"))
        return tree
    keys = tuple(key.split("."))
    value = parse(text, lambda line: place, problems, keys)
    if value is None:
        return tree
    try:
        return replace(tree, keys, value)
    except KeyError as error:
        problems.append(Problem(place, key, error.args[0]))
        return tree


def _mistakes(problems: list[Problem]) -> UserError:
    """One line a mistake: those in files by file and line, then those on the command line."""
    ordered = sorted(problems, key=lambda problem: (problem.place.line == 0, problem.place.source, problem.place.line))
    return UserError("\n".join(dict.fromkeys(map(str, ordered))))


def _shown(path: Path) -> str:
    """`path` as a message names it: from the working directory where it lies inside it."""
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute)
    return absolute if relative.startswith("..") else relative
