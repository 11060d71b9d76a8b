"""Each sink holds the right values after an interrupted run, read back with its own reader."""

import json
import logging
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_run import SmallRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training.metrics import sinks
from clinical_modernbert.training.metrics.sinks import BackgroundSink, FaultTolerantSink, open_sinks
from clinical_modernbert.training.recipe.config import MetricsConfig

BEFORE_RESTART = [(1, {"train/loss": 3.5, "train/lr": 1e-3}), (2, {"train/loss": 3.0, "train/lr": 2e-3})]
AFTER_RESTART = [(3, {"train/loss": 2.5, "train/lr": 3e-3, "validation/notes/loss": 2.75, "mix/notes/share": 0.8})]


def write(run_dir: Path, **settings: Any) -> None:
    """Log two steps, and a third after a restart."""
    run_dir.mkdir(exist_ok=True)
    config = MetricsConfig(**{"tensorboard": False, **settings})
    rows: Sequence[tuple[int, Mapping[str, float]]]
    for start, rows in ((0, [*BEFORE_RESTART]), (2, [*AFTER_RESTART])):
        (sink,) = open_sinks(config, run_dir, start)
        for step, values in rows:
            sink.log(step, values)
        sink.close()


def test_tensorboard_continues_after_a_restart(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write(tmp_path / "run", tensorboard=True)
    events = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 3.5), (2, 3.0), (3, 2.5)]
    assert events.Scalars("validation/notes/loss")[0].value == 2.75


def test_prometheus_file_holds_the_latest_values(tmp_path: Path) -> None:
    write(tmp_path / 'my "run"', prometheus=tmp_path / "collector/cmbert.prom")
    text = (tmp_path / "collector/cmbert.prom").read_text()
    run = r'run="my \"run\""'
    assert text.splitlines() == [
        f'cmbert_mix_share{{{run},source="notes"}} 0.8',
        f"cmbert_step{{{run}}} 3",
        f"cmbert_train_loss{{{run}}} 2.5",
        f"cmbert_train_lr{{{run}}} 0.003",
        f'cmbert_validation_loss{{{run},source="notes"}} 2.75',
    ]
    assert [path.name for path in (tmp_path / "collector").iterdir()] == ["cmbert.prom"]


def test_mlflow_continues_its_run_in_a_local_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="MLflow is an extra: pip install 'clinical-modernbert[loggers]'")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    write(tmp_path / "run", mlflow_uri=uri)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("run")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(metric.step, metric.value) for metric in history] == [(1, 3.5), (2, 3.0), (3, 2.5)]
    assert run.data.metrics["mix/notes/share"] == 0.8


class UnreachableSink:
    """A sink whose server cannot be reached."""

    def __init__(self, response: threading.Event | None = None) -> None:
        self.response = response
        self.calls = 0

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.calls += 1
        if self.response is not None:
            self.response.wait(60)
        raise ConnectionError("connection refused")

    def close(self) -> None:
        raise ConnectionError("still refused")


@pytest.fixture
def warnings(messages: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """The messages of the warnings that were logged so far."""
    return lambda: [record.getMessage() for record in messages.records if record.levelno == logging.WARNING]


def test_only_the_first_failure_of_a_sink_is_reported(warnings: Callable[[], list[str]]) -> None:
    unreachable = UnreachableSink()
    sink = FaultTolerantSink("W&B", lambda: unreachable)
    for step in (1, 2):
        sink.log(step, {"train/loss": 1.0})
    sink.close()
    warning = (
        "W&B logging failed, some metrics are missing (metrics.csv is complete); training continues: "
        "ConnectionError: connection refused"
    )
    assert (warnings(), unreachable.calls) == ([warning], 2)

    def refuse() -> UnreachableSink:
        raise ConnectionError("connection refused")

    never_opened = FaultTolerantSink("W&B", refuse)
    never_opened.log(1, {"train/loss": 1.0})
    never_opened.close()
    assert warnings() == [warning] * 2


def test_training_continues_when_a_sink_fails(new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    (run.run_dir.parent / "file").touch()
    short = ("schedule.total_tokens=3072", "schedule.warmup_tokens=0", "schedule.decay_tokens=1024")
    output = run.train(f"metrics.prometheus={run.run_dir.parent / 'file/cmbert.prom'}", *short)
    warning = (
        "warning: metrics.prometheus logging failed, some metrics are missing (metrics.csv is complete); "
        "training continues"
    )
    assert output.count(warning) == 1
    assert run.column("step") == [1, 2, 3]


def test_a_slow_server_delays_neither_a_step_nor_the_end(
    monkeypatch: pytest.MonkeyPatch, warnings: Callable[[], list[str]]
) -> None:
    monkeypatch.setattr(sinks, "QUEUE_SIZE", 3)
    monkeypatch.setattr(sinks, "CLOSE_SECONDS", 0.1)
    response = threading.Event()
    slow = UnreachableSink(response)
    sink = BackgroundSink(FaultTolerantSink("MLflow", lambda: slow))
    start = time.monotonic()
    for step in range(10):
        sink.log(step, {"train/loss": 1.0})
    sink.close()
    assert time.monotonic() - start < 10
    assert warnings() == [
        "MLflow logging failed, some metrics are missing (metrics.csv is complete); training continues: "
        "the server is too slow, 3 rows are queued"
    ]
    response.set()


def records(content: bytes) -> Iterator[bytes]:
    """Records of a W&B file: 7 bytes, then a LevelDB log: 32 KiB blocks of parts with checksum, length and kind."""
    offset, record = 7, b""
    while offset + 7 <= len(content):
        if 32768 - offset % 32768 < 7:
            offset += 32768 - offset % 32768
        length, kind = struct.unpack_from("<HB", content, offset + 4)
        record += content[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # a complete record, or its last part
            yield record
            record = b""


def test_wandb_continues_its_run_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="Weights & Biases is an extra: pip install 'clinical-modernbert[loggers]'")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    write(tmp_path / "run", wandb_project="tests")
    files = sorted((tmp_path / "run/wandb").glob("offline-run-*/*.wandb"))
    assert {file.stem for file in files} == {f"run-{(tmp_path / 'run/wandb_id').read_text()}"}
    losses = {}
    for file in files:
        for data in records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            row = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            if "train/loss" in row:
                losses[row["_step"]] = row["train/loss"]
    assert losses == {1: 3.5, 2: 3.0, 3: 2.5}


@pytest.mark.parametrize(
    ("package", "settings"), [("wandb", {"wandb_project": "x"}), ("mlflow", {"mlflow_uri": "sqlite:///x"})]
)
def test_a_missing_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, settings: dict[str, str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"{package} is not installed: run `pip install {package}"):
        open_sinks(MetricsConfig(tensorboard=False, **settings), tmp_path, 0)
