"""Where scalars go beside the CSV files: TensorBoard, W&B, MLflow, and a text file for Prometheus."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..configs.errors import UserError
from .config import MetricsConfig


class Sink(Protocol):
    """Takes the scalars of a step, by names such as `train/loss`."""

    def log(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def open_sinks(config: MetricsConfig, run_dir: Path, start: int) -> list[Sink]:
    """Those that the recipe names, for a run that goes on after `start` steps.

    Raises:
        UserError: one needs a package that is not installed.
    """
    sinks: list[Sink] = []
    if config.tensorboard:
        sinks.append(TensorBoard(run_dir, start))
    if config.prometheus is not None:
        sinks.append(PrometheusFile(config.prometheus, run_dir))
    try:
        if config.wandb_project is not None:
            sinks.append(WandB(config.wandb_project, run_dir))
        if config.mlflow_uri is not None:
            sinks.append(MLflow(config.mlflow_uri, run_dir))
    except ImportError as error:
        package = (error.name or "a package").partition(".")[0]
        raise UserError(
            f"metrics: {package} is not installed: pip install 'clinical-modernbert[loggers]', or leave out "
            "metrics.wandb_project and metrics.mlflow_uri"
        ) from error
    return sinks


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
        kept = run_dir / "mlflow_run_id"
        if not kept.is_file():
            experiment = self._client.get_experiment_by_name(run_dir.name)
            number = experiment.experiment_id if experiment else self._client.create_experiment(run_dir.name)
            kept.write_text(self._client.create_run(number, run_name=run_dir.name).info.run_id)
        self._run_id = kept.read_text()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric
        from mlflow.utils.time import get_current_time_millis

        now = get_current_time_millis()
        self._client.log_batch(self._run_id, [Metric(name, value, now, step) for name, value in values.items()])

    def close(self) -> None:
        self._client.set_terminated(self._run_id)


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
            *kind, last = name.split("/")  # train/loss, held_out/SOURCE/loss, mix/SOURCE/share, step
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
