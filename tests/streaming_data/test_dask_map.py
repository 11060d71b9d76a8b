"""Items on workers of a real Dask cluster: nothing is lost with a worker, and no text is in Dask's logs."""

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from dask_cluster import DaskCluster, mark_once, names_of_tasks, quote_text, refuse, wait_for

from clinical_modernbert.configs.errors import TransientError, UserError
from clinical_modernbert.streaming_data import dask_map
from clinical_modernbert.streaming_data.dask_map import check_workers, connect, map_on_workers

if TYPE_CHECKING:
    from distributed import Client

pytestmark = pytest.mark.slow
TEXT = "Mr. Confidential was seen in clinic"


@pytest.fixture
def client(dask_cluster: DaskCluster) -> "Iterator[Client]":
    with connect(str(dask_cluster.scheduler_file)) as client:
        wait_for(lambda: len(client.nthreads()) >= 2, "two workers")
        yield client


def silent(done: int, total: int, counted: int) -> None:
    pass


def test_every_item_is_done_though_workers_die(
    client: "Client", dask_cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 60 items, few at a time, each leaves one file. Progress never goes back, and ends at the sum of all counts."""
    monkeypatch.setattr(dask_map, "_IN_FLIGHT", 7)
    seen: list[tuple[int, int, int]] = []
    workers = client.run(os.getpid)

    def progress(done: int, total: int, counted: int) -> None:
        seen.append((done, total, counted))
        if done >= 10 and len(workers) == 2:
            address = next(iter(client.processing()))
            os.kill(workers.pop(address), signal.SIGKILL)

    map_on_workers(client, nullcontext, mark_once, [(tmp_path, number) for number in range(60)], progress)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(60))
    assert seen == sorted(seen)
    assert seen[-1] == (60, 60, 120)
    assert len(workers) == 1, "a worker was killed"
    dask_cluster.add_worker()


def test_a_worker_shows_no_text(client: "Client", dask_cluster: DaskCluster) -> None:
    """Neither an argument nor the message of an exception reaches a log, the dashboard's names, or our error."""
    with pytest.raises(RuntimeError, match=r"ValueError at .*dask_cluster\.py:\d+$") as caught:
        map_on_workers(client, nullcontext, quote_text, [TEXT], silent)
    assert TEXT not in str(caught.value)
    keys = str(client.run_on_scheduler(names_of_tasks))
    assert "quote_text" in keys
    assert "Confidential" not in keys + dask_cluster.log.read_text()
    with pytest.raises(ValueError, match="Confidential"):  # what Dask does by itself
        client.submit(quote_text, TEXT, None, pure=False).result()
    wait_for(lambda: TEXT in dask_cluster.log.read_text(), "Dask's own log of a failed task")


def test_mistakes_of_users_come_back(client: "Client", tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent/1: No such file or directory"):
        map_on_workers(client, nullcontext, mark_once, [(tmp_path / "absent", 1)], silent)


def test_unfit_workers_are_named_together(client: "Client", dask_cluster: DaskCluster) -> None:
    """One error for all workers and reasons, with a worker of two threads that joined later."""
    count = len(client.nthreads())
    threaded = dask_cluster.add_worker("--nthreads", "2")
    try:
        wait_for(lambda: len(client.nthreads()) == count + 1, "the third worker")
        with pytest.raises(UserError) as caught:
            check_workers(client, refuse)
    finally:
        threaded.kill()
        threaded.wait()
        wait_for(lambda: len(client.nthreads()) == count, "the end of the third worker")
    threads, refused = str(caught.value).splitlines()
    assert "has 2 threads, of which one would work: start workers with --nthreads 1" in threads
    assert Counter(refused)["/"] == 2 * (count + 1)
    assert refused.endswith(": no room")
    check_workers(client, os.getpid)


def test_a_scheduler_that_is_not_there(
    dask_cluster: DaskCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_map, "_CONNECT_SECONDS", 1)
    for address, message in (
        ("tcp://127.0.0.1:1", "no Dask scheduler answers there"),
        ("nonsense://x", "no Dask scheduler answers there"),
        (f"{tmp_path}/absent.json", "no such scheduler file"),
        (str(dask_cluster.log), "no Dask scheduler answers there"),
    ):
        with pytest.raises(UserError, match=message), connect(address):
            pass


def test_a_scheduler_that_ends(tmp_path: Path) -> None:
    """The command ends too, soon, and says how to continue."""
    import dask

    cluster = DaskCluster(tmp_path)
    cluster.start()
    try:
        with (
            dask.config.set({"distributed.comm.timeouts.connect": "2s"}),
            connect(str(cluster.scheduler_file)) as client,
        ):

            def progress(done: int, total: int, counted: int) -> None:
                cluster.processes[0].kill()

            with pytest.raises(TransientError, match="the Dask scheduler is gone"):
                map_on_workers(client, nullcontext, mark_once, [(tmp_path, 1)], progress)
    finally:
        cluster.kill()
