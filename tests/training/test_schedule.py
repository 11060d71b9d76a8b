"""Schedules in tokens, and the plan that is printed."""

import math
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader import load
from clinical_modernbert.configs.recipes import find_recipe
from clinical_modernbert.training.config import RunConfig, ScheduleConfig
from clinical_modernbert.training.schedule import describe, lr_factor, make_plan, max_seqlen, mlm_probability


def recipe(*overrides: str) -> RunConfig:
    return load(RunConfig, find_recipe("base"), overrides)


def test_warm_up_stable_decay() -> None:
    schedule = ScheduleConfig(total_tokens=1000, warmup_tokens=100, decay_tokens=400, final_lr_ratio=0.001)
    assert lr_factor(schedule, 50) == 0.5
    assert {lr_factor(schedule, tokens) for tokens in (100, 300, 600)} == {1.0}
    # alpha + (1 - alpha) (1 - sqrt(t / t_decay)), arXiv 2412.13663
    assert lr_factor(schedule, 700) == pytest.approx(0.001 + 0.999 * (1 - math.sqrt(0.25)))
    assert lr_factor(schedule, 1000) == pytest.approx(0.001)
    assert lr_factor(schedule, 1100) == pytest.approx(0.001)
    assert lr_factor(ScheduleConfig(total_tokens=1000), 1100) == 1.0


@pytest.mark.parametrize("decay", ["one_minus_sqrt", "linear", "cosine"])
def test_every_decay_falls_from_one_to_its_end(decay: str) -> None:
    schedule = ScheduleConfig(total_tokens=100, decay_tokens=100, final_lr_ratio=0.1, decay=decay)
    values = [lr_factor(schedule, tokens) for tokens in range(101)]
    assert values == sorted(values, reverse=True)
    assert values[0] == 1.0
    assert values[-1] == pytest.approx(0.1)


def test_length_stages_and_masking_rate() -> None:
    schedule = ScheduleConfig.model_validate(
        {
            "total_tokens": 100,
            "seq_length": [{"max_seqlen": 8, "until_tokens": 30}, {"max_seqlen": 32}],
            "mlm_probability": {"start": 0.3, "end": 0.15},
        }
    )
    assert [max_seqlen(schedule, tokens, 64) for tokens in (0, 29, 30, 99)] == [8, 8, 32, 32]
    assert [mlm_probability(schedule, tokens) for tokens in (0, 50, 100)] == pytest.approx([0.3, 0.225, 0.15])
    assert max_seqlen(ScheduleConfig(total_tokens=1), 0, 64) == 64


def test_the_plan_of_base_is_its_published_batch() -> None:
    plan = make_plan(recipe(), 16)
    assert plan.tokens_per_step == 4608 * 1024
    assert plan.accumulation == 9
    assert plan.steps == math.ceil(100e9 / (4608 * 1024))
    assert [at.max_seqlen for _, at in plan.stages()] == [1024, 8192]


def test_stages_are_those_of_the_steps() -> None:
    plan = make_plan(
        recipe(
            "schedule.total_tokens=100_000_000",
            "schedule.warmup_tokens=0",
            "schedule.decay_tokens=0",
            "schedule.seq_length=[{max_seqlen: 512, until_tokens: 9_500_000}, {max_seqlen: 8192}]",
        ),
        1,
    )
    by_step = [settings.max_seqlen for settings in plan.from_step(0)]
    for step, at in plan.stages():
        assert by_step[step] == at.max_seqlen
        assert step == 0 or by_step[step - 1] != at.max_seqlen


def test_the_printed_plan_names_every_stage() -> None:
    lines = "\n".join(describe(make_plan(recipe(), 8)))
    assert "8 ranks x 18 micro-batches x 4 packs" in lines
    assert "from step 16,956 sequences up to 8,192 tokens" in lines.replace("  ", " ")


def test_ranks_that_cannot_share_a_step_are_refused_with_those_that_can() -> None:
    with pytest.raises(UserError, match=r"batch\.packs \(576\) must be divisible .* \(4 x 7\).*144 ranks.*packs=588"):
        make_plan(recipe(), 7)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.warmup_tokens=99_000_000_000", "exceed total_tokens"),
        ("schedule.seq_length=[{max_seqlen: 512}, {max_seqlen: 1024}]", "every stage of seq_length but the last"),
        ("schedule.seq_length=[{max_seqlen: 16384}]", "has max_seqlen 16,384, but packs hold 8,192"),
        ("initial_weights=somewhere", "either model"),
    ],
)
def test_contradictions_are_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(override)


def test_every_recipe_loads(repository: Path) -> None:
    recipes = list((repository / "configs").glob("*.yaml"))
    assert len(recipes) >= 7
    for path in recipes:
        make_plan(load(RunConfig, path), 1)
