"""Runs whose ranks do not share a disk: refused at the start, or continued bit-equal from an object store."""

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import BUCKET, S3Server, environment, faulty
from small_run import SmallRun
from unshared_nodes import Nodes, can_mount, join

from clinical_modernbert.training.checkpoint import files
from clinical_modernbert.training.checkpoint.kept import KEPT
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
    found = re.search(r"continuing from \S*/step0+(\d+)\.\S+: step (\d+)", output)
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


PREFIX, RESUMED = "runs/unshared-parts", "step00000008"
SETTINGS = ("checkpoint.every_steps=2", f"checkpoint.upload=s3://{BUCKET}/{PREFIX}")


@pytest.fixture(scope="module")
def ended(new_run: Callable[[], SmallRun], s3_server: S3Server) -> Nodes:
    """A run of three nodes at its end, which tests continue from step 8. They must not change it."""
    run = new_run()
    nodes = Nodes(run, [run.recipe.with_name(f"node{number}") for number in range(3)])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(s3_server.url).items():
            patch.setenv(name, value)
        nodes.train(*SETTINGS)
    return nodes


def continued(ended: Nodes, new_run: Callable[[], SmallRun], count: int = 3, empty: bool = False) -> Nodes:
    """Nodes whose disks are copies of those of the run that has ended, or empty."""
    run = new_run()
    nodes = Nodes(run, [run.recipe.with_name(f"node{number}") for number in range(count)])
    if not empty:
        for disk, copied in zip(ended.disks, nodes.disks, strict=False):
            shutil.copytree(disk, copied)
    return nodes


def resume(nodes: Nodes, ended: Nodes, store: S3Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Continue from step 8, whose losses must be those of before; return the files that the store was asked for."""
    for name in stored(store, PREFIX):
        if name > RESUMED + "~":
            store.client().delete_object(Bucket=BUCKET, Key=f"{PREFIX}/{name}")
    with faulty(store.port) as proxy:
        monkeypatch.setenv("S3_ENDPOINT_URL", proxy.url)
        output = nodes.train(*SETTINGS)
    assert re.search(rf"continuing from \S*/{RESUMED}\S*: step 8", output)
    before, after = ({row["step"]: row["loss"] for row in read_metrics(each.disks[0])} for each in (ended, nodes))
    same = len(nodes.disks) == len(ended.disks)  # else sums are rounded otherwise
    for step in range(9, 13):
        assert after[step] == (before[step] if same else pytest.approx(before[step], rel=1e-4))
    return sorted(path.partition("?")[0].rpartition("/")[2] for path in proxy.requested("GET", f"/{RESUMED}."))


def kept(disk: Path) -> dict[str, list[str]]:
    """The files of each checkpoint that a disk keeps."""
    return {
        path.name.partition(".")[0]: sorted(file.name[:9] for file in path.glob("*.safetensors"))
        for path in (disk / "checkpoints" / KEPT).iterdir()
    }


def test_each_disk_keeps_its_file_and_its_neighbors_of_the_newest(ended: Nodes) -> None:
    for disk, nodes in zip(ended.disks, [(0, 2), (0, 1), (1, 2)], strict=True):
        expected = [f"node0000{number}" for number in nodes]
        assert kept(disk) == {f"step{step:08d}": expected for step in (8, 10, 12)}


def test_disks_that_hold_their_files_ask_the_store_for_the_manifest_only(
    ended: Nodes, new_run: Callable[[], SmallRun], store: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resume(continued(ended, new_run), ended, store, monkeypatch) == ["manifest.json"]


def test_the_file_of_a_lost_node_comes_from_its_neighbor(
    ended: Nodes, new_run: Callable[[], SmallRun], store: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = continued(ended, new_run)
    shutil.rmtree(nodes.disks[1])
    assert resume(nodes, ended, store, monkeypatch) == ["manifest.json"]


def test_empty_disks_read_each_file_once_from_the_store(
    ended: Nodes, new_run: Callable[[], SmallRun], store: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"node0000{number}-of-00003.safetensors" for number in range(3)]
    assert resume(continued(ended, new_run, empty=True), ended, store, monkeypatch) == ["manifest.json", *names]


@pytest.mark.parametrize(("disks", "asked"), [([1], []), ([1, 2], ["node00001-of-00003.safetensors"])])
def test_a_damaged_file_on_a_disk_is_not_used(
    disks: list[int],
    asked: list[str],
    ended: Nodes,
    new_run: Callable[[], SmallRun],
    store: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its neighbor's is, and if that is damaged too, that of the store."""
    nodes = continued(ended, new_run)
    for disk in disks:
        (file,) = nodes.disks[disk].glob(f"checkpoints/{KEPT}/{RESUMED}.*/node00001*")
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    assert resume(nodes, ended, store, monkeypatch) == ["manifest.json", *asked]
    (disk, *_) = disks  # of which the neighbor does not need it
    assert f"its content differs from what was written (on the disk of rank {disk})" in nodes.output(0).read_text()


def test_other_ranks_get_what_they_lack_from_each_other(
    ended: Nodes, new_run: Callable[[], SmallRun], store: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of three nodes are left: each lacks one of the two files that hold its ranks' elements."""
    assert resume(continued(ended, new_run, 2), ended, store, monkeypatch) == ["manifest.json"]


def require_whole(store: S3Server, prefix: str) -> None:
    """A checkpoint with a manifest has all its files."""
    names = stored(store, prefix)
    for name in names:
        directory, _, file = name.partition("/")
        if file == "manifest.json":
            assert {f"{directory}/node0000{node}-of-00002.safetensors" for node in range(2)} < set(names)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
