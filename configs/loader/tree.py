"""YAML text -> a tree whose every value knows the file and line it came from.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema): `5e-4` is a number, `yes` is
text. One thing is added because people write it: underscores between the digits of a decimal integer, `1_000_000`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import yaml

KeyPath: TypeAlias = "tuple[str | int, ...]"
Scalar: TypeAlias = "str | int | float | None"


@dataclass(frozen=True)
class Place:
    """Where a value was written: a file and its line, or an option of the command line (line 0)."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True)
class Node:
    """A value and its place (for an entry of a mapping: the line of its key); values inside it are nodes too."""

    value: "Scalar | dict[str, Node] | list[Node]"
    place: Place


@dataclass(frozen=True)
class Problem:
    """One mistake: its place, the dotted path of its key ("" for the whole document), and what is wrong.

    `unread` says that the value itself could not be read, so that nothing else can be said about it.
    """

    place: Place
    path: str
    text: str
    unread: bool = False

    def __str__(self) -> str:
        named_by_place = not self.path or self.place.source == f"--set {self.path}"
        return f"{self.place}: {self.text}" if named_by_place else f"{self.place}: {self.path}: {self.text}"


def parse(text: str, place_of: Callable[[int], Place], problems: list[Problem], path: KeyPath = ()) -> Node | None:
    """The tree of one YAML document, or None when it is not YAML; every mistake is added to `problems`.

    `place_of` maps a line, from 1, to its place; `path` is where the document stands in the whole configuration.
    An empty document is null.
    """
    try:
        root = yaml.compose(text, Loader=_CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark, context = error.problem_mark or error.context_mark, error.context
        if context and error.context_mark and mark and error.context_mark.line != mark.line:
            context += f" that begins at line {error.context_mark.line + 1}"
        what = ", ".join(part for part in (context, error.problem) if part)
        problems.append(Problem(place_of(mark.line + 1 if mark else 1), dotted(path), f"not valid YAML: {what}"))
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.append(Problem(place_of(line), dotted(path), f"not valid YAML: character {error.character:#x}"))
        return None
    if root is None:
        return Node(None, place_of(1))
    return _Builder(place_of, problems).build(root, place_of(root.start_mark.line + 1), path)


def to_yaml(value: object) -> str:
    """`value` (dict, list and scalars) as YAML that `parse` reads back equal."""
    return yaml.dump(value, Dumper=_CoreDumper, sort_keys=False, allow_unicode=True, width=100)


def plain(node: Node) -> object:
    """The values alone: dict, list and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def merge(base: Node, over: Node, is_section: Callable[[KeyPath], bool], path: KeyPath = ()) -> Node:
    """`over` laid on `base`: sections merge key by key, anything else replaces, tables of a user's own names too."""
    if not (isinstance(base.value, dict) and isinstance(over.value, dict) and is_section(path)):
        return over
    merged = dict(base.value)
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node, is_section, (*path, key)) if key in merged else node
    return Node(merged, over.place)


def replace(root: Node, path: KeyPath, new: Node) -> Node:
    """`root` with `new` at `path`; sections that are absent or null are made on the way.

    Raises KeyError with a sentence when the path leads into a scalar or past the end of a list.
    """
    if not path:
        return new
    key, rest = str(path[0]), path[1:]
    if isinstance(root.value, list):
        if not (key.isdecimal() and int(key) < len(root.value)):
            raise KeyError(f"{key} is not an index of this list: it has {len(root.value)} items, counted from 0")
        items = list(root.value)
        items[int(key)] = replace(items[int(key)], rest, new)
        return Node(items, root.place)
    if isinstance(root.value, dict) or root.value is None:
        entries = dict(root.value or {})
        entries[key] = replace(entries.get(key, Node(None, new.place)), rest, new)
        return Node(entries, root.place)
    raise KeyError(f"{key} cannot be set here: {root.place} gives {show(root)}, not a section")


def nearest(root: Node, path: KeyPath) -> Node:
    """The node at `path`, or the last one on the way to it that exists."""
    node = root
    for part in path:
        if isinstance(node.value, dict) and str(part) in node.value:
            node = node.value[str(part)]
        elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            break
    return node


def show(node: Node) -> str:
    """A value as a message quotes it."""
    if isinstance(node.value, dict):
        return "a section"
    if isinstance(node.value, list):
        return "a list"
    if isinstance(node.value, str):
        return repr(node.value if len(node.value) <= 60 else node.value[:57] + "...")
    return "null" if node.value is None else repr(node.value).lower()


def dotted(path: KeyPath) -> str:
    """`("stages", 0, "length")` -> `stages.0.length`."""
    return ".".join(map(str, path))


_TAG = "tag:yaml.org,2002:"
_CORE_SCALARS = {
    "null": re.compile(r"(?:null|Null|NULL|~|)\Z"),
    "bool": re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"),
    "int": re.compile(r"(?:[-+]?[0-9]+(?:_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+)\Z"),
    "float": re.compile(
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
    ),
    "merge": re.compile(r"<<\Z"),  # no scalar of YAML 1.2: known so that a plain `<<` is refused, and quoted on writing
}


class _CoreLoader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012 - PyYAML's own attribute


class _CoreDumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict = {}  # noqa: RUF012

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # PyYAML takes these for line breaks and would fold them to a space outside double quotes
    style = '"' if any(letter in text for letter in "\x85\u2028\u2029") else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_CoreDumper.add_representer(str, _represent_text)
for _name, _pattern in _CORE_SCALARS.items():
    _CoreLoader.add_implicit_resolver(_TAG + _name, _pattern, None)
    _CoreDumper.add_implicit_resolver(_TAG + _name, _pattern, None)


def _scalar(kind: str, text: str) -> Scalar:
    """The value of `text` as a core scalar; ValueError where it is none of that kind."""
    if kind == "str":
        text.encode()  # "\\ud800" is no text; UnicodeEncodeError is a ValueError
        return text
    if not _CORE_SCALARS[kind].match(text):
        raise ValueError(f"{text!r} is no {kind}")
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text.replace("_", ""), {"0o": 8, "0x": 16}.get(text[:2], 10))
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return None


@dataclass
class _Builder:
    """Turns PyYAML's nodes into ours; `ancestors` are those being built, to notice an anchor inside itself."""

    place_of: Callable[[int], Place]
    problems: list[Problem]
    ancestors: list[yaml.Node] = field(default_factory=list)

    def build(self, node: yaml.Node, place: Place, path: KeyPath) -> Node:
        if any(node is ancestor for ancestor in self.ancestors):
            return self._refuse(place, path, "an anchor cannot contain itself")
        kind = node.tag.removeprefix(_TAG)
        self.ancestors.append(node)
        try:
            if isinstance(node, yaml.MappingNode) and kind == "map":
                return Node(self._entries(node, path), place)
            if isinstance(node, yaml.SequenceNode) and kind == "seq":
                return Node(self._items(node, path), place)
            if isinstance(node, yaml.ScalarNode) and kind in {*_CORE_SCALARS, "str"} - {"merge"}:
                return Node(_scalar(kind, node.value), place)
        except ValueError as error:
            return self._refuse(place, path, str(error))
        finally:
            self.ancestors.pop()
        return self._refuse(place, path, f"the tag {node.tag} is not known here; write plain values")

    def _entries(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key_node, value_node in node.value:
            place = self.place_of(key_node.start_mark.line + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(place, path, "a key must be a single word or number, not a list or a mapping")
                continue
            key = key_node.value
            if key_node.tag == _TAG + "merge":
                self._refuse(place, (*path, key), "merge keys are no part of YAML 1.2; `extends:` shares a whole file")
                continue
            if key in entries:
                text = f"duplicate key, first given at {entries[key].place}"
                self.problems.append(Problem(place, dotted((*path, key)), text))
            entries[key] = self.build(value_node, place, (*path, key))
        return entries

    def _items(self, node: yaml.SequenceNode, path: KeyPath) -> list[Node]:
        return [
            self.build(item, self.place_of(item.start_mark.line + 1), (*path, index))
            for index, item in enumerate(node.value)
        ]

    def _refuse(self, place: Place, path: KeyPath, text: str) -> Node:
        self.problems.append(Problem(place, dotted(path), text, unread=True))
        return Node(None, place)
