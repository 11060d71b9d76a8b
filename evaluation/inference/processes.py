"""Chunks computed in this process or in several, each of which opens the model once and takes the next chunk.

A part is written by the process that computed it, in one rename, so that nothing large travels back.
"""

import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar

from ...configs.errors import UserError
from ...configs.progress import Display, Line, eta, short_number
from ...storage.files import atomic_write
from ...streaming_data.parallel import available_cores, exit_with_parent

R = TypeVar("R")
_POLL_SECONDS = 0.2
_CPU_WORKERS = 8
"""At most, if their number is not given: each holds the model in memory."""


class Result(NamedTuple):
    """What was computed of a chunk: the content of its part, and counts to be added over all parts."""

    content: bytes
    counts: Mapping[str, int]


class Count(Protocol):
    """Receives what was done since the last call, while a chunk is computed."""

    def __call__(self, texts: int, tokens: int) -> None: ...


Compute: TypeAlias = Callable[[Sequence[R], Count], Result]
Open: TypeAlias = Callable[[int], Compute[R]]


def default_workers() -> int:
    """One process per GPU; without one, a process per core, up to eight."""
    import torch

    return torch.cuda.device_count() or min(_CPU_WORKERS, available_cores())


def use_device(process: int) -> None:
    """Compute on the GPU with the number of the process, if there are GPUs."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(process % torch.cuda.device_count())


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: a sum over several depends on their number, and so would the bytes of a result."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def computed(
    chunks: Iterator[tuple[Sequence[R], Path]], open_compute: Open[R], workers: int, what: str, done: int, total: int
) -> None:
    """Compute the chunks, each to its path.

    Args:
        done: texts that an earlier command computed, of `total`.
    """
    progress = _Progress(what, done, total)
    first = next(chunks, None)
    if first is None:
        return
    try:
        if workers == 1:
            compute = open_compute(0)
            for records, path in _chain(first, chunks):
                _write(compute, records, path, progress.count)
        else:
            _in_processes(_chain(first, chunks), open_compute, workers, progress)
    finally:
        progress.close()


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _write(compute: Compute[R], records: Sequence[R], path: Path, count: Count) -> None:
    result = compute(records, count)
    atomic_write(path, json.dumps(dict(result.counts)).encode() + b"\n" + result.content)


def _in_processes(
    chunks: Iterator[tuple[Sequence[R], Path]], open_compute: Open[R], workers: int, progress: "_Progress"
) -> None:
    context = multiprocessing.get_context("spawn")  # this process may have threads
    shared = _Shared(*(context.Value("q", 0) for _ in _Shared._fields))
    unrelated = set(multiprocessing.active_children())
    threads = max(1, available_cores() // workers)
    with ProcessPoolExecutor(workers, context, _start, (open_compute, shared, threads)) as pool:
        try:
            pending: set[Future[None]] = set()
            while True:
                # Two chunks per process: one that it computes, and one that waits for it.
                pending |= {pool.submit(_work, *chunk) for chunk in islice(chunks, 2 * workers - len(pending))}
                if not pending:
                    break
                finished, pending = wait(pending, _POLL_SECONDS, FIRST_COMPLETED)
                for future in finished:
                    future.result()
                progress.show(shared.texts.value, shared.tokens.value)
        except BrokenProcessPool as error:
            raise UserError(
                "one of the processes was killed, as by a system without memory; start the command again to continue, "
                "with fewer --workers"
            ) from error
        except BaseException:
            # Leaving the block waits for the pool, whose thread would otherwise fail during interpreter shutdown.
            for process in set(multiprocessing.active_children()) - unrelated:
                process.terminate()
            raise


class _Shared(NamedTuple):
    """Counters in shared memory: processes that started, texts and tokens that are done."""

    processes: Any
    texts: Any
    tokens: Any


class _Worker(NamedTuple):
    number: int
    open_compute: Open[Any]
    shared: _Shared


_worker: _Worker | None = None
_compute: Compute[Any] | None = None


def _start(open_compute: Open[Any], shared: _Shared, threads: int) -> None:
    global _worker
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # read when the tokenizer first encodes
    threading.Thread(target=exit_with_parent, daemon=True).start()
    with shared.processes.get_lock():
        _worker = _Worker(shared.processes.value, open_compute, shared)
        shared.processes.value += 1


def _work(records: Sequence[Any], path: Path) -> None:
    global _compute
    assert _worker is not None
    if _compute is None:
        _compute = _worker.open_compute(_worker.number)
    _write(_compute, records, path, _count)


def _count(texts: int, tokens: int) -> None:
    assert _worker is not None
    for counter, more in ((_worker.shared.texts, texts), (_worker.shared.tokens, tokens)):
        with counter.get_lock():
            counter.value += more


class _Progress:
    """The line of progress: texts, remaining time, texts and tokens per second. Rates are of this command."""

    def __init__(self, what: str, done: int, total: int) -> None:
        self._what, self._before, self._total = what, done, total
        self._texts = self._tokens = 0
        self._display = Display()

    def count(self, texts: int, tokens: int) -> None:
        self.show(self._texts + texts, self._tokens + tokens)

    def show(self, texts: int, tokens: int) -> None:
        self._texts, self._tokens = texts, tokens
        elapsed = self._display.elapsed()
        done = self._before + texts
        seconds = elapsed / texts * (self._total - done) if texts else None
        amount = f"{done:,}/{self._total:,} texts"
        rates = [(f"{short_number(n / elapsed if elapsed else 0)} {unit}/s",) * 2
                 for n, unit in ((texts, "texts"), (tokens, "tokens"))]  # fmt: skip
        parts = [(f"{self._what} {amount}", amount), eta(seconds), *rates]
        self._display.show(Line(parts, len(parts), share=done / self._total))

    def close(self) -> None:
        self._display.close()
