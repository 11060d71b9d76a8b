"""The manifest of a checkpoint: its files with their hashes, the state of the run, and where it came from.

Reading a manifest imports no torch, so that commands on login nodes start quickly.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import xxhash
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from ...configs.errors import UserError
from ...configs.json_text import first_problem, parse_json
from ...configs.loader.explain import RENAMED
from ...configs.secrets import scrub, scrub_tree
from ...model.config import ModelConfig
from ...model.origin import WeightsOrigin
from ...storage.files import fsync
from ..resilience.skips import Skip
from ..zero.loss_scaling import ScalingState
from .layout import Layout
from .names import is_tensor_file
from .progress import Progress

VERSION: Literal[2] = 2
"""Version 1 had no `parameters`, and one hash per file."""
MANIFEST = "manifest.json"


def _require_tensor_file(name: str) -> str:
    if not is_tensor_file(name):  # a name from outside must not become a path
        raise ValueError("expected names such as node00000-of-00002.safetensors")
    return name


TensorFileName = Annotated[str, AfterValidator(_require_tensor_file)]


class FileEntry(BaseModel):
    """Size and hashes of one file of a checkpoint, as written.

    Attributes:
        xxh3_128: of equal parts of the file, in order, so that ranks can share the work of checking it.
    """

    model_config = ConfigDict(frozen=True)

    bytes: NonNegativeInt
    xxh3_128: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("xxh3_128", mode="before")
    @classmethod
    def _read_version_1(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class SavedParameter(BaseModel):
    """Where a parameter is saved.

    Attributes:
        shape: of the whole parameter.
        ranges: of each file that has elements of it, the first of them in the flattened parameter, and their number.
    """

    model_config = ConfigDict(frozen=True)

    shape: tuple[NonNegativeInt, ...]
    ranges: dict[TensorFileName, tuple[NonNegativeInt, NonNegativeInt]]


class Written(NamedTuple):
    """The part of a manifest that says what was written: files and parameters by name."""

    files: dict[str, FileEntry]
    parameters: dict[str, SavedParameter]


class SourceTerms(BaseModel):
    """What the data set's manifest records about one source's license and origin; None where it is unknown."""

    model_config = ConfigDict(frozen=True)

    licence: str | None = None
    public: bool | None = None
    synthetic: bool | None = None


class CheckpointManifest(BaseModel):
    """The content of a checkpoint's `manifest.json`.

    Attributes:
        step: optimizer steps completed.
        world_size: ranks that wrote the checkpoint.
        optimizer_step: updates the optimizer has applied; fewer than `step` if fp16 skipped some.
        files: by name, one per node.
        parameters: by name; empty in version 1, in which only the files say what they hold.
        attempt: number of the attempt that wrote it.
        tokenizer: SHA-256 of the data's tokenizer.json, if known; earlier versions did not record it.
        data: `PackDataset.identity()`: everything that decides which tokens come in which order with which masks.
        data_manifest: hash of the data set's manifest.
        data_address: path or URL of the data set.
        sources: by name.
        initial_sources: those of the model that the run continues, by name, as far as they are known.
        initial_weights: where the weights came from that the run started with, and which of them were new; None from
            scratch. Earlier versions did not record it.
        config: the recipe as JSON. Keys of earlier versions have their current names.
        git_revision: of the code, if it is a checkout.
        validation_loss: mean over sources, if it was measured at this step.
        averaged: the checkpoints of which this is the average, with their weights; empty: it is one of a run.
    """

    model_config = ConfigDict(frozen=True)

    version: Literal[1, 2] = VERSION
    step: NonNegativeInt
    world_size: PositiveInt
    optimizer_step: NonNegativeInt
    files: dict[TensorFileName, FileEntry]
    parameters: dict[str, SavedParameter] = {}
    progress: Progress
    attempt: int | None = None
    scaling: ScalingState = ScalingState()
    model: ModelConfig
    tokenizer: str | None = None
    data: dict[str, Any]
    skips: tuple[Skip, ...] = ()
    data_manifest: str
    data_address: str | None = None
    sources: dict[str, SourceTerms]
    initial_sources: dict[str, SourceTerms] = {}
    initial_weights: WeightsOrigin | None = None
    config: dict[str, Any]
    python: str
    packages: dict[str, str]
    git_revision: str | None
    validation_loss: float | None = Field(None, validation_alias=AliasChoices("validation_loss", "held_out_loss"))
    averaged: dict[str, float] = {}

    @model_validator(mode="after")
    def _require_known_files(self) -> "CheckpointManifest":
        for name, parameter in self.parameters.items():
            if unknown := parameter.ranges.keys() - self.files.keys():
                raise ValueError(f"parameters: {name} is in {min(unknown)}, which is not in files")
        return self

    def files_with(self, ranges: Iterable[tuple[str, int, int]]) -> list[str]:
        """The files that hold elements of these ranges (parameter, start, elements), in order; of version 1 all."""
        if not self.parameters:
            return sorted(self.files)
        return sorted(
            {
                file
                for name, start, numel in ranges
                if name in self.parameters
                for file, (first, saved) in self.parameters[name].ranges.items()
                if first < start + numel and start < first + saved
            }
        )

    @field_serializer("config", "data_address")
    def _without_secrets(self, value: Any) -> Any:
        return scrub_tree(value)

    @field_validator("config")
    @classmethod
    def _use_current_names(cls, config: dict[str, Any]) -> dict[str, Any]:
        renamed: dict[str, Any] = _with_current_names(scrub_tree(config))
        return renamed

    @field_validator("data_address")
    @classmethod
    def _hide_secrets(cls, address: str | None) -> str | None:
        return address and scrub(address)


def _with_current_names(tree: Any, path: str = "") -> Any:
    """A recipe with today's names for renamed keys; `path` is the dotted path of `tree`, without list positions."""
    if isinstance(tree, list):
        return [_with_current_names(item, path) for item in tree]
    if not isinstance(tree, dict):
        return tree
    paths = {key: f"{path}.{key}".lstrip(".") for key in tree}
    return {
        RENAMED.get(paths[key], paths[key]).rpartition(".")[2]: _with_current_names(value, paths[key])
        for key, value in tree.items()
    }


def parameters_of(layouts: Mapping[str, Layout]) -> dict[str, SavedParameter]:
    """Where each parameter is saved, from the layouts of the files."""
    shapes: dict[str, tuple[int, ...]] = {}
    ranges: dict[str, dict[str, tuple[int, int]]] = {}
    for file, layout in layouts.items():
        for name, (start, numel, shape) in layout.items():
            shapes[name] = shape
            ranges.setdefault(name, {})[file] = (start, numel)
    return {name: SavedParameter(shape=shape, ranges=ranges[name]) for name, shape in shapes.items()}


def read_manifest(checkpoint: Path) -> CheckpointManifest:
    """The manifest of the checkpoint in this directory.

    Raises:
        UserError: there is none, its content changed after it was written, or it is the manifest of something else.
    """
    file = checkpoint / MANIFEST
    try:
        content = parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}): not a complete checkpoint") from error
    if not isinstance(content, dict) or "manifest_hash" not in content:
        raise UserError(f"{file}: not the manifest of a checkpoint")
    if content.get("version") not in (1, VERSION):
        raise UserError(f"{file}: checkpoint version {content.get('version')!r}, expected 1 or {VERSION}")
    if content.pop("manifest_hash") != _content_hash(content):
        raise UserError(f"{file}: its content differs from what was written")
    try:
        return CheckpointManifest.model_validate(content)
    except ValidationError as error:
        raise UserError(f"{file}: {first_problem(error)}: not the manifest of a checkpoint") from error


def try_read_manifest(checkpoint: Path) -> CheckpointManifest | None:
    """The manifest of the checkpoint in this directory, or None if it cannot be read."""
    with suppress(UserError):
        return read_manifest(checkpoint)
    return None


def write_manifest(checkpoint: Path, manifest: CheckpointManifest) -> None:
    """Write the manifest with its own hash, and wait until it has reached the disk."""
    content = manifest.model_dump(mode="json")
    content["manifest_hash"] = _content_hash(content)
    file = checkpoint / MANIFEST
    file.write_text(json.dumps(content, indent=1))
    fsync(file)


def _content_hash(content: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
