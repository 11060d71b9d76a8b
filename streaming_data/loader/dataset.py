"""A prepared data set opened for training: its manifest, the packs of its sources and their mixed order."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ...configs.errors import UserError
from ...configs.json_text import parse_json
from ...configs.spelling import nearest_name
from ...storage.files import atomic_write
from ...storage.remote import CorruptDataError, read
from ..shards.manifest import DataManifest, SplitCounts, read_manifest
from ..shards.mds import PackReader
from ..shards.pack import Pack
from ..tokenizer.tokenizer import FILES as TOKENIZER_FILES
from ..tokenizer.words import pretokens_are_words
from .config import MOST_LANES, SHUFFLE_WINDOW, DataConfig
from .lane_count import lanes_for
from .lanes import LaneOrder
from .mask_groups import CodeParts, Strategy, code_parts
from .masking import Vocabulary, vocabulary
from .order import Order, PackAddress


@dataclass
class PackDataset:
    """One split of a data set.

    Attributes:
        address: a directory or the URL of one in an object store.
        sources: names; `PackAddress.source` is an index into them.
        readers: the packs of each source.
        order: which pack comes n-th, and which rank reads it.
        vocabulary: for masking.
        seq_length: capacity of a pack, in tokens.
        pack_tokens: mean tokens per pack of each source.
        seed: of the order and the masks.
        masking: the unit of masking.
        order_is_open: whether the recipe leaves the order open, so that a run continues in the one it began with.
    """

    address: str
    sources: tuple[str, ...]
    readers: tuple[PackReader, ...]
    order: Order | LaneOrder
    vocabulary: Vocabulary
    seq_length: int
    pack_tokens: tuple[float, ...]
    seed: int
    manifest: DataManifest
    masking: Strategy = "token"
    order_is_open: bool = False

    def read(self, address: PackAddress) -> Pack:
        """Raises UserError if its tokens are not stored as the manifest says."""
        pack = self.readers[address.source][address.pack]
        if (width := pack.tokens.dtype.itemsize) != self.manifest.token_bytes and len(pack.tokens):
            raise UserError(
                f"{self.readers[address.source].address}: pack {address.pack} has tokens of {width} bytes, but "
                f"{self.address}/manifest.json says {self.manifest.token_bytes}; the two belong to different data "
                "sets: restore both from their source, or prepare the data again"
            )
        return pack

    def shards_of(self, packs: Iterable[PackAddress]) -> list[tuple[int, int]]:
        """(source, shard) of the shards that hold these packs."""
        return list(dict.fromkeys((pack.source, self.readers[pack.source].shard_of(pack.pack)) for pack in packs))

    def fetch_ahead(self, shards: Iterable[tuple[int, int]]) -> None:
        """Download and check shards, each a (source, shard), that will soon be needed."""
        for source, shard in shards:
            self.readers[source].fetch_ahead(shard)

    def keep(self, shards: Collection[tuple[int, int]]) -> None:
        """Let the cache remove all shards but these, each a (source, shard)."""
        for source, reader in enumerate(self.readers):
            reader.keep({shard for of, shard in shards if of == source})

    def identity(self) -> dict[str, Any]:
        """Everything that decides the order of the tokens and their masks: a resume must not change it."""
        order = self.order
        return {
            "sources": {name: reader.fingerprint for name, reader in zip(self.sources, self.readers, strict=True)},
            "weights": dict(zip(self.sources, self.order.weights, strict=True)),
            "seq_length": self.seq_length,
            "limits": {name: limit for name, limit in zip(self.sources, self.order.limits, strict=True) if limit}
            or None,
            **({"lanes": order.lanes} if isinstance(order, LaneOrder) else {"shuffle_window": order.window}),
            "seed": self.seed,
        }

    def continue_order(self, recorded: Mapping[str, Any]) -> None:
        """Use the order of a run that is continued, if the recipe leaves it open.

        Args:
            recorded: the `identity()` of that run. Runs from before there were lanes have a shuffle window.
        """
        lanes, window = recorded.get("lanes"), recorded.get("shuffle_window")
        if not self.order_is_open:
            return
        if type(lanes) is int and 0 < lanes <= MOST_LANES:
            self.order = LaneOrder(_numbering(self.order), lanes)
        elif type(window) is int and window > 0:
            mix = _numbering(self.order)
            self.order = Order(mix.shard_sizes, mix.rates, mix.seed, window, mix.limits)
        _hold_few(self.readers, self.order)


def open_dataset(config: DataConfig, seed: int, split: str = "train", packs_per_step: int | None = None) -> PackDataset:
    """Open the data set that a run's `data` section names.

    Args:
        packs_per_step: of the run, by which the number of lanes is chosen; None: windows, where no run reads.
    Raises:
        UserError: it does not exist, is corrupt, or does not fit the configuration.
    """
    address = config.path.rstrip("/")
    manifest = read_manifest(address)
    if manifest.seq_length != config.seq_length:
        raise UserError(
            f"{address} was prepared with seq_length {manifest.seq_length:,}, but data.seq_length is "
            f"{config.seq_length:,}: set data.seq_length={manifest.seq_length} or prepare the data again"
        )
    counts = _nonempty(manifest, split)
    sources = _select_sources(config, list(counts), address)
    _require_words(address, manifest, sources, config.masking)
    readers = tuple(_open_source(address, name, split, counts[name].packs, config) for name in sources)
    lanes = config.lanes
    if config.order_is_open and packs_per_step:
        lanes = lanes_for(readers, packs_per_step, config.cache_gigabytes)
    pack_tokens = tuple(counts[name].tokens / counts[name].packs for name in sources)
    mix = Order(
        [[shard.packs for shard in reader.shards] for reader in readers],
        [config.weights[name] / tokens for name, tokens in zip(sources, pack_tokens, strict=True)]
        if config.weights
        else [len(reader) for reader in readers],
        seed,
        config.shuffle_window or SHUFFLE_WINDOW,
        [_limit(config, name, len(reader)) for name, reader in zip(sources, readers, strict=True)],
    )
    order = LaneOrder(mix, lanes) if lanes else mix
    _hold_few(readers, order)
    tokenizer = manifest.tokenizer
    return PackDataset(
        address=address,
        sources=tuple(sources),
        readers=readers,
        order=order,
        vocabulary=vocabulary(
            tokenizer.vocab_size,
            tokenizer.special_ids.pad,
            tokenizer.special_ids.mask,
            tokenizer.unmaskable_ids,
            _code_parts(address, tokenizer.vocab_size) if config.masking == "code_aware" else None,
        ),
        seq_length=config.seq_length,
        pack_tokens=pack_tokens,
        seed=seed,
        manifest=manifest,
        masking=config.masking,
        order_is_open=config.order_is_open,
    )


def _hold_few(readers: Iterable[PackReader], order: Order | LaneOrder) -> None:
    """Limit how many shards of each source a rank keeps others from removing."""
    # The current window, the next, and the previous one, which batches that are being prepared may still read.
    shards = 3 * order.window if isinstance(order, Order) else 2 * order.lanes + 64
    for reader in readers:
        reader.hold_at_most(shards)


def _numbering(order: Order | LaneOrder) -> Order:
    return order.mix if isinstance(order, LaneOrder) else order


def copy_tokenizer(address: str, directory: Path) -> None:
    """Copy the data set's tokenizer to `directory`, so that a run can be exported without its data."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        atomic_write(directory / name, read(f"{address}/tokenizer/{name}", _checked_json))


def read_tokenizer(address: str) -> bytes:
    """The data set's tokenizer.json."""
    return read(f"{address}/tokenizer/tokenizer.json", _checked_json)


def _code_parts(address: str, size: int) -> CodeParts:
    try:
        return code_parts(read_tokenizer(address), size)
    except ValueError as error:
        raise UserError(f"{address}/tokenizer/tokenizer.json: {error}: set data.masking=whole_word") from error


def _require_words(address: str, manifest: DataManifest, sources: list[str], masking: Strategy) -> None:
    """Raise UserError if the strategy masks words together, and those of a source are no words but passages.

    Old manifests do not count words; their words are the tokenizer's pre-tokens.
    """
    if masking == "token":
        return
    counts = {name: manifest.sources[name].words for name in sources}
    without = [name for name, words in counts.items() if words and not words.are_words]
    if None in counts.values() and not _pretokens_are_words(address):
        without += [name for name, words in counts.items() if words is None]
    if without:
        raise UserError(
            f"{address}: its tokenizer does not divide the text of {', '.join(without)} into words, so "
            f"data.masking={masking} would mask passages; set data.masking=token, or prepare the data again, which "
            "finds words in the text"
        )


def _pretokens_are_words(address: str) -> bool:
    try:
        return pretokens_are_words(Tokenizer.from_str(read_tokenizer(address).decode()))
    except Exception:  # plain Exception from the Rust library; a run that copies the tokenizer reports it
        return True


def _nonempty(manifest: DataManifest, split: str) -> dict[str, SplitCounts]:
    """The counts of the split, for each source that has packs in it."""
    splits = {name: source.splits.get(split) for name, source in manifest.sources.items()}
    return {name: counts for name, counts in splits.items() if counts and counts.packs}


def _select_sources(config: DataConfig, available: list[str], address: str) -> list[str]:
    if not available:
        raise UserError(f"{address}: none of its sources has a pack in this split: prepare more data")
    for key, values in (("weights", config.weights), ("max_epochs", config.max_epochs)):
        for name in values if isinstance(values, dict) else ():
            if name not in available:
                close = nearest_name(name, available)
                hint = f"; did you mean {close}?" if close else ""
                raise UserError(f"data.{key} names {name!r}, but {address} has {', '.join(available)}{hint}")
    return [name for name in available if config.weights is None or name in config.weights]


def _limit(config: DataConfig, name: str, packs: int) -> int | None:
    """The total number of packs of the source that `max_epochs` allows."""
    epochs = config.max_epochs.get(name) if isinstance(config.max_epochs, dict) else config.max_epochs
    if epochs is None:
        return None
    if limit := math.floor(Fraction(epochs) * packs):
        return limit
    raise UserError(
        f"data.max_epochs: {epochs:g} of the {packs:,} packs of {name} is less than one pack; raise it, or leave the "
        "source out of data.weights"
    )


def _open_source(address: str, name: str, split: str, packs: int, config: DataConfig) -> PackReader:
    limit = None if config.cache_gigabytes is None else int(config.cache_gigabytes * 1e9)
    reader = PackReader(f"{address}/{name}/{split}", config.cache, limit)
    if len(reader) != packs:
        raise UserError(
            f"{reader.address}: its index has {len(reader):,} packs, but {address}/manifest.json has {packs:,}; the "
            "two belong to different data sets: restore both from their source, or prepare the data again"
        )
    return reader


def _checked_json(content: bytes) -> bytes:
    try:
        value = parse_json(content)
    except ValueError as error:
        raise CorruptDataError(f"not JSON ({error})") from error
    if not isinstance(value, dict):
        raise CorruptDataError("not a JSON object")
    return content
