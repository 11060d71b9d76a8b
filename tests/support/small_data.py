"""A small data set in the format of `cmbert data prepare`, with text that a small model can learn."""

import json
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from clinical_modernbert.streaming_data.shards.mds import PackWriter
from clinical_modernbert.streaming_data.shards.pack import TOKEN_TYPES, Pack, token_bytes

PAD, CLS, SEP, MASK, UNK = range(5)
VOCAB = 128
SEQ_LENGTH = 256


def write_small_data(root: Path, packs: int = 60, seq_length: int = SEQ_LENGTH, vocab: int = VOCAB) -> Path:
    """Two sources. Each token id of a document is that of its predecessor plus one, so neighbors predict a token.

    Words have one or two tokens, alternating.
    """
    rng = np.random.default_rng(5)
    sources = {}
    for name, count in (("notes", packs), ("codes", max(2, packs // 4))):
        splits = {}
        for split, number in (("train", count), ("held_out", 3)):
            with PackWriter(root / name / split, shard_bytes=8 * seq_length * 4) as writer:
                tokens = sum(_write(writer, rng, f"{name}/{split}{i}", seq_length, vocab) for i in range(number))
            splits[split] = {"packs": number, "tokens": tokens}
        sources[name] = {"licence": "made by the tests", "synthetic": True, "splits": splits}
    manifest = {
        "version": 1,
        "seq_length": seq_length,
        **({"token_bytes": 4} if token_bytes(vocab) == 4 else {}),
        "tokenizer": {
            "vocab_size": vocab,
            "special_ids": {"pad": PAD, "cls": CLS, "sep": SEP, "mask": MASK, "unk": UNK},
            "unmaskable_ids": [PAD, CLS, SEP, MASK, UNK],
        },
        "sources": sources,
    }
    (root / "manifest.json").write_text(json.dumps(manifest))
    _write_tokenizer(root / "tokenizer", vocab)
    return root


def _write_tokenizer(directory: Path, vocab: int) -> None:
    words = ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *(f"w{number}" for number in range(5, vocab))]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.add_special_tokens(words[:5])
    roles = {f"{word[1:-1].lower()}_token": word for word in words[:5]}
    directory.mkdir()
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": SEQ_LENGTH, **roles})
    )


def _write(writer: PackWriter, rng: np.random.Generator, name: str, seq_length: int, vocab: int) -> int:
    rows, remaining = [], seq_length - int(rng.integers(0, 8))
    while remaining >= 3:
        n = min(remaining, int(rng.integers(3, seq_length)))
        walk = (np.arange(n - 2) + rng.integers(0, vocab)) % (vocab - 5) + 5
        rows.append(np.concatenate([[CLS], walk, [SEP]]))
        remaining -= n
    tokens = np.concatenate(rows).astype(TOKEN_TYPES[token_bytes(vocab)])
    writer.write(
        Pack(
            tokens=tokens,
            lengths=np.array([len(row) for row in rows], np.int32),
            word_starts=(tokens >= 5) & (tokens % 3 > 0),
            doc_ids=[f"{name}.{segment}" for segment in range(len(rows))],
        )
    )
    return len(tokens)
