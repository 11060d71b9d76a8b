"""Corrupt checkpoints are detected, and pruning keeps what the configuration keeps."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from rewritten import rewrite
from small_run import SmallRun
from written_run import manifest_of

from clinical_modernbert.training.checkpoint import files
from clinical_modernbert.training.checkpoint.manifest import write_manifest


def test_an_intact_checkpoint_passes_the_integrity_check(finished: SmallRun) -> None:
    paths = files.list_checkpoints(finished.run_dir / "checkpoints")
    assert [path.name for path in paths] == ["step00000012", "step00000008", "step00000004"]
    assert [files.find_corruption(path) for path in paths] == [None, None, None]


def test_verifying_shows_the_bytes_of_a_rank(finished: SmallRun, every_progress: pytest.LogCaptureFixture) -> None:
    checkpoint = finished.newest_checkpoint()
    assert files.verify(checkpoint) is None
    assert every_progress.messages[-1].startswith("verifying step00000012 388.1/388.1 kB  elapsed 0:0")
    every_progress.clear()
    assert files.verify(checkpoint, slice(1, None, 2)) is None
    assert every_progress.messages[-1].startswith("verifying step00000012 194.0/194.0 kB")


@pytest.mark.parametrize("position", [0.0, 0.1, 0.5, 0.999])
def test_one_flipped_bit_is_detected(copy: SmallRun, position: float) -> None:
    checkpoint = copy.newest_checkpoint()
    for file in checkpoint.glob("*.safetensors"):
        intact = file.read_bytes()
        content = bytearray(intact)
        content[int(position * len(content))] ^= 1
        file.write_bytes(content)
        assert f"{file}: its content differs" in str(files.find_corruption(checkpoint))
        file.write_bytes(intact)


def test_a_changed_manifest_is_detected(copy: SmallRun) -> None:
    manifest = copy.newest_checkpoint() / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"packs": 48', '"packs": 49'))
    assert f"{manifest}: its content differs" in str(files.find_corruption(manifest.parent))


def test_a_missing_or_truncated_file_is_detected(copy: SmallRun) -> None:
    checkpoint = copy.newest_checkpoint()
    rewrite(checkpoint, "node")
    first, second = sorted(checkpoint.glob("*.safetensors"))
    second.write_bytes(second.read_bytes()[:-1])
    assert str(second) in str(files.find_corruption(checkpoint))
    first.unlink()
    assert f"{first}: this file of the checkpoint is missing" in str(files.find_corruption(checkpoint))


def test_an_unreadable_file_is_corrupt(copy: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: Path, **options: object) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(file))

    monkeypatch.setattr(files, "hash_file", fail)
    problem = files.find_corruption(copy.newest_checkpoint())
    assert problem is not None
    assert problem.endswith("safetensors: cannot be read: Input/output error")


def test_the_checkpoints_of_lowest_validation_loss_are_kept(tmp_path: Path) -> None:
    for step, loss in {2: 3.0, 4: 1.0, 6: None, 8: 2.0, 10: 4.0}.items():
        directory = tmp_path / files.directory_name(step)
        directory.mkdir()
        write_manifest(directory, manifest_of(step).model_copy(update={"validation_loss": loss}))
    kept = files.prune(tmp_path, keep_last=1, keep_best=2)
    assert [files.step_of(path) for path in kept] == [10, 8, 4]
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_newer_corrupt_checkpoint_does_not_displace_complete_ones(copy: SmallRun) -> None:
    directory = copy.run_dir / "checkpoints"
    shutil.copytree(copy.newest_checkpoint(), directory / "step00001000")
    (directory / "step00001000/manifest.json").write_text("{")
    kept = files.prune(directory, keep_last=1, keep_best=1, newest_step=12)
    assert [path.name for path in kept] == ["step00001000", "step00000012"]


def test_remains_of_interrupted_writers_are_removed(copy: SmallRun) -> None:
    directory = copy.run_dir / "checkpoints"
    (directory / ".step00000099.abc").mkdir()
    files.prune(directory, keep_last=1)
    assert [path.name for path in directory.iterdir()] == ["step00000012"]
