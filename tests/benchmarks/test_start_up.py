"""The simulated file system of benchmarks/start_up.py: which calls wait, how long, and the exit code."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="seccomp exists on Linux only"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler: apt-get install gcc"),
]
CALLS = """
import os, sys
slow, other = sys.argv[1:]
for directory in (slow, other):
    os.stat(f"{directory}/file")
    os.path.exists(f"{directory}/none")
    os.listdir(directory)
    with open(f"{directory}/file") as file:
        file.read()
os.chdir(slow)
os.stat("file")
sys.exit(7)
"""
# stat, exists; open and twice getdents of listdir; open; the relative stat
WAITING = 2 + 3 + 1 + 1


@pytest.fixture(scope="module")
def file_latency(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    program = tmp_path_factory.mktemp("bin") / "file_latency"
    source = repository / "benchmarks/file_latency.c"
    subprocess.run(["cc", "-Wall", "-Werror", "-pthread", "-o", str(program), str(source)], check=True)
    probe = subprocess.run([str(program), "0", str(program.with_name("count")), "/none", "true"], capture_output=True)
    if probe.returncode:
        pytest.skip(f"this machine does not allow seccomp's notifications: {probe.stderr.decode()}")
    return program


def test_calls_for_names_below_the_directories_wait(file_latency: Path, tmp_path: Path) -> None:
    slow, other = tmp_path / "slow", tmp_path / "slower"  # of which the one is no parent of the other
    for directory in (slow, other):
        directory.mkdir()
        (directory / "file").touch()
    count = tmp_path / "count"
    took = {}
    for milliseconds in (0, 100):
        command = [str(file_latency), str(1000 * milliseconds), str(count), f"/none:{slow}"]
        began = time.monotonic()
        done = subprocess.run([*command, sys.executable, "-I", "-S", "-c", CALLS, str(slow), str(other)])
        took[milliseconds] = time.monotonic() - began
        assert done.returncode == 7
        assert int(count.read_text()) == WAITING
    assert took[100] > WAITING * 0.1
