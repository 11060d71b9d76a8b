"""Exposure of canaries in a model that learned some of them by heart, and what decides it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacked import scorer_of

from clinical_modernbert.evaluation.privacy import exposure
from clinical_modernbert.evaluation.privacy.exposure import attack_exposure, chance, draw_alternatives, trend_test
from clinical_modernbert.evaluation.privacy.report import ExposureSection
from clinical_modernbert.evaluation.privacy.scorer import Scorer, encode
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.canaries.identifiers import make_canaries
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

CANARIES = make_canaries(0, 8, [0, 1, 6])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a tokenizer that divides numbers unevenly."""
    root: Path = tmp_path_factory.mktemp("canaries")
    texts = [canary.line for canary in make_canaries(7, 200, [0, 1])]
    tokenizers.train(texts, 900, root / "tokenizer")
    return root


@pytest.fixture(scope="module")
def scorers(data: Path) -> tuple[Scorer, Scorer]:
    """A model that has read each canary as often as its level says in each epoch, and the same before training."""
    loaded = tokenizers.load(data / "tokenizer")
    config = ModelConfig(
        vocab_size=loaded.vocab_size, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=64, pad_token_id=loaded.special_ids["pad"], cls_token_id=loaded.special_ids["cls"],
        sep_token_id=loaded.special_ids["sep"], initializer_range=0.07,
    )  # fmt: skip
    model, before = MaskedLM(config), MaskedLM(config)
    for one in (model, before):
        initialize(one, seed=0)
    lines = encode(loaded, [canary.line for canary in CANARIES for _ in range(canary.repeats)])
    tokens, lengths = torch.cat(lines), [len(line) for line in lines]
    batch = PackedBatch.from_lengths(lengths, torch.device("cpu"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        positions = (torch.rand(len(tokens), generator=generator) < 0.3).nonzero()[:, 0]
        masked = tokens.index_fill(0, positions, loaded.special_ids["mask"])
        loss = torch.nn.functional.cross_entropy(model.logits(masked, batch, positions), tokens[positions])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return scorer_of(model, data), scorer_of(before, data)


def attack(scorers: tuple[Scorer, Scorer], directory: Path) -> ExposureSection:
    return attack_exposure(*scorers, CANARIES, directory, alternatives=30, screened=200)


@pytest.mark.slow
def test_exposure_grows_with_repeats_and_not_in_the_untrained_model(
    scorers: tuple[Scorer, Scorer], tmp_path: Path
) -> None:
    section = attack(scorers, tmp_path)
    never, once, often = section.levels
    assert [level.repeats for level in section.levels] == [0, 1, 6]
    assert often.exposure.low > 3.5  # of at most log2(31) = 4.95 bits
    assert often.first >= 5
    assert often.exposure.value >= once.exposure.value > never.exposure.value + 1
    assert often.screened.value > never.screened.value
    assert abs(never.exposure.value - section.chance) < 1.5
    for level in section.levels:
        assert level.untrained is not None
        assert level.untrained.low <= section.chance + 0.7
    assert section.trend > 0.4
    assert section.trend_p < 0.001
    assert section.untrained_trend is not None
    assert abs(section.untrained_trend) < 0.4
    assert section.kinds == {"record number": 8, "telephone": 8, "member number": 8}


@pytest.mark.slow
def test_an_interrupted_attack_continues_with_the_same_result(
    scorers: tuple[Scorer, Scorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = attack(scorers, tmp_path / "complete")
    rank, most = exposure._rank, 10
    computed: list[Any] = []

    def counted(*arguments: Any) -> Any:
        if len(computed) == most:
            raise KeyboardInterrupt
        computed.append(arguments)
        return rank(*arguments)

    monkeypatch.setattr(exposure, "_rank", counted)
    with pytest.raises(KeyboardInterrupt):
        attack(scorers, tmp_path / "killed")
    [file] = (tmp_path / "killed").iterdir()
    content = file.read_bytes()
    assert content.count(b"\n") == 10
    assert not any(canary.secret.encode() in content or canary.name.encode() in content for canary in CANARIES)
    file.write_bytes(content + content[:20])  # a line cut by a kill
    most = 1000
    assert attack(scorers, tmp_path / "killed") == complete
    assert len(computed) == 2 * len(CANARIES), "some canaries were ranked twice"
    files = {path.name: path.read_bytes() for path in (tmp_path / "killed").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "complete").iterdir()}


def test_a_secret_is_ranked_first_by_a_model_that_prefers_it_and_last_by_one_that_avoids_it(
    scorers: tuple[Scorer, Scorer], tmp_path: Path
) -> None:
    """Independent of training: logits that are those of the canaries' own tokens, or their negative."""
    untrained, canaries = scorers[1], CANARIES[:6]
    lines = encode(untrained.tokenizer, [canary.line for canary in canaries])

    def sure(sign: float) -> Scorer:
        def logits(sequences: Sequence[torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
            scores = torch.zeros(sum(map(len, sequences)), untrained.tokenizer.vocab_size)
            true = torch.cat([min(lines, key=partial(_differences, sequence)) for sequence in sequences])
            scores[torch.arange(len(true)), true] = sign * 5
            return scores[positions]

        return replace(untrained, logits=logits, identity=str(sign))

    best = attack_exposure(sure(1), None, canaries, tmp_path, alternatives=9, screened=20)
    worst = attack_exposure(sure(-1), None, canaries, tmp_path, alternatives=9, screened=20)
    assert (best.levels[0].exposure.value, best.levels[0].first) == (round(np.log2(10), 4), 6)
    assert (worst.levels[0].exposure.value, worst.levels[0].first) == (0, 0)
    assert best.levels[0].screened.value > 4  # some numbers of tokens are rarer than 20 alternatives


def _differences(sequence: torch.Tensor, line: torch.Tensor) -> int:
    return int((line != sequence).sum()) if len(line) == len(sequence) else len(sequence)


def test_alternatives_have_the_form_and_the_number_of_tokens_of_the_secret(scorers: tuple[Scorer, Scorer]) -> None:
    tokenizer = scorers[0].tokenizer
    canaries = make_canaries(2, 30, [0, 1])
    pool = draw_alternatives(tokenizer, canaries, 0, 50)
    assert len({length for _, length in pool}) > 1, "numbers are divided unevenly"
    secrets = {canary.secret for canary in canaries}
    for (kind, length), rows in pool.items():
        assert rows.shape[1] == length
        texts = [tokenizer.backend.decode(row.tolist()).strip(" .") for row in rows]
        assert not secrets & set(texts)
        assert len(set(texts)) == len(texts) <= 50
        if kind == "record number":
            assert all(text.isdigit() and len(text) == 7 for text in texts)
    assert all(torch.equal(rows, draw_alternatives(tokenizer, canaries, 0, 50)[key]) for key, rows in pool.items())


def test_the_trend_and_the_level_of_chance() -> None:
    random = np.random.default_rng(0)
    repeats = np.repeat([0, 1, 4, 16], 50)
    correlation, p = trend_test(repeats, random.random(200), 0)
    assert abs(correlation) < 0.2
    assert p > 0.02
    correlation, p = trend_test(repeats, np.log2(1 + repeats) + random.random(200), 0)
    assert correlation > 0.9
    assert p == 1 / 4001
    assert trend_test(repeats, np.ones(200), 0) == (0, 1)
    ranks = random.integers(1, 102, 100_000)
    assert chance(100) == pytest.approx(np.log2(101 / ranks).mean(), abs=0.02)
