"""Masked words of held-out packs: an oracle, an untrained model, and transformers' scores."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from small_data import MASK, VOCAB, write_small_data

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.model import EvaluatedModel, MaskedLogits, packed_model, padded_model
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.tasks.masked_words import MaskedWordsTask, mask_pack, run_masked_words
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
    """A random model with the data's tokenizer, whose maximum length is below that of a pack."""
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
def model(directory: Path) -> EvaluatedModel:
    from clinical_modernbert.model.hugging_face import from_pretrained

    return packed_model(from_pretrained(directory), directory, "small")


def pack() -> Pack:
    lengths = np.array([39, 60], np.int32)
    tokens = np.random.default_rng(0).integers(5, VOCAB, 99).astype(np.uint16)
    return Pack(tokens, lengths, np.arange(99) % 3 == 0, ["a", "b"])


@pytest.mark.parametrize("strategy", ["token", "whole_word"])
def test_masks_of_a_pack(strategy: Literal["token", "whole_word"]) -> None:
    vocab = vocabulary(VOCAB, 0, MASK, [0, 1, 2, 3, 4])
    tokens, positions, targets, groups = mask_pack(pack(), 0, vocab, 0.15, strategy)
    assert len(positions) == 15
    assert (tokens[positions] == MASK).all()
    assert (pack().tokens[positions] == targets).all()
    rest = np.setdiff1d(np.arange(99), positions)
    assert (tokens[rest] == pack().tokens[rest]).all()
    assert len(np.unique(groups)) == (15 if strategy == "token" else 5)
    again = mask_pack(pack(), 0, vocab, 0.15, strategy)
    assert (again[1] == positions).all()
    assert (mask_pack(pack(), 1, vocab, 0.15, strategy)[1] != positions).any()


def test_each_draw_masks_anew_and_all_packs_are_scored(model: EvaluatedModel, data: Path, quick: Protocol) -> None:
    vocab = vocabulary(VOCAB, 0, MASK, [0, 1, 2, 3, 4])
    first, second = (mask_pack(pack(), 0, vocab, 0.15, "token", draw)[1] for draw in range(2))
    assert (first == mask_pack(pack(), 0, vocab, 0.15, "token")[1]).all()
    assert (first != second).any()
    seen: list[int] = []

    def counting(sequences: Sequence[torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
        seen.append(len(positions))
        return torch.zeros(len(positions), VOCAB)

    counted = replace(model, open_masked_lm=lambda: counting)
    predictions = {}
    for packs, draws in ((1, 1), (3, 1), (3, 2), ("all", 2)):
        seen.clear()
        run_masked_words(counted, TASK.model_copy(update={"packs": packs, "draws": draws}), data, quick, 0)
        predictions[packs, draws] = sum(seen)
    assert predictions[1, 1] < predictions[3, 1] < predictions[3, 2] == predictions["all", 2]  # held_out has 3 packs


def test_an_untrained_model_scores_at_chance(model: EvaluatedModel, data: Path, quick: Protocol) -> None:
    scores = run_masked_words(model, TASK, data, quick, 0)
    assert set(scores) == {
        f"{source} {name}" for source in ("notes", "codes") for name in ("loss", "top1", "top5", "word")
    }
    for source in ("notes", "codes"):
        assert scores[f"{source} loss"] == pytest.approx(np.log(VOCAB), abs=0.3)
        assert scores[f"{source} top1"] < 0.08
        assert scores[f"{source} top5"] < 0.2


def test_padded_and_unpadded_agree(model: EvaluatedModel, directory: Path, data: Path, quick: Protocol) -> None:
    expected = run_masked_words(padded_model(directory, "theirs"), TASK, data, quick, 0)
    assert run_masked_words(model, TASK, data, quick, 0) == pytest.approx(expected, abs=1e-3)


def test_an_oracle_is_always_correct(model: EvaluatedModel, data: Path, quick: Protocol) -> None:
    """In this data a token follows from its neighbors; where both are masked, from the next ones."""

    def oracle(sequences: Sequence[torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
        tokens = torch.cat(list(sequences))
        starts = torch.tensor([0, *map(len, sequences)]).cumsum(0)
        scores = torch.zeros(len(positions), VOCAB)
        for row, position in enumerate(positions.tolist()):
            first, end = (int(starts[starts <= position][-1]), int(starts[starts > position][0]))
            visible = [at for at in range(first, end) if tokens[at] >= 5]
            if visible:
                at = min(visible, key=lambda at: abs(at - position))
                scores[row, (int(tokens[at]) - 5 + position - at) % (VOCAB - 5) + 5] = 50
        return scores

    def open_oracle() -> MaskedLogits:
        return oracle

    scores = run_masked_words(replace(model, open_masked_lm=open_oracle, max_length=256), TASK, data, quick, 0)
    for source in ("notes", "codes"):
        assert scores[f"{source} top1"] > 0.98
        assert scores[f"{source} top5"] >= scores[f"{source} top1"]
        assert scores[f"{source} word"] > 0.98
        assert scores[f"{source} loss"] < 0.5


def test_a_different_tokenizer_is_an_error(ours: EvaluatedModel, data: Path, quick: Protocol) -> None:
    with pytest.raises(UserError, match="was prepared with another tokenizer than that of ours"):
        run_masked_words(ours, TASK, data, quick, 0)
