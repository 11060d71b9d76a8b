"""The attacks on a sample of patients, one section of the report each; what an interrupted run finished is kept."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import TypeAdapter

from ...configs.errors import UserError
from ...configs.json_text import read_json
from ...storage.files import atomic_write
from ...streaming_data.inspection.summary import local_tokenizer
from ...streaming_data.shards.manifest import DataManifest, manifest_hash, read_manifest
from ...streaming_data.tokenizer import tokenizer as tokenizers
from ..tasks.masked_words import data_vocabulary
from .extraction import attack_extraction
from .membership import UNTRAINED, attack_membership
from .passages import Sample, read_held_out, sample_passages
from .patients import patient_sources
from .recovery import attack_recovery
from .report import VERSION, ExtractionSection, MembershipSection, RecoverySection
from .scoring import Scorer

Name = Literal["membership", "recovery", "extraction"]
Section = MembershipSection | RecoverySection | ExtractionSection
NAMES: tuple[Name, ...] = ("membership", "recovery", "extraction")
_SCHEMAS: dict[Name, TypeAdapter[Section]] = {
    "membership": TypeAdapter(MembershipSection),
    "recovery": TypeAdapter(RecoverySection),
    "extraction": TypeAdapter(ExtractionSection),
}
_ADVICE = "remove the file to run this attack again"


class Settings(NamedTuple):
    """How much is tried.

    Attributes:
        patients: on each side, at most.
        longest: tokens of a passage, at most.
        maskings: of each passage, for membership.
        seed: of the sample, the masks and the intervals.
    """

    patients: int = 200
    longest: int = 256
    maskings: int = 4
    seed: int = 0


def run_attacks(
    model: Scorer,
    references: Mapping[str, Scorer],
    address: str,
    settings: Settings,
    directory: Path,
    names: Sequence[Name] = NAMES,
    sources: Sequence[str] | None = None,
    seen: Mapping[str, Counter[int]] | None = None,
    planted: Sequence[str] = (),
) -> dict[Name, Section]:
    """Attack a model; an attack for which the sample has no passages has no section.

    Args:
        references: other models; `untrained` must be one.
        address: of the data set.
        directory: for finished sections, each in a file named by a hash of everything that it depends on.
        sources: default: all with texts of patients.
        seen: how often the model was trained on each training pack of each source; None: on all.
        planted: lines that only training documents have, such as canaries; documents with one are left out.
    Raises:
        UserError: the data set is missing, has another tokenizer, or no patients on one side.
    """
    manifest = read_manifest(address)
    sources = _check_sources(manifest, sources, address)
    models = {"the model": model, **references}
    longest = min(settings.longest, manifest.seq_length, *(one.max_length for one in models.values()))
    settings = settings._replace(longest=longest)
    key = _key(models, manifest, sources, settings, seen, planted)
    files = {name: directory / f"{name}-{key}.json" for name in names}
    found = {name: read_json(file, _SCHEMAS[name], _ADVICE) for name, file in files.items() if file.is_file()}
    missing = [name for name in names if name not in found]
    if not missing:
        return found
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer = tokenizers.load(local_tokenizer(address, Path(temporary)))
        for name, one in models.items():
            if one.tokenizer.backend.get_vocab() != tokenizer.backend.get_vocab():
                raise UserError(
                    f"{address} was prepared with another tokenizer than that of {name}: its token ids differ; name "
                    "the data set that the model was trained on, and references with the same tokenizer"
                )
        lines = [one.tokens.astype(np.int64) for one in tokenizers.encode(tokenizer, planted)]
        sample = sample_passages(address, manifest, sources, settings.patients, longest, settings.seed, seen, lines)
        for name in missing:
            section = _attack(name, model, references, address, manifest, sources, settings, sample, tokenizer)
            if section:
                section = section.model_copy(update={"epochs": _epochs(sources, seen)})
                directory.mkdir(parents=True, exist_ok=True)
                atomic_write(files[name], section.model_dump_json(indent=1) + "\n")
                found[name] = section
    return {name: found[name] for name in names if name in found}


def _attack(
    name: Name,
    model: Scorer,
    references: Mapping[str, Scorer],
    address: str,
    manifest: DataManifest,
    sources: Sequence[str],
    settings: Settings,
    sample: Sample,
    tokenizer: tokenizers.LoadedTokenizer,
) -> Section | None:
    untrained, longest, seed = references[UNTRAINED], settings.longest, settings.seed
    if name == "membership":
        vocabulary = data_vocabulary(manifest)
        return attack_membership(model, references, sample, vocabulary, settings.maskings, longest, seed)
    if name == "recovery":
        return attack_recovery(model, untrained, sample, tokenizer, _locales(manifest), longest, seed)
    held_out = read_held_out(address, sources, sample, seed)
    return attack_extraction(model, untrained, sample, held_out, tokenizer.special_ids["mask"], longest, seed)


def _check_sources(manifest: DataManifest, sources: Sequence[str] | None, address: str) -> list[str]:
    if sources is None:
        return patient_sources(manifest)
    if unknown := [name for name in sources if name not in manifest.sources]:
        raise UserError(f"{address} has no source {', '.join(unknown)}; it has {', '.join(manifest.sources)}")
    return list(sources)


def _locales(manifest: DataManifest) -> dict[str, list[str]]:
    """The locales of each source of the recipe; manifests of other versions may have none."""
    recipe = manifest.config.get("sources")
    entries = [entry for entry in recipe if isinstance(entry, dict)] if isinstance(recipe, list) else []
    return {str(entry.get("name")): list(entry.get("locale") or ()) for entry in entries}


def _epochs(sources: Sequence[str], seen: Mapping[str, Counter[int]] | None) -> float | None:
    """The mean number of times that the packs of the sources were seen, of those that were."""
    counts = [count for name in sources for count in (seen or {}).get(name, Counter()).values() if count]
    return round(sum(counts) / len(counts), 2) if counts else None


def _key(
    models: Mapping[str, Scorer],
    manifest: DataManifest,
    sources: Sequence[str],
    settings: Settings,
    seen: Mapping[str, Counter[int]] | None,
    planted: Sequence[str],
) -> str:
    read = None if seen is None else {name: sorted(packs.items()) for name, packs in seen.items() if name in sources}
    identities = {name: one.identity for name, one in models.items()}
    content = [VERSION, identities, manifest_hash(manifest), list(sources), settings, read, list(planted)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
