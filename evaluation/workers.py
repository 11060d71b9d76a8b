"""Work with models in several processes: each opens the models it needs, on a GPU of its own if there are several."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from ..configs.errors import UserError
from ..configs.progress import Progress, mute
from ..configs.reporting import configure
from ..streaming_data.parallel import Count, available_cores, parallel_map

if TYPE_CHECKING:
    from .models.model import EvaluatedModel

Item = TypeVar("Item")
_opened: "dict[int, EvaluatedModel]" = {}
"""The model that this process used last, by its number."""


def work_in_processes(
    work: "Callable[[EvaluatedModel, Item], None]",
    items: Sequence[tuple[int, Item]],
    open_model: "Callable[[int], EvaluatedModel]",
    workers: int,
) -> None:
    """Do the work of all items, each with the model of its number. The first error, or an interruption, stops all.

    Raises:
        UserError: of one of the workers; or a worker was killed.
    """
    if not items:
        return
    processes = min(workers, len(items))
    with Progress("computing", len(items), "results") as progress:
        try:
            parallel_map(
                partial(_work, work, open_model, processes),
                items,
                max(2, processes),  # one item too is for a process: its threads and GPU are set there
                lambda done, total, _: progress.update(done, total),
            )
        except BrokenProcessPool as error:
            raise UserError(
                f"one of {processes} workers was killed, perhaps for memory; finished results are kept: use fewer "
                "--workers"
            ) from error


def _work(
    work: "Callable[[EvaluatedModel, Item], None]",
    open_model: "Callable[[int], EvaluatedModel]",
    processes: int,
    numbered: tuple[int, Item],
    count: Count,
) -> None:
    number, item = numbered
    if number not in _opened:
        _start(processes)
        _opened.clear()
        _opened[number] = open_model(number)
    work(_opened[number], item)


def _start(processes: int) -> None:
    """Divide the cores and the GPUs among the processes, and leave progress to the one that started them."""
    import torch

    configure()
    mute()
    torch.set_num_threads(max(1, min(torch.get_num_threads(), available_cores() // processes)))
    if (devices := torch.cuda.device_count()) > 1:
        process = int(multiprocessing.current_process().name.rpartition("-")[2])
        torch.cuda.set_device(process % devices)
