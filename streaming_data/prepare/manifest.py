"""What a data set says of itself: where its text came from, under which terms, and what became of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ..corpora.readers import AnySource
from ..phi.patterns import sum_audits
from ..tokenizer.tokenizer import LoadedTokenizer
from .config import PrepareConfig
from .dataset_card import write_card
from .dedup import Duplicates
from .tokenize import TokenizedFile

VERSION = 1
SPLITS = ("train", "held_out")
_PACKAGES = ("clinical-modernbert", "ftfy", "lxml", "mosaicml-streaming", "numpy", "tokenizers")


@dataclass(frozen=True)
class SplitCounts:
    """The size of one split of one source; fullness is tokens over the room of its packs."""

    documents: int = 0
    pieces: int = 0
    tokens: int = 0
    packs: int = 0
    fullness: float = 0.0


def describe_source(
    source: AnySource, files: Sequence[TokenizedFile], duplicates: Duplicates, splits: Mapping[str, SplitCounts]
) -> dict[str, Any]:
    """The manifest's entry of a source."""
    return {
        "format": source.format,
        "licence": source.licence,
        "public": source.public,
        "synthetic": source.synthetic,
        "inputs": [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in files],
        "duplicates": sum(int(duplicates.exact[file.stem].sum()) for file in files),
        "near_duplicates": sum(int(duplicates.near[file.stem].sum()) for file in files),
        "empty": sum(file.empty for file in files),
        "audit": None if source.public else sum_audits(file.audit for file in files if file.audit).describe(),
        "splits": {name: asdict(counts) for name, counts in splits.items()},
    }


def write(
    directory: Path, config: PrepareConfig, tokenizer: LoadedTokenizer, sources: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Writes manifest.json and the card, which depend on nothing but the arguments and the packages' versions."""
    manifest = {
        "version": VERSION,
        "seq_length": config.seq_length,
        "tokenizer": {
            "sha256": tokenizer.sha256,
            "vocab_size": tokenizer.vocab_size,
            "special_ids": tokenizer.special_ids,
            "unmaskable_ids": list(tokenizer.unmaskable_ids),
        },
        "sources": sources,
        "config": config.model_dump(mode="json"),
        "packages": package_versions(),
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    write_card(directory, manifest)
    return manifest


def package_versions() -> dict[str, str]:
    """Of the packages that decide what is written."""
    return {name: metadata.version(name) for name in _PACKAGES}
