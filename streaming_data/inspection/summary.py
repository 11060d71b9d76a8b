"""Data-set statistics: counts per source and split, segment lengths, sample text."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...storage.remote import download, is_remote
from ..shards.manifest import SPLITS, DataManifest, SplitCounts, read_manifest
from ..shards.mds import PackReader
from ..shards.pack import Pack
from ..shards.restricted import restricted_sources
from ..tokenizer import tokenizer as tokenizers


@dataclass(frozen=True)
class SplitView:
    """One split of one source.

    Attributes:
        counts: from the manifest.
        lengths: of the segments in the packs that were sampled, int32 (segments,).
        pack_tokens: tokens of each of these packs, int64 (packs,).
        fertility: tokens per word in them; None if they hold no word.
        dropped: share of the source's documents that were dropped as exact or near duplicates.
    """

    source: str
    split: str
    counts: SplitCounts
    lengths: npt.NDArray[np.int32]
    pack_tokens: npt.NDArray[np.int64]
    fertility: float | None
    dropped: float


def inspect(address: str, packs: int) -> Iterator[SplitView]:
    """Statistics of every split that is not empty; lengths are from at most `packs` packs, evenly spaced in it."""
    manifest = read_manifest(address)
    special_ids = list(manifest.tokenizer.special_ids.model_dump(exclude_none=True).values())
    for source, entry in manifest.sources.items():
        dropped = entry.duplicates + entry.near_duplicates
        read = dropped + sum(entry.splits[split].documents for split in SPLITS)
        for split in SPLITS:
            counts = entry.splits[split]
            if counts.packs:
                sample = list(sample_packs(f"{address}/{source}/{split}", packs))
                words = sum(int(pack.word_starts.sum()) for pack in sample)
                tokens = sum(int((~np.isin(pack.tokens, special_ids)).sum()) for pack in sample)
                yield SplitView(
                    source=source,
                    split=split,
                    counts=counts,
                    lengths=np.concatenate([pack.lengths for pack in sample]),
                    pack_tokens=np.array([len(pack.tokens) for pack in sample]),
                    fertility=tokens / words if words else None,
                    dropped=dropped / read if read else 0.0,
                )


def sample_packs(address: str, packs: int) -> Iterator[Pack]:
    """At most so many packs, evenly spaced in a split."""
    reader = PackReader(address)
    for index in np.unique(np.linspace(0, len(reader) - 1, min(packs, len(reader)), dtype=np.int64)).tolist():
        yield reader[index]


def training_readers(address: str) -> list[PackReader]:
    """The training packs of every source that has any."""
    sources = read_manifest(address).sources
    return [PackReader(f"{address}/{name}/train") for name, entry in sources.items() if entry.splits["train"].packs]


def readable_sources(manifest: DataManifest, include_restricted: bool) -> list[str]:
    """The sources whose text may be shown: those that are public or synthetic, or all with `include_restricted`."""
    restricted = [] if include_restricted else restricted_sources(manifest.sources)
    return [name for name in manifest.sources if name not in restricted]


def sample_text(address: str, source: str) -> str:
    """The first segment of the last pack of a source, decoded: packs are filled longest first, so it is a short one."""
    reader = PackReader(f"{address}/{source}/train")
    pack = reader[len(reader) - 1]
    with tempfile.TemporaryDirectory() as directory:
        tokenizer = tokenizers.load(local_tokenizer(address, Path(directory)))
    return tokenizer.decode(pack.tokens[: pack.lengths[0]])


def local_tokenizer(address: str, staging: Path) -> Path:
    """The directory of a data set's tokenizer; that of a store is downloaded into `staging`."""
    if not is_remote(address):
        return Path(address) / "tokenizer"
    for name in tokenizers.FILES:
        download(f"{address}/tokenizer/{name}", staging / name, check=lambda path: None)
    return staging
