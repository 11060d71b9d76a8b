"""A tokenizer with ids above 65,535 gives the data set of one with small ids, in 4 bytes per token."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizer_kinds

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.loader.batches import StepData, rank_micro_batches
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

SHIFT = 190_000
SEQ_LENGTH = 256


def silent(stage: str) -> Any:
    return lambda done, total, counted: None


@pytest.fixture(scope="module")
def data(tokenizer: LoadedTokenizer, notes: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same notes as tokens of the small tokenizer, and of one whose ids are larger by 190,000."""
    folder = tmp_path_factory.mktemp("wide")
    rows = [{"id": str(number), "text": text[:3_000]} for number, text in enumerate(notes[:60])]
    (folder / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    directories = {
        "small": tokenizer.directory,
        "wide": tokenizer_kinds.shifted(tokenizer.directory, folder / "t", SHIFT),
    }
    source = {"name": "notes", "format": "table", "paths": [str(folder / "notes.jsonl")], "public": True, "split_by": "id"}
    for name, directory in directories.items():
        values = {"output": folder / name, "tokenizer": directory, "seq_length": SEQ_LENGTH, "held_out": 0.2}
        prepare(
            PrepareConfig.model_validate({**values, "workers": 1, "sources": [{**source, "licence": "own"}]}), silent
        )
    return {name: folder / name for name in directories}


def opened(path: Path, **keys: Any) -> Any:
    return open_dataset(DataConfig(path=str(path), seq_length=SEQ_LENGTH, **keys), 3)


def test_packs_are_those_of_small_ids(data: dict[str, Path]) -> None:
    small, wide = (opened(data[name]) for name in ("small", "wide"))
    assert (small.manifest.token_bytes, wide.manifest.token_bytes) == (2, 4)
    assert "token_bytes" not in (data["small"] / "manifest.json").read_text()
    addresses = small.order.between(0, len(small.readers[0]))
    assert len(addresses) == len(wide.readers[0]) > 5
    for address in addresses:
        ours, theirs = small.read(address), wide.read(address)
        assert (ours.tokens.dtype, theirs.tokens.dtype) == (np.uint16, np.uint32)
        special = np.isin(ours.tokens, list(tokenizers.load(data["small"] / "tokenizer").special_ids.values()))
        assert np.array_equal(ours.tokens + SHIFT * ~special, theirs.tokens)
        assert np.array_equal(ours.word_starts, theirs.word_starts)
        assert (ours.doc_ids, ours.lengths.tolist()) == (theirs.doc_ids, theirs.lengths.tolist())


@pytest.mark.parametrize("masking", ["token", "whole_word", "span", "code_aware"])
def test_masks_and_replacements_are_of_the_real_vocabulary(data: dict[str, Path], masking: str) -> None:
    """The 189,000 ids without a token are never sampled, so the masks are those of the small ids."""
    small, wide = (opened(data[name], masking=masking) for name in ("small", "wide"))
    assert len(wide.vocabulary.is_real) > SHIFT
    assert len(wide.vocabulary.real_ids) == len(small.vocabulary.real_ids)
    step = StepData(0, 4, SEQ_LENGTH, 0.3)
    for one, other in zip(*(rank_micro_batches(d, step, 2, 0, 1) for d in (small, wide)), strict=True):
        assert one.masked_positions.tolist() == other.masked_positions.tolist()
        assert (one.targets + SHIFT).tolist() == other.targets.tolist()
        real = one.input_ids >= 5
        assert (one.input_ids + SHIFT * real).tolist() == other.input_ids.tolist()


def test_another_width_than_the_manifests_is_named(data: dict[str, Path], tmp_path: Path) -> None:
    manifest = json.loads((data["wide"] / "manifest.json").read_text())
    for name in ("notes", "tokenizer"):
        (tmp_path / name).symlink_to(data["small" if name == "notes" else "wide"] / name)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    dataset = opened(tmp_path)
    with pytest.raises(UserError, match=r"notes/train: pack \d+ has tokens of 2 bytes, but .*manifest\.json says 4"):
        dataset.read(dataset.order.between(0, 1)[0])
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "token_bytes": 2}))
    with pytest.raises(UserError, match=r"token_bytes is 2; \d+ tokens need 4"):
        opened(tmp_path)
