"""The ranks of one host, on behalf of `cmbert launch hostfile` elsewhere: orders and signals come by stdin."""

import json
import os
import signal
import sys
from threading import Thread
from typing import NoReturn

from .local import Place, run_ranks


def main() -> NoReturn:
    orders = json.loads(sys.stdin.readline())
    os.chdir(orders["directory"])
    received: list[int] = []
    Thread(target=_listen, args=(received,), daemon=True).start()
    place = Place(**orders["place"])
    code = run_ranks(orders["command"], orders["ranks"], orders["env"], place=place, received=received)
    sys.stdout.flush()
    # The thread still waits for stdin.
    os._exit(code)


def _listen(received: list[int]) -> None:
    for line in sys.stdin:
        received.append(signal.Signals[line.strip()])  # noqa: PERF401 - one by one, as they come
    # The launcher is gone: so is this process, and with it its ranks (PR_SET_PDEATHSIG).
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
