"""The ranks of one host, started by `cmbert launch hostfile` on another: the request and signals arrive on stdin."""

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from threading import Thread
from typing import Any, NoReturn

from ...configs.errors import USER_ERROR, UserError
from ...configs.reporting import configure, report_error
from .local import Rendezvous, run_ranks


def main() -> NoReturn:
    configure()
    request = json.loads(sys.stdin.readline())
    try:
        code = _run(request)
    except UserError as error:
        report_error(error)
        code = USER_ERROR
    sys.stdout.flush()
    # The thread is still blocked on stdin, so a normal exit would hang.
    os._exit(code)


def _run(request: Mapping[str, Any]) -> int:
    try:
        os.chdir(request["directory"])
    except OSError as error:
        raise UserError(
            f"{socket.gethostname()}: {request['directory']}: {error.strerror}: every host needs the directory in "
            "which `cmbert launch hostfile` was started, for example on a shared disk"
        ) from error
    received: list[int] = []
    Thread(target=_read_signals, args=(received,), daemon=True).start()
    rendezvous = Rendezvous(**request["rendezvous"])
    return run_ranks(request["command"], request["ranks"], request["env"], rendezvous=rendezvous, received=received)


def _read_signals(received: list[int]) -> None:
    for line in sys.stdin:
        received.append(signal.Signals[line.strip()])  # noqa: PERF401 - one by one, as they come
    # stdin is closed, so the launcher is gone: end this process, and with it its ranks (PR_SET_PDEATHSIG).
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
