"""Planted lines are cut out of segments, wherever a segment begins and ends."""

from pathlib import Path

import numpy as np
import pytest

from clinical_modernbert.evaluation.privacy.planted import canary_cutter
from clinical_modernbert.evaluation.privacy.scorer import encode
from clinical_modernbert.streaming_data.canaries.identifiers import make_canaries
from clinical_modernbert.streaming_data.canaries.planting import plant
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

LINES = [canary.line for canary in make_canaries(5, 6, [0, 1])]
TEXT = "Seen today.\nThe patient is well and walks.\nPlan: home, with rest.\nSigned by nobody."


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> LoadedTokenizer:
    directory: Path = tmp_path_factory.mktemp("tokenizer") / "small"
    tokenizers.train([TEXT, *LINES], 600, directory)
    return tokenizers.load(directory)


def cut(tokens: np.ndarray, tokenizer: LoadedTokenizer) -> np.ndarray:
    kept: np.ndarray = tokens[canary_cutter(LINES, tokenizer)(tokens)]
    return kept


def test_a_document_is_as_before_planting(tokenizer: LoadedTokenizer) -> None:
    for number in range(40):
        text = plant(TEXT, str(number), LINES[number % 6 : number % 6 + 3])
        before, after = (one.numpy() for one in encode(tokenizer, [TEXT, text]))
        found = cut(after, tokenizer)
        texts = [tokenizer.decode(one.astype(np.uint32)).strip("\n") for one in (before, found)]
        assert texts[0] == texts[1]
        assert [found[0], found[-1]] == [before[0], before[-1]]


def test_windows_have_no_secret_but_its_last_tokens(tokenizer: LoadedTokenizer) -> None:
    """A window may begin and end within a line; fewer than three tokens of it are no identifier."""
    tokens = encode(tokenizer, [plant(TEXT, "a", LINES[:2])])[0].numpy()
    names = [line.split(",")[0].split(": ")[1].split(" ")[1] for line in LINES[:2]]
    for start in range(1, len(tokens) - 12):
        window = np.concatenate([tokens[:1], tokens[start : start + 12], tokens[-1:]])
        text = tokenizer.decode(cut(window, tokenizer).astype(np.uint32))
        assert not any(name in text for name in names), text


def test_other_segments_are_not_changed(tokenizer: LoadedTokenizer) -> None:
    tokens = encode(tokenizer, [TEXT])[0].numpy()
    assert np.array_equal(cut(tokens, tokenizer), tokens)
