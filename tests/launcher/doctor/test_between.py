"""The exchange between nodes names the node that is slow, silent or wrong, and no other."""

import math
import re
from itertools import chain, combinations

import pytest
from network_of_nodes import ROUND_SECONDS, can_limit_links, find

from clinical_modernbert.launcher.doctor.between import Meeting, judge, pairs_of_nodes

needs_networks = pytest.mark.skipif(
    not can_limit_links(), reason="needs the right to make network namespaces and slow links (root, ip, tc)"
)


def test_pairs_of_a_round_are_disjoint_and_none_comes_twice() -> None:
    for nodes in range(2, 140):
        rounds = pairs_of_nodes(nodes)
        assert len(rounds) <= max(3, math.ceil(math.log2(nodes)))
        for pairs in rounds:
            assert len({*chain(*pairs)}) == 2 * len(pairs) == nodes - nodes % 2
        every = [*chain(*rounds)]
        assert len({*every}) == len(every)
        if nodes <= 4:
            assert sorted(every) == [*combinations(range(nodes), 2)]
    assert len(pairs_of_nodes(128)) == 7


def told(nodes: int, seconds: dict[int, float | None], ranks: int = 2) -> dict[int, list[Meeting] | None]:
    """What ranks tell if each exchange takes as long as its slower node needs, 0.1 s unless `seconds` has another."""
    found: dict[int, list[Meeting] | None] = {rank: [] for rank in range(nodes * ranks)}
    for number, pairs in enumerate(pairs_of_nodes(nodes)):
        for pair in pairs:
            each = [seconds.get(node, 0.1) for node in pair]
            slower = None if None in each else max(filter(None, each))
            for node in pair:
                for rank in range(node * ranks, (node + 1) * ranks):
                    meetings = found[rank]
                    assert meetings is not None
                    meetings.append((number, slower, "" if slower else "no answer"))
    return found


def finding(nodes: int, found: dict[int, list[Meeting] | None]) -> tuple[str, str]:
    names = [f"n{node:02}" for node in range(nodes)]
    one, silent = judge(names, [[2 * node, 2 * node + 1] for node in range(nodes)], found)
    assert silent == re.findall(r"n\d+", one.result if "no exchange" in one.result and nodes > 2 else "")
    return one.status, one.result


@pytest.mark.parametrize("nodes", [3, 4, 5, 8, 33, 128])
def test_each_node_is_named_alone_if_it_is_slow_or_silent(nodes: int) -> None:
    usual = 2 * 2 * 2**20 / 0.1 / 1e9
    status, result = finding(nodes, told(nodes, {}))
    assert status == "ok"
    assert result.startswith(f"exact, {usual:.3g} GB/s out of a node")
    for node in range(nodes):
        status, result = finding(nodes, told(nodes, {node: 0.3}))
        assert (status, result.split(";")[0]) == ("warning", f"slow: n{node:02} {usual / 3:.3g} GB/s")
        status, result = finding(nodes, told(nodes, {node: None}))
        assert (status, result) == ("failed", f"no exchange with n{node:02}: no answer")
        found = told(nodes, {node: None})
        found[2 * node] = None  # one of its ranks tells nothing at all
        assert finding(nodes, found) == ("failed", f"no exchange with n{node:02}: no answer")


def test_two_nodes_cannot_be_told_apart_and_a_single_link_is_named() -> None:
    assert finding(2, told(2, {1: 0.3}))[0] == "ok"
    assert finding(2, told(2, {1: None})) == ("failed", "no exchange with n00, n01: no answer")
    found = told(8, {})
    number, (first, second) = 1, pairs_of_nodes(8)[1][2]
    for rank in (2 * first, 2 * second):
        meetings = found[rank]
        assert meetings is not None
        meetings[number] = (number, None, "no answer within 10 s")
    assert finding(8, found) == ("failed", f"none between n{first:02} and n{second:02}: no answer within 10 s")


def test_a_slow_node_among_a_few_slow_ones_is_named_and_others_are_not() -> None:
    slow = {3: 1.0, 40: 0.5, 90: 0.4, 100: 0.3}
    status, result = finding(128, told(128, {**slow}))
    assert status == "warning"
    assert re.findall(r"n\d\d", result) == ["n03", "n40", "n90"]
    assert " GB/s and 1 more; the median is " in result


@pytest.mark.ranks
@needs_networks
@pytest.mark.parametrize("rate", ["400mbit", "10mbit"])
def test_a_node_behind_a_slow_link_is_named(rate: str) -> None:
    """Real ranks with a network each; tc lets so much into one of them. With 10 Mbit/s there is time for 1 MiB."""
    found, seconds = find([1, 1, 1, 1], rates={2: rate})
    assert found["check"] == "between 4 nodes"
    assert found["status"] == "warning"
    assert found["result"].startswith("slow: node2 0.0")
    assert "(3 rounds of pairs)" in found["result"]
    assert seconds < 3 * ROUND_SECONDS


@pytest.mark.ranks
@needs_networks
@pytest.mark.parametrize(
    ("ranks", "fault", "reason"),
    [
        ([1, 1, 1], "stops", "no answer"),
        ([2, 2, 2], "hangs", f"no answer within {ROUND_SECONDS:.0f} s"),
        ([1, 2, 1], "computes wrong sums", "wrong sums"),
    ],
)
def test_a_node_that_does_not_exchange_is_named_in_time(ranks: list[int], fault: str, reason: str) -> None:
    found, seconds = find(ranks, faults={1: fault})
    assert (found["status"], found["result"]) == ("failed", f"no exchange with node1: {reason}")
    assert found["silent"] == ["node1"]
    assert seconds < 3 * ROUND_SECONDS + 20, "three rounds, and the results"


@pytest.mark.ranks
@needs_networks
def test_nodes_that_work_are_not_named() -> None:
    found, _ = find([2, 1])
    assert (found["check"], found["status"]) == ("between 2 nodes", "ok")
    assert found["result"].startswith("exact, ")
