"""Where scalars go beside the CSV files: TensorBoard, W&B, MLflow, and a text file for Prometheus.

Training depends on none of them: the first failure of each is told, and ends nothing.
"""

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from queue import Full, Queue
from threading import Thread
from typing import Any, Protocol

from ...configs.errors import UserError
from ..recipe.config import MetricsConfig

WAITING = 1000
CLOSE_SECONDS = 60.0

Say = Callable[[str], None]


class Sink(Protocol):
    """Takes the scalars of a step, by names such as `train/loss`."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def open_sinks(config: MetricsConfig, run_dir: Path, start: int, say: Say = print) -> list[Sink]:
    """Those that the recipe names, for a run that goes on after `start` steps; `say` is told what fails.

    Raises:
        UserError: one needs a package that is not installed.
    """
    sinks: list[Sink] = []
    if config.tensorboard:
        sinks.append(Guarded("TensorBoard", partial(TensorBoard, run_dir, start), say))
    if config.prometheus is not None:
        sinks.append(Guarded("metrics.prometheus", partial(PrometheusFile, config.prometheus, run_dir), say))
    try:
        if config.wandb_project is not None:
            sinks.append(Guarded("W&B", partial(WandB, config.wandb_project, run_dir), say))
        if config.mlflow_uri is not None:
            sinks.append(InBackground(Guarded("MLflow", partial(MLflow, config.mlflow_uri, run_dir), say)))
    except ImportError as error:
        package = (error.name or "a package").partition(".")[0]
        raise UserError(
            f"metrics: {package} is not installed: pip install 'clinical-modernbert[loggers]', or leave out "
            "metrics.wandb_project and metrics.mlflow_uri"
        ) from error
    return sinks


class Guarded:
    """A sink whose failures end nothing; the first is told."""

    def __init__(self, name: str, make: Callable[[], Sink], say: Say) -> None:
        self._name = name
        self._say = say
        self._told = False
        self._sink: Sink | None = None
        try:
            self._sink = make()
        except ImportError:
            raise
        except Exception as error:  # their clients share no base class
            self.tell(error)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self._sink is not None:
            self._attempt(partial(self._sink.log, step, values))

    def close(self) -> None:
        if self._sink is not None:
            self._attempt(self._sink.close)

    def tell(self, problem: object) -> None:
        if not self._told:
            self._told = True
            kind = f"{type(problem).__name__}: " if isinstance(problem, Exception) else ""
            self._say(f"warning: {self._name} lacks numbers that metrics.csv has, training goes on: {kind}{problem}")

    def _attempt(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self.tell(error)


class InBackground:
    """A sink that waits for a server, beside the steps. What does not fit into the queue is left out, and so is what is
    not sent soon after the run ended."""

    def __init__(self, sink: Guarded) -> None:
        self._sink = sink
        self._rows: Queue[tuple[int, Mapping[str, float]] | None] = Queue(WAITING)
        self._thread = Thread(target=self._work, name="metrics", daemon=True)
        self._thread.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        try:
            self._rows.put_nowait((step, values))
        except Full:
            self._sink.tell(f"it is too slow, {WAITING:,} rows wait")

    def close(self) -> None:
        try:
            self._rows.put(None, timeout=CLOSE_SECONDS)
            self._thread.join(CLOSE_SECONDS)
        except Full:
            pass
        if self._thread.is_alive():
            self._sink.tell("it is too slow for what was left at the end")

    def _work(self) -> None:
        while row := self._rows.get():
            self._sink.log(*row)
        self._sink.close()


class TensorBoard:
    """Events in `tensorboard/` of the run."""

    def __init__(self, run_dir: Path, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(run_dir / "tensorboard"), purge_step=start + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases, continued by a resume. Its own variables (WANDB_MODE=offline, ...) hold."""

    def __init__(self, project: str, run_dir: Path) -> None:
        import wandb

        self._run: Any = wandb.init(
            project=project, name=run_dir.name, dir=str(run_dir), id=_same_id(run_dir / "wandb_id"), resume="allow"
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


class MLflow:
    """A run of MLflow, continued by a resume. MLflow 3 takes local files only with MLFLOW_ALLOW_FILE_STORE=true."""

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
        """Asks the server, and so not before the first numbers."""
        kept = self._run_dir / "mlflow_run_id"
        if not kept.is_file():
            name = self._run_dir.name
            experiment = self._client.get_experiment_by_name(name)
            number = experiment.experiment_id if experiment else self._client.create_experiment(name)
            kept.write_text(self._client.create_run(number, run_name=name).info.run_id)
        return kept.read_text()


class PrometheusFile:
    """The newest values in Prometheus' text format, for the textfile collector of its node exporter."""

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
        aside = self._path.with_name(f"{self._path.name}.part")  # the collector reads only *.prom
        aside.write_text("".join(sorted(lines)))
        aside.replace(self._path)

    def close(self) -> None:
        """The last values stay."""


def _same_id(path: Path) -> str:
    """An id that outlives a restart."""
    if not path.is_file():
        path.write_text(uuid.uuid4().hex)
    return path.read_text()
