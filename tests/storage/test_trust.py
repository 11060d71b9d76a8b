"""Directories that others can write to are not believed."""

import os
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage.trust import require_own, require_own_tree


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o750, 0o1777])
def test_own_directories_pass(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "own"
    directory.mkdir()
    (directory / "file").touch(0o600)
    directory.chmod(mode)
    require_own_tree(directory)
    require_own_tree(tmp_path / "absent")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o775])
@pytest.mark.parametrize("where", [".", "a", "a/b", "a/file"])
def test_what_others_can_write_is_refused_with_the_fix(tmp_path: Path, mode: int, where: str) -> None:
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "file").touch()
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o700)
    (tree / where).chmod(mode)
    with pytest.raises(UserError, match=rf"other users can write there \(mode {mode:04o}\).*chmod go-w"):
        require_own_tree(tree)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@pytest.mark.parametrize("linked", [False, True])
def test_what_belongs_to_another_user_is_refused(tmp_path: Path, linked: bool) -> None:
    directory = tmp_path / "theirs"
    if linked:
        (tmp_path / "own").mkdir()
        directory.symlink_to(tmp_path / "own")
    else:
        directory.mkdir()
    os.chown(directory, 4321, 4321, follow_symlinks=False)
    with pytest.raises(UserError, match="belongs to user 4321, not to you"):
        require_own(directory)
