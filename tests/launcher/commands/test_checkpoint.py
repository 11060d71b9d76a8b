"""`cmbert checkpoint` on a run of real ranks."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import CMBERT, SmallRun


@pytest.fixture(scope="module")
def run(new_run: Callable[[], SmallRun]) -> SmallRun:
    run = new_run()
    run.train("schedule.total_tokens=6144", "schedule.decay_tokens=0", "checkpoint.every_steps=2")
    return run


def cmbert(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([*CMBERT, *arguments], capture_output=True, text=True, timeout=120)


def test_convert(run: SmallRun, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from clinical_modernbert.training.checkpoint.save_load import consolidate

    path = run.run_dir / "checkpoints/step00000004"
    weights, all_ = tmp_path / "weights.safetensors", tmp_path / "all.safetensors"
    assert cmbert("checkpoint", "convert", str(path), str(weights)).returncode == 0
    assert cmbert("checkpoint", "convert", str(path), str(all_), "--optimizer").returncode == 0
    expected = consolidate(path)
    converted, everything = load_file(weights), load_file(all_)
    assert converted.keys() == expected.keys()
    assert "decoder.weight" not in converted  # the tied embedding, once
    assert everything.keys() == {f"{name}/{key}" for name in expected for key in ("fp32", "exp_avg", "exp_avg_sq")}
    for name, value in expected.items():
        assert converted[name].equal(value)
        assert everything[f"{name}/fp32"].equal(value)
        assert everything[f"{name}/exp_avg"].shape == value.shape
    nowhere = cmbert("checkpoint", "convert", str(path), str(weights / "more"))
    assert (nowhere.returncode, "cannot be written:" in nowhere.stderr) == (2, True)
    assert cmbert("checkpoint", "convert", str(path), str(tmp_path / "new/weights.safetensors")).returncode == 0
    again = cmbert("checkpoint", "convert", str(path), str(weights))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)


def test_list_verify_prune(run: SmallRun) -> None:
    listed = cmbert("checkpoint", "list", str(run.run_dir))
    assert [name in listed.stdout for name in ("step00000002", "step00000004", "step00000006")] == [True] * 3

    corrupt = run.run_dir / "checkpoints/step00000006/node00000-of-00001.safetensors"
    intact = corrupt.read_bytes()
    corrupt.write_bytes(intact[:-1])
    verified = cmbert("checkpoint", "verify", str(run.run_dir))
    assert verified.returncode == 2
    assert "step00000004: complete" in verified.stdout
    assert "corrupt: step00000006" in verified.stderr
    pruned = cmbert("checkpoint", "prune", str(run.run_dir))
    assert pruned.returncode == 2
    assert "nothing was removed" in pruned.stderr
    assert len(list((run.run_dir / "checkpoints").iterdir())) == 3

    corrupt.write_bytes(intact)
    kept = cmbert("checkpoint", "prune", str(run.run_dir))
    assert kept.stdout == "removed nothing; kept step00000006, step00000004, step00000002\n", "keep_last is 3 there"
    recipe = run.run_dir / "config.yaml"
    recipe.write_text(recipe.read_text().replace("keep_last: 3", "keep_last: 2"))
    pruned = cmbert("checkpoint", "prune", str(run.run_dir))
    assert pruned.stdout == "removed step00000002; kept step00000006, step00000004\n"
    left = sorted(path.name for path in (run.run_dir / "checkpoints").iterdir())
    assert left == ["step00000004", "step00000006"]
    pruned = cmbert("checkpoint", "prune", str(run.run_dir), "--keep-last", "1")
    assert pruned.stdout == "removed step00000004; kept step00000006\n"


def test_a_directory_without_a_run(tmp_path: Path) -> None:
    done = cmbert("checkpoint", "list", str(tmp_path))
    assert done.returncode == 2
    assert f"{tmp_path}: no checkpoint in" in done.stderr
