"""The ranks of one host, started by `cmbert launch hostfile` on another: the request and signals arrive on stdin.

When stdin is closed, the launcher or the connection is gone: the ranks save a checkpoint and end.
"""

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from threading import Thread
from typing import Any, NoReturn

from ...configs.errors import USER_ERROR, UserError
from ...configs.reporting import configure, report_error
from .local import Rendezvous, run_ranks
from .warden import GRACE, GRACE_SECONDS


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
    grace = float(request["env"].get(GRACE, GRACE_SECONDS))
    Thread(target=_read_signals, args=(received, grace), daemon=True).start()
    rendezvous = Rendezvous(**request["rendezvous"])
    return run_ranks(request["command"], request["ranks"], request["env"], rendezvous=rendezvous, received=received)


def _read_signals(received: list[int], grace: float) -> None:
    for line in sys.stdin:
        received.append(signal.Signals[line.strip()])  # noqa: PERF401 - one by one, as they come
    received.append(signal.SIGTERM)
    time.sleep(grace)
    received.append(signal.SIGKILL)


if __name__ == "__main__":
    main()
