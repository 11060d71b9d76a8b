"""Schedules in tokens, and the printed plan."""

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest
from small_data import SEQ_LENGTH
from small_run import SmallRun

from clinical_modernbert.configs.errors import RankCountError, UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.training.memory_check import highest_rates, largest_micro_batch
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.recipe.limits import require_masked_tokens
from clinical_modernbert.training.recipe.schedule import (
    describe,
    lr_factor,
    make_plan,
    max_seqlen,
    mlm_probability,
    packs_before,
)
from clinical_modernbert.training.recipe.schedule_config import ScheduleConfig


def recipe(*overrides: str) -> RunConfig:
    return load(RunConfig, find_recipe("base"), overrides)


def test_warm_up_stable_and_decay_phases() -> None:
    schedule = ScheduleConfig(total_tokens=1000, warmup_tokens=100, decay_tokens=400, final_lr_ratio=0.001)
    assert lr_factor(schedule, 50) == 0.5
    assert {lr_factor(schedule, tokens) for tokens in (100, 300, 600)} == {1.0}
    # alpha + (1 - alpha) (1 - sqrt(t / t_decay)), arXiv 2412.13663
    assert lr_factor(schedule, 700) == pytest.approx(0.001 + 0.999 * (1 - math.sqrt(0.25)))
    assert lr_factor(schedule, 1000) == pytest.approx(0.001)
    assert lr_factor(schedule, 1100) == pytest.approx(0.001)
    assert lr_factor(ScheduleConfig(total_tokens=1000), 1100) == 1.0


@pytest.mark.parametrize("decay", ["one_minus_sqrt", "linear", "cosine"])
def test_every_decay_falls_from_one_to_its_final_ratio(decay: str) -> None:
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
            "mlm_probability": [[10, 0.3], [60, 0.15], [80, 0.2]],
        }
    )
    assert [max_seqlen(schedule, tokens, 64) for tokens in (0, 29, 30, 99)] == [8, 8, 32, 32]
    rates = [mlm_probability(schedule, tokens) for tokens in (0, 10, 35, 60, 70, 80, 100)]
    assert rates == pytest.approx([0.3, 0.3, 0.225, 0.15, 0.175, 0.2, 0.2])
    assert max_seqlen(ScheduleConfig(total_tokens=1), 0, 64) == 64


def test_a_restart_repeats_the_same_cycle() -> None:
    cycle = {"warmup_tokens": 10, "decay_tokens": 20, "final_lr_ratio": 0.1}
    alone = ScheduleConfig(total_tokens=50, **cycle)
    twice = ScheduleConfig(total_tokens=150, restarts=(50, 100), **cycle)
    once = [lr_factor(alone, tokens) for tokens in range(1, 51)]
    assert [lr_factor(twice, tokens) for tokens in range(1, 151)] == once * 3
    assert (once[-1], once[9], once[0]) == (pytest.approx(0.1), 1.0, 0.1)


def test_an_extended_run_starts_with_the_same_steps() -> None:
    """To extend a run after its decay: set a larger total, and a restart where it ended."""
    short = make_plan(recipe(), 1)
    end = short.schedule.total_tokens
    longer = make_plan(recipe(f"schedule.total_tokens={2 * end}", f"schedule.restarts=[{end}]"), 1)
    for step in (0, 5000, short.steps - 2):
        assert longer.settings(step) == short.settings(step)
    assert longer.settings(short.steps + 1).lr < 0.01 * short.peak_lr
    assert longer.settings(longer.steps - 1).lr == short.settings(short.steps - 1).lr


def test_the_plan_of_base_has_the_published_batch_size() -> None:
    plan = make_plan(recipe(), 16)
    assert plan.settings(0).tokens == 4608 * 1024
    assert plan.steps == math.ceil(100e9 / (4608 * 1024))
    assert [settings.max_seqlen for settings in plan.change_points()] == [1024, 1024, 8192, 8192]


WARMUP = (
    "schedule.total_tokens=100_000_000",
    "schedule.warmup_tokens=7_000_000",
    "schedule.decay_tokens=30_000_000",
    "schedule.seq_length=[{max_seqlen: 512, until_tokens: 9_500_000}, {max_seqlen: 8192}]",
    "schedule.mlm_probability=[[0, 0.3], [20_000_000, 0.3], [40_000_000, 0.15]]",
    "batch.global_batch_size=64",
    "batch.warmup=[{global_batch_size: 16, until_tokens: 3_000_000}, {global_batch_size: 32, until_tokens: 3_100_000}, "
    "{global_batch_size: 48, until_tokens: 50_000_000}]",
)


def test_every_change_point_is_in_the_table() -> None:
    """Between two rows lengths and packs are constant, and the masking rate is linear."""
    plan = make_plan(recipe(*WARMUP), 1)
    settings = list(plan.from_step(0))
    change_points = {at.step for at in plan.change_points()}
    assert {0, plan.steps - 1} <= change_points
    assert len(change_points) < 12
    assert plan.change_points() == [at for at in settings if at.step in change_points]
    for before, at in pairwise(settings):
        if at.step not in change_points:
            assert (at.max_seqlen, at.packs) == (before.max_seqlen, before.packs)
        last_change = max(step for step in change_points if step <= at.step)
        slope = (at.mlm_probability - before.mlm_probability) / at.packs
        if before.step > last_change:
            assert slope == pytest.approx(
                (before.mlm_probability - settings[before.step - 1].mlm_probability) / before.packs, abs=1e-12
            )


def test_the_memory_check_covers_every_length() -> None:
    plan = make_plan(
        recipe(*WARMUP, "schedule.seq_length=[{max_seqlen: 512, until_tokens: 3e7}, {max_seqlen: 8192}]"), 1
    )
    for first in (0, 60, 100, plan.steps - 1):
        largest: dict[tuple[int, str], float] = {}
        for at in plan.from_step(first):
            shape = (at.max_seqlen, at.objective)
            largest[shape] = max(at.mlm_probability, largest.get(shape, 0.0))
        assert highest_rates(plan, first) == largest
    batch = largest_micro_batch(plan, 3000, 0.3, 100)
    assert (len(batch.input_ids), max(batch.lengths), sum(batch.lengths)) == (4 * 8192, 3000, 4 * 8192)
    assert len(batch.targets) == len(set(batch.masked_positions.tolist())) == 4 * round(0.3 * 8192)
    batch = largest_micro_batch(plan, 3000, 0.3, 100, "causal")
    assert len(batch.targets) == 4 * (8192 - 3)
    assert batch.causal


DETOUR = "schedule.objective=[{objective: causal, until_tokens: 5e7}, {objective: masked}]"


def test_the_objective_switches_at_the_first_step_that_begins_after_its_tokens() -> None:
    plan = make_plan(recipe(*WARMUP, DETOUR), 1)
    settings = list(plan.from_step(0))
    for at in settings:
        assert at.objective == ("causal" if at.start * 8192 < 5e7 else "masked")
    switch = next(at for at in settings if at.objective == "masked")
    assert 0 < switch.step < plan.steps - 1
    assert switch in plan.change_points()
    assert {shape[1] for shape in highest_rates(plan, switch.step - 1)} == {"causal", "masked"}
    assert {shape[1] for shape in highest_rates(plan, switch.step)} == {"masked"}
    table = describe(plan)
    kinds = ["next token" in line for line in table if re.match(r" *[\d,]+  ", line)]
    assert kinds == sorted(kinds, reverse=True)
    assert {*kinds} == {True, False}


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("mask", "expected 'masked' or 'causal' or a list, got 'mask'; did you mean masked?"),
        ("[{objective: causal}]", "the stages of objective must alternate, got causal"),
        ("[]", "the stages of objective must alternate, got none"),
        (
            "[{objective: causal, until_tokens: 1e6}, {objective: causal}]",
            "the stages of objective must alternate, got causal, causal",
        ),
        ("[{objective: causal}, {objective: masked}]", "every stage of objective but the last needs until_tokens"),
        (
            "[{objective: causal, until_tokens: 9}, {objective: masked, until_tokens: 9}, {objective: causal}]",
            "until_tokens of the objective stages must increase",
        ),
        (
            "[{objective: causal, until_tokens: 1e13}, {objective: masked}]",
            "the last stage of objective, masked, begins after 10,000,000,000,000 tokens, but total_tokens is",
        ),
        ("[{objective: causal, until: 1e6}, {objective: masked}]", "unknown key; did you mean until_tokens?"),
    ],
)
def test_stages_of_the_objective_that_mean_nothing_are_refused(objective: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        recipe(f"schedule.objective={objective}")
    assert message in str(error.value)


def test_sequences_without_a_next_token_are_refused() -> None:
    plan = make_plan(recipe("schedule.objective=causal", "schedule.seq_length=[{max_seqlen: 1}]"), 1)
    with pytest.raises(UserError, match="whose objective is causal: none has a next token; raise max_seqlen"):
        require_masked_tokens(plan)


def test_batch_size_warm_up_consumes_every_pack_once() -> None:
    config = recipe(*WARMUP)
    plan = make_plan(config, 1)
    consumed = 0
    for at in plan.from_step(0):
        assert at.start == consumed == packs_before(config, at.step)
        consumed += at.packs
        assert at.tokens == consumed * 8192
        stage = next((packs for packs, until in ((16, 3e6), (32, 3.1e6), (48, 5e7)) if at.start * 8192 < until), 64)
        assert at.packs == stage
    assert consumed == plan.packs
    assert 100_000_000 <= consumed * 8192 < 100_000_000 + 64 * 8192
    short = make_plan(recipe(*WARMUP, "schedule.total_tokens=42_000_000"), 1)
    assert [phase.packs for phase in short.batch_phases] == [16, 32, 48]
    assert short.settings(short.steps - 1).packs == 48


def test_the_printed_plan_lists_every_batch_phase() -> None:
    lines = "\n".join(describe(make_plan(recipe(), 8)))
    assert "576 packs = 8 ranks x 18 micro-batches x 4 packs" in lines
    assert re.search(r"16,956 +80,003,727,360 +0\.0007836 +30\.00% +8,192 +576", lines)
    lines = "\n".join(describe(make_plan(recipe(*WARMUP), 2)))
    assert "48 packs = 2 ranks x 6 micro-batches x 4 packs, from step 25" in lines


def test_the_printed_table_matches_the_logged_metrics(finished: SmallRun) -> None:
    printed = re.findall(
        r"^ *(\d+)  +([\d,]+)  +(\S+)  +([\d.]+%)  +([\d,]+)  +(\d+)$", finished.output.read_text(), re.MULTILINE
    )
    rows = {row["step"]: row for row in finished.rows()}
    assert [int(step) for step, *_ in printed] == [1, 3, 4, 9, 12]
    for step, before, lr, masked, length, packs in printed:
        row = rows[int(step)]
        assert (lr, masked) == (f"{row['lr']:.4g}", f"{row['mlm_probability']:.2%}")
        assert length == f"{row['max_seqlen']:,}"
        assert row["tokens"] - rows.get(int(step) - 1, {"tokens": 0})["tokens"] == pytest.approx(
            int(packs) * SEQ_LENGTH, rel=8 / SEQ_LENGTH
        )
        assert before == f"{(int(step) - 1) * 4 * SEQ_LENGTH:,}"


def test_a_batch_smaller_than_the_number_of_ranks_is_an_error() -> None:
    assert make_plan(recipe(), 576).steps == make_plan(recipe(), 7).steps == make_plan(recipe(), 1).steps
    with pytest.raises(RankCountError, match=r"batch\.global_batch_size \(576\) is less than .* ranks \(577\)"):
        make_plan(recipe(), 577)
    with pytest.raises(RankCountError, match=r"batch\.warmup\.0\.global_batch_size \(16\) is less .* at most 16 ranks"):
        make_plan(recipe(*WARMUP), 17)


def test_the_printed_plan_states_what_an_uneven_division_costs() -> None:
    for ranks, expected in {
        7: "576 packs = 7 ranks x 21 micro-batches of up to 4 packs; a rank has up to 83, so a step takes as long as "
        "one of 581 packs (0.9% waste)",
        64: "576 packs = 64 ranks x 3 micro-batches x 3 packs",
        400: "576 packs = 400 ranks x 1 micro-batches of up to 2 packs; a rank has up to 2, so a step takes as long as "
        "one of 800 packs (38.9% waste)",
    }.items():
        assert f"batch            {expected}" in describe(make_plan(recipe(), ranks))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.warmup_tokens=99_000_000_000", "exceed total_tokens"),
        ("schedule.seq_length=[{max_seqlen: 512}, {max_seqlen: 1024}]", "every stage of seq_length but the last"),
        ("schedule.seq_length=[{max_seqlen: 16384}]", "has max_seqlen 16,384, but packs hold 8,192"),
        ("initial_weights=somewhere", "either model"),
        ("schedule.restarts=[10_000_000_000]", "exceed the tokens from 0 to 10,000,000,000"),
        ("schedule.restarts=[200_000_000_000]", "restarts and total_tokens must increase"),
        ("schedule.mlm_probability=[[5, 0.3], [5, 0.2]]", "the tokens of mlm_probability must increase"),
        ("schedule.mlm_probability=[[0, 1.5]]", "mlm_probability.0.1: should be less than 1"),
        (
            "batch.warmup=[{global_batch_size: 576, until_tokens: 10}]",
            "global_batch_size of the batch.warmup stages must increase",
        ),
    ],
)
def test_contradictory_settings_are_errors(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(override)


def test_every_recipe_loads(repository: Path) -> None:
    recipes = list((repository / "configs").glob("*.yaml"))
    assert len(recipes) >= 7
    for path in recipes:
        make_plan(load(RunConfig, path), 1)
