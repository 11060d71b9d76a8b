"""The state of a training that is interrupted: one file, from which it continues with the same bits.

It has the trained parameters, AdamW's moments, the best parameters so far, and the states of torch's generators, as
tensors; the position is in its header. The order of the examples and the learning rate follow from the position.
"""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...configs.errors import UserError
from ...storage.files import stage_file
from ...storage.locks import lock

logger = logging.getLogger(__name__)

SECONDS = 60.0
"""Between two states, at least."""
MOST_OF_THE_TIME = 0.05
"""What writing states may take of the time of a training, so that large models on slow disks still train."""


class Position(BaseModel):
    """Where a training is.

    Attributes:
        step: the next one.
        development: the score after each finished epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: NonNegativeInt = 0
    development: tuple[float, ...] = ()


class TrainingState:
    """What changes in a training, and its file.

    Attributes:
        best: the parameters of the best epoch; empty before there is one.
    """

    def __init__(self, path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """
        Args:
            path: of the file; None: nothing is kept.
        """
        self._path, self._optimizer = path, optimizer
        self._parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self.best: dict[str, Tensor] = {}
        self._due = monotonic() + SECONDS

    def keep_as_best(self) -> None:
        """Copy the parameters: no epoch was better."""
        self.best = {name: value.detach().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def use_best(self) -> None:
        """Go back to the parameters of the best epoch."""
        for name, value in self.best.items():
            self._parameters[name].copy_(value)

    def save_if_due(self, position: Position) -> None:
        """Replace the file if it is old enough."""
        if self._path is None or (started := monotonic()) < self._due:
            return
        with stage_file(self._path) as staging:
            save_file(self._tensors(), staging, metadata={"position": position.model_dump_json()})
        taken = monotonic() - started
        self._due = monotonic() + max(SECONDS, taken / MOST_OF_THE_TIME)

    @torch.no_grad()
    def restore(self) -> Position:
        """Continue from the file; the beginning if there is none.

        Raises:
            UserError: the file is damaged, or of another model.
        """
        if self._path is None or not self._path.is_file():
            return Position()
        try:
            with safe_open(self._path, framework="pt") as file:
                position = Position.model_validate_json((file.metadata() or {}).get("position", ""))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            for name, value in self._parameters.items():
                value.copy_(tensors[f"weights.{name}"])
            self.best = {name: tensors[f"best.{name}"].to(value.device) for name, value in self._parameters.items()
                         if f"best.{name}" in tensors}  # fmt: skip
            self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": _moments(tensors)})
            torch.set_rng_state(tensors["generator.cpu"])
            if "generator.cuda" in tensors and torch.cuda.is_available():
                torch.cuda.set_rng_state(tensors["generator.cuda"])
        except (OSError, SafetensorError, ValidationError, KeyError, ValueError, RuntimeError) as error:
            raise UserError(
                f"{self._path}: not the state of this training ({type(error).__name__}); remove the file to start this "
                "seed from its beginning"
            ) from error
        logger.info(f"continuing after {position.step:,} steps of an interrupted training")
        return position

    def _tensors(self) -> dict[str, Tensor]:
        moments = {
            f"moments.{number}.{key}": torch.as_tensor(value)
            for number, values in self._optimizer.state_dict()["state"].items()
            for key, value in values.items()
        }
        tensors = {
            **{f"weights.{name}": value.detach() for name, value in self._parameters.items()},
            **{f"best.{name}": value for name, value in self.best.items()},
            **moments,
            "generator.cpu": torch.get_rng_state(),
        }
        if torch.cuda.is_available():
            tensors["generator.cuda"] = torch.cuda.get_rng_state()
        return {name: value.cpu().contiguous() for name, value in tensors.items()}


def _moments(tensors: dict[str, Tensor]) -> dict[int, dict[str, Any]]:
    """AdamW's state of each parameter, by its number."""
    moments: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("moments."):
            _, number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = value
    return moments


@contextmanager
def state_directory(directory: Path) -> Iterator[Path]:
    """A directory for the states of one seed: only one process uses it, and it is removed when the seed is complete.

    Raises:
        UserError: another process uses it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as file:
        lock(file.fileno(), directory, "another command trains this seed; wait for it, or choose another --out")
        for left in directory.glob(".*.partial"):  # of a process that was killed
            left.unlink()
        yield directory
        shutil.rmtree(directory)
