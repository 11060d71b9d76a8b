"""How long a rank takes from the start of its process until it trains, part by part."""

import os
import sys
import time


class StartUp:
    """Measures the parts of a start. The first one, imports, ends when this is made.

    On a shared disk that is busy, imports take minutes, and everything else seconds: `cmbert launch slurm` can copy the
    environment to local disks (docs/launching.md).
    """

    def __init__(self) -> None:
        self._parts = [("imports", process_seconds())]
        self._last = time.monotonic()

    def completed(self, part: str) -> None:
        """Record that a part ends now, which began where the one before has ended."""
        now = time.monotonic()
        self._parts.append((part, now - self._last))
        self._last = now

    def line(self) -> str:
        """All parts for the log, in seconds, such as `ready after 9.1 s: imports 8.0 s, engine 1.0 s`."""
        parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in self._parts)
        return f"ready after {sum(seconds for _, seconds in self._parts):.1f} s: {parts}"


def process_seconds() -> float:
    """Seconds since this process was started, where the system says when that was; else since Python's clock began."""
    if sys.platform != "linux":
        return time.perf_counter()
    with open("/proc/self/stat", "rb") as file:
        started = int(file.read().rpartition(b")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
