"""Graphs without cycles and without relations to unknown terms; what is dropped is counted."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.corpora.ontology.graph import Fact, Node, connect
from clinical_modernbert.streaming_data.documents.census import Census

CODES = "abcdefg"


def node(code: str, parents: tuple[str, ...] = (), facts: tuple[Fact, ...] = ()) -> Node:
    return Node(code, code, "code", code, code, parents, "kind", facts, ("g", "g", "g"))


def are_acyclic(parents: Mapping[str, tuple[str, ...]]) -> bool:
    """Whether terms can be removed one by one, each without a parent that is still there."""
    left = dict(parents)
    while free := [code for code, above in left.items() if not set(above) & left.keys()]:
        for code in free:
            del left[code]
    return not left


@given(st.dictionaries(st.sampled_from(CODES), st.lists(st.sampled_from(CODES + "xy"), unique=True).map(tuple)))
def test_only_what_is_unknown_or_closes_a_cycle_is_dropped(parents: dict[str, tuple[str, ...]]) -> None:
    left_out = Census()
    graph = connect([node(code, above) for code, above in parents.items()], left_out)
    kept = {code: found.parents for code, found in graph.nodes.items()}
    assert are_acyclic(kept)
    known = {code: tuple(parent for parent in above if parent in parents) for code, above in parents.items()}
    dropped = {kind: number for kind, (number, _) in left_out.counts().items()}
    assert dropped.get("parents that are not in the file", 0) == sum(map(len, parents.values())) - sum(
        map(len, known.values())
    )
    closing = [(code, parent) for code, above in known.items() for parent in above if parent not in kept[code]]
    assert dropped.get("parents that close a cycle", 0) == len(closing)
    for code, parent in closing:  # each of them would close a cycle with what was kept
        assert not are_acyclic({**kept, code: (*kept[code], parent)})
    for code in kept:
        assert graph.path(code)[-1] == code
        assert all(code in kept[child] for child in graph.children.get(code, ()))


def test_references_to_unknown_codes_are_counted_and_keep_their_text() -> None:
    left_out = Census()
    fact = Fact("excludes1", "type 1 (b, z)", ("b", "z", "a", "b"))
    graph = connect([node("a", facts=(fact,)), node("b")], left_out)
    assert graph.nodes["a"].facts == (fact._replace(targets=("b",)),)  # not to itself, and once
    assert left_out.counts() == {"references to codes that are not in the file": (1, 1)}
