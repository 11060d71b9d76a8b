"""Needles: a model that copies scores 1 with the evidence and chance without it, an untrained one chance."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_data import CLS, MASK, SEP, VOCAB, write_small_data

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.model import EvaluatedModel, packed_model
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.tasks.masked_words import data_vocabulary
from clinical_modernbert.evaluation.tasks.needles import (
    NeedlesTask,
    held_out_text,
    make_probe,
    read_needles,
    run_needles,
)
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.shards.manifest import read_manifest

TASK = NeedlesTask(kind="needles", lengths=(256, 1024, 4096), probes=12)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("packs"), packs=2)


@pytest.fixture(scope="module")
def model(data: Path) -> EvaluatedModel:
    config = ModelConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=4096, pad_token_id=0, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    masked_lm = MaskedLM(config)
    initialize(masked_lm, seed=0)
    return packed_model(masked_lm, data / "tokenizer", "untrained")


def copying(sequences: Sequence[torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
    """Predict what followed the same four tokens earlier in the sequence; a uniform guess if they are new."""
    [tokens] = sequences
    scores = torch.zeros(len(positions), VOCAB)
    first = int(positions[0])
    key = tokens[first - TASK.key : first]
    for at in range(1, first - 2 * TASK.key):
        if torch.equal(tokens[at : at + TASK.key], key):
            for row in range(len(positions)):
                scores[row, tokens[at + TASK.key + row]] = 50
    return scores


def test_what_copies_scores_one_and_only_with_the_evidence(model: EvaluatedModel, data: Path, quick: Protocol) -> None:
    scores = run_needles(replace(model, open_masked_lm=lambda: copying), TASK, data, quick, 0)
    for length in TASK.lengths:
        assert scores[f"{length} top1"] == 1
        assert scores[f"{length} loss"] < 1e-6
        assert scores[f"{length} control top1"] < 0.2
        assert scores[f"{length} control loss"] == pytest.approx(np.log(VOCAB))


def test_an_untrained_model_scores_at_chance_and_lengths_beyond_it_are_left_out(
    model: EvaluatedModel, data: Path, quick: Protocol
) -> None:
    scores = run_needles(replace(model, max_length=1024), TASK, data, quick, 0)
    kinds = ("top1", "loss", "control top1", "control loss")
    assert list(scores) == [f"{length} {kind}" for length in (256, 1024) for kind in kinds]
    for length in (256, 1024):
        assert scores[f"{length} top1"] < 0.2
        assert scores[f"{length} loss"] == pytest.approx(np.log(VOCAB), abs=0.4)
    with pytest.raises(UserError, match="untrained allows 100 tokens, fewer than every length"):
        run_needles(replace(model, max_length=100), TASK, data, quick, 0)


def test_a_probe_has_its_fact_far_from_the_masked_tokens(data: Path) -> None:
    vocab, text = data_vocabulary(read_manifest(str(data))), held_out_text(data, 10_000)
    assert vocab.is_real[text].all()
    for length in (256, 4096, 16_384):  # the last is longer than all held-out text
        facts = set()
        for number in range(20):
            probe, control = (make_probe(TASK, length, number, text, vocab, (CLS, SEP), seen) for seen in (True, False))
            assert (len(probe.tokens), probe.tokens[0], probe.tokens[-1]) == (length, CLS, SEP)
            assert (probe.tokens[probe.positions] == MASK).all()
            assert (probe.tokens == MASK).sum() == TASK.value == len(probe.targets)
            changed = np.flatnonzero(probe.tokens != control.tokens)
            assert changed.max() < length // 16  # the evidence, and nothing else
            first = int(changed.min())
            starts = [at for at in range(first - 5, first + 1) if at > 0]
            assert any((probe.tokens[at + TASK.key : at + 6] == probe.targets).all() for at in starts)
            assert probe.positions.min() - changed.max() > 7 / 8 * length - 16
            facts.add((*probe.targets.tolist(), first))
        assert len(facts) > 15
    assert (make_probe(TASK, 256, 3, text, vocab, (CLS, SEP), True).tokens
            == make_probe(TASK, 256, 3, text, vocab, (CLS, SEP), True).tokens).all()  # fmt: skip


def test_what_cannot_be_probed_is_found_before_a_model_is_opened(data: Path, tmp_path: Path) -> None:
    read_needles(TASK, data)
    with pytest.raises(UserError, match="64 tokens are too few for a fact of 6 at both ends: at least 128"):
        read_needles(TASK.model_copy(update={"lengths": (4096, 64)}), data)
    manifest = (data / "manifest.json").read_text().replace("held_out", "other")
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(UserError, match="no source has held-out packs"):
        read_needles(TASK, tmp_path)
