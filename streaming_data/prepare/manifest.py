"""Builds the manifest of a new data set, and writes it with the data set's card."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from ...configs.secrets import scrub_tree
from ...storage.files import hash_file
from ..corpora.readers import AnySource
from ..deidentify.replace import STEP, kinds_of
from ..documents.census import Census
from ..phi.patterns import sum_audits
from ..shards.manifest import (
    NAME,
    VERSION,
    AuditCounts,
    DataManifest,
    Deidentified,
    FileInfo,
    InputList,
    LeftOut,
    SourceInfo,
    SpecialIds,
    SplitCounts,
    TokenizerInfo,
    WordCounts,
)
from ..shards.pack import token_bytes
from ..tokenizer import fast
from ..tokenizer.tokenizer import LoadedTokenizer
from .config import PrepareConfig
from .dataset_card import write_card
from .dedup import Duplicates
from .minhash import SCHEME
from .tokenize import InputHash, TokenizedFile

INPUTS = "inputs.csv"
_MOST_INPUTS = 10_000  # in manifest.json
_PACKAGES = ("clinical-modernbert", "ftfy", "lxml", "mosaicml-streaming", "numpy", "striprtf", "tokenizers")


def describe_source(
    source: AnySource,
    files: Sequence[TokenizedFile],
    duplicates: Duplicates,
    splits: Mapping[str, SplitCounts],
    crosswalks: Sequence[InputHash],
    directory: Path,
) -> SourceInfo:
    """The manifest's entry of a source.

    Args:
        crosswalks: files that were read in addition to the corpus.
        directory: of the source's shards, for the list of its files if they are many.
    """
    inputs = [info for file in files for info in file.inputs]
    many = len(inputs) > _MOST_INPUTS
    audit = sum_audits(file.audit for file in files if file.audit)
    deidentified = STEP in source.clean
    replaced = sum((Counter(kinds_of(file.cleaned)) for file in files), Counter[str]())
    left_out = Census()
    for file in files:
        for kind, counts in file.left_out.items():
            left_out.add_counts(kind, *counts)
    return SourceInfo(
        format=source.format,
        licence=source.licence,
        public=source.public,
        synthetic=source.synthetic,
        inputs=[] if many else [FileInfo(**info._asdict()) for info in inputs],
        input_list=_write_inputs(directory, inputs) if many else None,
        duplicates=sum(int(duplicates.exact[file.stem].sum()) for file in files),
        near_duplicates=sum(int(duplicates.near[file.stem].sum()) for file in files),
        empty=sum(file.empty for file in files),
        audit=None if source.public and not deidentified else AuditCounts(**audit.describe()),
        splits=dict(splits),
        cleaned={step: sum(file.cleaned.get(step, 0) for file in files) for step in source.clean},
        crosswalks=[FileInfo(**info._asdict()) for info in crosswalks],
        words=WordCounts(
            characters=sum(file.words.characters for file in files),
            tokens=sum(file.words.tokens for file in files),
            words=sum(file.words.words for file in files),
        ),
        deidentified=Deidentified(replaced_by=source.deidentify.replace_by, kinds=dict(sorted(replaced.items())))
        if deidentified
        else None,
        left_out={
            kind: LeftOut(elements=elements, characters=characters)
            for kind, (elements, characters) in left_out.counts().items()
        },
    )


def _write_inputs(directory: Path, inputs: Sequence[InputHash]) -> InputList:
    """Write a table of the input files, which every rank of a run would otherwise read with the manifest."""
    path = directory / INPUTS
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(InputHash._fields)
        writer.writerows(inputs)
    size = sum(info.bytes for info in inputs)
    return InputList(name=INPUTS, files=len(inputs), bytes=size, sha256=hash_file(path, "sha256"))


def write(
    directory: Path, config: PrepareConfig, tokenizer: LoadedTokenizer, sources: Mapping[str, SourceInfo]
) -> DataManifest:
    """Write manifest.json and the card. Both depend only on the arguments and the versions of the packages."""
    manifest = DataManifest(
        version=VERSION,
        seq_length=config.seq_length,
        token_bytes=token_bytes(tokenizer.vocab_size),
        tokenizer=TokenizerInfo(
            sha256=tokenizer.sha256,
            vocab_size=tokenizer.vocab_size,
            special_ids=SpecialIds(**tokenizer.special_ids),
            unmaskable_ids=list(tokenizer.unmaskable_ids),
        ),
        sources=dict(sources),
        config=scrub_tree(config.model_dump(mode="json")),
        packages=package_versions(),
        signatures=SCHEME if config.near_duplicates else None,
    )
    (directory / NAME).write_text(manifest.to_json(), encoding="utf-8")
    write_card(directory, manifest)
    return manifest


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that decide what is written."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    return versions | ({fast.PACKAGE: installed} if (installed := fast.version()) else {})
