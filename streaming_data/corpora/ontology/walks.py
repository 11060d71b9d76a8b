"""Walks over an ontology as passages of about a given number of words.

A passage begins with one term and states what its publisher says about it. Where that is less than a passage, the walk
goes on to a term that is connected with one already named, says how, and states a little of that one. Where it is more,
it fills several passages. So every fact is stated in some passage of its own term.

A walk stays in one group of terms: a category, block or chapter. A fact is stated only in passages of the group of its
term: a parent by the child, a note by the code that has it. Children and siblings are therefore listed only if they are
of the same group. So a data set that is split by group has each fact in one split.

Everything is a function of the graph and of hashes of codes and texts: no passage depends on another.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from .graph import Graph, Level
from .sentences import RELATIONS, Statement, lead, pick, sentence, shuffled

_ABOUT_OTHERS = 2  # statements about each further term of a walk
_MOST = 100  # children and facts of a term among which a walk chooses


class Passage(NamedTuple):
    """A text.

    Attributes:
        walk: its number among those that begin with the term.
        part: its number in the walk.
        codes: of the terms that it is about, in the order of the walk.
    """

    walk: int
    part: int
    text: str
    codes: tuple[str, ...]


class Walker(NamedTuple):
    """How an ontology is walked.

    Attributes:
        keys: the relations that are stated, as recipes name them.
        words: of a passage; it ends with the sentence that reaches them, or before if its group has no more to say.
        walks: per term; each states all facts of the term, in other words and another order.
    """

    graph: Graph
    level: Level
    keys: Collection[str]
    words: int
    walks: int

    def passages(self, code: str) -> Iterator[Passage]:
        """The passages that begin with a term."""
        for walk in range(self.walks):
            own = shuffled(self._statements(code, str(walk)), code, str(walk))
            part = 0
            while own or part == 0:
                text, codes = self._passage(code, own, (code, str(walk), str(part)))
                yield Passage(walk, part, text, codes)
                part += 1

    def _passage(self, code: str, own: list[Statement], key: Sequence[str]) -> tuple[str, tuple[str, ...]]:
        """One passage; removes from `own` what it states."""
        node = self.graph.nodes[code]
        sentences = [lead(node, key)] if node.name else []
        words = sum(map(_words, sentences))
        stated: set[tuple[str, str, str]] = set()
        while own and (words < self.words or len(sentences) <= 1):
            said = own.pop()
            subject = pick(("It", node.label, node.short), *key, *said.items) if sentences else node.label
            sentences.append(sentence(said, subject, *key))
            words += _words(sentences[-1])
            stated |= {(code, said.relation, item) for item in said.items}
        trail, seen = [code], {code: None}
        while trail and words < self.words:
            here = trail[-1]
            ways = self._ways(here, seen)
            if not ways:
                trail.pop()
                continue
            relation = pick(list(ways), *key, here, str(len(seen)), "relation")
            target, way = pick(ways[relation], *key, here, str(len(seen)), "target")
            trail.append(target)
            seen[target] = None
            named = ""
            for about, subject, said in self._onward(here, way, target, key):
                new = {(about, said.relation, item) for item in said.items}
                if words < self.words and not new <= stated:
                    label = self.graph.nodes[about].label
                    sentences.append(sentence(said, label if subject == "It" and named != about else subject, *key))
                    words += _words(sentences[-1])
                    stated |= new
                    named = about
        return " ".join(sentences), tuple(seen)

    def _onward(
        self, here: str, way: Statement, target: str, key: Sequence[str]
    ) -> Iterator[tuple[str, str, Statement]]:
        """How the walk reaches a further term, then a little about that: codes, how sentences name them, statements."""
        node, other = self.graph.nodes[here], self.graph.nodes[target]
        yield here, pick((node.label, node.short), *key, target), way
        subject = other.label
        for said in shuffled(self._facts(target, _MOST), *key, target)[:_ABOUT_OTHERS]:
            yield target, subject, said
            subject = pick(("It", other.short), *key, *said.items)

    def _statements(self, code: str, walk: str) -> list[Statement]:
        """All that is said about a term."""
        node, nodes = self.graph.nodes[code], self.graph.nodes
        above = self.graph.path(code)[:-1]
        siblings = shuffled(self._in_group(code, self.graph.siblings(code)), code, walk)
        others = {
            node.above: node.parents,
            "ancestors": above if len(above) > 1 else (),
            "children": self._in_group(code, self.graph.children.get(code, ())),
            "siblings": siblings[: RELATIONS["siblings"].most],
        }
        return [
            *(
                statement
                for relation, codes in others.items()
                for statement in self._split(relation, "", [nodes[other].label for other in codes])
            ),
            *self._facts(code),
        ]

    def _facts(self, code: str, most: int | None = None) -> list[Statement]:
        """What the publisher wrote about a term, or the first `most` of it."""
        items: dict[tuple[str, str], list[str]] = {}
        for fact in self.graph.nodes[code].facts[:most]:
            items.setdefault((fact.relation, fact.opening), []).append(fact.text)
        return [each for (relation, opening), texts in items.items() for each in self._split(relation, opening, texts)]

    def _split(self, relation: str, opening: str, items: Sequence[str]) -> list[Statement]:
        """A long list as several statements; none if the relation is not stated."""
        key, _, most, _ = RELATIONS[relation]
        starts = range(0, len(items), most) if key in self.keys else ()
        return [Statement(relation, opening, tuple(items[start : start + most])) for start in starts]

    def _ways(self, code: str, seen: Collection[str]) -> dict[str, list[tuple[str, Statement]]]:
        """By relation, the terms of the group to which a walk may go on, each with the statement that leads there."""
        node, nodes = self.graph.nodes[code], self.graph.nodes
        relatives = (
            (node.above, node.parents),
            ("children", self._some_children(code)),
            ("siblings", self.graph.siblings(code)),
        )
        found = [(other, relation, "", nodes[other].label) for relation, codes in relatives for other in codes]
        found += [
            (other, fact.relation, fact.opening, fact.text) for fact in node.facts[:_MOST] for other in fact.targets
        ]
        group = node.group(self.level)
        ways: dict[str, list[tuple[str, Statement]]] = {}
        for other, relation, opening, text in found:
            if other not in seen and nodes[other].group(self.level) == group and RELATIONS[relation].key in self.keys:
                ways.setdefault(relation, []).append((other, Statement(relation, opening, (text,))))
        return ways

    def _some_children(self, code: str) -> Sequence[str]:
        """The children, or of a large family some that are next to each other in the file."""
        children = self.graph.children.get(code, ())
        start = pick(range(max(1, len(children) - _MOST)), code, "children")
        return children[start : start + _MOST]

    def _in_group(self, code: str, others: Sequence[str]) -> list[str]:
        group = self.graph.nodes[code].group(self.level)
        return [other for other in others if self.graph.nodes[other].group(self.level) == group]


def _words(text: str) -> int:
    return text.count(" ") + 1
