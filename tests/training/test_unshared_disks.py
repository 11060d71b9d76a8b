"""Runs whose ranks do not share a disk: refused at the start, or continued bit-equal from an object store."""

import re
import shutil
import time
from collections.abc import Callable

import pytest
from s3_server import BUCKET, S3Server, environment
from small_run import SmallRun
from unshared_nodes import Nodes, can_mount, join

from clinical_modernbert.training.checkpoint import files
from clinical_modernbert.training.metrics.writer import read_metrics

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_mount(), reason="needs the right to make mount namespaces (root)"),
]


@pytest.fixture
def nodes(new_run: Callable[[], SmallRun]) -> Nodes:
    """Two ranks, each on a disk of its own."""
    run = new_run()
    return Nodes(run, [run.recipe.with_name("node0"), run.recipe.with_name("node1")])


@pytest.fixture
def store(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in environment(s3_server.url).items():
        monkeypatch.setenv(name, value)
    return s3_server


def stored(store: S3Server, prefix: str) -> list[str]:
    listed = store.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix}/").get("Contents", [])
    return sorted(entry["Key"].removeprefix(f"{prefix}/") for entry in listed)


def test_without_a_store_one_error_names_the_nodes(nodes: Nodes) -> None:
    output = nodes.train(code=2)
    (line,) = (line for line in output.splitlines() if line.startswith("error"))
    assert "not the same directory on all nodes" in line
    assert "What rank 0 wrote there is not seen by node1 (rank 1)" in line
    assert "checkpoint.upload" in line
    assert not list(nodes.disks[0].rglob("step*"))
    assert not list((nodes.disks[0] / "attempts").glob("*"))  # no attempt has begun


def test_a_disk_that_some_ranks_share_is_found(new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    first, second = run.recipe.with_name("node0"), run.recipe.with_name("node1")
    output = Nodes(run, [first, second, first, second]).train(code=2)
    assert "is not seen by node1 (rank 1, 3)" in output


@pytest.mark.parametrize("stage", [1, 3])
def test_a_killed_run_continues_from_the_store(
    stage: int, nodes: Nodes, new_run: Callable[[], SmallRun], store: S3Server
) -> None:
    prefix = f"runs/unshared{stage}"
    settings = [f"checkpoint.upload=s3://{BUCKET}/{prefix}", f"engine.zero_stage={stage}", "checkpoint.every_steps=2"]
    reference = new_run()
    reference.train(*settings[1:], ranks=2)

    processes = nodes.start(*settings)
    wait_for(lambda: any(name.startswith("step00000004.") and "manifest" in name for name in stored(store, prefix)))
    processes[1].kill()
    join(processes)
    assert "is not shared: 2 disks for 2 ranks" in nodes.output(0).read_text()
    require_whole(store, prefix)
    for disk in nodes.disks:
        assert not files.list_checkpoints(disk / "checkpoints")  # half of a checkpoint has no checkpoint's name
    before = read_metrics(nodes.disks[0])
    shutil.rmtree(nodes.disks[1])  # the node is replaced

    output = nodes.train(*settings)
    found = re.search(r"continuing from \S*/step0+(\d+): step (\d+)", output)
    assert found is not None
    assert found[1] == found[2]
    assert int(found[1]) >= 4
    losses = {row["step"]: row["loss"] for row in (*before, *read_metrics(nodes.disks[0]))}
    assert [losses[step] for step in range(1, 13)] == reference.column("loss")
    require_whole(store, prefix)
    assert any(name.startswith("step00000012.") for name in stored(store, prefix))

    shared = new_run()  # what the nodes stored is a checkpoint like any other
    output = shared.train(*settings, ranks=1)
    assert "step00000012: step 12" in output
    assert files.find_corruption(shared.newest_checkpoint()) is None


def require_whole(store: S3Server, prefix: str) -> None:
    """A checkpoint with a manifest has all its files."""
    names = stored(store, prefix)
    for name in names:
        directory, _, file = name.partition("/")
        if file == "manifest.json":
            assert {f"{directory}/rank0000{rank}-of-00002.safetensors" for rank in range(2)} < set(names)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
