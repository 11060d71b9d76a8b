"""A look into a data set: how much of what it holds, how long its pieces are, and what they read like."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...storage.remote import download, is_remote
from ..prepare.manifest import SPLITS, SplitCounts
from ..shards.manifest import read_manifest
from ..shards.mds import PackReader
from ..shards.pack import Pack
from ..shards.restricted import closed_sources
from ..tokenizer import tokenizer as tokenizers


@dataclass(frozen=True)
class SplitView:
    """One split of one source.

    Attributes:
        counts: as the manifest says.
        lengths: of the pieces in the packs that were looked at, int32 (pieces,).
        pack_tokens: of each of those packs, int64 (packs,).
        fertility: tokens a word in them; None if they hold no word.
        dropped: share of the source's documents that were duplicates, exact or near, of one before.
    """

    source: str
    split: str
    counts: SplitCounts
    lengths: npt.NDArray[np.int32]
    pack_tokens: npt.NDArray[np.int64]
    fertility: float | None
    dropped: float


def inspect(address: str, packs: int) -> Iterator[SplitView]:
    """Every split that holds anything, its lengths taken from at most `packs` packs spread over it."""
    manifest = read_manifest(address)
    special = list(manifest["tokenizer"]["special_ids"].values())
    for source, entry in manifest["sources"].items():
        dropped = entry["duplicates"] + entry["near_duplicates"]
        read = dropped + sum(entry["splits"][split]["documents"] for split in SPLITS)
        for split in SPLITS:
            counts = SplitCounts(**entry["splits"][split])
            if counts.packs:
                some = list(_some_packs(f"{address}/{source}/{split}", packs))
                words = sum(int(pack.word_starts.sum()) for pack in some)
                tokens = sum(int((~np.isin(pack.tokens, special)).sum()) for pack in some)
                yield SplitView(
                    source=source,
                    split=split,
                    counts=counts,
                    lengths=np.concatenate([pack.lengths for pack in some]),
                    pack_tokens=np.array([len(pack.tokens) for pack in some]),
                    fertility=tokens / words if words else None,
                    dropped=dropped / read if read else 0.0,
                )


def _some_packs(address: str, packs: int) -> Iterator[Pack]:
    reader = PackReader(address)
    for index in np.unique(np.linspace(0, len(reader) - 1, min(packs, len(reader)), dtype=np.int64)).tolist():
        yield reader[index]


def readable_sources(manifest: dict[str, Any], anything: bool) -> list[str]:
    """The sources whose text may be shown: those that are public or synthetic, or all if `anything` is asked for."""
    closed = [] if anything else closed_sources(manifest)
    return [name for name in manifest["sources"] if name not in closed]


def sample_text(address: str, source: str) -> str:
    """The first piece of the last pack of a source, decoded: packs are filled longest first, so it is a short one."""
    reader = PackReader(f"{address}/{source}/train")
    pack = reader[len(reader) - 1]
    with tempfile.TemporaryDirectory() as aside:
        tokenizer = tokenizers.load(_local_tokenizer(address, Path(aside)))
    return tokenizer.decode(pack.tokens[: pack.lengths[0]])


def _local_tokenizer(address: str, aside: Path) -> Path:
    if not is_remote(address):
        return Path(address) / "tokenizer"
    for name in tokenizers.FILES:
        download(f"{address}/tokenizer/{name}", aside / name, check=lambda got: None)
    return aside
