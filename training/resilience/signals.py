"""Being asked to stop: SIGTERM from a scheduler, SIGUSR1 before a time limit, SIGINT (Ctrl-C) from a person."""

import os
import signal
from types import FrameType


class StopRequest:
    """Remembers that the process was asked to stop; the loop looks at it between steps, where all ranks agree.

    A second SIGINT interrupts at once, as Python does.
    """

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if not self.requested and os.environ.get("RANK", "0") == "0":
            os.write(2, b"asked to stop: this step, a checkpoint, and out\n")  # print may not interrupt a print
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
