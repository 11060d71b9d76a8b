"""The model in a checkpoint of this project, for a run that starts from it: its config and weights, nothing else.

`training/checkpoint/` writes checkpoints and continues runs from them. Here is read what any safetensors reader can:
each file holds shards `<parameter>/fp32`, and its metadata where each begins in its parameter.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, TypeAdapter, ValidationError

from ..configs.errors import UserError
from ..configs.json_text import first_problem, parse_json
from ..configs.names import is_file_name
from ..storage.files import hash_file
from .config import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

MANIFEST = "manifest.json"
_LAYOUT = TypeAdapter(dict[str, tuple[NonNegativeInt, NonNegativeInt, tuple[NonNegativeInt, ...]]])


class _File(BaseModel):
    """A file's size and the hashes of its equal parts; version 1 had one of the whole file."""

    bytes: NonNegativeInt
    xxh3_128: str | Annotated[tuple[str, ...], Field(min_length=1)]

    def hashes(self) -> tuple[str, ...]:
        return (self.xxh3_128,) if isinstance(self.xxh3_128, str) else self.xxh3_128


class CheckpointedModel(BaseModel):
    """What a checkpoint's manifest says of its model."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    step: NonNegativeInt
    model: ModelConfig
    files: dict[str, _File]
    sources: dict[str, Any] = {}
    initial_sources: dict[str, Any] = {}


def is_checkpoint(directory: Path) -> bool:
    """Whether a directory holds the manifest of a checkpoint; a Hugging Face directory has none."""
    return (directory / MANIFEST).is_file() and not (directory / "config.json").exists()


def tokenizer_of(checkpoint: Path) -> Path:
    """The directory of the tokenizer of the run that wrote a checkpoint."""
    return checkpoint.parent.parent / "tokenizer"


def read_checkpointed_model(checkpoint: Path) -> CheckpointedModel:
    """The model that a checkpoint's manifest describes.

    Raises:
        UserError: the manifest cannot be read.
    """
    path = checkpoint / MANIFEST
    try:
        return CheckpointedModel.model_validate(parse_json(path.read_bytes()))
    except ValidationError as error:
        raise UserError(f"{path}: {first_problem(error)}: not the manifest of a checkpoint") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}): not a complete checkpoint") from error


def read_checkpoint(checkpoint: Path) -> dict[str, "Tensor"]:
    """All parameters of a checkpoint by name, fp32 on the CPU, after a check of its files.

    Raises:
        UserError: a file is not as it was written, or a part of a parameter is missing.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    weights: dict[str, Tensor] = {}
    found: dict[str, int] = {}
    for name, entry in read_checkpointed_model(checkpoint).files.items():
        if not is_file_name(name):
            raise UserError(f"{checkpoint / MANIFEST}: {name[:80]!r} is no name of a file")
        path = checkpoint / name
        _require_as_written(path, entry)
        try:
            with safe_open(path, framework="pt") as file:
                layout = _LAYOUT.validate_python(parse_json((file.metadata() or {}).get("layout", "null")))
                for parameter, (start, numel, shape) in layout.items():
                    flat = weights.setdefault(parameter, torch.empty(shape)).view(-1)
                    flat[start : start + numel] = file.get_tensor(f"{parameter}/fp32")
                    found[parameter] = found.get(parameter, 0) + numel
        except (SafetensorError, ValueError, RuntimeError) as error:  # ValidationError is a ValueError
            raise UserError(f"{path}: cannot be read ({str(error)[:200]}): name another checkpoint") from error
    if incomplete := [name for name, value in weights.items() if found[name] != value.numel()]:
        raise UserError(f"{checkpoint}: {incomplete[0]} is incomplete in it: name another checkpoint")
    return weights


def _require_as_written(path: Path, entry: _File) -> None:
    hashes = entry.hashes()
    if (
        not path.is_file()
        or path.stat().st_size != entry.bytes
        or any(hash_file(path, part=(number, len(hashes))) != written for number, written in enumerate(hashes))
    ):
        raise UserError(f"{path}: absent, or not as it was written: name another checkpoint")
