"""Groups of small files: every file once and in order, bounded, and stable when a file is added."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.division import groups
from clinical_modernbert.streaming_data.division.groups import GROUP_BYTES, group_files
from clinical_modernbert.streaming_data.documents.files import FoundFile


def found(sizes: list[int]) -> list[FoundFile]:
    return [FoundFile(f"notes/{number:07d}.txt", size, 0) for number, size in enumerate(sizes)]


@given(st.lists(st.one_of(st.integers(0, 5_000), st.integers(0, 2 * GROUP_BYTES)), max_size=200))
def test_every_file_is_in_one_group_of_bounded_size(sizes: list[int]) -> None:
    files = found(sizes)
    runs = list(group_files(files))
    assert [number for run in runs for number in run] == list(range(len(files)))
    for run in runs:
        assert len(run) == 1 or sum(files[number].size for number in run) <= GROUP_BYTES


@pytest.mark.parametrize("size", [0, 100, 50_000])
def test_groups_of_small_files_are_neither_many_nor_large(size: int) -> None:
    files = found([size] * 20_000)
    runs = list(group_files(files))
    total = len(files) * (size + 1024)
    assert total / GROUP_BYTES < len(runs) < 1 + 5 * total / GROUP_BYTES


def test_a_new_file_changes_few_groups() -> None:
    files = found([30_000] * 20_000)
    before = {tuple(files[number].path for number in run) for run in group_files(files)}
    more = sorted([*files, FoundFile("notes/0004000-more.txt", 30_000, 0)])
    after = {tuple(more[number].path for number in run) for run in group_files(more)}
    assert len(before) > 200
    assert len(after - before) <= 6


def test_a_bound_of_nothing_leaves_every_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As other tests do to have many tasks."""
    monkeypatch.setattr(groups, "GROUP_BYTES", 0)
    assert [len(run) for run in group_files(found([0, 5, 0]))] == [1, 1, 1]
