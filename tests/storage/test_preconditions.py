"""Checks of a disk that leave nothing behind."""

import os
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage.preconditions import check_free, check_new, check_writable


def test_a_writable_path_is_not_created(tmp_path: Path) -> None:
    check_new(tmp_path / "a/b/c")
    check_writable(tmp_path / "a/b/c")
    check_free(tmp_path / "a/b/c", 1, "it")
    assert list(tmp_path.iterdir()) == []


def test_relative_paths_start_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check_writable(Path("x"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^file/x: cannot be written: Not a directory"):
        check_writable(Path("file/x"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        check_writable(tmp_path / "a/b")


def test_an_empty_directory_is_new_and_others_are_not(tmp_path: Path) -> None:
    check_new(tmp_path)
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(UserError, match="exists already; take another"):
            check_new(path, "take another")


def test_too_little_space_is_reported_with_both_sizes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"new: the copy needs 1,000,000\.0 GB, and [\d.,]+ [GM]B are free on"):
        check_free(tmp_path / "a/new", 10**15, "the copy")
