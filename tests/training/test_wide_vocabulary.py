"""A small model of 131,072 tokens is trained, validated and saved like any other."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_data import write_small_data
from small_run import SmallRun


@pytest.mark.slow
def test_a_vocabulary_beyond_16_bits_trains(new_run: Callable[[], SmallRun], tmp_path: Path) -> None:
    """The first loss is that of guessing among all tokens."""
    vocabulary = 131_072
    data = write_small_data(tmp_path / "data", packs=4, vocab=vocabulary)
    run = replace(new_run(), data=data)
    run.train(
        *(f"model.vocab_size={vocabulary}", "data.masking=whole_word", "engine.zero_stage=1"),
        *("engine.zero_optimization={}", "validation.every_steps=4", "schedule.total_tokens=4096"),
        *("schedule.seq_length=[{max_seqlen: 256}]", "schedule.warmup_tokens=1024", "schedule.decay_tokens=1024"),
        *("schedule.mlm_probability=[[0, 0.3]]", "batch.micro_batch_size=1"),
    )
    losses = run.column("loss")
    assert len(losses) == 4
    assert abs(losses[0] - math.log(vocabulary)) < 1
    assert all(math.isfinite(loss) for loss in losses)
    assert run.newest_checkpoint().is_dir()
