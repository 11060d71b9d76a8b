"""Packs of 16,384 and 32,768 tokens: prepared from long documents, read, masked and laid out like shorter ones."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.streaming_data.loader.batches import micro_batch
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.streaming_data.loader.order import PackAddress
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.shards.mds import PackReader
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer


def test_long_documents_go_from_text_to_the_positions_of_a_batch(
    notes: Sequence[str], tokenizer: LoadedTokenizer, tmp_path: Path
) -> None:
    text = " ".join(notes)
    texts = [text, "short note", text[9:]]
    written = [one.tokens for one in tokenizers.encode(tokenizer, texts)]
    assert len(written[0]) > 65_536
    (tmp_path / "long.jsonl").write_text(
        "".join(json.dumps({"patient": one[:20], "text": one}) + "\n" for one in texts)
    )
    source: dict[str, object] = {
        "name": "notes",
        "format": "table",
        "paths": [str(tmp_path / "long.jsonl")],
        "licence": "own",
    }
    source["split_by"] = "patient"
    for length in (16_384, 32_768):
        output = tmp_path / str(length)
        values = {"output": output, "tokenizer": tokenizer.directory, "seq_length": length, "held_out": 0, "workers": 1}
        prepare(PrepareConfig.model_validate({**values, "sources": [source]}), lambda stage: lambda *counts: None)
        reader = PackReader(f"{output}/notes/train")
        packs = [reader[number] for number in range(len(reader))]
        longest = max(int(pack.lengths.max()) for pack in packs)
        assert 0.7 * length < longest <= length
        ends = [tokenizer.special_ids[name] for name in ("cls", "sep")]
        found = np.concatenate([pack.tokens for pack in packs])
        expected = np.concatenate([*written, *(ends * len(pack.lengths) for pack in packs)])
        assert (np.bincount(found, minlength=1100) == np.bincount(expected.astype(int), minlength=1100)).all()

        dataset = open_dataset(DataConfig(path=str(output), seq_length=length), seed=1)
        batch = micro_batch(dataset, [PackAddress(0, 0, number) for number in range(len(packs))], length, 0.3)
        assert len(batch.input_ids) == length * len(packs) == sum(batch.lengths)
        assert max(batch.lengths) == longest
        row = np.concatenate([np.pad(pack.tokens, (0, length - len(pack.tokens))) for pack in packs]).astype(int)
        assert (batch.targets.numpy() == row[batch.masked_positions.numpy()]).all()
        first = batch.masked_positions.numpy()
        assert 0.2 < (first[first < len(packs[0].tokens)] > 0.75 * len(packs[0].tokens)).mean() < 0.3
        assert int(PackedBatch.from_lengths(batch.lengths, "cpu").positions.max()) == longest - 1
