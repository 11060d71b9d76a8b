"""The card of a data set: README.md next to its manifest, in the format of Hugging Face's dataset cards."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from ..shards.manifest import DataManifest, SourceInfo
from ..shards.restricted import restricted_sources

NAME = "README.md"
_SIZES = {
    "n<1K": 10**3,
    "1K<n<10K": 10**4,
    "10K<n<100K": 10**5,
    "100K<n<1M": 10**6,
    "1M<n<10M": 10**7,
    "10M<n<100M": 10**8,
    "100M<n<1B": 10**9,
}
_MACHINE_SPECIFIC = ("output", "workers")
_COUNTS = ("documents", "segments", "tokens", "packs")


def write_card(directory: Path, manifest: DataManifest) -> Path:
    """Write the manifest's content for human readers. The card contains no text of any document.

    Reference: https://huggingface.co/docs/hub/datasets-cards
    """
    path = directory / NAME
    path.write_text(card(manifest), encoding="utf-8")
    return path


def card(manifest: DataManifest) -> str:
    """The text of the card."""
    sources = manifest.sources
    tokenizer = manifest.tokenizer
    config = {key: value for key, value in manifest.config.items() if key not in _MACHINE_SPECIFIC}
    restricted = restricted_sources(sources)
    warning = (
        f"**{', '.join(restricted)} may hold text of patients: share this data set only as their licences allow.**"
        if restricted
        else "Every source is public or synthetic."
    )
    return "\n".join(
        [
            f"---\n{yaml.safe_dump(_metadata(manifest), sort_keys=False, allow_unicode=True)}---",
            "# Packed text for pretraining an encoder",
            f"Packs of at most {manifest.seq_length:,} tokens in MDS shards, written by Clinical ModernBERT. {warning}",
            "## Sources",
            _table(
                ("source", "format", "licence", "kind", "files", "bytes"),
                ((source, *_origin(entry)) for source, entry in sources.items()),
            ),
            "## Counts at every stage",
            _table(
                ("source", "empty", "duplicates", "near duplicates", "split", *_COUNTS, "fullness"),
                (row for source, entry in sources.items() for row in _stages(source, entry)),
            ),
            *_left_out(sources),
            *_canaries(manifest.config),
            "## Tokenizer",
            f"{tokenizer.vocab_size:,} tokens, in `tokenizer/`; SHA-256 `{tokenizer.sha256}`.",
            "## Configuration",
            f"```yaml\n{yaml.safe_dump(config, sort_keys=False, allow_unicode=True)}```",
            "## Versions",
            "\n".join(f"- {package} {version}" for package, version in manifest.packages.items()),
            "The hash of every input file is in `manifest.json`, that of every shard in its `index.json`.\n",
        ]
    ).replace("\n#", "\n\n#")


def _metadata(manifest: DataManifest) -> dict[str, Any]:
    documents = sum(split.documents for entry in manifest.sources.values() for split in entry.splits.values())
    size = next((name for name, limit in _SIZES.items() if documents < limit), "n>1B")
    return {
        "license": "other",
        "license_name": "see-sources",
        "task_categories": ["fill-mask"],
        "tags": ["medical", "clinical", "mds"],
        "size_categories": [size],
        "pretty_name": ", ".join(manifest.sources),
    }


def _origin(entry: SourceInfo) -> tuple[object, ...]:
    kind = "synthetic" if entry.synthetic else "public" if entry.public else "not public"
    table = entry.input_list
    files = table.files if table else len(entry.inputs)
    size = table.bytes if table else sum(file.bytes for file in entry.inputs)
    return entry.format, entry.licence, kind, f"{files:,}", f"{size:,}"


def _stages(source: str, entry: SourceInfo) -> Iterable[tuple[object, ...]]:
    dropped = tuple(f"{count:,}" for count in (entry.empty, entry.duplicates, entry.near_duplicates))
    for split, counts in entry.splits.items():
        yield (source, *dropped, split, *(f"{getattr(counts, name):,}" for name in _COUNTS), f"{counts.fullness:.2%}")


def _left_out(sources: Mapping[str, SourceInfo]) -> list[str]:
    rows = [
        (source, kind, f"{counts.elements:,}", f"{counts.characters:,}")
        for source, entry in sources.items()
        for kind, counts in entry.left_out.items()
    ]
    if not rows:
        return []
    return ["## In the files and in no text", _table(("source", "kind", "elements", "characters"), rows)]


def _canaries(config: Mapping[str, Any]) -> list[str]:
    if not (privacy := config.get("privacy")):
        return []
    planted = privacy["canaries"]
    return [
        "## Canaries",
        f"Random synthetic identifiers, which belong to nobody, were planted in training documents of "
        f"{', '.join(planted['sources'])} to measure memorization: {planted['count']:,} at each of the levels of "
        f"{', '.join(map(str, planted['repeats']))} repeats.",
    ]


def _table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(header)]
    lines.append(["---"] * len(lines[0]))
    lines += [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
