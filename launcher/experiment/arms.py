"""The two recipes of a comparison, over equal tokens or equal floating-point operations, and what their runs share."""

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from ...configs.errors import UserError
from ...configs.json_text import first_problem
from ...training.planning.forecast import planned_flops
from ...training.recipe.config import RunConfig
from ...training.recipe.schedule import make_plan
from ...training.recipe.start import starting_model

Equal = Literal["tokens", "flops"]
_SAME_DATA = ("path", "seq_length")
_NOT_THE_ORDER = {"masking", "cache", "cache_gigabytes"}


class Arm(NamedTuple):
    """One of the recipes that are compared.

    Attributes:
        name: shown on the page, and the start of its runs' names.
        config: the recipe; a run of it has its own seed and directory.
        steps: of one run.
        tokens: that one run consumes.
        flops: of one run.
    """

    name: str
    config: RunConfig
    steps: int
    tokens: int
    flops: float


def make_arms(
    recipes: Sequence[str], configs: Sequence[RunConfig], equal: Equal, tokens: int | None, ranks: int
) -> list[Arm]:
    """The arms of a comparison of two recipes.

    Args:
        recipes: their names or files.
        equal: what a run of either recipe has the same amount of.
        tokens: of a run of the first recipe, and with equal tokens of the second too; None: as many as it says. The
            points of a schedule move in proportion.
        ranks: of each run.
    Raises:
        UserError: the recipes have other data or other amounts of tokens, or a schedule cannot be shortened so far.
    """
    names = arm_names(recipes)
    _require_same_data(names, configs)
    first, second = configs
    if tokens:
        first = with_tokens(first, tokens, names[0])
    arm = make_arm(names[0], first, ranks)
    if equal == "tokens":
        second = with_tokens(second, tokens, names[1]) if tokens else second
        other = make_arm(names[1], second, ranks)
        _require_equal_tokens(arm, other)
        return [arm, other]
    if tokens:
        second = with_tokens(second, tokens, names[1])
    share = arm.flops / make_arm(names[1], second, ranks).flops
    second = with_tokens(second, max(1, round(second.schedule.total_tokens * share)), names[1])
    return [arm, make_arm(names[1], second, ranks)]


def arm_names(recipes: Sequence[str]) -> list[str]:
    """Names of the arms: those of the files, with `a-` and `b-` before them where both are the same."""
    names = [Path(recipe).name.removesuffix(".yaml") for recipe in recipes]
    return (
        names
        if len(set(names)) == len(names)
        else [f"{letter}-{name}" for letter, name in zip("ab", names, strict=True)]
    )


def with_tokens(config: RunConfig, tokens: int, name: str) -> RunConfig:
    """The recipe over `tokens` tokens: every point of its schedule and of its batch warm-up moves in proportion.

    Raises:
        UserError: points would fall together.
    """
    share = Fraction(tokens, config.schedule.total_tokens)
    values = config.model_dump()
    values["schedule"] = _moved(values["schedule"], share)
    values["batch"] = _moved(values["batch"], share)
    values["schedule"]["total_tokens"] = tokens
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{name}: its schedule cannot be moved to {tokens:,} tokens: {first_problem(error)}") from error


def _moved(value: Any, share: Fraction, key: str = "") -> Any:
    """Multiply numbers of tokens: values of keys that end in `tokens`, and the points of lists ([tokens, value])."""
    if isinstance(value, dict):
        return {name: _moved(one, share, name) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_moved_point(one, share) for one in value]
    if isinstance(value, int) and not isinstance(value, bool) and key.endswith("tokens"):
        return math.floor(value * share)
    return value


def _moved_point(value: Any, share: Fraction) -> Any:
    if isinstance(value, list | tuple):
        return [_moved(value[0], share, "tokens"), *value[1:]]
    return _moved(value, share, "tokens")


def make_arm(name: str, config: RunConfig, ranks: int) -> Arm:
    """The arm with the steps, tokens and FLOPs of its plan."""
    plan = make_plan(config, ranks)
    flops = planned_flops(starting_model(config), plan)
    return Arm(name, config, plan.steps, plan.packs * config.data.seq_length, flops)


def _require_same_data(names: Sequence[str], configs: Sequence[RunConfig]) -> None:
    first, second = (config.data for config in configs)
    for key in _SAME_DATA:
        if (one := getattr(first, key)) != (other := getattr(second, key)):
            raise UserError(
                f"data.{key} is {one} in {names[0]} and {other} in {names[1]}: recipes are compared on the same data; "
                "give both the same, for example with --set"
            )


def _require_equal_tokens(first: Arm, second: Arm) -> None:
    """Require equal tokens, up to the last step, which each recipe completes."""
    step = max(arm.config.batch.global_batch_size * arm.config.data.seq_length for arm in (first, second))
    if abs(first.tokens - second.tokens) >= step:
        raise UserError(
            f"a run of {first.name} has {first.tokens:,} tokens, and one of {second.name} {second.tokens:,}: give "
            f"--tokens {min(first.tokens, second.tokens)}, or --equal flops"
        )


def shared(arms: Sequence[Arm]) -> list[str]:
    """What the two runs of a seed have in common, each in a few words."""
    first, second = (arm.config for arm in arms)
    same_order = _order(first) == _order(second)
    same_masks = same_order and first.data.masking == second.data.masking
    same_masks &= first.schedule.mlm_probability == second.schedule.mlm_probability
    facts = {
        "initial weights": first.model == second.model and first.initial_weights == second.initial_weights,
        "order of the data": same_order,
        "masks": same_masks,
    }
    return [fact for fact, holds in facts.items() if holds]


def _order(config: RunConfig) -> dict[str, Any]:
    """Everything that the order follows from; the number of lanes, if it is open, from the batch and the cache."""
    chooses_lanes = {"batch": config.batch.global_batch_size, "cache": config.data.cache_gigabytes}
    return config.data.model_dump(exclude=_NOT_THE_ORDER) | (chooses_lanes if config.data.order_is_open else {})
