"""Texts of mixed lengths in a file, and `cmbert embed` as a process."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

WORDS = ["aspirin", "fever", "cough", "lung", "heart", "pain", "acute", "chronic", "left", "right", "with", "and"]


def mixed_texts(count: int, longest: int = 100) -> list[str]:
    draw = random.Random(count)
    return [" ".join(draw.choices(WORDS, k=min(longest, int(draw.lognormvariate(2, 1)) + 1))) for _ in range(count)]


def write_table(path: Path, contents: list[str]) -> Path:
    lines = [json.dumps({"note": f"n{number}", "text": text}) for number, text in enumerate(contents)]
    path.write_text("\n".join(lines) + "\n")
    return path


def start_embed(*arguments: object) -> subprocess.Popen[str]:
    """Start `cmbert embed` in a process group of its own."""
    command = [sys.executable, "-m", "clinical_modernbert.launcher", "embed", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def run_embed(*arguments: object, code: int = 0) -> str:
    """Run it to its end; its output with its errors."""
    process = start_embed(*arguments)
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, out + err
    return out + err


def kill_after_parts(parts: Path, count: int, *arguments: object) -> None:
    """Start `cmbert embed`, and kill -9 all of its processes once there are so many parts."""
    process = start_embed(*arguments)
    deadline = time.monotonic() + 600
    while len(list(parts.glob("*.part"))) < count:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
