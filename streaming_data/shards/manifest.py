"""A data set's manifest: what reading relies on, checked."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, NonNegativeInt, PositiveInt, ValidationError

from ...storage.remote import DamagedError, read


class _SpecialIds(BaseModel):
    pad: NonNegativeInt
    cls: NonNegativeInt
    sep: NonNegativeInt
    mask: NonNegativeInt


class _Tokenizer(BaseModel):
    vocab_size: PositiveInt
    special_ids: _SpecialIds
    unmaskable_ids: list[NonNegativeInt]


class _Split(BaseModel):
    packs: NonNegativeInt
    tokens: NonNegativeInt


class _Source(BaseModel):
    splits: dict[str, _Split]


class _Manifest(BaseModel):
    """What reading relies on; a manifest says more."""

    version: Literal[1]
    seq_length: PositiveInt
    tokenizer: _Tokenizer
    sources: dict[str, _Source]


def read_manifest(address: str) -> dict[str, Any]:
    """The manifest of the data set at `address`."""
    return read(f"{address}/manifest.json", _parse_manifest)


def manifest_hash(manifest: dict[str, Any]) -> str:
    """A short name for the data a model was trained on."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


def _parse_manifest(content: bytes) -> dict[str, Any]:
    try:
        _Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "all of it"
        raise DamagedError(f"not a manifest of version 1: {where}: {first['msg']}") from error
    manifest: dict[str, Any] = json.loads(content)
    return manifest
