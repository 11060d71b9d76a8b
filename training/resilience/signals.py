"""Requests to stop: SIGTERM from a scheduler, SIGUSR1 before a time limit, SIGINT (Ctrl-C) from a user."""

import os
import signal
from contextlib import suppress
from types import FrameType


class StopRequest:
    """Records that the process was requested to stop; the loop checks it between steps, where all ranks agree.

    A second SIGINT interrupts immediately, as in any Python program.
    """

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, self._record)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if not self.requested and os.environ.get("RANK", "0") == "0":
            # A handler may interrupt a log call in the middle, so it must not log itself.
            with suppress(
                OSError
            ):  # whoever read the output may be gone, and an error here would prevent the checkpoint
                os.write(2, b"stop requested: finishing this step, saving a checkpoint, exiting\n")
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
