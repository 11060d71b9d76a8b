"""Profiler traces of a few steps, if the recipe requests them."""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from ..recipe.config import ProfileConfig


class StepProfiler:
    """Records the steps named in the recipe's `profile` section into the run's `profile/` directory.

    It writes a trace for chrome://tracing or Perfetto and, on a GPU, a memory snapshot for
    https://pytorch.org/memory_viz.
    """

    def __init__(self, config: ProfileConfig | None, run_dir: Path) -> None:
        self._config = config
        self._directory = run_dir / "profile"
        self._profile: profile | None = None

    def before(self, step: int) -> None:
        """Call before step `step`, counted from 1."""
        if self._config is None or step != self._config.first_step:
            return
        if self._config.memory and torch.cuda.is_available():
            torch.cuda.memory._record_memory_history()
        gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
        self._profile = profile(
            activities=[ProfilerActivity.CPU, *gpu], profile_memory=self._config.memory, record_shapes=True
        )
        self._profile.start()

    def after(self, step: int) -> None:
        """Call after step `step`, counted from 1."""
        if self._config is None or self._profile is None or step < self._config.first_step + self._config.steps - 1:
            return
        self._profile.stop()
        self._directory.mkdir(exist_ok=True)
        self._profile.export_chrome_trace(str(self._directory / f"step{self._config.first_step:08d}.trace.json.gz"))
        self._profile = None
        if self._config.memory and torch.cuda.is_available():
            torch.cuda.memory._dump_snapshot(str(self._directory / f"step{self._config.first_step:08d}.memory.pickle"))
            torch.cuda.memory._record_memory_history(enabled=None)
