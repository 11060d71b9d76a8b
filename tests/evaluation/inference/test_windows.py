"""Windows of long texts: every token is in one, neighbors overlap, and packs are divided as texts are."""

import itertools
import json

import numpy as np
import pytest
from embedding import mixed_texts

from clinical_modernbert.evaluation.inference.chunks import Record
from clinical_modernbert.evaluation.inference.embeddings import Embedder
from clinical_modernbert.evaluation.inference.sentence_layout import SentenceLayout
from clinical_modernbert.evaluation.inference.windows import segment_windows, text_windows
from clinical_modernbert.evaluation.models.model import EvaluatedModel


def test_windows_hold_every_token_and_overlap(ours: EvaluatedModel) -> None:
    tokenizer = ours.tokenizer
    texts = [" ".join(mixed_texts(count)) for count in (1, 2, 5, 9, 40)]
    for text, windows in zip(texts, text_windows(tokenizer, texts, 32, "windows"), strict=True):
        ids = tokenizer(text)["input_ids"]
        assert windows == segment_windows(ids, 32, "windows")
        assert windows.is_long == (len(ids) > 32) == (len(windows.ids) > 1)
        assert all(len(window) <= 32 and (window[0], window[-1]) == (ids[0], ids[-1]) for window in windows.ids)
        inner = [window[1:-1] for window in windows.ids]
        joined = inner[0] + [token for before, window in itertools.pairwise(inner) for token in window[4:]]
        assert joined == ids[1:-1]
        assert all(before[-4:] == window[:4] for before, window in itertools.pairwise(inner))
        [cut] = text_windows(tokenizer, [text], 32, "cut")
        assert cut == segment_windows(ids, 32, "cut") == (windows.ids[:1], windows.is_long)
    assert any(len(tokenizer(text)["input_ids"]) > 100 for text in texts)


@pytest.mark.parametrize("length", range(28, 66))
def test_a_segment_of_any_length(length: int) -> None:
    ids = [1, *range(100, 100 + length), 2]
    windows = segment_windows(ids, 32, "windows").ids
    assert {token for window in windows for token in window} == set(ids)
    assert all(set(window) - {1, 2} for window in windows)
    assert len(windows) == max(1, 1 + -(-(length - 30) // 26))


def test_the_vector_of_a_long_text_is_the_mean_of_its_windows(ours: EvaluatedModel) -> None:
    def vectors(contents: list, long: str) -> np.ndarray:  # texts or token ids
        embedder = Embedder(ours, SentenceLayout(max_length=32), long, tokens=64)  # type: ignore[arg-type]
        records = [Record(str(number), content) for number, content in enumerate(contents)]
        result = embedder(records, lambda texts, tokens: None)
        names, _, rest = result.content.partition(b"\n")
        assert json.loads(names) == [record.id for record in records]
        return np.frombuffer(rest, "<f4").reshape(len(records), -1)

    texts = ["fever", " ".join(mixed_texts(12)), "acute pain"]
    short, long, last = vectors(texts, "windows")
    windows = text_windows(ours.tokenizer, texts, 32, "windows")[1].ids
    assert len(windows) > 2
    np.testing.assert_allclose(long, vectors(windows, "cut").mean(axis=0), atol=1e-6)
    np.testing.assert_allclose([short, last], vectors([texts[0], texts[2]], "windows"), atol=1e-6)
    np.testing.assert_allclose(vectors(texts, "cut")[1], vectors(windows[:1], "cut")[0], atol=1e-6)
