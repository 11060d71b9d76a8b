"""The arms of the detour experiment: one trained model, continued on another source in several ways.

All of them have the same tokens, and for a seed the same packs in the same order, and the same masks where they mask.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.launcher.experiment.arms import Arm, make_arm, with_tokens
from clinical_modernbert.training.recipe.config import RunConfig

Family = Literal["masked", "detour", "muon"]
"""Arms with a rate in common: each family has its own, from a sweep."""


class Design(NamedTuple):
    """What is fixed before the run; docs/detour.md has the reasons.

    Attributes:
        first: source -> share of the model that is continued.
        source: on which it is continued.
        first_tokens, tokens: of the model that is continued, and of each run that continues it.
        rates: of each family, increasing by the same factor; the sweep goes on beyond an end that is best.
        most_rates: of a family.
        sweep_seeds: with which rates are compared; none of them is a seed of the pairs.
        first_seed: of the pairs.
        fewest, added, most: number of seeds at first, at a time, and at last.
        half_width: of an interval, at which no more seeds are needed.
        fine_tunings: per task and run.
    """

    first: Mapping[str, float] = {"pmc": 0.40, "dialogues": 0.25, "notes": 0.35}
    source: str = "pubmed"
    first_tokens: int = 4_096_000
    tokens: int = 819_200
    rates: Mapping[Family, Sequence[float]] = {
        "masked": (1.5e-3, 3e-3, 6e-3),
        "detour": (1.5e-3, 3e-3, 6e-3),
        "muon": (1.5e-3, 3e-3, 6e-3),
    }
    most_rates: int = 4
    sweep_seeds: Sequence[int] = (101, 102)
    first_seed: int = 1
    fewest: int = 4
    added: int = 2
    most: int = 100
    half_width: float = 0.005
    fine_tunings: int = 1


class Kind(NamedTuple):
    """An arm: its family, and the share of its tokens with a causal objective and with a decaying rate."""

    family: Family
    causal: float
    decay: float


ARMS: dict[str, Kind] = {
    "masked": Kind("masked", 0.0, 0.40),
    "detour-91": Kind("detour", 0.91, 0.09),
    "detour-60": Kind("detour", 0.60, 0.40),
    "muon": Kind("muon", 0.0, 0.40),
    "constant": Kind("masked", 0.0, 0.0),
}
SWEPT: dict[Family, str] = {"masked": "masked", "detour": "detour-91", "muon": "muon"}
"""The arm with which the rate of a family is found."""
AVERAGED = ("masked", "constant")
"""Arms whose last checkpoints are averaged too. Averages are scored on masked words alone, as is `constant`."""
CHECKPOINTS = 5
"""That are averaged; they are a 20th of the run apart."""


def averaged(name: str) -> str:
    """The name of an arm's averaged checkpoints."""
    return f"{name}-averaged"


def base_recipe(out: Path, extra: Sequence[str]) -> RunConfig:
    """The recipe `proof` with the experiment's data, before tokens and sources are set."""
    return load(RunConfig, find_recipe("proof"), [f"data.path={out / 'data'}", "data.weights=null", *extra])


def first_arm(design: Design, base: RunConfig) -> Arm:
    """The model that all arms continue, from scratch on two ranks, as the learning proof trains it."""
    config = with_tokens(base, design.first_tokens, "first")
    data = config.data.model_copy(update={"weights": dict(design.first)})
    validation = config.validation.model_copy(update={"every_steps": 0})
    return make_arm("first", config.model_copy(update={"data": data, "validation": validation}), 2)


def continued_arm(name: str, kind: Kind, rate: float, start: Path, design: Design, base: RunConfig) -> Arm:
    """The arm that continues the checkpoint `start`, on one rank."""
    tokens, batch = design.tokens, base.batch.global_batch_size
    causal = [{"objective": "causal", "until_tokens": int(kind.causal * tokens)}, {"objective": "masked"}]
    changes: dict[str, dict[str, Any]] = {
        "data": {"weights": {design.source: 1.0}},
        "batch": {"micro_batch_size": batch},
        "schedule": {
            "total_tokens": tokens,
            "warmup_tokens": tokens // 20,
            "decay_tokens": int(kind.decay * tokens),
            "seq_length": (),
            "objective": causal if kind.causal else "masked",
        },
        "optimizer": {"name": "muon" if kind.family == "muon" else "stable_adamw", "lr": rate},
        "checkpoint": {
            "every_steps": max(1, tokens // (batch * base.data.seq_length) // 20),
            "keep_last": CHECKPOINTS if name in AVERAGED else 1,
        },
        "validation": {"every_steps": 0},
    }
    values = base.model_dump()
    for section, keys in changes.items():
        values[section] |= keys
    return make_arm(name, RunConfig.model_validate(values | {"model": None, "initial_weights": start}), 1)


def next_rate(losses: Mapping[float, float], most: int) -> float | None:
    """The rate to be tried after those of a sweep: the next beyond the best, if that is the lowest or the highest.

    Args:
        losses: rate -> loss, at least one.
        most: number of rates.
    Returns:
        None if the best is between others, or `most` rates were tried.
    """
    rates, best = sorted(losses), best_rate(losses)
    if len(rates) < 2 or len(rates) >= most or best not in (rates[0], rates[-1]):
        return None
    factor = rates[1] / rates[0]
    return float(f"{best / factor if best == rates[0] else best * factor:.6g}")


def best_rate(losses: Mapping[float, float]) -> float:
    """The rate with the lowest loss."""
    return min(losses, key=lambda rate: losses[rate])
