"""The terms of an ontology and what its publisher says about each, as a graph without cycles.

A fact belongs to one term: a parent to its child, a note to the code that has it. Children and siblings are not stored,
they follow from the parents.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from ....configs.limits import TERM_LEVELS, TooLargeError
from ...documents.census import Census

Level: TypeAlias = Literal["category", "block", "chapter"]
LEVELS: tuple[Level, ...] = ("category", "block", "chapter")
_NEAR = 50  # siblings before and after a term: time must not grow with the square of a family


class Fact(NamedTuple):
    """What the publisher says about a term.

    Attributes:
        relation: a key of `sentences.RELATIONS`.
        text: in the publisher's words.
        targets: the codes of the terms that it refers to.
        opening: words before a list of which the text is an item, such as `underlying disease, such as:`.
    """

    relation: str
    text: str
    targets: tuple[str, ...] = ()
    opening: str = ""


class Node(NamedTuple):
    """A term.

    Attributes:
        code: unique in its graph.
        name: empty for a group that has only a code.
        noun: what the code is, such as `ICD-10-CM code`.
        label: how sentences name the term first.
        short: how they may name it later: its code if the label has it, else the label.
        parents: codes; the first is the one through which the term has its groups.
        above: the relation to its parents, `kind` or `member`.
        facts: in the publisher's order.
        groups: its category, block and chapter. Those of two terms are equal if they are in the same one.
    """

    code: str
    name: str
    noun: str
    label: str
    short: str
    parents: tuple[str, ...]
    above: Literal["kind", "member"]
    facts: tuple[Fact, ...]
    groups: tuple[str, str, str]

    def group(self, level: Level) -> str:
        return self.groups[LEVELS.index(level)]


class Graph(NamedTuple):
    """Terms by code, in the publisher's order.

    Attributes:
        children: of the terms that have any.
        places: of each pair of parent and child, the place of the child among the children.
    """

    nodes: Mapping[str, Node]
    children: Mapping[str, tuple[str, ...]]
    places: Mapping[tuple[str, str], int]

    def path(self, code: str) -> list[str]:
        """The codes from the top to a term, through first parents."""
        path = [code]
        while parents := self.nodes[path[-1]].parents:
            path.append(parents[0])
        return path[::-1]

    def siblings(self, code: str) -> list[str]:
        """The other children of its parents; of large families those that are near it in the file."""
        found: list[str] = []
        for parent in self.nodes[code].parents:
            place = self.places[parent, code]
            found += self.children[parent][max(0, place - _NEAR) : place + _NEAR]
        return [sibling for sibling in dict.fromkeys(found) if sibling != code]


def connect(nodes: Iterable[Node], left_out: Census, path: Path) -> Graph:
    """A graph in which every parent and target is a term, and no term is above itself.

    Args:
        left_out: counts the relations that are dropped for this. A fact whose target is unknown keeps its text.
        path: of the file, for messages.
    Raises:
        TooLargeError: a hierarchy has more levels than any ontology has.
    """
    found = {node.code: node for node in nodes}
    for code, node in found.items():
        for kind, codes in (
            ("parents that are not in the file", node.parents),
            ("references to codes that are not in the file", [t for fact in node.facts for t in fact.targets]),
        ):
            for unknown in (other for other in codes if other not in found):
                left_out.add(kind, unknown)
        facts = tuple(fact._replace(targets=_known(fact.targets, found, code)) for fact in node.facts)
        found[code] = node._replace(parents=tuple(p for p in node.parents if p in found), facts=facts)
    for child, parent in _closing_edges(found):
        left_out.add("parents that close a cycle", parent)
        node = found[child]
        found[child] = node._replace(parents=tuple(code for code in node.parents if code != parent))
    children: dict[str, list[str]] = {}
    for code, node in found.items():
        for parent in node.parents:
            children.setdefault(parent, []).append(code)
    _check_levels(found, path)
    places = {(parent, child): place for parent, family in children.items() for place, child in enumerate(family)}
    return Graph(found, {code: tuple(codes) for code, codes in children.items()}, places)


def _check_levels(nodes: Mapping[str, Node], path: Path) -> None:
    levels: dict[str, int] = {}
    for start in nodes:
        chain = []
        code: str | None = start
        while code is not None and code not in levels:
            chain.append(code)
            code = next(iter(nodes[code].parents), None)
        level = levels[code] if code is not None else 0
        for below in reversed(chain):
            levels[below] = level = level + 1
        if level > TERM_LEVELS:
            raise TooLargeError(f"{path}: {start} is on level {level} of its hierarchy; expected at most {TERM_LEVELS}")


def _known(targets: tuple[str, ...], nodes: Mapping[str, Node], code: str) -> tuple[str, ...]:
    return tuple(target for target in dict.fromkeys(targets) if target in nodes and target != code)


def _closing_edges(nodes: Mapping[str, Node]) -> list[tuple[str, str]]:
    """Pairs of child and parent without which no term is above itself; they depend only on the order of the file."""
    closing: list[tuple[str, str]] = []
    done: set[str] = set()
    for start in nodes:
        open_codes: dict[str, None] = {}
        stack = [(start, False)]
        while stack:
            code, leaving = stack.pop()
            if leaving:
                del open_codes[code]
                done.add(code)
            elif code not in done and code not in open_codes:
                open_codes[code] = None
                stack.append((code, True))
                for parent in reversed(nodes[code].parents):
                    if parent in open_codes:
                        closing.append((code, parent))
                    elif parent not in done:
                        stack.append((parent, False))
    return closing
