"""Packs have the tokens that transformers gives the same texts, whatever the tokenizer and its special tokens."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizer_kinds
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.prepare.chunking import cut_into_segments
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

OWN = ["[DRUG]", "<ICD>", "___NAME___"]
WRITTEN = "Take [DRUG] metformin <ICD>E11.9, ___NAME___ [DRUG][DRUG]."
STRUCTURAL = "[CLS] in the [MASK] and [SEP], [PAD] or [UNK]"
KINDS = tokenizer_kinds.KINDS


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__, scope="module")
def directory(request: pytest.FixtureRequest, notes: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind: Callable[[Sequence[str]], Tokenizer] = request.param
    return tokenizer_kinds.save(kind, notes[:100], tmp_path_factory.mktemp("kind") / kind.__name__, OWN)


def packed(tokenizer: LoadedTokenizer, text: str) -> list[int]:
    """The tokens of a text that fits one segment."""
    (encoded,) = tokenizers.encode(tokenizer, [text])
    (segment,) = cut_into_segments("1", text, encoded, tokenizer, 100_000)
    return [int(token) for token in segment.tokens]


def test_packs_have_the_tokens_of_transformers(directory: Path, notes: list[str]) -> None:
    tokenizer, reference = tokenizers.load(directory), AutoTokenizer.from_pretrained(directory)
    for text in [*notes[:20], WRITTEN, "café β\n\n5.5mg  ___ x", "Ünïcode ½ 中文"]:
        assert packed(tokenizer, text) == reference(text)["input_ids"]


def test_a_users_own_special_token_is_one_id_that_is_never_masked(directory: Path) -> None:
    tokenizer = tokenizers.load(directory)
    vocabulary = tokenizer.backend.get_vocab(with_added_tokens=True)
    ids = [vocabulary[token] for token in OWN]
    tokens = packed(tokenizer, WRITTEN)
    assert [tokens.count(number) for number in ids] == [3, 1, 1]
    assert set(ids) <= set(tokenizer.unmaskable_ids)


def structural_ids(tokenizer: LoadedTokenizer) -> set[int]:
    """Without [UNK], which any text may have."""
    return {number for role, number in tokenizer.special_ids.items() if role != "unk"}


def test_structural_tokens_are_text(directory: Path) -> None:
    """Wherever they are written, with the positions of a text."""
    tokenizer = tokenizers.load(directory)
    rng = random.Random(0)
    parts = ["[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]", " ", "a", "the ", "\n", "[", "]", "MASK", "é"]
    texts = [STRUCTURAL, "[MASK]", *("".join(rng.choices(parts, k=rng.randint(1, 12))) for _ in range(300))]
    for text, encoded in zip(texts, tokenizers.encode(tokenizer, texts), strict=True):
        assert not structural_ids(tokenizer) & set(encoded.tokens.tolist()), text
        assert (np.diff(encoded.character_starts()) >= 0).all(), text


def test_structural_tokens_are_text_for_models_that_look_up_words(tmp_path: Path, notes: list[str]) -> None:
    """Llama's `ignore_merges`, and WordPiece with words between spaces."""
    spaces = {"type": "Split", "pattern": {"String": " "}, "behavior": "Isolated", "invert": False}
    for kind in (tokenizer_kinds.byte_level, tokenizer_kinds.wordpiece):
        directory = tokenizer_kinds.save(kind, notes[:50], tmp_path / kind.__name__)
        content = json.loads((directory / "tokenizer.json").read_text())
        if content["model"]["type"] == "BPE":
            content["model"]["ignore_merges"] = True
            bytes_only = content["pre_tokenizer"] | {"use_regex": False}
            content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [spaces, bytes_only]}
        else:
            content |= {"pre_tokenizer": {"type": "WhitespaceSplit"}, "normalizer": None}
        (directory / "tokenizer.json").write_text(json.dumps(content))
        tokenizer = tokenizers.load(directory)
        assert not structural_ids(tokenizer) & set(packed(tokenizer, STRUCTURAL)[1:-1]), kind


@pytest.mark.parametrize("key", ["additional_special_tokens", "extra_special_tokens"])
def test_tokens_that_only_the_config_names(notes: list[str], tmp_path: Path, key: str) -> None:
    directory = tokenizer_kinds.save(tokenizer_kinds.byte_level, notes[:50], tmp_path / "t")
    content = json.loads((directory / "tokenizer.json").read_text())
    config: dict[str, Any] = json.loads((directory / "tokenizer_config.json").read_text())
    content["model"]["vocab"]["[DRUG]"] = 600
    (directory / "tokenizer.json").write_text(json.dumps(content))
    (directory / "tokenizer_config.json").write_text(json.dumps(config | {key: ["[DRUG]"]}))
    text = "take [DRUG] daily"
    assert packed(tokenizers.load(directory), text) == AutoTokenizer.from_pretrained(directory)(text)["input_ids"]
    assert 600 in packed(tokenizers.load(directory), text)
    (directory / "tokenizer_config.json").write_text(json.dumps(config | {key: ["[GENE]"]}))
    with pytest.raises(UserError, match=rf"{key} has '\[GENE\]', which is not in tokenizer\.json"):
        tokenizers.load(directory)


def test_modernberts_tokenizer(dev_data: Path, notes: list[str]) -> None:
    directory = dev_data / "modernbert_tokenizer"
    tokenizer, reference = tokenizers.load(directory), AutoTokenizer.from_pretrained(directory)
    for text in [*notes[:10], "mail |||EMAIL_ADDRESS||| or <|endoftext|> [unused3]" + " " * 30 + "x", WRITTEN]:
        assert packed(tokenizer, text) == reference(text)["input_ids"]


def test_other_ends_than_those_of_packs_are_told(
    directory: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizers.warn_of_other_ends(tokenizers.load(directory))
    assert not caplog.records
    content = json.loads((directory / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(content | {"post_processor": None}))
    (tmp_path / "tokenizer_config.json").write_bytes((directory / "tokenizer_config.json").read_bytes())
    tokenizers.warn_of_other_ends(tokenizers.load(tmp_path))
    assert "but packs have [CLS] " in caplog.text


def test_words_of_every_kind_are_words(directory: Path, notes: list[str]) -> None:
    """Also where the text is one pre-token; before, a word was then a document."""
    tokenizer = tokenizers.load(directory)
    assert tokenizer.word_source == tokenizer_kinds.WORD_SOURCES[directory.name]
    for text, encoded in zip(notes[:20], tokenizers.encode(tokenizer, notes[:20]), strict=True):
        sizes = np.diff(np.append(np.flatnonzero(encoded.word_starts), len(encoded.tokens)))
        assert encoded.word_starts[0]
        assert sizes.max() < 40
        assert 0.5 < len(sizes) / len(text.split()) < 4
