"""Fixtures of small training runs."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch.distributed as dist
from small_run import SmallRun


@pytest.fixture(scope="session")
def finished(new_run: Callable[[], SmallRun]) -> SmallRun:
    """A run of twelve steps on two ranks that was not interrupted. Tests must not change it."""
    run = new_run()
    run.train(ranks=2)
    return run


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def copy(finished: SmallRun, new_run: Callable[[], SmallRun]) -> SmallRun:
    """A copy of the finished run, which a test may change."""
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    return run
