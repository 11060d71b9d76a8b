"""The arithmetic of calls against what the running model calls, and the counts of both."""

from collections import Counter

import pytest

from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.training.planning import trace
from clinical_modernbert.training.planning.calls import Call, choose_tiles, count_calls
from clinical_modernbert.training.planning.trace import trace_calls

LENGTHS, MASKED = [130, 7, 1, 62], 60
SPECIAL = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "local_attention": 32}
SMALL = {"vocab_size": 160, "hidden_size": 64, "intermediate_size": 80, "num_attention_heads": 1, **SPECIAL}
CASES = [
    *((SMALL | {"num_hidden_layers": layers}, LENGTHS, MASKED, "sm90", 2) for layers in (1, 2, 5, 8)),
    *((SMALL | {"num_hidden_layers": 4}, LENGTHS, masked, "sm80", 4) for masked in (1, 9, 17, 200)),
    (SMALL | {"num_hidden_layers": 4, "global_attn_every_n_layers": 2}, [4096, 512], 3000, "gfx942", 2),
    (SMALL | {"num_hidden_layers": 3, "hidden_size": 256, "num_attention_heads": 2}, [64], 20, "sm89", 2),
    # Ten chunks, whose products are summed in fp32.
    (SMALL | {"num_hidden_layers": 2, "vocab_size": 256_000}, [8192], 8000, "sm90", 2),
]


def counted(found: list[Call]) -> Counter[tuple[object, ...]]:
    return Counter((c.phase, c.name, c.kind, c.launches, round(c.bytes), c.flops) for c in found)


def test_arithmetic_counts_what_the_model_calls() -> None:
    for settings, lengths, masked, architecture, size in CASES:
        config = ModelConfig.model_validate(settings)
        tiles = choose_tiles(config, architecture, size)
        arithmetic = counted(count_calls(config, lengths, masked, architecture, size))
        traced = counted(trace_calls(config, lengths, masked, tiles, size))
        assert arithmetic - traced == traced - arithmetic == Counter(), (settings, lengths, masked, architecture, size)


def test_settings_that_are_not_written_down_are_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = ModelConfig.model_validate(SMALL | {"num_hidden_layers": 2})
    by_hand = count_calls(plain, LENGTHS, MASKED, "sm90")
    monkeypatch.setattr(trace, "trace_calls", lambda *_: [])
    assert count_calls(plain, LENGTHS, MASKED, "sm90") == by_hand
    assert count_calls(plain.model_copy(update={"mlp_dropout": 0.1}), LENGTHS, MASKED, "sm90") == []
    assert count_calls(plain, LENGTHS, MASKED, "sm90", causal=True) == []
