"""The memory of this process, which matters where many processes prepare data on one machine."""

import ctypes
import resource
import sys
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """What is in memory now; 0 where the system does not say."""
    return int(_STATM.read_bytes().split()[1]) * resource.getpagesize() if _STATM.exists() else 0


def return_freed() -> None:
    """Give freed memory back to the system. glibc keeps it after a file of megabytes was parsed, for the same again."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)
