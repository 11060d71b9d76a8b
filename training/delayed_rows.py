"""Rows of metrics.csv that are read one step later than they are measured.

To read a loss right after its step would make the host wait until the device has done all of it, and leave the device
without work until the next step is queued. One step later the values have long arrived. Nothing else depends on the
delay: a spike of the loss rewinds the run before anything of a later step is written or saved, and leaves out the packs
up to the step that spiked.
"""

from contextlib import suppress
from types import TracebackType

from ..configs.errors import UserError
from .checkpoint.progress import Progress
from .copies import runs_ahead
from .measure import Measurement, measure_mix
from .metrics.writer import MetricsWriter, StepMetrics
from .resilience.skips import Skip
from .resilience.spikes import SpikeDetector, rewind
from .run import Run


class DelayedRows:
    """Writes each step's row when the next one is due, or at `settle`. Every rank has one, for the same spikes.

    As a context manager it writes the last row if the block ends by an error.

    Attributes:
        saved: progress at the newest checkpoint: a spike rewinds the run to it.
        metrics: where rows are written; None on ranks other than 0.
    """

    def __init__(self, run: Run, metrics: MetricsWriter | None, saved: Progress) -> None:
        self.saved = saved
        self.metrics = metrics
        self._run = run
        self._spikes = SpikeDetector(run.config.spikes)
        self._delayed = runs_ahead(run.device)
        self._waiting: Measurement | None = None

    def add(self, measurement: Measurement) -> None:
        """Take the measurement of the last step; see `settle`, which must have been called since the last one."""
        self._waiting = measurement
        if not self._delayed:
            self.settle()

    def settle(self) -> None:
        """Write the row that is waiting.

        Raises:
            RewoundError: its loss is a spike.
        """
        measurement, self._waiting = self._waiting, None
        if measurement is None:
            return
        row = self._write(measurement)
        if self._spikes.is_spike(row.loss, row.objective):
            self.rewind(measurement.progress, f"step {measurement.progress.step}: the loss spiked")

    def rewind(self, progress: Progress, reason: str) -> None:
        """Go back to the newest checkpoint, without the packs up to `progress`.

        Raises:
            RewoundError: always; see `spikes.rewind`.
        """
        config, skips = self._run.config, self._run.checkpointer.skips
        rewind(config.run_dir, config.spikes, skips, Skip(self.saved.packs, progress.packs - self.saved.packs), reason)

    def close(self) -> None:
        """Bring all rows to the disk."""
        self.settle()
        if self.metrics is not None:
            self.metrics.close()

    def _write(self, measurement: Measurement) -> StepMetrics:
        row = measurement.row()
        if self.metrics is not None:
            self.metrics.write(row)
            self.metrics.write_mix(measure_mix(self._run, measurement.progress))
            self.metrics.write_ranks(row.step, measurement.ranks)
        return row

    def __enter__(self) -> "DelayedRows":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        # After a UserError nothing may be written: a newer attempt may own the run. Others leave a trace of the step.
        if error is not None and not isinstance(error, UserError) and self._waiting:
            with suppress(Exception):  # a device that has failed answers with an error, and the first one matters
                if self._waiting.arrived():
                    self._write(self._waiting)
