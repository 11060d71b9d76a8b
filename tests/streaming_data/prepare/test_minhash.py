"""Near duplicates are found with the theoretical probability, and not among unrelated texts."""

import re
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.prepare import minhash
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.minhash import Bands, band_hashes, bands_for, near_duplicate_mask
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

WORDS = [f"{first}{last}" for first in "bcdfglmnprst" for last in ("adin", "ecol", "imus", "oster", "ulent", "yphic")]


def text(rng: Random, words: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(words))


def changed(original: str, words: int, rng: Random) -> str:
    """The text with some of its words replaced."""
    out = original.split()
    for position in rng.sample(range(len(out)), words):
        out[position] = "changed"
    return " ".join(out)


def similarity(first: str, second: str) -> float:
    """Jaccard similarity of the sets of five-word shingles, by its definition."""
    shingles = [{tuple(words[n : n + 5]) for n in range(len(words) - 4)} for words in (first.split(), second.split())]
    return len(shingles[0] & shingles[1]) / len(shingles[0] | shingles[1])


@pytest.mark.parametrize("words", [2, 4, 8, 16])
def test_pairs_are_found_with_the_probability_given_by_the_bands(words: int) -> None:
    rng = Random(words)
    bands = bands_for(0.8)
    detected, expected = [], []
    for _ in range(300):
        original = text(rng, 300)
        copy = changed(original, words, rng)
        first, second = band_hashes([original, copy], bands)
        detected.append(bool((first == second).any()))
        expected.append(1 - (1 - similarity(original, copy) ** bands.rows) ** bands.number)
    assert np.mean(detected) == pytest.approx(np.mean(expected), abs=0.09)


def test_unrelated_texts_are_not_near_duplicates() -> None:
    rng = Random(0)
    bands = bands_for(0.5)
    hashes = band_hashes([text(rng, 120) for _ in range(1000)], bands)
    assert not near_duplicate_mask(hashes.T).any()


def test_hashes_ignore_case_spaces_and_punctuation() -> None:
    bands = bands_for(0.8)
    same = ["The liver is nodular, with ascites.", "the liver is\n\nnodular -- WITH ascites"]
    first, second = band_hashes(same, bands)
    assert np.array_equal(first, second)


@pytest.mark.parametrize(("first", "second", "equal"), [("", "", True), ("one", "one", True), ("one", "two", False)])
def test_texts_shorter_than_a_shingle(first: str, second: str, equal: bool) -> None:
    bands = bands_for(0.8)
    hashes = band_hashes([first, second], bands)
    assert np.array_equal(*hashes) is equal


def test_hashes_equal_fixed_values() -> None:
    assert band_hashes(["a text of exactly seven short words"], Bands(2, 3)).tolist() == [
        [15535568452608251719, 7005363930622123427],
    ]


def by_definition(text: str, bands: Bands) -> list[int]:
    """The band hashes of one text, character by character, word by word and shingle by shingle."""

    def mix(value: int) -> int:
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 1):
            value = (value ^ (value >> 33)) * factor % 2**64
        return value

    def chain(values: list[int], start: int) -> int:
        for value in values:
            start = mix((start * golden + value) % 2**64)
        return start

    golden = 0x9E3779B97F4A7C15
    words = [
        mix(sum(ord(character.lower()[0]) * golden**n for n, character in enumerate(word)) % 2**64)
        for word in re.findall(r"\w+", text)
    ]
    words += [0] * (5 - len(words))
    shingles = {
        mix(sum(words[start + n] * golden ** (4 - n) for n in range(5)) % 2**64) for start in range(len(words) - 4)
    }
    minima = []
    for n in range(bands.number * bands.rows):
        multiplier = mix((n + 1) * golden % 2**64) >> 32 | 1
        halves = [shingle % 2**32 if n % 2 else shingle >> 32 for shingle in shingles]
        minima.append(min(half * multiplier % 2**32 for half in halves))
    return [chain(minima[band * bands.rows : (band + 1) * bands.rows], golden) for band in range(bands.number)]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=60) | st.text("aB ç\nß9_", max_size=200), max_size=6)
)
@example(texts=["w" * 63 + " x", "w" * 64, "é" * 33 + " " + "w" * 65, "ΑΣ ΣΑΣ İ ǅ \U00010400\u0301", "", "中" * 300])
def test_hashes_of_a_batch_are_those_of_each_text_by_definition(texts: list[str]) -> None:
    bands = Bands(2, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(minhash, "_BLOCK", 7)  # so that blocks end inside texts
        patch.setattr(minhash, "_MOST_CHARACTERS", 20)
        assert band_hashes(texts, bands).tolist() == [by_definition(text, bands) for text in texts]


def test_texts_whose_shingles_agree_in_half_of_their_bits_are_not_near_duplicates() -> None:
    """Among a million short texts, hundreds have the same 32 bits by chance."""
    bands = bands_for(0.8)
    shingles = np.array([0x1234567812345678, 0x1234567887654321, 0x8765432112345678], np.uint64)
    minima = minhash._minima(shingles, np.arange(3), bands.number * bands.rows)
    agree = [minima[:, 0] == minima[:, other] for other in (1, 2)]
    assert [row.mean() for row in agree] == pytest.approx([0.5, 0.5], abs=0.01)
    assert not any(row.reshape(bands).all(axis=1).any() for row in agree)


@pytest.mark.parametrize("similarity", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
def test_the_threshold_of_the_bands_is_close_to_the_similarity(similarity: float) -> None:
    bands = bands_for(similarity)
    assert bands.number * bands.rows <= 128
    assert bands.rows >= 2  # so that both halves of a shingle's hash are in every band
    assert (1 / bands.number) ** (1 / bands.rows) == pytest.approx(similarity, abs=0.04)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=30))
def test_near_duplicates_share_a_band_with_an_earlier_document(rows: list[tuple[int, int]]) -> None:
    columns = np.array(rows, np.uint64).T
    expected = [
        any(a == b for earlier in rows[:n] for a, b in zip(row, earlier, strict=True)) for n, row in enumerate(rows)
    ]
    assert near_duplicate_mask(columns).tolist() == expected


def test_prepare_drops_near_duplicates_of_the_listed_sources(tmp_path: Path, tokenizer: LoadedTokenizer) -> None:
    rng = Random(1)
    letters = [text(rng, 200) for _ in range(20)]
    copies = [changed(letter, 1, rng) for letter in letters[:8]]

    def run(name: str, **options: Any) -> dict[str, Any]:
        sources = []
        for source, texts in (("first", letters), ("second", [*copies, letters[9], text(rng, 200)])):
            path = tmp_path / f"{name}-{source}.csv"
            path.write_text("patient,text\n" + "".join(f"{n},{one}\n" for n, one in enumerate(texts)))
            table = {"name": source, "format": "table", "paths": [str(path)], "licence": "", "split_by": "patient"}
            sources.append(table)
        config = {"output": tmp_path / name, "tokenizer": tokenizer.directory, "sources": sources, "workers": 1}
        config |= {"seq_length": 1024, "held_out": 0}
        manifest = prepare(
            PrepareConfig.model_validate(config | options), lambda stage: lambda done, total, counted: None
        )
        assert manifest.signatures == (minhash.SCHEME if "near_duplicates" in options else None)
        assert ("signatures" in manifest.content()) is ("near_duplicates" in options)
        return {
            source: (entry.duplicates, entry.near_duplicates, entry.splits["train"].documents)
            for source, entry in manifest.sources.items()
        }

    assert run("off") == {"first": (0, 0, 20), "second": (1, 0, 9)}
    both = {"similarity": 0.8, "sources": ["first", "second"]}
    assert run("on", near_duplicates=both) == {"first": (0, 0, 20), "second": (1, 8, 1)}
    assert run("one", near_duplicates=both | {"sources": ["second"]}) == {"first": (0, 0, 20), "second": (1, 0, 9)}
    with pytest.raises(ValueError, match="near_duplicates names third; the sources are first, second"):
        run("bad", near_duplicates=both | {"sources": ["third"]})
