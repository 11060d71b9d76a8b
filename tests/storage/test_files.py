"""A published directory is there completely or not at all."""

import os
import signal
import subprocess
import sys

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage.files import publish_directory


def test_nothing_shows_until_it_is_complete(tmp_path):
    target = tmp_path / "a" / "b"
    with publish_directory(target) as staging:
        (staging / "sub").mkdir()
        (staging / "sub" / "file").write_text("x")
        assert not target.exists()
    assert (target / "sub" / "file").read_text() == "x"
    assert os.listdir(target.parent) == ["b"]


def test_an_error_leaves_nothing(tmp_path):
    def interrupted():
        with publish_directory(tmp_path / "out") as staging:
            (staging / "file").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_an_empty_directory_is_filled_and_a_full_one_kept(tmp_path):
    (tmp_path / "empty").mkdir()
    with publish_directory(tmp_path / "empty") as staging:
        (staging / "file").write_text("x")
    for taken in (tmp_path / "empty", tmp_path / "empty" / "file"):
        with pytest.raises(UserError, match="exists already"), publish_directory(taken):
            pytest.fail("a taken name was offered")
    assert (tmp_path / "empty" / "file").read_text() == "x"


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("x")
    for target in (tmp_path / "file/out", "/proc/out"):
        with pytest.raises(UserError, match="out: cannot be written there"), publish_directory(target):
            pytest.fail("it was offered")


def test_a_killed_writer_leaves_no_half_written_directory(tmp_path):
    code = """
import os, signal, sys
from pathlib import Path
from clinical_modernbert.storage.files import publish_directory
with publish_directory(Path(sys.argv[1])) as staging:
    (staging / "file").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    with publish_directory(tmp_path / "out") as staging:
        (staging / "file").write_text("whole")
    assert (tmp_path / "out" / "file").read_text() == "whole"
