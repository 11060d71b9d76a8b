"""Reading a checkpoint by parameter and range, whoever wrote which part of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ...configs.errors import UserError
from ..zero.parameter_shards import Fragment

WEIGHTS = "fp32"


class Slices:
    """The saved slices of every file of a checkpoint, read by parameter and range."""

    def __init__(self, path: Path, manifest: Mapping[str, Any]) -> None:
        self._path = path
        self._files: list[Any] = []
        self._places: dict[str, list[tuple[int, int, Any]]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for name in sorted(manifest["files"]):
            try:
                file = safe_open(path / name, framework="pt")
            except (OSError, SafetensorError) as error:
                raise UserError(f"{path / name}: cannot be read ({error}): name another checkpoint") from error
            self._files.append(file)
            for parameter, (start, numel, shape) in json.loads(file.metadata()["layout"]).items():
                self._places.setdefault(parameter, []).append((start, start + numel, file))
                self.shapes[parameter] = tuple(shape)

    def keys(self, parameter: str) -> set[str]:
        """What is saved of a parameter: `fp32` and the names of its optimizer state."""
        prefix = f"{parameter}/"
        _, _, file = self._find(parameter)[0]
        return {key.removeprefix(prefix) for key in file.keys() if key.startswith(prefix)}  # noqa: SIM118

    def read(self, fragment: Fragment, key: str) -> torch.Tensor:
        """The values of one fragment, put together from the slices that overlap it; fp32 (numel,)."""
        if (shape := self.shapes.get(fragment.name, fragment.shape)) != fragment.shape:
            raise UserError(
                f"{self._path}: {fragment.name} has shape {shape} in this checkpoint and {fragment.shape} in the "
                "model: the model section changed; go back to the one in its manifest, or start in another run_dir"
            )
        parts, at, stop = [], fragment.start, fragment.start + fragment.numel
        for first, last, file in sorted(self._find(fragment.name), key=lambda place: place[0]):
            if first <= at < min(last, stop):
                until = min(last, stop)
                parts.append(file.get_slice(f"{fragment.name}/{key}")[at - first : until - first])
                at = until
        if at < stop:
            raise UserError(f"{self._path}: {fragment.name} is incomplete in it: name another checkpoint")
        return torch.cat(parts)

    def whole(self, parameter: str, key: str) -> torch.Tensor:
        """The values of a whole parameter, fp32, in its shape."""
        shape = self.shapes[parameter]
        everything = Fragment(parameter, shape, 0, torch.Size(shape).numel(), flat=torch.empty(0), offset=0)
        return self.read(everything, key).view(shape)

    def _find(self, parameter: str) -> list[tuple[int, int, Any]]:
        if parameter not in self._places:
            raise UserError(f"{self._path}: no {parameter} in this checkpoint: it is of another model")
        return self._places[parameter]

    def __enter__(self) -> "Slices":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.__exit__(None, None, None)
