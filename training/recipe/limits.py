"""The limits of a run: model, data, schedule, packs and number of ranks must fit each other, in every later stage too.

Every command that plans, submits or starts a run calls `limits`, without torch. Ranks call `require_fit`, since other
launchers start them without a check. So what a run would meet only in its last stage is found before step 1.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ...configs.errors import RankCountError, UserError
from ...configs.preconditions import Check, check_all
from ...model.config import ModelConfig
from ...storage.remote import is_remote
from ...streaming_data.loader.dataset import PackDataset, open_dataset
from ...streaming_data.loader.mix import plan_mix
from ...streaming_data.shards.manifest import NAME as DATA_MANIFEST
from .config import RunConfig
from .engine_config import EngineConfig
from .schedule import Plan, make_plan
from .start import (
    adopt_token_ids,
    open_initial,
    open_validation,
    require_fitting_tokenizer,
    require_same_tokenizer,
    require_weights,
    starting_model,
)


def limits(config: RunConfig, ranks: int | Sequence[int], elsewhere: bool = False) -> Iterator[Check]:
    """The checks of a run on `ranks` ranks. Those of data in an object store are left to the ranks.

    Args:
        ranks: or all numbers that the run may have.
        elsewhere: the ranks run on other machines; files that this one does not have are left to them too.
    """
    start, data = config.initial_weights, config.data.path
    has_model = start is None or start.exists() or not elsewhere
    has_data = not is_remote(data) and (not elsewhere or _has_data(data))
    numbers = [ranks] if isinstance(ranks, int) else ranks
    yield lambda: make_plan(config, max(numbers))
    yield lambda: require_whole_copies(config.engine, *numbers)
    if has_model:
        yield lambda: starting_model(config)
        yield lambda: require_weights(start) if start else None
    yield lambda: require_masked_tokens(_plan_of_any_ranks(config))
    if has_data:
        yield lambda: _check_data(config, has_model)
        if config.validation.every_steps:
            yield lambda: open_validation(config.data, config.seed)


def require_fit(config: RunConfig, model: ModelConfig, dataset: PackDataset) -> None:
    """Require that the model and the schedule fit the data.

    Raises:
        UserError: the tokenizer, the vocabulary or the special tokens differ, or the data has too few packs.
    """
    start = open_initial(config)
    fitting = adopt_token_ids(model, start, dataset.manifest.tokenizer.special_ids)
    check_all(
        [
            lambda: require_same_tokenizer(start, dataset) if start else None,
            lambda: require_fitting_tokenizer(fitting, dataset),
            lambda: _require_enough_packs(config, dataset),
        ]
    )


def require_masked_tokens(plan: Plan) -> None:
    """Require that full packs have a target in every step: a step without one has no loss.

    Raises:
        UserError: the masking rate falls too low, or sequences are too short to have a next token.
    """
    for settings in plan.change_points():
        if settings.objective == "causal":
            if settings.max_seqlen < 2:
                raise UserError(
                    f"schedule.seq_length allows sequences of {settings.max_seqlen} token at step "
                    f"{settings.step + 1:,}, whose objective is causal: none has a next token; raise max_seqlen"
                )
        elif round(settings.mlm_probability * plan.data.seq_length) < 1:
            raise UserError(
                f"schedule.mlm_probability is {settings.mlm_probability:g} at step {settings.step + 1:,}, which masks "
                f"no token of a pack of {plan.data.seq_length:,}: raise it to at least {1 / plan.data.seq_length:.2g}"
            )


def require_whole_copies(engine: EngineConfig, *ranks: int) -> None:
    """Require that each number of ranks divides into groups that each hold a second copy of the weights (hpZ).

    Raises:
        RankCountError: one does not.
    """
    for number in ranks:
        if number % engine.zero_hpz_partition_size:
            raise RankCountError(
                f"engine.zero_hpz_partition_size={engine.zero_hpz_partition_size} does not divide the {number} ranks: "
                "set it to the number of ranks per node, or to 1"
            )


def _check_data(config: RunConfig, has_model: bool) -> None:
    dataset = open_dataset(config.data, config.seed, packs_per_step=config.batch.global_batch_size)
    if has_model:
        require_fit(config, starting_model(config), dataset)
    else:
        _require_enough_packs(config, dataset)


def _require_enough_packs(config: RunConfig, dataset: PackDataset) -> None:
    plan_mix(dataset, _plan_of_any_ranks(config).packs)


def _plan_of_any_ranks(config: RunConfig) -> Plan:
    """The steps, which are the same for any number of ranks."""
    return make_plan(config, 1)


def _has_data(address: str) -> bool:
    return (Path(address) / DATA_MANIFEST).is_file()
