"""The stage that `zero_stage: auto` becomes, and whether ZeRO-3 keeps its weights gathered."""

import math
from pathlib import Path

import pytest

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.training.planning.communication import exchange
from clinical_modernbert.training.planning.memory import peak
from clinical_modernbert.training.planning.stage import USABLE, Choice, at_stage, choose_stage
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.recipe.schedule import make_plan
from clinical_modernbert.training.zero.partition import PERSISTENCE, gathering

GB = 1e9
RECIPES = ("base", "continue-base", "continue-base-detour", "continue-large", "large", "paper", "tiny")


def choose(repository: Path, *overrides: str, ranks: int = 8, memory: float = 80 * GB, nodes: int = 1) -> Choice:
    config = load(RunConfig, repository / "configs/large.yaml", overrides)
    assert config.model is not None
    return choose_stage(config.model, config.engine, make_plan(config, ranks), memory, nodes)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_for_any_machine_leave_the_stage_open(repository: Path, name: str) -> None:
    assert load(RunConfig, repository / "configs" / f"{name}.yaml").engine.zero_stage == "auto"


@pytest.mark.parametrize("memory", [1 * GB, 80 * GB])
def test_one_rank_never_pays_for_many(repository: Path, memory: float) -> None:
    assert choose(repository, ranks=1, memory=memory).engine.zero_stage == 1


@pytest.mark.parametrize("ranks", [2, 8, 64])
def test_the_stage_changes_exactly_where_the_model_no_longer_fits(repository: Path, ranks: int) -> None:
    config = load(RunConfig, repository / "configs/large.yaml", ["batch.micro_batch_size=1"])
    assert config.model is not None
    plan = make_plan(config, ranks)
    needed = peak(config.model, config.engine.model_copy(update={"zero_stage": 1}), plan) / USABLE
    below, above = math.nextafter(needed * (1 - 1e-9), 0), needed * (1 + 1e-9)
    assert choose_stage(config.model, config.engine, plan, above).engine.zero_stage == 1
    choice = choose_stage(config.model, config.engine, plan, below)
    assert choice.engine.zero_stage == 3
    assert "since ZeRO-1 needs" in choice.reason


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_number_is_obeyed(repository: Path, stage: int) -> None:
    for memory in (1 * GB, 80 * GB):
        choice = choose(repository, f"engine.zero_stage={stage}", memory=memory)
        assert choice.engine.zero_stage == stage
        assert choice.reason.startswith(f"ZeRO-{stage}, as the recipe says")


@pytest.mark.parametrize(
    "setting",
    ["zero_hpz_partition_size=2", "zero_optimization={overlap_comm: true, reduce_bucket_size: 1e8}"],
)
def test_keys_that_need_zero_3_decide(repository: Path, setting: str) -> None:
    assert choose(repository, f"engine.{setting}").engine.zero_stage == 3


def test_nodes_that_exchange_less_with_zero_3_use_it(repository: Path) -> None:
    for micro_batches, nodes in [(m, n) for m in (1, 2, 3) for n in (1, 8)]:
        batch = f"batch={{global_batch_size: {64 * micro_batches}, micro_batch_size: 1}}"
        choice = choose(repository, batch, ranks=64, nodes=nodes)
        sharded = choose(repository, batch, "engine.zero_stage=3", ranks=64).engine
        model = load(RunConfig, repository / "configs/large.yaml").model
        assert model is not None
        least = min(
            (exchange(model, engine, micro_batches).sent(64), engine.stage)
            for engine in (sharded.model_copy(update={"zero_stage": 1}), sharded)
        )
        assert choice.engine.zero_stage == (least[1] if nodes > 1 else 1)


def test_zero_3_keeps_its_weights_gathered_exactly_if_they_fit(repository: Path) -> None:
    config = load(RunConfig, repository / "configs/large.yaml", ["engine.zero_stage=3"])
    assert config.model is not None
    plan = make_plan(config, 8)
    gathered = at_stage(config.model, config.engine, 3, plan, math.inf)
    assert gathering(config.model, gathered).per_micro_batch == 0
    needed = peak(config.model, gathered, plan) / USABLE
    assert at_stage(config.model, config.engine, 3, plan, needed * (1 + 1e-9)) == gathered
    assert at_stage(config.model, config.engine, 3, plan, needed * (1 - 1e-9)) == config.engine
    own = config.engine.model_copy(update={"zero_optimization": {PERSISTENCE: 7}})
    assert at_stage(config.model, own, 3, plan, math.inf) == own
