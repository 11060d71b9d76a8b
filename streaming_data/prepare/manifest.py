"""Builds the manifest of a new data set, and writes it with the data set's card."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from ...configs.secrets import scrub_tree
from ..corpora.readers import AnySource
from ..documents.census import Census
from ..phi.patterns import sum_audits
from ..shards.manifest import (
    NAME,
    VERSION,
    AuditCounts,
    DataManifest,
    FileInfo,
    LeftOut,
    SourceInfo,
    SpecialIds,
    SplitCounts,
    TokenizerInfo,
)
from ..tokenizer.tokenizer import LoadedTokenizer
from .config import PrepareConfig
from .dataset_card import write_card
from .dedup import Duplicates
from .tokenize import TokenizedFile

_PACKAGES = ("clinical-modernbert", "ftfy", "lxml", "mosaicml-streaming", "numpy", "striprtf", "tokenizers")


def describe_source(
    source: AnySource,
    files: Sequence[TokenizedFile],
    duplicates: Duplicates,
    splits: Mapping[str, SplitCounts],
    crosswalks: Sequence[FileInfo],
) -> SourceInfo:
    """The manifest's entry of a source.

    Args:
        crosswalks: files that were read in addition to the corpus.
    """
    audit = sum_audits(file.audit for file in files if file.audit)
    left_out = Census()
    for file in files:
        for kind, counts in file.left_out.items():
            left_out.add_counts(kind, *counts)
    return SourceInfo(
        format=source.format,
        licence=source.licence,
        public=source.public,
        synthetic=source.synthetic,
        inputs=[FileInfo(name=file.name, bytes=file.bytes, sha256=file.sha256) for file in files],
        duplicates=sum(int(duplicates.exact[file.stem].sum()) for file in files),
        near_duplicates=sum(int(duplicates.near[file.stem].sum()) for file in files),
        empty=sum(file.empty for file in files),
        audit=None if source.public else AuditCounts(**audit.describe()),
        splits=dict(splits),
        cleaned={step: sum(file.cleaned.get(step, 0) for file in files) for step in source.clean},
        crosswalks=list(crosswalks),
        left_out={
            kind: LeftOut(elements=elements, characters=characters)
            for kind, (elements, characters) in left_out.counts().items()
        },
    )


def write(
    directory: Path, config: PrepareConfig, tokenizer: LoadedTokenizer, sources: Mapping[str, SourceInfo]
) -> DataManifest:
    """Write manifest.json and the card. Both depend only on the arguments and the versions of the packages."""
    manifest = DataManifest(
        version=VERSION,
        seq_length=config.seq_length,
        tokenizer=TokenizerInfo(
            sha256=tokenizer.sha256,
            vocab_size=tokenizer.vocab_size,
            special_ids=SpecialIds(**tokenizer.special_ids),
            unmaskable_ids=list(tokenizer.unmaskable_ids),
        ),
        sources=dict(sources),
        config=scrub_tree(config.model_dump(mode="json")),
        packages=package_versions(),
    )
    (directory / NAME).write_text(manifest.to_json(), encoding="utf-8")
    write_card(directory, manifest)
    return manifest


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what is written."""
    return {name: metadata.version(name) for name in _PACKAGES}
