"""Map over items on the workers of a running Dask cluster, for work that is too much for one machine.

The functions leave their results in files that all machines see. What travels through Dask is an item, and back an
`Outcome`: a number, or a message that names files and lines. A function never raises there: of a task that fails, Dask
logs arguments, message and traceback, on the worker and in the dashboard, and those may quote a text.
"""

import logging
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..configs.errors import TransientError, UserError
from ..storage.files import as_user_error
from .parallel import Count, ProgressCallback

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

Join: TypeAlias = "Callable[[], AbstractContextManager[None]]"
"""Prepares a process for a call; UserError if it cannot do this work."""

_IN_FLIGHT = 4_000  # tasks that the scheduler knows: more cost memory there, fewer leave workers without work
_POLL_SECONDS = 0.2
_WITHOUT_WORKERS_SECONDS = 30
_CONNECT_SECONDS = 30
_SHOWN_WORKERS = 3
_ONE_AT_A_TIME = threading.Lock()


class Outcome(NamedTuple):
    """What a call reports.

    Attributes:
        counted: by the function while it worked.
        error: the message of a UserError.
        fault: of any other exception its type and place; its message stays on the worker.
    """

    counted: int
    error: str | None = None
    fault: str | None = None


class _Call:
    """A function with its item. Dask can show only the name of the function, wherever it logs arguments."""

    def __init__(self, join: Join, function: Callable[[Any, Count], object], item: Any) -> None:
        self.join, self.function, self.item = join, function, item

    def __repr__(self) -> str:
        return f"<{self.function.__name__}>"


@contextmanager
def connect(address: str) -> "Iterator[Client]":
    """Connect to a scheduler, by its address (`tcp://host:8786`) or the file that it wrote (`--scheduler-file`).

    Raises:
        UserError: none answers there, or it has another version of Dask.
    """
    import distributed
    from distributed import Client

    file = Path(address).expanduser()
    if "/" in address and "://" not in address and not file.is_file():
        raise UserError(f"--dask {address}: no such scheduler file; start `dask scheduler --scheduler-file {address}`")
    where = {"scheduler_file": str(file)} if file.is_file() else {"address": address}
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what matters of it is an error below
    try:
        client = Client(**where, timeout=_CONNECT_SECONDS, set_as_default=False, name="cmbert")
    except Exception as error:  # wrong addresses and files raise errors of many kinds
        raise UserError(
            f"--dask {address}: no Dask scheduler answers there ({error}); check the address, and that this machine "
            "can reach it"
        ) from error
    with client:
        found = client.get_versions()["scheduler"]["packages"]["distributed"]
        if found != distributed.__version__:
            raise UserError(
                f"--dask {address}: the scheduler has distributed {found}, this machine {distributed.__version__}: "
                "install the same version on both"
            )
        yield client


def check_workers(client: "Client", check: Callable[[], object]) -> None:
    """Wait for a first worker, and run a check on all that are there.

    Args:
        check: takes a moment, in which its worker answers nobody, and changes nothing in its process.
    Raises:
        UserError: some cannot; one message with every reason and the workers that gave it.
    """
    if not client.nthreads():
        logger.info("the Dask cluster has no worker yet: waiting for the first")
        while not client.nthreads():
            time.sleep(_POLL_SECONDS)
    workers: dict[str, list[str]] = {}
    for worker, threads in client.nthreads().items():
        if threads > 1:
            problem = f"has {threads} threads, of which one would work: start workers with --nthreads 1 --nworkers N"
            workers.setdefault(problem, []).append(worker)
    for worker, problem in client.run(_problem, check, on_error="return").items():
        if isinstance(problem, OSError):
            continue  # it is gone
        if isinstance(problem, BaseException):
            problem = f"cannot run this program ({type(problem).__name__}): install it there, in the same version"
        for line in problem.splitlines():
            workers.setdefault(line, []).append(worker)
    if workers:
        raise UserError("\n".join(f"{_names(found)}: {problem}" for problem, found in workers.items()))


def map_on_workers(
    client: "Client",
    join: Join,
    function: Callable[[Any, Count], object],
    items: Sequence[Any],
    progress: ProgressCallback,
) -> None:
    """`function(item, count)` of every item, on any worker, in about the order of the items.

    The items of workers that are lost go to others, so a function may run twice, also at once: it must write the same
    bytes. One that runs when this process ends goes on to its end.

    Raises:
        UserError: of a function, of a worker that cannot do this work, or because a task's workers all died.
        TransientError: the scheduler is gone.
        RuntimeError: any other error of a function.
    """
    from distributed import as_completed

    run = uuid.uuid4().hex[:8]
    waiting = iter(enumerate(items))
    completed = as_completed(loop=client.loop, with_results=True, raise_errors=False)

    def submit(number: int) -> None:
        if some := list(islice(waiting, number)):
            calls = [_Call(join, function, item) for _, item in some]
            keys = [f"{function.__name__}-{run}-{place}" for place, _ in some]
            completed.update(client.map(_perform, calls, key=keys, pure=False))

    submit(_IN_FLIGHT)
    done = counted = 0
    last = time.monotonic()
    while done < len(items):
        batch = completed.next_batch(block=False)
        counted += sum(_require_done(client, result).counted for _, result in batch)
        done += len(batch)
        submit(len(batch))
        progress(done, len(items), counted)
        if batch:
            last = time.monotonic()
        elif time.monotonic() - last > _WITHOUT_WORKERS_SECONDS:
            last = time.monotonic()
            if client.status == "running" and not client.nthreads():
                logger.warning("the Dask cluster has no worker: waiting for one")
        time.sleep(_POLL_SECONDS)


def _require_done(client: "Client", result: Any) -> Outcome:
    from distributed.scheduler import KilledWorker

    if isinstance(result, Outcome):
        if result.error is not None:
            raise UserError(result.error)
        if result.fault is not None:
            raise RuntimeError(f"a task failed on a worker of the Dask cluster: {result.fault}")
        return result
    if isinstance(result, BaseException) or client.status != "running":
        raise TransientError(
            "the Dask scheduler is gone; start it again, then run the same command: it continues with what is finished"
        )
    error = result[1]
    if isinstance(error, KilledWorker):
        raise UserError(
            f"{error.allowed_failures + 1} workers died while they had the task {error.task}, the last of them "
            f"{error.last_worker.address}: its log has the reason, often too little memory. Then run the same command: "
            "it continues with what is finished"
        )
    raise RuntimeError(f"Dask could not run a task: {type(error).__name__}")


def _perform(call: _Call) -> Outcome:
    """Runs on a worker, one at a time per process, because tokenizers and readers are not made for threads."""
    counted = 0

    def count(more: int) -> None:
        nonlocal counted
        counted += more

    try:
        with _ONE_AT_A_TIME, call.join():
            call.function(call.item, count)
    except UserError as error:
        return Outcome(counted, error=str(error))
    except Exception as error:
        if isinstance(error, OSError) and (shown := as_user_error(error)):
            return Outcome(counted, error=str(shown))
        return Outcome(counted, fault=_place(error))
    return Outcome(counted)


def _problem(check: Callable[[], object]) -> str:
    """Why this worker cannot do the work; empty if it can."""
    try:
        check()
    except UserError as error:
        return str(error)
    return ""


def _place(error: BaseException) -> str:
    """The type of an exception and where it was raised, innermost last."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return f"{type(error).__name__} at " + ", ".join(f"{frame.filename}:{frame.lineno}" for frame in frames)


def _names(workers: list[str]) -> str:
    shown = ", ".join(workers[:_SHOWN_WORKERS])
    more = len(workers) - _SHOWN_WORKERS
    return f"worker {shown}" + (f" and {more:,} more" if more > 0 else "")
