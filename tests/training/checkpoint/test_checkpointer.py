"""Resuming from checkpoints of which some are corrupt, and what a checkpoint records."""

import shutil
from collections.abc import Callable
from statistics import fmean

import pytest
from rewritten import rewrite
from small_run import SmallRun

from clinical_modernbert.training.checkpoint import files
from clinical_modernbert.training.checkpoint.manifest import read_manifest
from clinical_modernbert.training.metrics.csv_log import read_rows
from clinical_modernbert.training.metrics.writer import ValidationMetrics


def test_a_corrupt_checkpoint_is_skipped_with_a_warning(copy: SmallRun, finished: SmallRun) -> None:
    rewrite(copy.newest_checkpoint())
    next(copy.newest_checkpoint().glob("rank00001*")).unlink()
    output = copy.train(ranks=2)
    assert "warning: skipping a corrupt checkpoint" in output
    assert "rank00001-of-00002.safetensors" in output
    assert "step00000008: step 8, 32 packs consumed" in output
    assert copy.column("loss") == finished.column("loss")
    assert files.find_corruption(copy.newest_checkpoint()) is None


def test_a_run_never_starts_over_when_all_checkpoints_are_corrupt(copy: SmallRun) -> None:
    for path in files.list_checkpoints(copy.run_dir / "checkpoints"):
        next(path.glob("node00000*")).unlink()
    output = copy.train(ranks=2, code=2)
    assert "no checkpoint in it is complete" in output
    assert "node00000-of-00001.safetensors: this file of the checkpoint is missing" in output


def test_the_manifest_records_the_validation_loss(finished: SmallRun, new_run: Callable[[], SmallRun]) -> None:
    assert read_manifest(finished.newest_checkpoint()).validation_loss is None
    run = new_run()
    run.train("validation.every_steps=12", "schedule.total_tokens=2048", "schedule.decay_tokens=0")
    rows = read_rows(run.run_dir / "validation.csv", ValidationMetrics)
    assert read_manifest(run.newest_checkpoint()).validation_loss == pytest.approx(fmean(row["loss"] for row in rows))


@pytest.mark.parametrize(("kind", "count"), [("rank", 3), ("node", 3)])
def test_a_run_continues_whatever_the_number_of_files_and_their_version(
    kind: str, count: int, copy: SmallRun, finished: SmallRun
) -> None:
    """Version 1 had a file per rank, and did not say in the manifest what each holds."""
    shutil.rmtree(copy.newest_checkpoint())
    rewrite(copy.newest_checkpoint(), kind, count)
    assert read_manifest(copy.newest_checkpoint()).version == (1 if kind == "rank" else 2)
    assert "step00000008: step 8, 32 packs consumed" in copy.train(ranks=2)
    assert copy.column("loss") == finished.column("loss")
    assert [*read_manifest(copy.newest_checkpoint()).files] == ["node00000-of-00001.safetensors"]
