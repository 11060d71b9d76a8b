"""What cannot be written is found before the work, and told with the file's name and what to do."""

import errno
import os
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage.outputs import as_user_error, require_writable


def raised(action: str, *paths: Path) -> OSError:
    """What the operating system itself says."""
    with pytest.raises(OSError, match="Errno") as caught:
        getattr(os, action)(*paths)
    return caught.value


def test_errors_of_the_file_system_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("x")
    folder.mkdir()
    for error, name, remedy in (
        (raised("listdir", tmp_path / "none"), tmp_path / "none", "check how it is spelled"),
        (raised("mkdir", file / "a"), file / "a", "a file is where a directory belongs"),
        (raised("mkdir", file), file, "a file is where a directory belongs"),
        (raised("replace", file, folder), folder, "name a file in it"),
        (PermissionError(errno.EACCES, "Permission denied", b"\xff"), "\ufffd", "permissions"),
    ):
        told = str(as_user_error(error))
        assert told.startswith(f"{name}: {error.strerror}: ")
        assert remedy in told


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EBADF, "Bad file descriptor", "file"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", 3),
        OSError("cannot be read"),
    ],
)
def test_what_a_user_cannot_mend_stays_a_bug(error: OSError) -> None:
    assert as_user_error(error) is None


def test_a_place_that_can_be_written_is_made_and_left_empty(tmp_path: Path) -> None:
    require_writable(tmp_path / "a/b/out")
    assert list((tmp_path / "a/b").iterdir()) == []


def test_a_place_that_cannot_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file/out", tmp_path / "file/a/out", Path("/proc/out")):
        with pytest.raises(UserError, match=f"^{path}: cannot be written there: "):
            require_writable(path)
