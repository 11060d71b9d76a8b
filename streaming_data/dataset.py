"""A prepared data set opened for training: its manifest, its sources' packs and their mixed order."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..configs.errors import UserError
from .config import DataConfig
from .masking import Vocabulary, vocabulary
from .order import Order, PackAddress
from .packs import Pack
from .remote import download, is_remote
from .shards import PackReader
from .tokenizer import FILES as TOKENIZER_FILES


@dataclass(frozen=True)
class PackDataset:
    """One split of a data set.

    Attributes:
        address: where it lies.
        sources: names; `PackAddress.source` counts in this order.
        readers: the packs of each source.
        order: which pack comes n-th.
        vocabulary: for masking.
        seq_length: tokens of a pack.
        seed: of the order and the masks.
        manifest: as `cmbert data prepare` wrote it.
    """

    address: str
    sources: tuple[str, ...]
    readers: tuple[PackReader, ...]
    order: Order
    vocabulary: Vocabulary
    seq_length: int
    seed: int
    manifest: dict[str, Any]

    def read(self, address: PackAddress) -> Pack:
        return self.readers[address.source][address.pack]

    def identity(self) -> dict[str, Any]:
        """All that decides which tokens come in which order with which masks: what a resume may not change."""
        return {
            "sources": {name: reader.fingerprint for name, reader in zip(self.sources, self.readers, strict=True)},
            "weights": dict(zip(self.sources, self.order.weights, strict=True)),
            "seq_length": self.seq_length,
            "shuffle_window": self.order.window,
            "seed": self.seed,
        }


def open_dataset(config: DataConfig, seed: int, split: str = "train") -> PackDataset:
    """Open the data set that a run's `data` section names.

    Raises:
        UserError: it is not there, or it does not fit the configuration.
    """
    address = config.path.rstrip("/")
    manifest = read_manifest(address)
    if manifest["seq_length"] != config.seq_length:
        raise UserError(
            f"{address} was prepared with seq_length {manifest['seq_length']:,}, but data.seq_length is "
            f"{config.seq_length:,}: set data.seq_length={manifest['seq_length']} or prepare the data again"
        )
    available = [name for name, source in manifest["sources"].items() if source["splits"][split]["packs"]]
    sources = _chosen(config, available, address)
    readers = tuple(PackReader(f"{address}/{name}/{split}", config.cache) for name in sources)
    shares = [
        config.weights[name] if config.weights else len(reader) for name, reader in zip(sources, readers, strict=True)
    ]
    tokenizer = manifest["tokenizer"]
    return PackDataset(
        address=address,
        sources=tuple(sources),
        readers=readers,
        order=Order(
            [reader.shard_sizes() for reader in readers],
            [share / sum(shares) for share in shares],
            seed,
            config.shuffle_window,
        ),
        vocabulary=vocabulary(
            tokenizer["vocab_size"],
            tokenizer["special_ids"]["pad"],
            tokenizer["special_ids"]["mask"],
            tokenizer["unmaskable_ids"],
        ),
        seq_length=config.seq_length,
        seed=seed,
        manifest=manifest,
    )


def read_manifest(address: str) -> dict[str, Any]:
    """The manifest of the data set at `address`."""
    where = f"{address}/manifest.json"
    try:
        manifest = json.loads(_read(where))
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); restore the file or prepare the data again") from error
    if manifest.get("version") != 1:
        raise UserError(f"{where}: manifest version {manifest.get('version')!r}, expected 1: prepare the data again")
    return manifest


def copy_tokenizer(address: str, directory: Path) -> None:
    """Bring the data set's tokenizer to `directory`, so that a run can be exported without its data."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        (directory / name).write_bytes(_read(f"{address}/tokenizer/{name}"))


def _read(where: str) -> bytes:
    if is_remote(where):
        with tempfile.TemporaryDirectory() as aside:
            path = Path(aside) / "file"
            download(where, path, check=lambda got: None)
            return path.read_bytes()
    if not Path(where).is_file():
        raise UserError(f"{where}: no such file; data.path must name a data set written by `cmbert data prepare`")
    return Path(where).read_bytes()


def manifest_hash(manifest: dict[str, Any]) -> str:
    """A short name for the data a model was trained on."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:16]


def _chosen(config: DataConfig, available: list[str], address: str) -> list[str]:
    if not available:
        raise UserError(f"{address}: no source in it has a pack of this split: prepare more data")
    for name in config.weights or ():
        if name not in available:
            close = get_close_matches(name, available, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UserError(f"data.weights names {name!r}, but {address} has {', '.join(available)}{hint}")
    return [name for name in available if config.weights is None or name in config.weights]
