"""Metric sinks in addition to the CSV files: TensorBoard, W&B, MLflow, and a text file for Prometheus.

Training does not depend on any of them. The first failure of each sink is logged as a warning, and training continues.
"""

import logging
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from queue import Full, Queue
from threading import Thread
from typing import Any, Protocol

from ...configs.errors import UserError
from ...storage.files import stage_file
from ..recipe.config import MetricsConfig

QUEUE_SIZE = 1000
CLOSE_SECONDS = 60.0

logger = logging.getLogger(__name__)


class Sink(Protocol):
    """Receives the scalars of a step, by names such as `train/loss`."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def open_sinks(config: MetricsConfig, run_dir: Path, start: int) -> list[Sink]:
    """Open the sinks that the recipe names, for a run that continues after `start` steps.

    Raises:
        UserError: a sink needs a package that is not installed.
    """
    sinks: list[Sink] = []
    if config.tensorboard:
        sinks.append(FaultTolerantSink("TensorBoard", partial(TensorBoard, run_dir, start)))
    if config.prometheus is not None:
        sinks.append(FaultTolerantSink("metrics.prometheus", partial(PrometheusFile, config.prometheus, run_dir)))
    try:
        if config.wandb_project is not None:
            sinks.append(FaultTolerantSink("W&B", partial(WandB, config.wandb_project, run_dir)))
        if config.mlflow_uri is not None:
            sinks.append(BackgroundSink(FaultTolerantSink("MLflow", partial(MLflow, config.mlflow_uri, run_dir))))
    except ImportError as error:
        module = (error.name or "a package").partition(".")[0]
        package = "mlflow-skinny" if module == "mlflow" else module
        raise UserError(
            f"metrics: {module} is not installed: run `pip install {package}`, or leave out "
            "metrics.wandb_project and metrics.mlflow_uri"
        ) from error
    return sinks


class FaultTolerantSink:
    """Wraps a sink so that its failures never stop training; only the first one is logged.

    Raises:
        ImportError: on creation, if the sink's package is missing.
    """

    def __init__(self, name: str, create: Callable[[], Sink]) -> None:
        self._name = name
        self._warned = False
        self._sink: Sink | None = None
        try:
            self._sink = create()
        except ImportError:
            raise
        except Exception as error:  # the exceptions of these clients share no base class
            self.warn(error)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._sink is not None:
            self._call(partial(self._sink.log, step, values))

    def close(self) -> None:
        if self._sink is not None:
            self._call(self._sink.close)

    def warn(self, problem: object) -> None:
        if not self._warned:
            self._warned = True
            reason = f"{type(problem).__name__}: {problem}" if isinstance(problem, Exception) else problem
            logger.warning(
                "%s logging failed, some metrics are missing (metrics.csv is complete); training continues: %s",
                self._name,
                reason,
            )

    def _call(self, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            self.warn(error)


class BackgroundSink:
    """Sends rows to a server from a thread, so that training steps never wait for it.

    Rows are dropped when the queue is full, or when they are not sent within `CLOSE_SECONDS` after the end of the run.
    """

    def __init__(self, sink: FaultTolerantSink) -> None:
        self._sink = sink
        self._rows: Queue[tuple[int, Mapping[str, float]] | None] = Queue(QUEUE_SIZE)
        self._thread = Thread(target=self._send_rows, name="metrics", daemon=True)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        try:
            self._rows.put_nowait((step, values))
        except Full:
            self._sink.warn(f"the server is too slow, {QUEUE_SIZE:,} rows are queued")

    def close(self) -> None:
        try:
            self._rows.put(None, timeout=CLOSE_SECONDS)
            self._thread.join(CLOSE_SECONDS)
        except Full:
            pass
        if self._thread.is_alive():
            self._sink.warn(f"the server is too slow, rows were left after {CLOSE_SECONDS:g} s")

    def _send_rows(self) -> None:
        while row := self._rows.get():
            self._sink.log(*row)
        self._sink.close()


class TensorBoard:
    """Event files in the run's `tensorboard/` directory."""

    def __init__(self, run_dir: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run_dir / "tensorboard"), purge_step=start + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A Weights & Biases run, which a resumed run continues. W&B's environment variables (WANDB_MODE=offline) apply."""

    def __init__(self, project: str, run_dir: Path) -> None:
        import wandb

        self._run: Any = wandb.init(
            project=project,
            name=run_dir.name,
            dir=str(run_dir),
            id=_read_or_create_id(run_dir / "wandb_id"),
            resume="allow",
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """An MLflow run, which a resumed run continues. MLflow 3 needs MLFLOW_ALLOW_FILE_STORE=true for local files."""

    def __init__(self, uri: str, run_dir: Path) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(uri)
        self._run_dir = run_dir
        self._run_id: str | None = None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        self._run_id = self._run_id or self._open_run()
        self._client.log_batch(self._run_id, [Metric(name, value, now, step) for name, value in values.items()])

    def close(self) -> None:
        if self._run_id is not None:
            self._client.set_terminated(self._run_id)

    def _open_run(self) -> str:
        """Return the id of the run, creating it if necessary.

        It contacts the server, so it runs with the first row, in the background, and not when the sink is opened.
        """
        id_file = self._run_dir / "mlflow_run_id"
        if not id_file.is_file():
            name = self._run_dir.name
            experiment = self._client.get_experiment_by_name(name)
            experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(name)
            id_file.write_text(self._client.create_run(experiment_id, run_name=name).info.run_id)
        return id_file.read_text()


class PrometheusFile:
    """The latest values in Prometheus' text format, for the textfile collector of its node exporter."""

    def __init__(self, path: Path, run_dir: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._run = run_dir.name.replace("\\", r"\\").replace('"', r"\"")
        self._values: dict[str, float] = {}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._values |= {**values, "step": step}
        lines = []
        for name, value in self._values.items():
            *kind, last = name.split("/")  # train/loss, validation/SOURCE/loss, mix/SOURCE/share, step
            source = kind[1:]
            metric = "_".join(["cmbert", *kind[:1], last])
            label = f',source="{source[0]}"' if source else ""
            lines.append(f'{metric}{{run="{self._run}"{label}}} {value:.10g}\n')
        with stage_file(self._path, durable=False) as staging:  # the collector reads only *.prom
            staging.write_text("".join(sorted(lines)), encoding="utf-8")

    def close(self) -> None:
        """The last values stay in the file."""


def _read_or_create_id(path: Path) -> str:
    """An id that stays the same after a restart."""
    if not path.is_file():
        path.write_text(uuid.uuid4().hex)
    return path.read_text()
