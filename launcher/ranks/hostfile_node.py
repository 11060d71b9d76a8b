"""The ranks of one host, started by `cmbert launch hostfile` on another: the request and signals arrive on stdin."""

import json
import os
import signal
import sys
from threading import Thread
from typing import NoReturn

from ...configs.reporting import configure
from .local import Rendezvous, run_ranks


def main() -> NoReturn:
    configure()
    request = json.loads(sys.stdin.readline())
    os.chdir(request["directory"])
    received: list[int] = []
    Thread(target=_read_signals, args=(received,), daemon=True).start()
    rendezvous = Rendezvous(**request["rendezvous"])
    code = run_ranks(request["command"], request["ranks"], request["env"], rendezvous=rendezvous, received=received)
    sys.stdout.flush()
    # The thread is still blocked on stdin, so a normal exit would hang.
    os._exit(code)


def _read_signals(received: list[int]) -> None:
    for line in sys.stdin:
        received.append(signal.Signals[line.strip()])  # noqa: PERF401 - one by one, as they come
    # stdin is closed, so the launcher is gone: end this process, and with it its ranks (PR_SET_PDEATHSIG).
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
