"""A spike of the loss takes a run back to its last checkpoint, without the packs read since, and can be repeated."""

import json
import shutil
from collections.abc import Callable
from statistics import median

from small_run import SmallRun

from clinical_modernbert.training.recipe.config import SpikeConfig
from clinical_modernbert.training.resilience.spikes import SpikeDetector

WINDOW = 3


def test_a_spike_is_detected_after_a_full_window() -> None:
    detector = SpikeDetector(SpikeConfig(factor=1.5, window=3))
    assert [detector.is_spike(loss) for loss in (9.0, 2.0, 2.0, 2.9, 3.1, 2.0, 4.4)] == [
        False,
        False,
        False,
        False,
        True,
        False,
        True,
    ]
    detector = SpikeDetector(SpikeConfig(factor=1.3, window=2))
    losses = [(4.2, "masked"), (4.2, "masked"), (7.2, "causal"), (7.2, "causal"), (9.5, "causal"), (4.2, "masked")]
    assert [detector.is_spike(*each) for each in losses] == [False] * 4 + [True, False]
    never = SpikeDetector(SpikeConfig(window=1))
    assert not any(never.is_spike(loss) for loss in (1.0, 1e9))


def test_a_spike_rewinds_the_run_and_a_copy_of_its_skips_repeats_the_steps(
    finished: SmallRun, new_run: Callable[[], SmallRun]
) -> None:
    losses = finished.column("loss")
    ratios = {i: losses[i] / median(losses[i - WINDOW : i]) for i in range(5, 12)}
    spike, factor = max(ratios.items(), key=lambda item: item[1])
    checkpoint = spike // 4 * 4
    run = new_run()
    settings = [f"spikes={{factor: {factor - 1e-6}, window: {WINDOW}, max_rewinds: 2}}"]
    output = run.train(*settings, ranks=2)
    assert f"step {spike + 1}: the loss spiked" in output
    (skip, *_) = skips = json.loads((run.run_dir / "skips.json").read_text())
    assert skip == {"after": 4 * checkpoint, "packs": 4 * (spike + 1 - checkpoint)}
    assert run.column("loss")[:checkpoint] == losses[:checkpoint]
    assert run.column("data_digest")[checkpoint] != finished.column("data_digest")[checkpoint]
    if len(skips) == 1 and spike + 1 < 12 - (spike + 1 - checkpoint):
        # The packs after the skipped ones are those of the uninterrupted run, at earlier steps.
        assert run.column("masked")[checkpoint] == finished.column("masked")[spike + 1]
    again = new_run()
    again.run_dir.mkdir()
    shutil.copy(run.run_dir / "skips.json", again.run_dir)
    again.train(ranks=2)
    assert again.column("data_digest") == run.column("data_digest")
    assert again.column("loss") == run.column("loss")
    # Checkpoints contain the skips too: a new disk has nothing else.
    (again.run_dir / "skips.json").unlink()
    shutil.rmtree(again.run_dir / "checkpoints/step00000012")
    again.train(ranks=2)
    assert json.loads((again.run_dir / "skips.json").read_text()) == skips
    assert again.column("data_digest") == run.column("data_digest")
    (again.run_dir / "skips.json").write_text('[{"after": 0, "packs": 4}]')
    assert "skips.json: differs from the skips in the newest checkpoint" in again.train(ranks=2, code=2)


def test_a_run_that_keeps_spiking_stops(new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    output = run.train("spikes={factor: 0.01, window: 2, max_rewinds: 1}", ranks=1, code=1)
    assert "the loss spiked again after 1 rewinds; the run stopped" in output
    assert len(json.loads((run.run_dir / "skips.json").read_text())) == 1
