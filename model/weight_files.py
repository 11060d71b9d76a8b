"""The tensors of a model's files: safetensors or pickles of tensors, whole or in shards. Nothing is executed."""

from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..configs.errors import UserError
from ..configs.names import is_file_name
from .hugging_face_config import WEIGHT_FILES, read_json


def read_directory(directory: Path) -> dict[str, Tensor]:
    """All tensors by name, as they were saved, on the CPU.

    Raises:
        UserError: there are none, or a file cannot be read.
    """
    for name in WEIGHT_FILES:
        path = directory / name
        if path.is_file():
            return _load_shards(path) if path.suffix == ".json" else _read(path, _reader(path))
    raise UserError(f"{directory}: no weights; expected {', '.join(WEIGHT_FILES[:-1])} or {WEIGHT_FILES[-1]}")


def _reader(path: Path) -> Callable[[Path], object]:
    if path.suffix == ".safetensors":
        return load_file
    return lambda file: torch.load(file, map_location="cpu", weights_only=True)


def _load_shards(index: Path) -> dict[str, Tensor]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise UserError(f"{index}: weight_map must map tensor names to file names")
    weights: dict[str, Tensor] = {}
    for file in sorted(set(weight_map.values())):
        if not is_file_name(file):
            raise UserError(f"{index}: weight_map names {file!r}, expected a file in the same directory")
        shard = _read(index.parent / file, _reader(index.parent / file))
        listed = {name for name, owner in weight_map.items() if owner == file}
        if shard.keys() != listed:
            raise UserError(
                f"{index.parent / file}: its tensors differ from those in {index.name}: {_first(shard.keys() ^ listed)}"
            )
        weights |= shard
    return weights


def _read(path: Path, load: Callable[[Path], object]) -> dict[str, Tensor]:
    try:
        weights = load(path)
    except Exception as error:  # readers of damaged files raise almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"{path}: cannot be read as a file of tensors ({reason}); download it again, or as safetensors"
        ) from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{path}: expected a state dict (names to tensors)")
    return weights


def _first(names: Iterable[str], limit: int = 5) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:limit]) + (f" and {len(ordered) - limit} more" if len(ordered) > limit else "")
