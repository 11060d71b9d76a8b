"""A request to stop is obeyed whatever a run waits for, and an error of one rank saves the weights of all."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s3_server import BUCKET, Fault, FaultProxy, S3Server, environment, faulty
from small_run import SmallRun
from warm_start import processes

from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.training.checkpoint.files import find_corruption, step_of

pytestmark = pytest.mark.slow
URL = f"s3://{BUCKET}/stop"
RARELY = ("checkpoint.every_steps=12", "data.shuffle_window=1")
STOP_SECONDS = 120
"""The limit of `run_ranks` is 30 s; a loaded machine may need longer to save and exit."""


@pytest.fixture(scope="session")
def stored(s3_server: S3Server, small_data: Path) -> str:
    s3_server.store(small_data, "stop")
    return URL


@pytest.fixture
def s3(s3_server: S3Server, stored: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with faulty(s3_server.port) as proxy:
        for name, value in environment(proxy.url).items():
            monkeypatch.setenv(name, value)
        yield proxy


@pytest.fixture(scope="module")
def undisturbed(new_run: Callable[[], SmallRun]) -> list[float]:
    """The losses of the same run from a disk."""
    run = new_run()
    run.train(*RARELY, ranks=2)
    return run.column("loss")


@pytest.fixture
def settings(tmp_path: Path) -> tuple[str, ...]:
    return (f"data.path={URL}", f"data.cache={tmp_path / 'cache'}", *RARELY)


def wait_for(condition: Callable[[], bool], run: SmallRun) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline, run.output.read_text()
        time.sleep(0.02)


def late_shard(small_data: Path, seed: int = 17) -> str:
    """The shard that a run needs first at the latest step, at least five steps after its first."""
    dataset = open_dataset(DataConfig(path=str(small_data), seq_length=256, shuffle_window=1), seed)
    first: dict[str, int] = {}
    for number, address in enumerate(dataset.order.between(0, 48)):
        reader, left = dataset.readers[address.source], address.pack
        for shard in reader.shards:
            if left < shard.packs:
                first.setdefault(f"{dataset.sources[address.source]}/train/{shard.name}", number // 4)
                break
            left -= shard.packs
    name, step = max(first.items(), key=lambda item: item[1])
    assert step >= 4
    return name


def require_saved(run: SmallRun) -> int:
    """The step of the newest checkpoint, which must be complete and of the last completed step."""
    newest = run.newest_checkpoint()
    assert find_corruption(newest) is None
    assert step_of(newest) == run.rows()[-1]["step"], run.output.read_text()
    return step_of(newest)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_stop_is_obeyed_while_the_store_hangs(
    undisturbed: list[float],
    new_run: Callable[[], SmallRun],
    s3: FaultProxy,
    small_data: Path,
    settings: tuple[str, ...],
    number: signal.Signals,
) -> None:
    run = new_run()
    s3.fault = Fault("hang", late_shard(small_data))
    process = run.start(*settings, ranks=2)
    wait_for(lambda: run.completed_steps() >= 4, run)
    wait_for(lambda: is_waiting(run), run)
    # One rank alone learns of it, as when one node is preempted.
    os.kill(processes(process)[0 if number == signal.SIGHUP else 2], number)
    started = time.monotonic()
    process.join(STOP_SECONDS)
    assert process.exitcode == 85, run.output.read_text()
    assert time.monotonic() - started < STOP_SECONDS
    assert 4 <= require_saved(run) < 12
    s3.fault = None
    run.train(*settings, ranks=2)
    assert run.column("loss") == undisturbed


def is_waiting(run: SmallRun) -> bool:
    before = run.completed_steps()
    time.sleep(2)
    return run.completed_steps() == before


def test_a_store_that_hangs_at_the_start_does_not_keep_a_run_from_stopping(
    new_run: Callable[[], SmallRun], s3: FaultProxy, settings: tuple[str, ...]
) -> None:
    run = new_run()
    process = run.start(*settings, ranks=2)
    wait_for(lambda: len(processes(process)) == 3, run)  # the launcher has opened the data
    s3.fault = Fault("hang")
    wait_for(lambda: all(catches_alarms(pid) for pid in processes(process)[1:]), run)
    os.kill(processes(process)[0], signal.SIGTERM)
    process.join(STOP_SECONDS)
    assert process.exitcode == 85, run.output.read_text()
    assert "Traceback" not in run.output.read_text()


def catches_alarms(pid: int) -> bool:
    """Whether a rank has begun its start, where it handles the signal that limits it."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGALRM - 1) & 1)


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [("hang", 1, "gave up after"), ("404", 2, "NoSuchKey"), ("corrupt", 2, "upload the data again")],
)
def test_an_error_of_the_store_comes_after_a_checkpoint(
    undisturbed: list[float],
    new_run: Callable[[], SmallRun],
    s3: FaultProxy,
    small_data: Path,
    settings: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    code: int,
    message: str,
) -> None:
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "5")
    run = new_run()
    s3.fault = Fault(kind, shard := late_shard(small_data))
    started = time.monotonic()
    output = run.train(*settings, ranks=2, code=code)
    assert time.monotonic() - started < 110
    assert output.count("error: s3://") == 1
    assert f"{shard}: " in output
    assert message in output
    assert "Traceback" not in output
    assert require_saved(run) >= 4
    s3.fault = None
    run.train(*settings, ranks=2)
    assert run.column("loss") == undisturbed


def test_a_checkpoint_that_fails_does_not_hide_the_error(
    new_run: Callable[[], SmallRun], s3: FaultProxy, small_data: Path, settings: tuple[str, ...]
) -> None:
    run = new_run()
    (run.run_dir).mkdir()
    (run.run_dir / "checkpoints").write_text("in the way of the checkpoints")
    s3.fault = Fault("404", late_shard(small_data))
    output = run.train(*settings, ranks=2, code=2)
    assert "the steps since the last checkpoint are lost: " in output
    assert output.count("error: s3://") == 1


def test_an_error_of_validation_comes_after_a_checkpoint(
    new_run: Callable[[], SmallRun], s3: FaultProxy, settings: tuple[str, ...]
) -> None:
    run = new_run()
    s3.fault = Fault("404", "held_out/shard")
    output = run.train(*settings, "validation={every_steps: 5, packs: 3}", ranks=2, code=2)
    assert "held_out/shard" in output
    assert require_saved(run) == 5


@pytest.mark.parametrize("again", [False, True])
def test_a_run_whose_directory_is_moved_ends_and_writes_nothing(new_run: Callable[[], SmallRun], again: bool) -> None:
    run = new_run()
    process = run.start("schedule.total_tokens=4096000", ranks=2)
    wait_for(lambda: run.completed_steps() >= 2, run)
    run.run_dir.rename(moved := run.run_dir.with_name("moved"))
    if again:
        run.run_dir.mkdir()
        (run.run_dir / "attempts").mkdir()
        (run.run_dir / "attempts/00001.json").write_text('{"started": "elsewhere"}')
    process.join(100)
    assert process.exitcode == 2, run.output.read_text()
    assert "the run's directory was moved, removed or replaced" in run.output.read_text()
    if again:
        assert [path.name for path in run.run_dir.rglob("*.*")] == ["00001.json"]
    else:
        assert not [path for path in run.run_dir.rglob("*") if path.is_file()]
    assert (moved / "metrics.csv").is_file()
