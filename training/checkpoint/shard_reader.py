"""Reading a checkpoint by parameter and range, independent of which ranks wrote which part."""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import torch
from pydantic import NonNegativeInt, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from ...configs.errors import UserError
from ...configs.json_text import first_problem, parse_json
from ..zero.parameter_shards import ParameterShard
from .layout import Layout
from .manifest import CheckpointManifest, parameters_of

WEIGHTS = "fp32"
AVERAGE = "average"
"""Names of a parameter's tensors: its weights and their running average. All others are of the optimizer."""
_LAYOUT: TypeAdapter[Layout] = TypeAdapter(
    dict[str, tuple[NonNegativeInt, NonNegativeInt, tuple[NonNegativeInt, ...]]],
)
"""The metadata of a file."""


class ShardReader:
    """A checkpoint, read by parameter and range. Only files that hold what is read are opened. A context manager.

    Attributes:
        shapes: of all parameters, by name.
    """

    def __init__(self, checkpoint: Path, manifest: CheckpointManifest) -> None:
        self._checkpoint = checkpoint
        self._files: dict[str, Any] = {}
        parameters = manifest.parameters or parameters_of({name: self._layout(name) for name in sorted(manifest.files)})
        self.shapes = {name: parameter.shape for name, parameter in parameters.items()}
        # parameter -> (start, end, file) of each saved range, in order
        self._ranges = {
            name: sorted((start, start + numel, file) for file, (start, numel) in parameter.ranges.items())
            for name, parameter in parameters.items()
        }

    def whole(self, parameter: str) -> ParameterShard:
        """All elements of a parameter, as one shard."""
        shape = self.shapes[parameter]
        return ParameterShard(parameter, shape, 0, prod(shape), flat=torch.empty(0), offset=0)

    def keys(self, shard: ParameterShard) -> set[str]:
        """The tensors saved for a shard: `fp32`, perhaps `average`, and the names of its optimizer state."""
        prefix = f"{shard.name}/"
        # If no file has elements of it, `read` will say so.
        _, _, name = next(self._overlapping(shard), (0, 0, self._find(shard.name)[0][2]))
        return {key.removeprefix(prefix) for key in self._open(name).keys() if key.startswith(prefix)}  # noqa: SIM118

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
        for start, end, file in self._overlapping(shard):
            if start <= position < min(end, stop):
                until = min(end, stop)
                parts.append(self._values(file, f"{shard.name}/{key}", position - start, until - start))
                position = until
        if position < stop:
            raise UserError(f"{self._checkpoint}: {shard.name} is incomplete in it: name another checkpoint")
        return torch.cat(parts)

    def read_full(self, parameter: str, key: str) -> torch.Tensor:
        """The values of a whole parameter, fp32, in its shape."""
        return self.read(self.whole(parameter), key).view(self.shapes[parameter])

    def _values(self, file: str, name: str, start: int, end: int) -> torch.Tensor:
        try:
            values: torch.Tensor = self._open(file).get_slice(name)[start:end]
        except (SafetensorError, IndexError, ValueError, TypeError) as error:
            raise UserError(f"{self._checkpoint}: {name} cannot be read ({error}): name another checkpoint") from error
        if values.shape != (end - start,) or values.dtype != torch.float32:
            raise UserError(
                f"{self._checkpoint}: {name} has {values.dtype} of shape {tuple(values.shape)}, expected "
                f"{end - start:,} values of torch.float32: name another checkpoint"
            )
        return values

    def _overlapping(self, shard: ParameterShard) -> Iterator[tuple[int, int, str]]:
        """The saved ranges that hold elements of a shard."""
        for start, end, file in self._find(shard.name):
            if start < shard.start + shard.numel and shard.start < end:
                yield start, end, file

    def _find(self, parameter: str) -> list[tuple[int, int, str]]:
        if parameter not in self._ranges:
            raise UserError(f"{self._checkpoint}: no {parameter} in this checkpoint: it belongs to another model")
        return self._ranges[parameter]

    def _open(self, name: str) -> Any:
        if name not in self._files:
            try:
                self._files[name] = safe_open(self._checkpoint / name, framework="pt")
            except (OSError, SafetensorError) as error:
                raise UserError(
                    f"{self._checkpoint / name}: cannot be read ({error}): name another checkpoint"
                ) from error
        return self._files[name]

    def _layout(self, name: str) -> Layout:
        """What a file holds, from its own metadata."""
        path, file = self._checkpoint / name, self._open(name)
        try:
            return _LAYOUT.validate_python(parse_json((file.metadata() or {}).get("layout", "null")))
        except ValidationError as error:
            raise UserError(f"{path}: layout: {first_problem(error)}: not a file of a checkpoint") from error
        except ValueError as error:
            raise UserError(f"{path}: layout: {error}: not a file of a checkpoint") from error

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.__exit__(None, None, None)
