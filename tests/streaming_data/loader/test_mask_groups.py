"""Mask groups: words, spans and codes, compared with simple parses of the text."""

import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tokenizer_kinds
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import SEQ_LENGTH, write_small_data

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.streaming_data.loader.mask_groups import CodeParts, Strategy, code_parts, mask_groups
from clinical_modernbert.streaming_data.loader.masking import (
    MASK_SHARE,
    RANDOM_SHARE,
    Masked,
    Vocabulary,
    mask,
    vocabulary,
)
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

SIZE, PAD, CLS, SEP, MASK = 100, 0, 1, 2, 4
REAL = vocabulary(SIZE, PAD, MASK, [0, 1, 2, 3, 4])
GROUPING: list[Strategy] = ["whole_word", "span", "code_aware"]


def random_codes(size: int) -> CodeParts:
    rng = np.random.default_rng(7)
    alphanumeric = rng.random(size) < 0.7
    return CodeParts(alphanumeric, alphanumeric & (rng.random(size) < 0.5), ~alphanumeric, rng.random(size) < 0.5)


def random_pack(seed: int, segments: int = 6) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    rows = [[CLS, *rng.integers(5, SIZE, rng.integers(0, 60)), SEP] for _ in range(segments)]
    tokens = np.concatenate(rows).astype(np.uint16)
    return tokens, (tokens >= 5) & (rng.random(len(tokens)) < 0.6)


def masked_and_groups(strategy: Strategy, seed: int, rate: float = 0.3) -> tuple[Masked, npt.NDArray, npt.NDArray]:
    tokens, word_starts = random_pack(seed)
    groups = mask_groups(strategy, tokens, word_starts, REAL.is_real, random_codes(SIZE), seed)
    assert groups is not None
    return mask(tokens, rate, REAL, seed, groups=groups), groups, tokens


@pytest.mark.parametrize("strategy", GROUPING)
@given(seed=st.integers(0, 10**6), rate=st.sampled_from([0.001, 0.15, 0.3, 0.9, 0.999]))
@settings(max_examples=60, deadline=None)
def test_exactly_the_rate_is_masked_with_at_most_one_partial_group(strategy: Strategy, seed: int, rate: float) -> None:
    masked, groups, tokens = masked_and_groups(strategy, seed, rate)
    maskable = np.flatnonzero(tokens >= 5)
    assert len(masked.positions) == round(rate * len(maskable))
    assert set(masked.positions) <= set(maskable)
    partial = []
    for group in np.unique(groups[masked.positions]):
        members = maskable[groups[maskable] == group]
        hidden = masked.positions[groups[masked.positions] == group]
        assert (members == np.arange(members[0], members[-1] + 1)).all(), "a group crosses a special token"
        np.testing.assert_array_equal(hidden, members[: len(hidden)])
        partial += [group] if len(hidden) < len(members) else []
        shown = masked.tokens[hidden]
        assert (shown == MASK).all() or (shown != MASK).all(), "a group is half shown"
    assert len(partial) <= 1
    restored = masked.tokens.copy()
    restored[masked.positions] = masked.targets
    np.testing.assert_array_equal(restored, tokens)


@pytest.mark.parametrize("strategy", GROUPING)
def test_80_percent_of_groups_become_mask_tokens_and_replacements_are_uniform(strategy: Strategy) -> None:
    shares, replacements = [], np.zeros(SIZE, np.int64)
    for seed in range(1500):
        masked, groups, _ = masked_and_groups(strategy, seed)
        shown, group_of = masked.tokens[masked.positions], groups[masked.positions]
        shares.extend(shown[np.flatnonzero(np.diff(group_of, prepend=-1))] == MASK)
        replaced = (shown != MASK) & (shown != masked.targets)
        replacements += np.bincount(shown[replaced], minlength=SIZE)
    assert np.mean(shares) == pytest.approx(MASK_SHARE, abs=4 * (0.16 / len(shares)) ** 0.5)
    assert replacements[:5].sum() == 0
    expected = replacements[5:].mean()
    chi_square = ((replacements[5:] - expected) ** 2 / expected).sum()
    assert expected > 50 * RANDOM_SHARE
    assert abs(chi_square - 94) < 5 * np.sqrt(2 * 94)


@pytest.mark.parametrize("strategy", GROUPING)
def test_groups_are_a_function_of_the_pack_and_its_key(strategy: Strategy) -> None:
    tokens, word_starts = random_pack(1, segments=20)

    def groups(key: int) -> list[int]:
        result = mask_groups(strategy, tokens, word_starts, REAL.is_real, random_codes(SIZE), key)
        assert result is not None
        return result.tolist()

    first = groups(1)
    np.random.seed(3)
    assert groups(1) == first
    assert (groups(2) == first) == (strategy != "span")


def test_words_are_those_of_the_prepared_data() -> None:
    tokens = np.array([CLS, 5, 6, 7, 8, SEP, CLS, 9, 9, SEP], np.uint16)
    starts = np.array([0, 1, 0, 1, 1, 0, 0, 0, 1, 0], bool)  # the second segment begins within a word
    groups = mask_groups("whole_word", tokens, starts, REAL.is_real, None)
    assert groups is not None
    assert groups[[1, 2, 3, 4, 7, 8]].tolist() == [2, 2, 3, 4, 6, 7]


def test_span_lengths_are_those_of_spanbert() -> None:
    words = 200_000
    tokens = np.full(words, 7, np.uint16)
    groups = mask_groups("span", tokens, np.ones(words, bool), REAL.is_real, None, 5)
    assert groups is not None
    lengths = np.bincount(np.unique(groups, return_counts=True)[1][:-1], minlength=11)[1:]
    weights = 0.2 * 0.8 ** np.arange(10)
    expected = lengths.sum() * weights / weights.sum()
    assert len(lengths) == 10
    assert ((lengths - expected) ** 2 / expected).sum() < 9 + 5 * np.sqrt(18)
    assert (lengths * np.arange(1, 11)).sum() / lengths.sum() == pytest.approx(3.797, abs=0.05)


TEXT = "Codes: E11.9, 250.00 and S72.001A. COVID-19 (I10) was seen 3x; beta-blocker, Dr.House, pH 7.4--7.5."
CODE = r"(?=[A-Za-z.-]*[0-9])[A-Za-z0-9]+(?:[.-][A-Za-z0-9]+)*"


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    tokenizers.train([TEXT], 512, directory)
    return directory


def test_codes_are_masked_as_a_whole_and_words_as_before(byte_level: Path) -> None:
    loaded = tokenizers.load(byte_level)
    (encoded,) = tokenizers.encode(loaded, [TEXT])
    codes = code_parts((byte_level / "tokenizer.json").read_bytes(), loaded.vocab_size)
    is_real = np.ones(loaded.vocab_size, bool)
    groups = mask_groups("code_aware", encoded.tokens, encoded.word_starts, is_real, codes)
    assert groups is not None
    starts = encoded.character_starts()[np.flatnonzero(np.diff(groups, prepend=-1))].tolist()
    found = [TEXT[low:high].strip() for low, high in pairwise([*starts, len(TEXT)])]
    assert found == re.findall(rf"{CODE}|[A-Za-z]+|[^A-Za-z0-9\s]+", TEXT)
    codes_found = [text for text in found if re.search("[0-9]", text)]
    assert codes_found == ["E11.9", "250.00", "S72.001A", "COVID-19", "I10", "3x", "7.4", "7.5"]


@pytest.mark.parametrize("kind", [name for name in tokenizer_kinds.WORD_SOURCES if name != "wordpiece"])
def test_codes_and_words_are_whole_with_every_kind_of_tokenizer(notes: list[str], tmp_path: Path, kind: str) -> None:
    """All tokens that begin in a code are one group, and no other token that begins later is."""
    directory = tokenizer_kinds.save(
        getattr(tokenizer_kinds, kind), [" ".join(map(chr, range(33, 127))), *notes[:60]], tmp_path / kind
    )
    loaded = tokenizers.load(directory)
    codes = code_parts((directory / "tokenizer.json").read_bytes(), loaded.vocab_size)
    is_real = np.ones(loaded.vocab_size, bool)
    text = TEXT + " ICD-10 J45.909/I50.9; (K21.9) T4N1M0\n5.5 x-ray 2"
    (encoded,) = tokenizers.encode(loaded, [text])
    groups = mask_groups("code_aware", encoded.tokens, encoded.word_starts, is_real, codes)
    assert groups is not None
    spans = loaded.backend.encode(text, add_special_tokens=False).offsets
    firsts = np.array([end - len(text[start:end].lstrip() or text[start:end]) for start, end in spans])
    seen: set[int] = set()
    for match in re.finditer(rf"{CODE}|[A-Za-z]+", text):
        found = set(groups[(firsts >= match.start()) & (firsts < match.end())].tolist())
        assert len(found) <= 1, (match[0], found)
        assert not found & seen, match[0]
        seen |= found
    assert len(seen) > 20


def test_the_data_section_selects_the_masking_strategy(tmp_path: Path) -> None:
    path = write_small_data(tmp_path / "data", packs=4)
    section = {"path": str(path), "seq_length": SEQ_LENGTH}
    assert open_dataset(DataConfig(**section, masking="span"), 1).masking == "span"
    with pytest.raises(
        UserError, match=r"tokenizer\.json: masking code_aware needs a tokenizer whose tokens show .*=whole_word"
    ):
        open_dataset(DataConfig(**section, masking="code_aware"), 1)
    tokenizer = json.loads((path / "tokenizer/tokenizer.json").read_text())
    (path / "tokenizer/tokenizer.json").write_text(json.dumps(tokenizer | {"decoder": {"type": "ByteLevel"}}))
    vocabulary = open_dataset(DataConfig(**section, masking="code_aware"), 1).vocabulary
    assert isinstance(vocabulary, Vocabulary)
    assert vocabulary.codes is not None
    assert vocabulary.codes.digit[5:].all()
