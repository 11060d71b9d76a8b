"""YAML text -> a tree in which every value carries the file and line it was written at.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema): `5e-4` is a number, `yes` is
text. There are two extensions: underscores between the digits of a decimal integer, such as `1_000_000`, and `~/` at
the start of a text, which is the home directory.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

from ..home import expand_home
from ..limits import YAML_CHARACTERS, YAML_DEPTH, YAML_NODES

KeyPath: TypeAlias = "tuple[str | int, ...]"
Scalar: TypeAlias = "str | int | float | None"


@dataclass(frozen=True)
class Location:
    """Where a value was written: a file and its line, or an option of the command line (line 0)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class Node:
    """A value and its location. For an entry of a mapping, that is the line of its key. Nested values are nodes too."""

    value: "Scalar | dict[str, Node] | list[Node]"
    location: Location


@dataclass(frozen=True)
class Problem:
    """One error in a configuration.

    Attributes:
        location: where the value was written.
        path: the dotted path of its key; "" for the whole document.
        text: what is wrong.
        unreadable: the value could not be parsed, so further errors about it are not reported.
    """

    location: Location
    path: str
    text: str
    unreadable: bool = False

    def __str__(self) -> str:
        named_by_location = not self.path or self.location.source == f"--set {self.path}"
        return f"{self.location}: {self.text}" if named_by_location else f"{self.location}: {self.path}: {self.text}"


def parse(
    text: str, location_of: Callable[[int], Location], problems: list[Problem], path: KeyPath = ()
) -> Node | None:
    """Parse one YAML document into a tree; return None if it is not YAML. Every error is appended to `problems`.

    `location_of` maps a line number, from 1, to its location; `path` is the position of the document in the complete
    configuration. An empty document is null. Its size, nesting and expansion are bounded (`limits.py`).
    """
    if len(text) > YAML_CHARACTERS:
        problem = f"more than {YAML_CHARACTERS:,} characters, the limit of a YAML file; split it with `extends:`"
        problems.append(Problem(location_of(text.count("\n", 0, YAML_CHARACTERS) + 1), dotted_path(path), problem))
        return None
    try:
        root = yaml.compose(text, Loader=_CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark, context = error.problem_mark or error.context_mark, error.context
        if context and error.context_mark and mark and error.context_mark.line != mark.line:
            context += f" that begins at line {error.context_mark.line + 1}"
        what = ", ".join(part for part in (context, error.problem) if part)
        problems.append(
            Problem(location_of(mark.line + 1 if mark else 1), dotted_path(path), f"not valid YAML: {what}")
        )
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.append(
            Problem(location_of(line), dotted_path(path), f"not valid YAML: character {error.character:#x}")
        )
        return None
    except OverflowError:  # in PyYAML's chr()
        problems.append(Problem(location_of(1), dotted_path(path), "not valid YAML: an escape above \\U0010FFFF"))
        return None
    if root is None:
        return Node(None, location_of(1))
    try:
        return _Builder(location_of, problems).build(root, location_of(root.start_mark.line + 1), path)
    except _ExpandsTooFarError as error:
        text = f"more than {error} in all, with each alias (*name) counted as what it stands for; write fewer"
        problems.append(Problem(error.location, error.path, text))
        return None


def to_yaml(value: object) -> str:
    """Write `value` (dict, list and scalars) as YAML that `parse` reads back unchanged."""
    return yaml.dump(value, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=100)


def to_values(node: Node) -> object:
    """Return the values without their locations: dict, list and scalars."""
    if isinstance(node.value, dict):
        return {key: to_values(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [to_values(child) for child in node.value]
    return node.value


def merge(base: Node, over: Node, is_section: Callable[[KeyPath], bool], path: KeyPath = ()) -> Node:
    """Override `base` with `over`: sections merge key by key; anything else, also a table with the user's own keys,
    is replaced.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict) and is_section(path)):
        return over
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node, is_section, (*path, key)) if key in merged else node
    return Node(merged, over.location)


def replace(root: Node, path: KeyPath, new: Node) -> Node:
    """Return `root` with `new` at `path`. Sections on the way that are absent or null are created.

    Raises KeyError with a message if the path leads into a scalar or past the end of a list.
    """
    if not path:
        return new
    key, rest = str(path[0]), path[1:]
    if isinstance(root.value, list):
        if not (key.isdecimal() and int(key) < len(root.value)):
            raise KeyError(f"{key} is not an index of this list: it has {len(root.value)} items, counted from 0")
        items = list(root.value)
        items[int(key)] = replace(items[int(key)], rest, new)
        return Node(items, root.location)
    if isinstance(root.value, dict) or root.value is None:
        entries = dict(root.value or {})
        entries[key] = replace(entries.get(key, Node(None, new.location)), rest, new)
        return Node(entries, root.location)
    raise KeyError(f"{key} cannot be set here: {root.location} gives {quote_value(root)}, not a section")


def nearest_node(root: Node, path: KeyPath) -> Node:
    """Return the node at `path`, or its closest existing ancestor."""
    node = root
    for part in path:
        if isinstance(node.value, dict) and str(part) in node.value:
            node = node.value[str(part)]
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            break
    return node


def quote_value(node: Node) -> str:
    """Format a value for a message."""
    if isinstance(node.value, dict):
        return "a section"
    if isinstance(node.value, list):
        return "a list"
    if isinstance(node.value, str):
        return repr(node.value if len(node.value) <= 60 else node.value[:57] + "...")
    return "null" if node.value is None else repr(node.value).lower()


def dotted_path(path: KeyPath) -> str:
    """`("stages", 0, "length")` -> `stages.0.length`."""
    return ".".join(map(str, path))


_TAG = "tag:yaml.org,2002:"
_MAX_DIGITS = 100  # more would only be rounded, and Python refuses to print thousands
_CORE_SCALARS = {
    "null": re.compile(r"(?:null|Null|NULL|~|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
    "merge": re.compile(r"<<\Z"),  # not in YAML 1.2: recognized so that a bare `<<` is rejected, and quoted on writing
}


class _CoreLoader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - PyYAML's own attribute
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth += 1
        if self._depth > YAML_DEPTH:
            raise yaml.composer.ComposerError(
                None, None, f"more than {YAML_DEPTH} levels of nesting", self.peek_event().start_mark
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


class _CoreDumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML treats these as line breaks and would fold them to a space outside double quotes.
    style = '"' if any(letter in text for letter in "\x85\u2028\u2029") else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_CoreDumper.add_representer(str, _represent_text)
for _name, _pattern in _CORE_SCALARS.items():
    _CoreLoader.add_implicit_resolver(_TAG + _name, _pattern, None)
    _CoreDumper.add_implicit_resolver(_TAG + _name, _pattern, None)


def _scalar(kind: str, text: str) -> Scalar:
    """Return the value of `text` as a core scalar; raise ValueError if it is not of that kind."""
    if kind == "str":
        text.encode()  # a lone surrogate ("\\ud800") is not valid text; UnicodeEncodeError is a ValueError
        return expand_home(text)
    if not _CORE_SCALARS[kind].match(text):
        raise ValueError(f"{text!r} is not a valid {kind}")
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        if len(text) > _MAX_DIGITS:
            raise ValueError(f"an integer of {len(text):,} characters; expected at most {_MAX_DIGITS}")
        return int(text.replace("_", ""), {"0o": 8, "0x": 16}.get(text[:2], 10))
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return None


class _ExpandsTooFarError(Exception):
    """The document has too many values, or too much text, after the expansion of aliases."""

    def __init__(self, limit: str, location: Location, path: KeyPath) -> None:
        super().__init__(limit)
        self.location = location
        self.path = dotted_path(path)


@dataclass
class _Builder:
    """Converts PyYAML's nodes.

    Attributes:
        ancestors: the nodes under construction, to detect an anchor inside itself.
        entry: where the current entry of the document is: an alias in it may be too much, not what it stands for.
        nodes: the number of those built, aliases expanded.
        characters: of their texts.
    """

    location_of: Callable[[int], Location]
    problems: list[Problem]
    ancestors: list[yaml.Node] = field(default_factory=list)
    entry: tuple[Location, KeyPath] | None = None
    nodes: int = 0
    characters: int = 0

    def build(self, node: yaml.Node, location: Location, path: KeyPath) -> Node:
        if self.entry is None or len(self.ancestors) == 1:
            self.entry = location, path
        self._count(node)
        if any(node is ancestor for ancestor in self.ancestors):
            return self._reject(location, path, "an anchor cannot contain itself")
        kind = node.tag.removeprefix(_TAG)
        self.ancestors.append(node)
        try:
            if isinstance(node, yaml.MappingNode) and kind == "map":
                return Node(self._entries(node, path), location)
            if isinstance(node, yaml.SequenceNode) and kind == "seq":
                return Node(self._items(node, path), location)
            if isinstance(node, yaml.ScalarNode) and kind in {*_CORE_SCALARS, "str"} - {"merge"}:
                return Node(_scalar(kind, node.value), location)
        except ValueError as error:
            return self._reject(location, path, str(error))
        finally:
            self.ancestors.pop()
        return self._reject(location, path, f"the tag {node.tag} is not supported; write plain values")

    def _count(self, node: yaml.Node) -> None:
        self.nodes += 1
        self.characters += len(node.value) if isinstance(node, yaml.ScalarNode) else 0
        assert self.entry is not None
        if self.nodes > YAML_NODES:
            raise _ExpandsTooFarError(f"{YAML_NODES:,} values", *self.entry)
        if self.characters > YAML_CHARACTERS:
            raise _ExpandsTooFarError(f"{YAML_CHARACTERS:,} characters", *self.entry)

    def _entries(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            location = self.location_of(key_node.start_mark.line + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                self._reject(location, path, "a key must be a single word or number, not a list or a mapping")
                continue
            key = key_node.value
            self._count(key_node)
            if key_node.tag == _TAG + "merge":
                self._reject(location, (*path, key), "merge keys are not in YAML 1.2; use `extends:` to share a file")
                continue
            if key in entries:
                text = f"duplicate key, first given at {entries[key].location}"
                self.problems.append(Problem(location, dotted_path((*path, key)), text))
            entries[key] = self.build(value_node, location, (*path, key))
        return entries

    def _items(self, node: yaml.SequenceNode, path: KeyPath) -> list[Node]:
        return [
            self.build(item, self.location_of(item.start_mark.line + 1), (*path, index))
            for index, item in enumerate(node.value)
        ]

    def _reject(self, location: Location, path: KeyPath, text: str) -> Node:
        self.problems.append(Problem(location, dotted_path(path), text, unreadable=True))
        return Node(None, location)
