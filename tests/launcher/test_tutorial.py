"""The commands of the tutorial page, run unchanged, with a small random ModernBERT as the initial model."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from initial_model import write_initial_model

BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_commands_of_the_tutorial_work(repository: Path, tmp_path: Path) -> None:
    write_initial_model(tmp_path / "models/ModernBERT-base")
    page = (repository / "docs/tutorial.md").read_text(encoding="utf-8")
    commands = []
    for language, title, content in BLOCK.findall(page):
        if title:
            (tmp_path / title).write_text(content)
        elif language == "sh":
            commands.append(content)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    script = "".join(commands)
    ended = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500
    )
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    results = json.loads((tmp_path / "runs/mine/evaluation/results.json").read_text())["masked-words"]
    loss = {model: scores["notes loss"]["mean"] for model, scores in results.items()}
    assert loss["mine"] < loss["ModernBERT-base"]
    assert "masked-words" in (tmp_path / "runs/mine/report.html").read_text()
    assert "| masked-words | mine |" in (tmp_path / "models/mine/README.md").read_text()
