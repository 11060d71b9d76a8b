"""Requests to stop: SIGTERM from a scheduler, SIGUSR1 before a time limit, SIGINT (Ctrl-C) from a user, SIGHUP from a
terminal or connection that is gone.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

START_SECONDS = 10.0
"""A start that takes longer than this after a request to stop is interrupted: there is nothing to save yet."""


class StartInterrupted(BaseException):
    """A stop was requested while the run was still starting."""


def requests_to_stop() -> tuple[signal.Signals, ...]:
    """The signals that request a stop. SIGHUP is not one if it is ignored, as `nohup` arranges."""
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, *hangup)


class StopRequest:
    """Records that the process was requested to stop; the loop checks it between steps, where all ranks agree.

    A second SIGINT interrupts immediately, as in any Python program.

    Attributes:
        requested: a signal has arrived.
        starting: the run has not begun its steps.
    """

    def __init__(self) -> None:
        self.requested = False
        self.starting = True
        for number in requests_to_stop():
            signal.signal(number, self._record)

    @contextmanager
    def during_start(self) -> Iterator[None]:
        """Inside, a request is obeyed even if the start waits for something, such as a store that hangs.

        Raises:
            StartInterrupted: the start has not ended `START_SECONDS` after the request.
        """
        signal.signal(signal.SIGALRM, _interrupt)
        if self.requested:
            signal.setitimer(signal.ITIMER_REAL, START_SECONDS)
        yield
        self.starting = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _record(self, number: int, frame: FrameType | None) -> None:
        if not self.requested and os.environ.get("RANK", "0") == "0":
            # A handler may interrupt a log call in the middle, so it must not log itself. The terminal may be gone.
            with suppress(OSError):
                os.write(2, b"stop requested: finishing this step, saving a checkpoint, exiting\n")
        if self.starting and not self.requested and signal.getsignal(signal.SIGALRM) is _interrupt:
            signal.setitimer(signal.ITIMER_REAL, START_SECONDS)
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise StartInterrupted
