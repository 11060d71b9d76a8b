"""Parallel map over items in processes: ordered results, progress, and the first error stops all of them."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from multiprocessing.sharedctypes import Synchronized
from typing import Any, Protocol, TypeAlias, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Count: TypeAlias = "Callable[[int], None]"
_POLL_SECONDS = 0.2
_counter: "Synchronized[int] | None" = None


class ProgressCallback(Protocol):
    """Receives the progress: items done, items in all, and what the items have counted so far."""

    def __call__(self, done: int, total: int, counted: int) -> None: ...


class Runner(Protocol):
    """Runs `function(item, count)` of every item, here or on other machines; the results are in files."""

    def __call__(
        self, function: Callable[[Item, Count], object], items: Sequence[Item], progress: ProgressCallback
    ) -> object: ...


def available_cores() -> int:
    """The processor cores that this process may use: a job's share of a node."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def parallel_map(
    function: Callable[[Item, Count], Result], items: Sequence[Item], workers: int, progress: ProgressCallback
) -> list[Result]:
    """`function(item, count)` of every item, in at most `workers` processes; with one worker, in this process.

    `function` may call `count(n)` while it works. Processes are spawned, because this process may have threads. If
    there are fewer items than workers, the remaining cores go to the tokenizer's threads.
    """
    if workers == 1:
        return _sequential_map(function, items, progress)
    processes = min(workers, len(items))
    context = multiprocessing.get_context("spawn")
    counter = context.Value("q", 0)
    unrelated = set(multiprocessing.active_children())
    with ProcessPoolExecutor(processes, context, _start, (counter, max(1, workers // processes))) as pool:
        futures = [pool.submit(_call, function, item) for item in items]
        try:
            pending = set(futures)
            while pending:
                finished, pending = wait(pending, _POLL_SECONDS, FIRST_EXCEPTION)
                for future in finished:
                    future.result()
                progress(len(items) - len(pending), len(items), counter.value)
        except BaseException:
            # Leaving the block waits for the pool, whose thread would otherwise fail during interpreter shutdown.
            for process in set(multiprocessing.active_children()) - unrelated:
                process.terminate()
            raise
    return [future.result() for future in futures]


def in_processes(workers: int) -> Runner:
    """A runner in at most `workers` processes of this machine."""

    def run(function: Callable[[Item, Count], object], items: Sequence[Item], progress: ProgressCallback) -> object:
        return parallel_map(function, items, max(1, min(workers, len(items))), progress)

    return run


def _sequential_map(
    function: Callable[[Item, Count], Result], items: Sequence[Item], progress: ProgressCallback
) -> list[Result]:
    results: list[Result] = []
    counted = 0

    def count(more: int) -> None:
        nonlocal counted
        counted += more
        progress(len(results), len(items), counted)

    for item in items:
        results.append(function(item, count))
        progress(len(results), len(items), counted)
    return results


def _start(counter: "Synchronized[int]", threads: int) -> None:
    global _counter
    _counter = counter
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # read when the tokenizer first encodes
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    threading.Thread(target=exit_with_parent, daemon=True).start()


def exit_with_parent() -> None:
    """Without this, a worker whose parent was killed would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _call(function: Callable[[Any, Count], Any], item: Any) -> Any:
    return function(item, _count)


def _count(more: int) -> None:
    assert _counter is not None
    with _counter.get_lock():
        _counter.value += more
