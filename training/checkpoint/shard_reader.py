"""Reading a checkpoint by parameter and range, independent of which rank wrote which part."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeInt, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from ...configs.errors import UserError
from ...configs.json_text import first_problem, parse_json
from ..zero.parameter_shards import ParameterShard

WEIGHTS = "fp32"
AVERAGE = "average"
"""Names of a parameter's tensors: its weights and their running average. All others are of the optimizer."""
_LAYOUT = TypeAdapter(dict[str, tuple[NonNegativeInt, NonNegativeInt, tuple[NonNegativeInt, ...]]])
"""The metadata of a file: parameter -> start, numel and shape of its shard."""


class ShardReader:
    """The saved shards in all files of a checkpoint, read by parameter and range. A context manager."""

    def __init__(self, checkpoint: Path, files: Iterable[str]) -> None:
        """Open `files`, the names in the checkpoint's manifest."""
        self._checkpoint = checkpoint
        self._files: list[Any] = []
        # parameter -> (start, end, file) of each saved shard
        self._shards: dict[str, list[tuple[int, int, Any]]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name in sorted(files):
            try:
                file = safe_open(checkpoint / name, framework="pt")
            except (OSError, SafetensorError) as error:
                raise UserError(f"{checkpoint / name}: cannot be read ({error}): name another checkpoint") from error
            self._files.append(file)
            for parameter, (start, numel, shape) in _layout(checkpoint / name, file).items():
                self._shards.setdefault(parameter, []).append((start, start + numel, file))
                self.shapes[parameter] = tuple(shape)

    def keys(self, parameter: str) -> set[str]:
        """The tensors saved for a parameter: `fp32`, perhaps `average`, and the names of its optimizer state."""
        prefix = f"{parameter}/"
        _, _, file = self._find(parameter)[0]
        return {key.removeprefix(prefix) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118

    def read(self, shard: ParameterShard, key: str) -> torch.Tensor:
        """The values of one shard, assembled from the saved shards that overlap it; fp32 (numel,).

        Raises:
            UserError: the checkpoint lacks the parameter or a part of it, or has it in another shape.
        """
        if (shape := self.shapes.get(shard.name, shard.shape)) != shard.shape:
            raise UserError(
                f"{self._checkpoint}: {shard.name} has shape {shape} in this checkpoint and {shard.shape} in the "
                "model: the model section changed; restore the one in its manifest, or start in another run_dir"
            )
        parts, position, stop = [], shard.start, shard.start + shard.numel
        for start, end, file in sorted(self._find(shard.name), key=lambda saved: saved[0]):
            if start <= position < min(end, stop):
                until = min(end, stop)
                parts.append(self._values(file, f"{shard.name}/{key}", position - start, until - start))
                position = until
        if position < stop:
            raise UserError(f"{self._checkpoint}: {shard.name} is incomplete in it: name another checkpoint")
        return torch.cat(parts)

    def read_full(self, parameter: str, key: str) -> torch.Tensor:
        """The values of a whole parameter, fp32, in its shape."""
        shape = self.shapes[parameter]
        full = ParameterShard(parameter, shape, 0, torch.Size(shape).numel(), flat=torch.empty(0), offset=0)
        return self.read(full, key).view(shape)

    def _values(self, file: Any, name: str, start: int, end: int) -> torch.Tensor:
        try:
            values: torch.Tensor = file.get_slice(name)[start:end]
        except (SafetensorError, IndexError, ValueError, TypeError) as error:
            raise UserError(f"{self._checkpoint}: {name} cannot be read ({error}): name another checkpoint") from error
        if values.shape != (end - start,) or values.dtype != torch.float32:
            raise UserError(
                f"{self._checkpoint}: {name} has {values.dtype} of shape {tuple(values.shape)}, expected "
                f"{end - start:,} values of torch.float32: name another checkpoint"
            )
        return values

    def _find(self, parameter: str) -> list[tuple[int, int, Any]]:
        if parameter not in self._shards:
            raise UserError(f"{self._checkpoint}: no {parameter} in this checkpoint: it belongs to another model")
        return self._shards[parameter]

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.__exit__(None, None, None)


def _layout(path: Path, file: Any) -> dict[str, tuple[int, int, tuple[int, ...]]]:
    """The shards in a file of a checkpoint, from its metadata."""
    try:
        return _LAYOUT.validate_python(parse_json((file.metadata() or {}).get("layout", "null")))
    except ValidationError as error:
        raise UserError(f"{path}: layout: {first_problem(error)}: not a file of a checkpoint") from error
    except ValueError as error:
        raise UserError(f"{path}: layout: {error}: not a file of a checkpoint") from error
