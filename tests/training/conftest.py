"""Fixtures of small training runs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch.distributed as dist
from small_run import SmallRun


@pytest.fixture(scope="session")
def finished(new_run: Callable[[], SmallRun]) -> SmallRun:
    """Twelve steps on two ranks, undisturbed; not to be changed."""
    run = new_run()
    run.train(ranks=2)
    return run


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """Of this process alone."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
