"""Planted lines are cut out of passages, wherever the passage begins and ends."""

from pathlib import Path

import numpy as np
import pytest

from clinical_modernbert.evaluation.privacy.passages import Passage, Sample
from clinical_modernbert.evaluation.privacy.planted import without_canaries
from clinical_modernbert.evaluation.privacy.scoring import encode
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


def passage(tokens: np.ndarray) -> Passage:
    return Passage("notes", 0, 0, True, tokens, tokens % 2 == 0)


def test_a_document_is_as_before_planting(tokenizer: LoadedTokenizer) -> None:
    for number in range(40):
        text = plant(TEXT, str(number), LINES[number % 6 : number % 6 + 3])
        before, after = (one.numpy() for one in encode(tokenizer, [TEXT, text]))
        [found] = without_canaries(Sample([passage(after)], True, {}), LINES, tokenizer).passages
        texts = [tokenizer.decode(one.astype(np.uint32)).strip("\n") for one in (before, found.tokens)]
        assert texts[0] == texts[1]
        assert len(found.tokens) == len(found.word_starts)
        assert [found.tokens[0], found.tokens[-1]] == [before[0], before[-1]]


def test_windows_have_no_secret_but_its_last_tokens(tokenizer: LoadedTokenizer) -> None:
    """A window may begin and end within a line; fewer than three tokens of it are no identifier."""
    tokens = encode(tokenizer, [plant(TEXT, "a", LINES[:2])])[0].numpy()
    names = [line.split(",")[0].split(": ")[1].split(" ")[1] for line in LINES[:2]]
    kept = 0
    for start in range(1, len(tokens) - 40):
        window = np.concatenate([tokens[:1], tokens[start : start + 40], tokens[-1:]])
        for found in without_canaries(Sample([passage(window)], True, {}), LINES, tokenizer).passages:
            text = tokenizer.decode(found.tokens.astype(np.uint32))
            assert not any(name in text for name in names), text
            kept += 1
    assert kept > 5


def test_other_passages_are_not_changed(tokenizer: LoadedTokenizer) -> None:
    tokens = encode(tokenizer, [TEXT])[0].numpy()
    [found] = without_canaries(Sample([passage(tokens)], True, {}), LINES, tokenizer).passages
    assert np.array_equal(found.tokens, tokens)
