"""An executor of one daemon thread, which never keeps the interpreter alive."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Background:
    """An executor of one daemon thread, which runs its calls in order.

    The interpreter waits for the threads of `concurrent.futures` at exit, so Ctrl-C during a slow download would take
    effect only after minutes.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        Thread(target=self._work, name=name, daemon=True).start()

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Call the function after all earlier calls; the future holds what it returns or raises."""
        future: Future[R] = Future()

        def call() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(error)

        self._calls.put(call)
        return future

    def close(self) -> None:
        """End the thread after its last call, without waiting for it."""
        self._calls.put(None)

    def _work(self) -> None:
        while call := self._calls.get():
            call()
