"""fastokens and numpy give the tokens, words and positions of `tokenizers`, or leave the text to it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.tokenizer import fast, known_words
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import EncodedText, LoadedTokenizer

FRAGMENTS = [
    *("'", "'s", "'ll", "'re", "'v", "'VE", "s", "t", " ", "  ", "   ", " " * 24, " " * 25, "\n", "\t", "\r\n"),
    *("a", "Z", "é", "e\u0301", "1", "²", "½", "Ⅳ", "٣", "!", ".", "_", "-", "中", "ก", "\u0301", "\u200b", "\u00a0"),
    *("\u3000", "\x00", "\x1c", "\x85", "\u2028", "😀", "[MASK]", " [MASK]", "[DRUG]", "[DRUGS]", "[unused3]", "<ICD>"),
    *("Σ", "\u0378", "\ue000", "\U0010fffd", "word", "5.5mg", "\n\n", "___"),
]


def add_tokens(source: Path, directory: Path, tokens: list[dict[str, object]]) -> LoadedTokenizer:
    """The tokenizer with more added tokens, of which only the given flags are true."""
    shutil.copytree(source, directory)
    content = json.loads((directory / "tokenizer.json").read_text())
    number = max(content["model"]["vocab"].values())
    number = max(number, *(token["id"] for token in content["added_tokens"]))
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    content["added_tokens"] += [flags | token | {"id": number + n} for n, token in enumerate(tokens, 1)]
    (directory / "tokenizer.json").write_text(json.dumps(content))
    return tokenizers.load(directory)


@pytest.fixture(scope="module", params=["fastokens", "known words"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """With the extra `fast` and without it."""
    if request.param == "fastokens":
        pytest.importorskip("fastokens", reason="the extra `fast` is not installed")
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "fastokens":
            patch.setattr(fast, "version", lambda: None)
        yield request.param


@pytest.fixture(scope="module")
def loaded(way: str, tokenizer: LoadedTokenizer, tmp_path_factory: pytest.TempPathFactory) -> list[LoadedTokenizer]:
    """Plain; with runs of spaces as ModernBERT has them, and users' tokens; with one that takes spaces with it."""
    runs: list[dict[str, object]] = [{"content": " " * n, "normalized": True} for n in range(2, 25)]
    own: list[dict[str, object]] = [{"content": "[DRUG]", "special": True}]
    own += [{"content": "[DRUGS]"}, {"content": "<ICD>", "normalized": True}]
    directory = tmp_path_factory.mktemp("tokenizers")
    return [
        tokenizers.load(tokenizer.directory),
        add_tokens(tokenizer.directory, directory / "own", [*runs, *own]),
        add_tokens(tokenizer.directory, directory / "stripping", [{"content": "[DRUG]", "lstrip": True}]),
    ]


def require_same(tokenizer: LoadedTokenizer, texts: list[str]) -> None:
    for one, other in zip(
        tokenizers.encode(tokenizer, texts), tokenizers.encode_by_library(tokenizer, texts), strict=True
    ):
        assert one.tokens.tolist() == other.tokens.tolist()
        assert one.word_starts.tolist() == other.word_starts.tolist()
        assert one.character_starts().tolist() == other.character_starts().tolist()


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join), max_size=5))
@example(texts=["", "x" + " " * 49 + "y", "[DRUG][DRUGS][unused3]", "[DRUG] 's", "  [DRUG]", "a\u0301"])
def test_tokens_words_and_positions_are_the_librarys(loaded: list[LoadedTokenizer], texts: list[str]) -> None:
    for tokenizer in loaded:
        assert tokenizer.fast is not None
        assert (tokenizer.fast._words is None) == (fast.version() is not None)
        require_same(tokenizer, texts)


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(codec="utf-8")))
def test_any_text(loaded: list[LoadedTokenizer], text: str) -> None:
    require_same(loaded[1], [text])


def test_notes_and_long_texts(loaded: list[LoadedTokenizer], notes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for tokenizer in loaded:
        require_same(tokenizer, notes[:100])
    monkeypatch.setattr(fast, "PIECE", 500)
    monkeypatch.setattr(fast, "_MOST_CHARACTERS", 1500)
    long = "\n".join(notes[:20]).replace("mg", " [DRUG]")
    assert loaded[1].fast is not None
    assert loaded[1].fast.encode([long]) != [None]
    require_same(loaded[1], [*notes[:3], long, "word" * 1000, ""])


def test_words_are_forgotten_and_learned_again(
    tokenizer: LoadedTokenizer, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast, "version", lambda: None)
    monkeypatch.setattr(known_words, "_MOST_WORDS", 50)
    fresh = tokenizers.load(tokenizer.directory)
    for note in notes[:20]:
        require_same(fresh, [note, "", note[:50]])
    assert fresh.fast is not None
    assert fresh.fast._words is not None
    assert len(fresh.fast._words._rows) < 1000


def test_most_texts_are_not_left_to_the_library(loaded: list[LoadedTokenizer], notes: list[str]) -> None:
    """Without this, the comparisons above could compare the library with itself."""
    for tokenizer in loaded[:2]:
        assert tokenizer.fast is not None
        texts = [*notes[:50], "[DRUG] café β [MASK] and\u00a0[unused3]"]
        assert all(one is not None for one in tokenizer.fast.encode(texts))


def test_modernberts_tokenizer(dev_data: Path, notes: list[str]) -> None:
    tokenizer = tokenizers.load(dev_data / "modernbert_tokenizer")
    assert tokenizer.fast is not None
    cases = json.loads((dev_data / "modernbert_tokenizer" / "golden_token_ids.json").read_text())["cases"]
    require_same(tokenizer, [*(case["text"] for case in cases), *notes[:30]])


def test_other_kinds_of_tokenizers_are_left_to_the_library(tokenizer: LoadedTokenizer) -> None:
    other = Tokenizer.from_str(tokenizer.backend.to_str())
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert fast.create(other) is None
    assert fast.create(Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))) is None


def test_other_ids_of_fastokens_end_the_run(
    way: str, loaded: list[LoadedTokenizer], notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it gives ids of another text, which their bytes show, or other ids for it, which the library shows."""
    if way != "fastokens":
        pytest.skip("the fault is made in the other way")
    tokenizer = tokenizers.load(loaded[0].directory)
    encoder = tokenizer.fast
    assert encoder is not None
    encoded = tokenizers.encode(tokenizer, notes[:2])
    tokenizers.require_equal(tokenizer, notes[:2], encoded)
    swapped = encoded[1].tokens.copy()
    swapped[5:7] = swapped[[6, 5]]
    wrong = EncodedText(swapped, encoded[1].word_starts, encoded[1].character_starts)
    with pytest.raises(
        UserError, match=r"cannot be trusted with this tokenizer: a document of .*pip uninstall"
    ) as refusal:
        tokenizers.require_equal(tokenizer, notes[:2], [encoded[0], wrong])
    assert notes[1][:20] not in str(refusal.value)

    class Wrong:
        def encode_batch_flat(self, texts: list[str], add_special_tokens: bool) -> tuple[bytes, bytes]:
            return np.array([70] * len(texts), "<u4").tobytes(), np.arange(len(texts) + 1, dtype="<u8").tobytes()

    monkeypatch.setattr(encoder, "_ids", Wrong())
    with pytest.raises(UserError, match="another number of bytes than the text"):
        tokenizers.encode(tokenizer, notes[:2])
    assert fast.create(tokenizer.backend) is not None
