"""Tokenizers: Hugging Face's ids, word boundaries, reproducible training, clear errors."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import EncodedText, LoadedTokenizer

# The words of GPT-2's pre-tokenizer, which ModernBERT uses, written from its definition.
WORD = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
# Whitespace in Python, but not in Unicode's White_Space and hence not for the pre-tokenizer.
NOT_UNICODE_SPACE = "\x1c\x1d\x1e\x1f"


def words(text: str, encoded: EncodedText) -> list[str]:
    """The text from each word start to the next."""
    starts = [*encoded.character_starts()[encoded.word_starts].tolist(), len(text)]
    return [text[start:end] for start, end in pairwise(starts)]


def encode(tokenizer: LoadedTokenizer, text: str) -> EncodedText:
    return tokenizers.encode(tokenizer, [text])[0]


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(codec="ascii", exclude_categories=["Cc"], include_characters="\n\t"), min_size=1))
@example("Hello, world!  Don't\n\n\n  5.5mg/dL ___ (x)\t.")
@example("Name:  ___                     Unit No:   ___\n \nAdmission Date:  ___")
def test_words_are_the_words_of_the_text(tokenizer: LoadedTokenizer, text: str) -> None:
    assert words(text, encode(tokenizer, text)) == WORD.findall(text)


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(codec="utf-8", exclude_characters=NOT_UNICODE_SPACE), min_size=1))
def test_words_of_any_text_are_whitespace_or_contain_none(tokenizer: LoadedTokenizer, text: str) -> None:
    encoded = encode(tokenizer, text)
    assert encoded.word_starts[0]
    assert encoded.tokens.dtype == np.uint16
    assert not set(encoded.tokens.tolist()) & set(tokenizer.special_ids.values())
    for word in words(text, encoded):
        assert word.isspace() or not re.search(r"\S\s", word)


def test_words_of_notes_concatenate_to_the_text(tokenizer: LoadedTokenizer, notes: list[str]) -> None:
    for text, encoded in zip(notes[:50], tokenizers.encode(tokenizer, notes[:50]), strict=True):
        assert "".join(words(text, encoded)) == text
        assert words(text, encoded) == WORD.findall(text)
        assert tokenizer.decode(encoded.tokens) == text


def test_special_tokens_written_in_a_document_are_text(tokenizer: LoadedTokenizer) -> None:
    text = "[CLS] the [MASK] sign [SEP][PAD] was [UNK]"
    encoded = encode(tokenizer, text)
    assert not set(encoded.tokens.tolist()) & set(tokenizer.unmaskable_ids)
    assert tokenizer.decode(encoded.tokens) == text


def test_modernberts_ids_are_those_of_hugging_face(dev_data: Path) -> None:
    tokenizer = tokenizers.load(dev_data / "modernbert_tokenizer")
    assert tokenizer.vocab_size == 50_368
    assert tokenizer.special_ids == {"unk": 50280, "cls": 50281, "sep": 50282, "pad": 50283, "mask": 50284}
    assert set(tokenizer.unmaskable_ids) == {1, 50279, *range(50280, 50368)}
    cases = json.loads((dev_data / "modernbert_tokenizer" / "golden_token_ids.json").read_text())["cases"]
    plain = [case for case in cases if not set(tokenizer.unmaskable_ids) & set(case["input_ids"][1:-1])]
    assert len(plain) > 50
    for case in plain:
        assert encode(tokenizer, case["text"]).tokens.tolist() == case["input_ids"][1:-1]


def test_modernbert_words(dev_data: Path) -> None:
    tokenizer = tokenizers.load(dev_data / "modernbert_tokenizer")
    text = "Hx of hypercholesterolemia,  didn't\n\nA1c-7.2* (café)\n"
    assert words(text, encode(tokenizer, text)) == [
        *["Hx", " of", " hypercholesterolemia", ",", "  ", "didn", "'t", "\n", "\n"],
        *["A", "1", "c", "-", "7", ".", "2", "*", " (", "café", ")", "\n"],
    ]


def test_transformers_loads_the_tokenizer_and_agrees(tokenizer: LoadedTokenizer, notes: list[str]) -> None:
    reference = AutoTokenizer.from_pretrained(tokenizer.directory)
    ids = {role: getattr(reference, f"{role}_token_id") for role in tokenizers.ROLES}
    assert ids == tokenizer.special_ids
    assert reference.model_max_length == 8192
    for text in notes[:20]:
        expected = [ids["cls"], *encode(tokenizer, text).tokens.tolist(), ids["sep"]]
        assert reference(text)["input_ids"] == expected
        assert reference.decode(expected, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text
    masked = reference("pain in the [MASK]")["input_ids"]
    assert masked[-2] == ids["mask"]
    assert len(reference) == tokenizer.vocab_size


def test_the_vocabulary_is_padded_with_unmaskable_tokens(tokenizer: LoadedTokenizer) -> None:
    assert tokenizer.vocab_size == 1024
    unused = {tokenizer.backend.token_to_id(f"[unused{number}]") for number in range(24)}
    assert set(tokenizer.unmaskable_ids) == unused | set(tokenizer.special_ids.values())
    assert len(unused) == 24


def test_training_is_reproducible_in_another_process(tmp_path: Path, tokenizer: LoadedTokenizer) -> None:
    script = f"""
import itertools
from pathlib import Path
from clinical_modernbert.streaming_data.tokenizer import tokenizer
from clinical_modernbert.streaming_data.synthetic.notes import generate
tokenizer.train((row["text"] for row in itertools.islice(generate(0), 400)), 1000, Path({str(tmp_path / "again")!r}))
"""
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    for name in tokenizers.FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tokenizer.directory / name).read_bytes()


def test_training_refuses_existing_directories_and_bad_sizes(tmp_path: Path, tokenizer: LoadedTokenizer) -> None:
    with pytest.raises(UserError, match="exists already"):
        tokenizers.train([], 1000, tokenizer.directory)
    for size in (100, 1 << 25):
        with pytest.raises(UserError, match="expected 512 to 16,777,216"):
            tokenizers.train([], size, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_bad_directories_are_refused(tmp_path: Path, tokenizer: LoadedTokenizer) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json: no such file"):
        tokenizers.load(tmp_path)
    copy = shutil.copytree(tokenizer.directory, tmp_path / "copy")
    config = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**config, "mask_token": "<mask>"}))
    with pytest.raises(UserError, match="mask_token is '<mask>'; expected a token of the vocabulary"):
        tokenizers.load(copy)
    (copy / "tokenizer_config.json").write_text(json.dumps({**config, "pad_token": "[SEP]"}))
    with pytest.raises(UserError, match="each needs its own"):
        tokenizers.load(copy)
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="not a Hugging Face tokenizer"):
        tokenizers.load(copy)


def test_ids_that_only_a_damaged_file_has_are_refused(tmp_path: Path, tokenizer: LoadedTokenizer) -> None:
    copy = shutil.copytree(tokenizer.directory, tmp_path / "copy")
    content = json.loads((copy / "tokenizer.json").read_text())
    content["model"]["vocab"]["extra"] = 1 << 30
    (copy / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="its largest id is 1,073,741,824; ids must be below 16,777,216"):
        tokenizers.load(copy)


def test_roles_in_a_file_of_their_own(tokenizer: LoadedTokenizer, tmp_path: Path) -> None:
    """As transformers saved tokenizers before 4.38; a copy needs no third file."""
    older, copy = tmp_path / "older", tmp_path / "copy"
    shutil.copytree(tokenizer.directory, older)
    config = json.loads((older / "tokenizer_config.json").read_text())
    roles = {name: config.pop(name) for name in list(config) if name.endswith("_token")}
    (older / "tokenizer_config.json").write_text(json.dumps(config))
    (older / "special_tokens_map.json").write_text(json.dumps(roles))
    copy.mkdir()
    tokenizers.copy_files(older, copy)
    assert sorted(path.name for path in copy.iterdir()) == ["tokenizer.json", "tokenizer_config.json"]
    for directory in (older, copy):
        assert tokenizers.load(directory).special_ids == tokenizer.special_ids
    for name in tokenizers.FILES:
        (copy / name).unlink()
    tokenizers.copy_files(tokenizer.directory, copy)
    for name in tokenizers.FILES:
        assert (copy / name).read_bytes() == (tokenizer.directory / name).read_bytes()


def test_a_vocabulary_alone_is_refused_with_the_conversion(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("[UNK]\n")
    with pytest.raises(UserError, match=r"it has vocab\.txt, from which transformers makes both: AutoTokenizer"):
        tokenizers.load(tmp_path)
