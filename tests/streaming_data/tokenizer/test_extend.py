"""Tokenizer extension: merges are those of byte pair encoding, and old tokens keep their ids."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.extend import Extension, count_words, fertility, learn, write
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer


@pytest.fixture(scope="module")
def extension(tokenizer: LoadedTokenizer, notes: list[str]) -> Extension:
    return learn(count_words(tokenizer, notes[:300]), 200, tokenizer.vocab_size)


@pytest.fixture(scope="module")
def extended(
    tokenizer: LoadedTokenizer, extension: Extension, tmp_path_factory: pytest.TempPathFactory
) -> LoadedTokenizer:
    directory: Path = tmp_path_factory.mktemp("extended")
    assert write(tokenizer, extension, directory) == 1280
    return tokenizers.load(directory)


@settings(max_examples=200, deadline=None)
@given(
    counts=st.dictionaries(
        st.lists(st.integers(0, 4), min_size=1, max_size=8).map(tuple), st.integers(1, 30), max_size=20
    ),
    tokens=st.integers(0, 8),
)
def test_merges_are_those_of_byte_pair_encoding(counts: dict[tuple[int, ...], int], tokens: int) -> None:
    """Compared with the algorithm of Sennrich et al. (arXiv 1508.07909), with a full recount at each step."""
    words = {word: list(word) for word in counts}
    expected = []
    for new in range(100, 100 + tokens):
        pairs: Counter[tuple[int, int]] = Counter()
        for word, encoding in words.items():
            for pair in pairwise(encoding):
                pairs[pair] += counts[word]
        if not pairs or max(pairs.values()) < 5:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        expected.append(best)
        for word, encoding in words.items():
            out: list[int] = []
            for token in encoding:
                if out and (out[-1], token) == best:
                    out[-1] = new
                else:
                    out.append(token)
            words[word] = out
    result = learn(counts, tokens, 100)
    assert result.merges == expected
    assert result.words == {word: tuple(encoding) for word, encoding in words.items()}


def test_every_new_encoding_expands_to_the_old_one(
    tokenizer: LoadedTokenizer, extended: LoadedTokenizer, extension: Extension, notes: list[str]
) -> None:
    expansions = dict(enumerate(extension.expansions(), start=extension.first_id))
    texts = [*notes[300:], "Unseen: électroencéphalogramme 5.5mg\n\n  [MASK] don't"]
    before, after = (tokenizers.encode(one, texts) for one in (tokenizer, extended))
    for old, new in zip(before, after, strict=True):
        ids = new.tokens.tolist()
        assert [part for token in ids for part in expansions.get(token, (token,))] == old.tokens.tolist()
        assert len(ids) <= len(old.tokens)
    assert sum(len(new.tokens) for new in after) < 0.95 * sum(len(old.tokens) for old in before)
    assert [new.word_starts.sum() for new in after] == [old.word_starts.sum() for old in before]


def test_fertility_is_that_of_the_new_tokenizer(
    tokenizer: LoadedTokenizer, extended: LoadedTokenizer, extension: Extension, notes: list[str]
) -> None:
    counts = count_words(tokenizer, notes[:300])
    again = count_words(extended, notes[:300])
    assert fertility(counts, extension.words) == fertility(again)
    assert fertility(again) < fertility(counts)
    assert counts.total() == again.total()


def test_special_tokens_and_ids_are_unchanged(tokenizer: LoadedTokenizer, extended: LoadedTokenizer) -> None:
    assert extended.vocab_size == 1280
    assert extended.special_ids == tokenizer.special_ids
    old, new = tokenizer.backend.get_vocab(), extended.backend.get_vocab()
    assert {token: new[token] for token in old} == old
    assert set(extended.unmaskable_ids) == {*tokenizer.unmaskable_ids, *range(1224, 1280)}
    reference = AutoTokenizer.from_pretrained(extended.directory)
    assert len(reference) == 1280
    assert reference("a [MASK]")["input_ids"][-2] == extended.special_ids["mask"]


def test_modernberts_tokenizer_can_be_extended(dev_data: Path, notes: list[str], tmp_path: Path) -> None:
    modernbert = tokenizers.load(dev_data / "modernbert_tokenizer")
    extension = learn(count_words(modernbert, notes), 50, modernbert.vocab_size)
    assert write(modernbert, extension, tmp_path) == 50_432
    extended = tokenizers.load(tmp_path)
    assert extended.special_ids == modernbert.special_ids
    assert set(extended.unmaskable_ids) == {*modernbert.unmaskable_ids, *range(50_418, 50_432)}
    (old,), (new,) = (tokenizers.encode(one, notes[:1]) for one in (modernbert, extended))
    assert len(new.tokens) < len(old.tokens)
    assert extended.decode(new.tokens) == notes[0]


def test_refusals(tokenizer: LoadedTokenizer, tmp_path: Path) -> None:
    too_many = Extension(tokenizer.vocab_size, [(5, 6)] * (1 << 24), {})
    with pytest.raises(UserError, match="at most 16,777,216 are possible"):
        write(tokenizer, too_many, tmp_path)
    (tmp_path / "tokenizer.json").write_text(
        '{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null, '
        '"decoder": null, "model": {"type": "WordLevel", "unk_token": "u", "vocab": '
        '{"u": 0, "c": 1, "s": 2, "p": 3, "m": 4}}}'
    )
    roles = dict(zip(tokenizers.ROLES, "ucspm", strict=True))
    config = ", ".join(f'"{role}_token": "{token}"' for role, token in roles.items())
    (tmp_path / "tokenizer_config.json").write_text(f"{{{config}}}")
    with pytest.raises(UserError, match="not byte-level BPE"):
        count_words(tokenizers.load(tmp_path), ["text"])


@pytest.fixture
def older(tokenizer: LoadedTokenizer, tmp_path: Path) -> Path:
    """The tokenizer as tokenizers before 0.20 wrote it: merges are strings."""
    shutil.copytree(tokenizer.directory, tmp_path / "older")
    path = tmp_path / "older" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    path.write_text(json.dumps(content))
    return path.parent


def test_merges_of_either_spelling_can_be_extended(
    older: Path, extension: Extension, extended: LoadedTokenizer, notes: list[str], tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    write(tokenizers.load(older), extension, tmp_path / "new")
    again = tokenizers.load(tmp_path / "new")
    for one, other in zip(tokenizers.encode(again, notes), tokenizers.encode(extended, notes), strict=True):
        assert one.tokens.tolist() == other.tokens.tolist()
    reference = AutoTokenizer.from_pretrained(tmp_path / "new")
    assert (
        reference(notes[0], add_special_tokens=False)["input_ids"]
        == again.backend.encode(notes[0], add_special_tokens=False).ids
    )


def test_a_tokenizer_that_does_not_load_or_changes_ids_is_refused(
    tokenizer: LoadedTokenizer, extension: Extension, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files = tokenizers.write_files

    def damaging(change: Callable[[dict[str, Any]], None]) -> Callable[[Path, str, dict[str, Any]], None]:
        def write_damaged(directory: Path, content: str, config: dict[str, Any]) -> None:
            parsed = json.loads(content)
            change(parsed)
            write_files(directory, json.dumps(parsed), config)

        return write_damaged

    def mix_spellings(content: dict[str, Any]) -> None:
        content["model"]["merges"][-1] = " ".join(content["model"]["merges"][-1])

    def swap_ids(content: dict[str, Any]) -> None:
        vocabulary = content["model"]["vocab"]
        first, second = [token for token, number in vocabulary.items() if 300 <= number < 302]
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]

    def drop_a_merge(content: dict[str, Any]) -> None:
        del content["model"]["merges"][-len(extension.merges)]

    for change, message in (
        (mix_spellings, "not a Hugging Face tokenizer"),
        (swap_ids, "2 of its tokens would have other ids"),
        (drop_a_merge, "words differently than its merges say"),
    ):
        monkeypatch.setattr(tokenizers, "write_files", damaging(change))
        with pytest.raises(UserError, match=message):
            write(tokenizer, extension, tmp_path)
