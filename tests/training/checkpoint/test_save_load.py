"""Checkpoints are whole or refused, and their content does not depend on who wrote them."""

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean

import pytest
import torch
from small_run import SmallRun

from clinical_modernbert.training.checkpoint import files as checkpoint_files
from clinical_modernbert.training.checkpoint import save_load as checkpoint
from clinical_modernbert.training.metrics.csv_log import read_rows
from clinical_modernbert.training.metrics.writer import ValidationMetrics


@pytest.fixture
def copy(finished: SmallRun, new_run: Callable[[], SmallRun]) -> SmallRun:
    """The finished run's directory, to be damaged."""
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    return run


def newest(run: SmallRun) -> Path:
    return checkpoint_files.candidates(run.run_dir / "checkpoints")[0]


def test_a_whole_checkpoint_has_no_damage(finished: SmallRun) -> None:
    paths = checkpoint_files.candidates(finished.run_dir / "checkpoints")
    assert [path.name for path in paths] == ["step00000012", "step00000008", "step00000004"]
    assert [checkpoint_files.damage(path) for path in paths] == [None, None, None]


@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.999])
def test_one_flipped_bit_is_found(copy: SmallRun, place: float) -> None:
    for file in newest(copy).glob("*.safetensors"):
        whole = file.read_bytes()
        content = bytearray(whole)
        content[int(place * len(content))] ^= 1
        file.write_bytes(content)
        assert f"{file}: its content differs" in str(checkpoint_files.damage(newest(copy)))
        file.write_bytes(whole)


def test_a_changed_manifest_is_found(copy: SmallRun) -> None:
    manifest = newest(copy) / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"packs": 48', '"packs": 49'))
    assert f"{manifest}: its content differs" in str(checkpoint_files.damage(newest(copy)))


def test_a_missing_or_short_file_is_found(copy: SmallRun) -> None:
    first, second = sorted(newest(copy).glob("*.safetensors"))
    second.write_bytes(second.read_bytes()[:-1])
    assert str(second) in str(checkpoint_files.damage(newest(copy)))
    first.unlink()
    assert f"{first}: this file of the checkpoint is missing" in str(checkpoint_files.damage(newest(copy)))


def test_a_damaged_checkpoint_is_skipped_with_a_warning(copy: SmallRun, finished: SmallRun) -> None:
    next(newest(copy).glob("rank00001*")).unlink()
    output = copy.train(ranks=2)
    assert "warning: skipping a damaged checkpoint" in output
    assert "rank00001-of-00002.safetensors" in output
    assert "step00000008: step 8, 32 packs consumed" in output
    assert copy.column("loss") == finished.column("loss")
    assert checkpoint_files.damage(newest(copy)) is None


def test_a_run_never_starts_anew_over_damaged_checkpoints(copy: SmallRun) -> None:
    for path in checkpoint_files.candidates(copy.run_dir / "checkpoints"):
        next(path.glob("rank00001*")).unlink()
    output = copy.train(ranks=2, code=2)
    assert "no checkpoint in it is whole" in output
    assert "rank00001-of-00002.safetensors: this file of the checkpoint is missing" in output


def test_one_and_two_ranks_save_the_same_weights_and_state(new_run: Callable[[], SmallRun]) -> None:
    """After one step, with tensors put together from the slices of either."""
    states = []
    for ranks in (1, 2):
        run = new_run()
        run.train("schedule.total_tokens=4096", "schedule.decay_tokens=0", ranks=ranks)
        states.append(whole_tensors(newest(run)))
    assert states[0].keys() == states[1].keys()
    assert {key.rsplit("/")[-1] for key in states[0]} == {"fp32", "exp_avg", "exp_avg_sq"}
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-6, msg=key)


def whole_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Every saved tensor, put together by a reader of its own."""
    from safetensors import safe_open

    whole: dict[str, torch.Tensor] = {}
    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, "pt") as saved:
            layout = json.loads(saved.metadata()["layout"])
            for key in saved.keys():  # noqa: SIM118
                start, numel, shape = layout[key.rsplit("/", 1)[0]]
                whole.setdefault(key, torch.full((torch.Size(shape).numel(),), torch.nan))[start : start + numel] = (
                    saved.get_tensor(key)
                )
    return whole


def test_consolidated_weights_are_those_saved(finished: SmallRun) -> None:
    path = newest(finished)
    saved = whole_tensors(path)
    weights = checkpoint.consolidate(path)
    assert "decoder.weight" not in weights
    for name, value in weights.items():
        assert torch.equal(value.flatten(), saved[f"{name}/fp32"])


def test_the_best_checkpoints_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = {2: 3.0, 4: 1.0, 6: None, 8: 2.0, 10: 4.0}
    for step in losses:
        (tmp_path / checkpoint_files.name_of(step)).mkdir()
    monkeypatch.setattr(
        checkpoint_files, "read_manifest", lambda path: {"validation_loss": losses[checkpoint_files.step_of(path)]}
    )
    kept = checkpoint_files.prune(tmp_path, keep_last=1, keep_best=2)
    assert [checkpoint_files.step_of(path) for path in kept] == [10, 8, 4]
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_damaged_newer_one_does_not_push_out_whole_ones(copy: SmallRun) -> None:
    directory = copy.run_dir / "checkpoints"
    shutil.copytree(newest(copy), directory / "step00001000")
    (directory / "step00001000/manifest.json").write_text("{")
    kept = checkpoint_files.prune(directory, keep_last=1, keep_best=1, newest=12)
    assert [path.name for path in kept] == ["step00001000", "step00000012"]


def test_a_file_that_cannot_be_read_is_damaged(copy: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: Path) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))

    monkeypatch.setattr(checkpoint_files, "hash_of_file", fail)
    problem = checkpoint_files.damage(newest(copy))
    assert problem is not None
    assert problem.endswith("safetensors: cannot be read: Input/output error")


def test_the_manifest_says_how_good_it_is(finished: SmallRun, new_run: Callable[[], SmallRun]) -> None:
    assert checkpoint_files.read_manifest(newest(finished))["validation_loss"] is None
    run = new_run()
    run.train("validation.every_steps=12", "schedule.total_tokens=2048", "schedule.decay_tokens=0")
    rows = read_rows(run.run_dir / "validation.csv", ValidationMetrics)
    assert checkpoint_files.read_manifest(newest(run))["validation_loss"] == pytest.approx(
        fmean(row["loss"] for row in rows)
    )


def test_nothing_is_left_of_interrupted_writers(copy: SmallRun) -> None:
    directory = copy.run_dir / "checkpoints"
    (directory / ".step00000099.abc").mkdir()
    checkpoint_files.prune(directory, keep_last=1)
    assert [path.name for path in directory.iterdir()] == ["step00000012"]
