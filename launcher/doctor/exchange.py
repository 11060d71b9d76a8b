"""What the checks of all ranks have in common: operations that may wait forever, and what to say of their failure."""

from collections.abc import Callable
from threading import Thread
from typing import TypeVar

_T = TypeVar("_T")
NETWORK = "See NCCL's messages with NCCL_DEBUG=INFO; check the fabric's variables, firewalls and host names."


def with_timeout(exchange: Callable[[], _T], seconds: float) -> _T | str:
    """Return the result, or the reason of a failure: NCCL raises, or waits forever for a rank on which it raised."""
    outcome: list[_T | str] = []

    def run() -> None:
        try:
            outcome.append(exchange())
        except Exception as error:  # of a driver, the fabric or a GPU
            outcome.append(summarize(error))

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome[0] if outcome else f"no answer within {seconds:.0f} s"


def summarize(error: Exception) -> str:
    """Return the first line of the message, or of NCCL's last error if there is one."""
    line = str(error).rpartition("Last error:")[2].strip().partition("\n")[0]
    return f"{type(error).__name__}: {line[:200]}"
