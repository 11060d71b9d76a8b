"""Input files are found in time proportional to their number, in the order of their paths."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.documents import files
from clinical_modernbert.streaming_data.documents.files import find_files, list_files

PARTS = st.text("ab-.", min_size=1, max_size=3).filter(lambda part: part.strip("."))


@given(st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join)))
def test_paths_are_sorted_by_their_parts(paths: list[str]) -> None:
    assert files._sorted(paths) == [str(path) for path in sorted(map(Path, paths))]


def test_files_have_their_size_and_time(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a-b.txt", "a/c.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / "a" / "gone.txt").symlink_to(tmp_path / "none")
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.txt")
    found = list_files([str(tmp_path / "*" / "*.txt"), str(tmp_path / "*.txt")])
    assert [os.path.relpath(file.path, tmp_path) for file in found] == ["a/c.txt", "a-b.txt", "b.txt", "link.txt"]
    assert [(file.size, file.modified) for file in found] == [
        (path.stat().st_size, path.stat().st_mtime_ns) for path in find_files([str(tmp_path / "*/*.txt")])
    ] + [(path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(tmp_path.glob("*.txt"))]


def test_a_file_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"b\.txt: named twice in `paths`") as caught:
        find_files([f"{tmp_path}/*.txt", f"{tmp_path}/b.txt", f"{tmp_path}//./b.txt"])
    assert "a.txt" not in str(caught.value)


@pytest.mark.slow
def test_forty_thousand_files_are_found_in_seconds(tmp_path: Path) -> None:
    """Comparing each with all others took a minute and a half for as many."""
    for number in range(40_000):
        os.close(os.open(tmp_path / f"{number}.xml", os.O_CREAT | os.O_WRONLY))
    begin = time.process_time()
    assert len(list_files([f"{tmp_path}/*.xml"])) == 40_000
    assert time.process_time() - begin < 10
