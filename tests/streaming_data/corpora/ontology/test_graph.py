"""Graphs without cycles and without relations to unknown terms; what is dropped is counted."""

import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.limits import TERM_LEVELS, TooLargeError
from clinical_modernbert.streaming_data.corpora.ontology.graph import Fact, Node, connect
from clinical_modernbert.streaming_data.corpora.ontology.sentences import KEYS
from clinical_modernbert.streaming_data.corpora.ontology.walks import Walker
from clinical_modernbert.streaming_data.documents.census import Census

CODES = "abcdefg"
FILE = Path("terms.obo")


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
    graph = connect([node(code, above) for code, above in parents.items()], left_out, FILE)
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
    graph = connect([node("a", facts=(fact,)), node("b")], left_out, FILE)
    assert graph.nodes["a"].facts == (fact._replace(targets=("b",)),)  # not to itself, and once
    assert left_out.counts() == {"references to codes that are not in the file": (1, 1)}


def test_a_chain_without_end_is_refused_and_a_large_family_takes_no_longer_than_a_small_one() -> None:
    chain = [node("0"), *(node(f"{number}", (f"{number - 1}",)) for number in range(1, TERM_LEVELS + 1))]
    connect(chain[:-1], Census(), FILE)
    with pytest.raises(TooLargeError, match=rf"terms\.obo: {TERM_LEVELS} is on level {TERM_LEVELS + 1}"):
        connect(chain, Census(), FILE)
    family = connect([node("top"), *(node(f"{number}", ("top",)) for number in range(50_000))], Census(), FILE)
    walker = Walker(family, "chapter", KEYS, 150, 1)
    started = time.process_time()
    for number in range(0, 50_000, 500):  # 2,500 times as much if each looked at all the others at each step
        assert all(passage.text.count(" ") >= 149 for passage in walker.passages(f"{number}"))
    assert time.process_time() - started < 5
