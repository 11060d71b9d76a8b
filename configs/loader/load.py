"""Load a recipe: a YAML file, the file it extends and command-line overrides, validated against a pydantic model.

All errors are reported together, each with the location where it was written:

    configs/tiny.yaml:12: data.seq_lenght: unknown key; did you mean seq_length? (keys here: seq_length, sources)
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import UserError
from ..limits import YAML_CHARACTERS, YAML_DEPTH, YAML_FILES
from ..secrets import FIX, find_secret, scrub, scrub_tree
from .explain import explain, is_section, locate
from .recipes import Kind, find_recipe, kind_of
from .tree import KeyPath, Location, Node, Problem, dotted_path, merge, parse, quote_value, replace, to_values, to_yaml

_MOST_SHOWN = 100
"""Problems in one message."""

Model = TypeVar("Model", bound=BaseModel)
IsSection: TypeAlias = "Callable[[KeyPath], bool]"


def load(model: type[Model], path: Path, overrides: Sequence[str] = (), allow_secrets: bool = False) -> Model:
    """Load the recipe at `path` with the `overrides` (`a.b=value`, the value in YAML) into `model`.

    Unknown keys are errors, whatever the model's `extra` setting. Values are not converted, except that a float with
    an integral value, such as `13e9`, is accepted as an integer. Raises UserError with one line per error.

    Args:
        allow_secrets: accept passwords and tokens, which are errors in a recipe: its copies are read by others. For
            files of runs that earlier versions wrote.
    """
    problems: list[Problem] = []
    tree = _read(path, problems, partial(is_section, model))
    for override in overrides:
        tree = _override(tree, override, problems)
    if not allow_secrets:
        problems += _secrets(tree)
    try:
        config = _validate(model, to_values(tree))
    except ValidationError as error:
        unreadable = {problem.path for problem in problems if problem.unreadable}
        problems += [problem for problem in explain(model, error, tree) if problem.path not in unreadable]
    if problems:
        raise _to_user_error(problems)
    return config


def locate_recipe(name_or_path: str, kind: Kind) -> Path:
    """Return the file of a recipe, see `find_recipe`. Raises UserError if it is of another kind, with its command."""
    path = find_recipe(name_or_path, kind=kind)
    actual = kind_of(sections(path))
    if actual is not None and actual is not kind:
        raise UserError(
            f"{_display_path(path)}: this is a {actual.name}, not a {kind.name}: "
            f"run `{actual.command.format(name_or_path)}`"
        )
    return path


def sections(path: Path) -> set[str]:
    """Return the top-level keys of a recipe and of the files it extends; they identify the kind of recipe."""
    tree = _read(path, [], lambda path: True)
    return set(tree.value) if isinstance(tree.value, dict) else set()


def dump(config: BaseModel) -> str:
    """Write `config` as YAML, defaults included, without secrets; `load` reads it back unchanged."""
    return to_yaml(scrub_tree(config.model_dump(mode="json", round_trip=True)))


def _secrets(node: Node, path: KeyPath = ()) -> Iterator[Problem]:
    """A problem for every value that is a secret or has one in it."""
    if isinstance(node.value, dict):
        children: Iterable[tuple[str | int, Node]] = node.value.items()
    elif isinstance(node.value, list):
        children = enumerate(node.value)
    else:
        if isinstance(node.value, str) and (found := find_secret(path, node.value)):
            yield Problem(node.location, dotted_path(path), f"{found}, and copies of a recipe are kept: {FIX}")
        return
    for part, child in children:
        yield from _secrets(child, (*path, part))


def _validate(model: type[Model], values: object) -> Model:
    """Validate strictly in JSON mode: no text becomes a number, while paths, tuples and enums are accepted."""
    try:
        return model.model_validate_json(json.dumps(values), strict=True, extra="forbid")
    except ValidationError as error:
        if not _convert_integral_floats(values, model, error):
            raise
    return model.model_validate_json(json.dumps(values), strict=True, extra="forbid")


def _convert_integral_floats(values: Any, model: type[BaseModel], error: ValidationError) -> bool:
    """Replace integral floats of `values` that were rejected as integers; return whether there were any."""
    converted = False
    for detail in error.errors(include_url=False):
        if detail["type"] == "int_type" and isinstance(detail["input"], float) and detail["input"].is_integer():
            *parents, last = locate(model, detail["loc"]).path
            section = values
            for key in parents:
                section = section[key]
            section[last] = int(detail["input"])
            converted = True
    return converted


def _read(path: Path, problems: list[Problem], is_section: IsSection, children: tuple[Path, ...] = ()) -> Node:
    """Read the file at `path` on top of the file it extends; `children` are the files whose `extends` led here."""
    source = _display_path(path)
    try:
        with path.open("rb") as file:
            content = file.read(4 * YAML_CHARACTERS + 1)  # `parse` refuses more
        text = content.decode("utf-8", "strict" if len(content) <= 4 * YAML_CHARACTERS else "replace")
    except OSError as error:
        raise UserError(f"{source}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{source}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    tree = parse(text, lambda line: Location(source, line), problems)
    if tree is None:
        raise _to_user_error(problems)
    if tree.value is None:
        tree = Node({}, tree.location)
    if not isinstance(tree.value, dict):
        raise UserError(f"{source}: not a recipe: expected keys and their values (key: value)")
    if "extends" not in tree.value:
        return tree
    own = {key: node for key, node in tree.value.items() if key != "extends"}
    base = _read_base(tree.value["extends"], path, problems, is_section, (*children, path.resolve()))
    return merge(base, Node(own, tree.location), is_section)


def _read_base(
    extends: Node, path: Path, problems: list[Problem], is_section: IsSection, children: tuple[Path, ...]
) -> Node:
    if not isinstance(extends.value, str):
        raise UserError(f"{extends.location}: extends: expected the name of one file, got {quote_value(extends)}")
    try:
        base = find_recipe(extends.value, path.parent)
    except UserError as error:
        raise UserError(f"{extends.location}: extends: {error}") from error
    if base.resolve() in children:
        circle = " -> ".join(_display_path(file) for file in (*children[children.index(base.resolve()) :], base))
        raise UserError(f"{extends.location}: extends: files extend each other in a circle: {circle}")
    if len(children) >= YAML_FILES:
        raise UserError(f"{extends.location}: extends: more than {YAML_FILES} files extend one another; join some")
    return _read(base, problems, is_section, children)


def _override(tree: Node, override: str, problems: list[Problem]) -> Node:
    key, equals, text = override.partition("=")
    location = Location(f"--set {key}")
    if not (equals and all(key.split("."))):
        problems.append(Problem(location, "", "expected key=value with a dotted key, such as data.seq_length=512"))
        return tree
    keys = tuple(key.split("."))
    if len(keys) > YAML_DEPTH:
        problems.append(Problem(location, "", f"a key of {len(keys):,} parts; at most {YAML_DEPTH} levels are nested"))
        return tree
    value = parse(text, lambda line: location, problems, keys)
    if value is None:
        return tree
    try:
        return replace(tree, keys, value)
    except KeyError as error:
        problems.append(Problem(location, key, error.args[0]))
        return tree


def _to_user_error(problems: list[Problem]) -> UserError:
    """Combine problems, one per line: first those in files, by file and line, then those on the command line."""
    ordered = sorted(
        problems, key=lambda problem: (problem.location.line == 0, problem.location.source, problem.location.line)
    )
    lines = list(dict.fromkeys(map(str, ordered)))
    more = [f"and {len(lines) - _MOST_SHOWN:,} more problems"] if len(lines) > _MOST_SHOWN else []
    return UserError(scrub("\n".join(lines[:_MOST_SHOWN] + more)))


def _display_path(path: Path) -> str:
    """Return `path` for a message: relative if it is inside the working directory, else absolute."""
    absolute = os.path.abspath(path)
    relative = os.path.relpath(absolute)
    return absolute if relative.startswith("..") else relative
