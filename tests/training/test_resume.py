"""A run that is killed anywhere continues as if it had not been interrupted."""

import re
import shutil
import signal
from collections.abc import Callable

import pytest
from small_run import SmallRun

DATA_COLUMNS = ("step", "tokens", "masked", "max_seqlen", "mlm_probability", "lr", "data_digest")


@pytest.mark.parametrize("step", [2, 6, 9])
def test_after_kill_9_the_loss_curve_is_bit_equal(
    finished: SmallRun, new_run: Callable[[], SmallRun], step: int
) -> None:
    run = new_run()
    assert run.signal_after(step, signal.SIGKILL, ranks=2) == -signal.SIGKILL
    output = run.train(ranks=2)
    newest_saved = (step // 4) * 4  # or the one before, if this one was still being written
    continued = re.search(r"continuing from \S+: step (\d+),", output)
    assert (int(continued[1]) if continued else 0) >= newest_saved - 4
    for name in (*DATA_COLUMNS, "loss", "accuracy", "grad_norm"):
        assert run.column(name) == finished.column(name), name


@pytest.mark.parametrize("ranks", [1, 4])
def test_another_world_size_continues_with_the_same_packs_and_masks(
    finished: SmallRun, new_run: Callable[[], SmallRun], ranks: int
) -> None:
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    shutil.rmtree(run.run_dir / "checkpoints/step00000012")
    assert "step 8, 32 packs consumed" in run.train(ranks=ranks)
    for name in DATA_COLUMNS:
        assert run.column(name) == finished.column(name), name
    assert run.column("loss") == pytest.approx(finished.column("loss"), rel=1e-6)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_request_saves_a_checkpoint_and_is_reported(
    finished: SmallRun, new_run: Callable[[], SmallRun], number: signal.Signals
) -> None:
    run = new_run()
    assert run.signal_after(5, number, ranks=2) == 85
    assert "stop requested: finishing this step, saving a checkpoint" in run.output.read_text()
    stopped = run.completed_steps()
    assert (run.run_dir / f"checkpoints/step{stopped:08d}/manifest.json").is_file()
    run.train(ranks=2)
    assert run.column("loss") == finished.column("loss")


def test_a_finished_run_started_again_does_nothing_and_reports_changes(
    finished: SmallRun, new_run: Callable[[], SmallRun]
) -> None:
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    output = run.train("optimizer.lr=0.5", ranks=2)
    assert re.search(r"^changed since this checkpoint: optimizer.lr was 0\.\d+, is 0\.5$", output, re.MULTILINE)
    assert "complete: all 12 steps are done" in output
    assert run.rows() == finished.rows()


def test_the_newest_checkpoints_and_those_at_multiples_are_kept(new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    run.train("checkpoint.every_steps=2", "checkpoint.keep_last=2", "checkpoint.keep_every_steps=6")
    kept = sorted(path.name for path in (run.run_dir / "checkpoints").iterdir())
    assert kept == ["step00000006", "step00000010", "step00000012"]


@pytest.mark.slow
def test_a_run_continues_in_the_order_that_it_began_with(finished: SmallRun, new_run: Callable[[], SmallRun]) -> None:
    """Runs from before there were lanes have windows of 16 shards; the lanes of a run stay if its cache changes."""
    windows = new_run()
    windows.train("data.shuffle_window=16", ranks=2)
    for before, change, order in (
        (windows, "data.cache=unused", "windows of 16 shards"),
        (finished, "data.cache_gigabytes=1e-5", "64 lanes"),
    ):
        run = new_run()
        shutil.copytree(before.run_dir, run.run_dir)
        shutil.rmtree(run.run_dir / "checkpoints/step00000012")
        assert re.search(rf"^order +{order}", run.train(change), re.MULTILINE)
        for name in DATA_COLUMNS:
            assert run.column(name) == before.column(name), name
    assert windows.column("data_digest") != finished.column("data_digest")
    shutil.rmtree(windows.run_dir / "checkpoints/step00000012")
    assert re.search(r"shuffle_window was 16, is null|lanes was null, is 8", windows.train("data.lanes=8", code=2))
