"""Files and directories appear complete or not at all; an unwritable path is refused before any work."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage.files import (
    as_user_error,
    atomic_write,
    hash_file,
    require_writable,
    stage_directory,
    stage_file,
)


def raised(action: str, *paths: Path) -> OSError:
    """The error of the operating system itself."""
    with pytest.raises(OSError, match="Errno") as caught:
        getattr(os, action)(*paths)
    return caught.value


def test_file_system_errors_name_the_file_and_the_remedy(tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("x")
    folder.mkdir()
    for error, name, remedy in (
        (raised("listdir", tmp_path / "none"), tmp_path / "none", "check the spelling"),
        (raised("mkdir", file / "a"), file / "a", "a file exists where a directory is needed"),
        (raised("mkdir", file), file, "a file exists where a directory is needed"),
        (raised("replace", file, folder), folder, "name a file in it"),
        (PermissionError(errno.EACCES, "Permission denied", b"\xff"), "\ufffd", "permissions"),
    ):
        message = str(as_user_error(error))
        assert message.startswith(f"{name}: {error.strerror}: ")
        assert remedy in message


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EBADF, "Bad file descriptor", "file"),
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", 3),
        OSError("cannot be read"),
    ],
)
def test_errors_that_a_user_cannot_fix_stay_bugs(error: OSError) -> None:
    assert as_user_error(error) is None


def test_a_writable_directory_is_created_and_left_empty(tmp_path: Path) -> None:
    require_writable(tmp_path / "a/b/out")
    assert list((tmp_path / "a/b").iterdir()) == []


def test_an_unwritable_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file/out", tmp_path / "file/a/out", Path("/proc/out")):
        with pytest.raises(UserError, match=f"^{path}: cannot be written: "):
            require_writable(path)


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    atomic_write(path, "old")
    with stage_file(path) as staging:
        staging.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    atomic_write(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert os.listdir(tmp_path) == ["file.json"]


def test_a_failed_write_keeps_the_old_content_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    atomic_write(path, "old")

    def interrupted() -> None:
        with stage_file(path) as staging:
            staging.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.json"]


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        ("xxh3_128", "99aa06d3014798d86001c324468d497f"),
        ("sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("md5", "d41d8cd98f00b204e9800998ecf8427e"),
    ],
)
def test_hashes_are_the_published_ones_of_no_bytes(tmp_path: Path, algorithm: str, digest: str) -> None:
    (tmp_path / "empty").touch()
    assert hash_file(tmp_path / "empty", algorithm) == digest


def test_nothing_shows_until_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with stage_directory(target) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "file").write_text("x")
        assert not target.exists()
    assert (target / "sub" / "file").read_text() == "x"
    assert os.listdir(target.parent) == ["b"]


def test_an_error_leaves_no_directory(tmp_path: Path) -> None:
    def interrupted() -> None:
        with stage_directory(tmp_path / "out") as staging:
            (staging / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_an_empty_directory_is_filled_and_a_nonempty_one_is_kept(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with stage_directory(tmp_path / "empty") as staging:
        (staging / "file").write_text("x")
    for existing in (tmp_path / "empty", tmp_path / "empty" / "file"):
        with pytest.raises(UserError, match="exists already"), stage_directory(existing):
            pytest.fail("an existing name was accepted")
    assert (tmp_path / "empty" / "file").read_text() == "x"


def test_an_unwritable_directory_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file/out", Path("/proc/out")):
        with pytest.raises(UserError, match="out: cannot be written"), stage_directory(target):
            pytest.fail("an unwritable path was accepted")


def test_a_killed_writer_leaves_no_half_written_directory(tmp_path: Path) -> None:
    code = """
import os, signal, sys
from pathlib import Path
from clinical_modernbert.storage.files import stage_directory
with stage_directory(Path(sys.argv[1])) as staging:
    (staging / "file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    with stage_directory(tmp_path / "out") as staging:
        (staging / "file").write_text("complete")
    assert (tmp_path / "out" / "file").read_text() == "complete"
