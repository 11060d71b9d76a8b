"""What is trained on restricted text can be read by its owner only, and so can everything made from it."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import SmallRun
from typer.testing import CliRunner

from clinical_modernbert.launcher.cli import app
from clinical_modernbert.launcher.release.gate import WITHOUT

pytestmark = [pytest.mark.slow, pytest.mark.ranks]


def modes(root: Path) -> dict[str, str]:
    """Those of every directory and file below, and of the root, that group or others can do anything with."""
    return {
        str(path.relative_to(root)): f"{stat.S_IMODE(path.lstat().st_mode):04o}"
        for path in (root, *root.rglob("*"))
        if path.lstat().st_mode & 0o077 and not path.is_symlink()
    }


def _set_terms(run: SmallRun, **terms: bool) -> None:
    """Change the terms of a source in a copy of the run's data."""
    file = Path(run.data) / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["sources"]["notes"].update({"public": False, "synthetic": False, **terms})
    file.write_text(json.dumps(manifest))


def _own_data(run: SmallRun, tmp_path: Path) -> SmallRun:
    import shutil
    from dataclasses import replace

    return replace(run, data=Path(shutil.copytree(run.data, tmp_path / "data")))


def test_a_run_on_restricted_text_and_its_export(new_run: Callable[[], SmallRun], tmp_path: Path) -> None:
    run = _own_data(new_run(), tmp_path)
    _set_terms(run)
    run.train("validation.every_steps=6", "metrics.tensorboard=true", "checkpoint.every_steps=4", ranks=2)
    assert len(list(run.run_dir.rglob("*"))) > 15
    assert modes(run.run_dir) == {}
    (run.run_dir / "tokenizer" / "tokenizer.json").chmod(0o644)  # as an earlier version wrote it
    (run.run_dir / "tokenizer").chmod(0o755)
    out = tmp_path / "export"
    result = CliRunner().invoke(app, ["export", str(run.run_dir), "--out", str(out), "--sentence-embedding", WITHOUT])
    assert result.exit_code == 0, result.output
    assert modes(out) == {}
    page = tmp_path / "page" / "report.html"
    assert CliRunner().invoke(app, ["report", str(run.run_dir), "--out", str(page)]).exit_code == 0
    assert modes(page.parent) == {}


def test_a_run_on_public_text_has_the_modes_of_the_user(new_run: Callable[[], SmallRun], tmp_path: Path) -> None:
    run = _own_data(new_run(), tmp_path)
    _set_terms(run, public=True)
    run.train(ranks=1)
    assert (run.run_dir / "metrics.csv").stat().st_mode & 0o777 == 0o644
    assert run.newest_checkpoint().stat().st_mode & 0o777 == 0o755


def test_a_model_continued_from_restricted_weights_is_restricted(
    new_run: Callable[[], SmallRun], tmp_path: Path
) -> None:
    run = _own_data(new_run(), tmp_path)
    _set_terms(run)
    run.train(ranks=1)
    out = tmp_path / "export"
    assert CliRunner().invoke(app, ["export", str(run.run_dir), "--out", str(out), WITHOUT]).exit_code == 0
    _set_terms(run, synthetic=True)
    os.umask(0o022)
    further = new_run()
    recipe = further.recipe.read_text().splitlines()
    start, end = next(i for i, line in enumerate(recipe) if line.startswith("model:")), None
    end = next(i for i in range(start + 1, len(recipe)) if not recipe[i].startswith(" "))
    further.recipe.write_text("\n".join([*recipe[:start], f"initial_weights: {out}", *recipe[end:]]))
    further.train(f"data.path={run.data}", ranks=1)
    assert modes(further.run_dir) == {}
    again = tmp_path / "again"
    assert CliRunner().invoke(app, ["export", str(further.run_dir), "--out", str(again), WITHOUT]).exit_code == 0
    assert modes(again) == {}
    assert "It continues a model that was trained on: " in (again / "README.md").read_text()
    pushed = CliRunner().invoke(app, ["push", str(again), "someone/model"])
    assert "trained on restricted sources (" in str(pushed.exception)
