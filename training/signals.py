"""Being asked to stop: SIGTERM from a scheduler, SIGUSR1 before a time limit."""

import signal
from types import FrameType

STOPPED = 85
"""Exit code of a run that was asked to stop, has saved a checkpoint, and wants to be started again."""


class StopRequest:
    """Remembers that the process was asked to stop; the loop looks at it between steps, where all ranks agree."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
