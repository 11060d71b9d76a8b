"""Equal tokens, equal FLOPs, schedules that move in proportion, and what cannot be compared."""

from pathlib import Path

import pytest
from compared_recipes import PACK, recipe

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import TRAINING, find_recipe, recipe_names
from clinical_modernbert.launcher.experiment.arms import arm_names, make_arms, shared, with_tokens
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.recipe.schedule import Plan, make_plan


def curve(plan: Plan) -> list[tuple[float, ...]]:
    """Settings at a hundred equal shares of the run."""
    return [
        (one.lr, one.mlm_probability, one.max_seqlen, one.packs)
        for one in (plan.settings(plan.steps * percent // 100) for percent in range(100))
    ]


def test_a_longer_run_has_the_same_curves_over_its_length() -> None:
    short, long = recipe(), with_tokens(recipe(), 4000 * PACK, "a")
    assert long.schedule.total_tokens == 4000 * PACK
    assert long.batch.warmup[0].until_tokens == 400 * PACK
    assert long.schedule.restarts == (2000 * PACK,)
    for one, other in zip(curve(make_plan(short, 1)), curve(make_plan(long, 1)), strict=True):
        assert one[2:] == other[2:]
        assert one[:2] == pytest.approx(other[:2], abs=0.06 * 1e-3 + 0.003)


def test_every_packaged_recipe_moves_to_its_own_tokens_unchanged_and_to_a_tenth() -> None:
    for name in recipe_names(TRAINING):
        config = load(RunConfig, find_recipe(name))
        assert with_tokens(config, config.schedule.total_tokens, name) == config, name
        assert with_tokens(config, config.schedule.total_tokens // 10, name).data == config.data, name


def test_a_schedule_that_collapses_is_an_error() -> None:
    with pytest.raises(UserError, match="mine: its schedule cannot be moved to 1 tokens"):
        with_tokens(recipe(), 1, "mine")


def test_equal_tokens() -> None:
    arms = make_arms(["a.yaml", "b"], [recipe(), recipe(optimizer={"lr": 2e-3})], "tokens", None, 1)
    assert [arm.name for arm in arms] == ["a", "b"]
    assert arms[0].tokens == arms[1].tokens == 400 * PACK
    assert arms[0].flops == arms[1].flops
    shorter = recipe(schedule={"total_tokens": 360 * PACK})
    with pytest.raises(UserError, match=f"and one of b 184,320: give --tokens {360 * PACK}, or --equal flops"):
        make_arms(["a", "b"], [recipe(), shorter], "tokens", None, 1)
    arms = make_arms(["a", "b"], [recipe(), shorter], "tokens", 200 * PACK, 1)
    assert arms[0].tokens == arms[1].tokens == 200 * PACK


def test_equal_flops_give_the_smaller_model_more_tokens() -> None:
    for tokens in (None, 4000 * PACK):
        small = recipe(model={"num_hidden_layers": 2})
        first, second = make_arms(["a", "b"], [recipe(), small], "flops", tokens, 1)
        assert first.tokens == (tokens or 400 * PACK)
        assert second.tokens > 1.1 * first.tokens
        assert second.flops == pytest.approx(first.flops, rel=0.02)


def test_other_data_cannot_be_compared() -> None:
    for change in ({"path": "other"}, {"seq_length": 1024}):
        with pytest.raises(UserError, match=f"data.{next(iter(change))} is .* in a and .* in b"):
            make_arms(["a", "b"], [recipe(), recipe(data=change)], "tokens", None, 1)


def test_what_the_runs_of_a_pair_share_is_stated() -> None:
    everything = ["initial weights", "order of the data", "masks"]
    for change, expected in (
        ({"optimizer": {"lr": 2e-3}}, everything),
        ({"data": {"cache": Path("cache")}}, everything),
        ({"model": {"local_attention": 64}}, everything[1:]),
        ({"data": {"masking": "span"}}, everything[:2]),
        ({"schedule": {"mlm_probability": [[0, 0.2]]}}, everything[:2]),
        ({"data": {"shuffle_window": 3}}, everything[:1]),
        ({"data": {"cache_gigabytes": 1}}, everything[:1]),  # other lanes, perhaps
    ):
        arms = make_arms(["a", "b"], [recipe(), recipe(**change)], "tokens", None, 1)
        assert shared(arms) == expected, change


def test_names_of_equal_files_differ() -> None:
    assert arm_names(["one/recipe.yaml", "two/recipe.yaml"]) == ["a-recipe", "b-recipe"]
