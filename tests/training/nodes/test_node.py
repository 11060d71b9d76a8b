"""The ranks of one node."""

from datetime import timedelta

from clinical_modernbert.training.nodes.node import consecutive, from_first, gather_all, gather_to_first, join_node


def test_consecutive_ranks_of_one_place_are_one_node() -> None:
    assert consecutive(["a", "a", "b", "b"]) == [range(2), range(2, 4)]
    assert consecutive(["a", "b", "a", "b"]) == [range(1), range(1, 2), range(2, 3), range(3, 4)]
    assert consecutive(["a"]) == [range(1)]


def test_a_rank_alone_is_a_node(process_group: None) -> None:
    node = join_node([0], timedelta(minutes=1))
    assert (node.ranks, node.number, node.count, node.shared, node.leads_disk) == (range(1), 0, 1, True, True)
    for group in (node.group, node.everyone):
        assert gather_all("a", group) == gather_to_first("a", group) == ["a"]
        assert from_first("a", group) == "a"
