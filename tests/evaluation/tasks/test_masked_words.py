"""Masked words of held-out packs: an oracle, chance, and transformers' own scores."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_data import MASK, VOCAB, write_small_data

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.fine_tune import Protocol
from clinical_modernbert.evaluation.models.model import MaskedLogits, Subject, packed_subject, padded_subject
from clinical_modernbert.evaluation.tasks.masked_words import MaskedWordsTask, hide, run_masked_words
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import save_pretrained
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.loader.masking import vocabulary
from clinical_modernbert.streaming_data.shards.pack import Pack

TASK = MaskedWordsTask(kind="masked_words", packs=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("packs"), packs=2)


@pytest.fixture(scope="module")
def directory(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with the data's tokenizer that reads fewer tokens than a pack has."""
    config = ModelConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, pad_token_id=0, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    model = MaskedLM(config)
    initialize(model, seed=0)
    out = tmp_path_factory.mktemp("model") / "small"
    save_pretrained(model.state_dict(), config, out)
    for file in (data / "tokenizer").iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    return out


@pytest.fixture(scope="module")
def subject(directory: Path) -> Subject:
    from clinical_modernbert.model.hugging_face import from_pretrained

    return packed_subject(from_pretrained(directory), directory, "small")


def pack() -> Pack:
    lengths = np.array([39, 60], np.int32)
    tokens = np.random.default_rng(0).integers(5, VOCAB, 99).astype(np.uint16)
    return Pack(tokens, lengths, np.arange(99) % 3 == 0, ["a", "b"])


@pytest.mark.parametrize("strategy", ["token", "whole_word"])
def test_what_is_hidden(strategy: str) -> None:
    words = vocabulary(VOCAB, 0, MASK, [0, 1, 2, 3, 4])
    tokens, places, targets, groups = hide(pack(), 0, words, 0.15, strategy)
    assert len(places) == 15
    assert (tokens[places] == MASK).all()
    assert (pack().tokens[places] == targets).all()
    rest = np.setdiff1d(np.arange(99), places)
    assert (tokens[rest] == pack().tokens[rest]).all()
    assert len(np.unique(groups)) == (15 if strategy == "token" else 5)
    again = hide(pack(), 0, words, 0.15, strategy)
    assert (again[1] == places).all()
    assert (hide(pack(), 1, words, 0.15, strategy)[1] != places).any()


def test_an_initialised_model_is_at_chance(subject: Subject, data: Path, quick: Protocol) -> None:
    scores = run_masked_words(subject, TASK, data, quick, 0)
    assert set(scores) == {
        f"{source} {name}" for source in ("notes", "codes") for name in ("loss", "top1", "top5", "word")
    }
    for source in ("notes", "codes"):
        assert scores[f"{source} loss"] == pytest.approx(np.log(VOCAB), abs=0.3)
        assert scores[f"{source} top1"] < 0.08
        assert scores[f"{source} top5"] < 0.2


def test_padded_and_unpadded_agree(subject: Subject, directory: Path, data: Path, quick: Protocol) -> None:
    theirs = run_masked_words(padded_subject(directory, "theirs"), TASK, data, quick, 0)
    assert run_masked_words(subject, TASK, data, quick, 0) == pytest.approx(theirs, abs=1e-3)


def test_an_oracle_is_always_right(subject: Subject, data: Path, quick: Protocol) -> None:
    """Neighbours tell a token of this data; where both are hidden the next ones do."""

    def oracle(sequences: Sequence[torch.Tensor], places: torch.Tensor) -> torch.Tensor:
        tokens = torch.cat(list(sequences))
        starts = torch.tensor([0, *map(len, sequences)]).cumsum(0)
        scores = torch.zeros(len(places), VOCAB)
        for row, place in enumerate(places.tolist()):
            first, end = (int(starts[starts <= place][-1]), int(starts[starts > place][0]))
            seen = [at for at in range(first, end) if tokens[at] >= 5]
            if seen:
                at = min(seen, key=lambda at: abs(at - place))
                scores[row, (int(tokens[at]) - 5 + place - at) % (VOCAB - 5) + 5] = 50
        return scores

    def open_oracle() -> MaskedLogits:
        return oracle

    scores = run_masked_words(replace(subject, open_masked_lm=open_oracle, max_length=256), TASK, data, quick, 0)
    for source in ("notes", "codes"):
        assert scores[f"{source} top1"] > 0.98
        assert scores[f"{source} top5"] >= scores[f"{source} top1"]
        assert scores[f"{source} word"] > 0.98
        assert scores[f"{source} loss"] < 0.5


def test_another_tokenizer_is_refused(ours: Subject, data: Path, quick: Protocol) -> None:
    with pytest.raises(UserError, match="was prepared with another tokenizer than that of ours"):
        run_masked_words(ours, TASK, data, quick, 0)
