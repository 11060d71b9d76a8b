"""How long a rank may be where it is, from the time of its steps.

A healthy run must never be ended because it is slow, so only a part of a step that takes longer than many entire steps
did counts as a hang: `hangs.factor` times the median step, and never less than `hangs.floor_seconds`. Whatever is not
the same from step to step has the patience of `engine.step_timeout_minutes` instead: the start, the first steps of each
sequence length (kernels are compiled), profiled steps, validations, checkpoints, and what follows them until all ranks
have met again.
"""

import os
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from time import monotonic

from ...storage.patience import patience_seconds
from ..recipe.config import RunConfig
from ..recipe.schedule import StepSettings
from .heartbeat import Heartbeat

FIRST_STEPS = 5
"""Steps of each sequence length and objective that have the patience of a start."""
WINDOW = 64


class Watchdog:
    """Beats at each part of a step (`heartbeat.py`). Every rank has one."""

    def __init__(self, heartbeat: Heartbeat, config: RunConfig) -> None:
        self._heartbeat = heartbeat
        self._rank = int(os.environ.get("RANK", "0"))
        self._hangs, self._profile = config.hangs, config.profile
        self._patience = 60 * config.engine.step_timeout_minutes
        # Seconds per pack: batches grow during a warm-up.
        self._paces: dict[tuple[int, str], deque[float]] = defaultdict(lambda: deque(maxlen=WINDOW))
        self._settings: StepSettings | None = None
        self._limit = self._patience
        self._usual = self._counted = self._since = 0.0
        self._ranks_met = False
        self.enter("the start of the run", patiently=True)

    def step(self, settings: StepSettings) -> None:
        """A step begins: data, and the exchange of all ranks."""
        self._end_step()
        self._settings = settings
        self._limit = self._limit_of(settings)
        # Other ranks may still save, or compile.
        self.enter("exchange with the other ranks", patiently=not self._ranks_met)
        self._ranks_met = True

    def enter(self, part: str, patiently: bool = False) -> None:
        """Another part of the step begins. One that is done patiently does not count as time of the step."""
        now = monotonic()
        self._counted += now - self._since if self._since else 0.0
        self._since = 0.0 if patiently else now
        self._ranks_met = self._ranks_met and not patiently
        self._part, self._seconds = part, self._patience if patiently else self._limit
        self._needs_data = False
        self._beat(part, self._seconds)

    def exchanged(self, waiting: Sequence[int]) -> None:
        """All ranks have exchanged counts, and these have no data yet, so that all will exchange again."""
        if self._rank not in waiting:
            self._beat(self._part + (f"; {_name(waiting)} waited for data" if waiting else ""), self._seconds)
        elif not self._needs_data:
            # A store that is out of reach is no hang: reading gives up by itself. A step may begin two shards.
            limit = min(self._patience, self._seconds + 2 * patience_seconds())
            self._beat(f"data of this rank, before the {self._part}", limit)
        self._needs_data = self._rank in waiting

    @contextmanager
    def patient_with_errors(self) -> Iterator[None]:
        """After an error, what is left to write may take its time."""
        try:
            yield
        except BaseException:
            self._heartbeat.beat("the end of the run", self._patience)
            raise

    def end(self) -> None:
        """Nothing is watched any more."""
        self._heartbeat.beat("the end of the run", 0)

    def _beat(self, part: str, limit: float) -> None:
        step = f"step {self._settings.step + 1}, " if self._settings else ""
        usual = f" (a step takes {self._usual:.3g} s)" if self._usual else ""
        self._heartbeat.beat(f"{step}{part}{usual}", limit)

    def _end_step(self) -> None:
        if self._settings is not None:
            counted = self._counted + (monotonic() - self._since if self._since else 0.0)
            self._paces[_kind(self._settings)].append(counted / self._settings.packs)
        self._counted = self._since = 0.0

    def _limit_of(self, settings: StepSettings) -> float:
        """Seconds for a part of this step."""
        paces = self._paces[_kind(settings)]
        profile = self._profile
        profiled = profile is not None and 0 <= settings.step + 1 - profile.first_step <= profile.steps
        self._usual = median(paces) * settings.packs if len(paces) >= FIRST_STEPS else 0.0
        return self._patience if profiled else self._hangs.limit(self._usual, self._patience)


def _kind(settings: StepSettings) -> tuple[int, str]:
    return settings.max_seqlen, settings.objective


def _name(ranks: Sequence[int]) -> str:
    listed = ", ".join(map(str, ranks[:3]))
    return f"rank {listed}" if len(ranks) == 1 else f"ranks {listed}" + ", ..." * (len(ranks) > 3)
