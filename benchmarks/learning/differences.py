"""The tables of the detour experiment: rates, scores, and the differences between arms with what may be claimed."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from clinical_modernbert.benchmarks.learning.arms import Family, averaged, best_rate
from clinical_modernbert.evaluation.results import deviation
from clinical_modernbert.evaluation.scores.paired import Paired, compare, pairs_needed

Scores = Mapping[str, Mapping[str, float]]
"""Task -> score -> value."""
MASKED, ENTITIES = "masked-words", "entities"
"""The tasks."""
LEVEL = 0.95
"""Of each interval in the table, and with which all claims together hold."""
COMPARISONS = (
    ("masked", "detour-91"),
    ("masked", "detour-60"),
    ("masked", "muon"),
    ("masked", averaged("masked")),
    ("masked", averaged("constant")),
)
"""Of which claims are made: the second against the first."""
ALSO = (("constant", averaged("constant")),)
"""Shown without a claim."""


class Difference(NamedTuple):
    """A row of the table; `claimed` is whether the interval at the level of all claims leaves out 0, None: no claim."""

    arms: tuple[str, str]
    score: str
    paired: Paired
    claimed: bool | None


def differences(scores: Mapping[str, Sequence[Scores]], source: str) -> list[Difference]:
    """All comparisons, of the scores that both arms have.

    Args:
        scores: arm -> scores of each seed, in the same order.
        source: whose masked words count.
    """
    names = ((MASKED, f"{source} top1"), (ENTITIES, "f1"))
    pairs = [
        (arms, task, score)
        for arms in (*COMPARISONS, *ALSO)
        for task, score in names
        if all(task in seed for arm in arms for seed in scores[arm])
    ]
    together = 1 - (1 - LEVEL) / sum(arms in COMPARISONS for arms, _, _ in pairs)
    rows = []
    for arms, task, score in pairs:
        first, second = ([seed[task][score] for seed in scores[arm]] for arm in arms)
        claimed = compare(first, second, together).differs if arms in COMPARISONS else None
        rows.append(Difference(arms, f"{task} {score}", compare(first, second, LEVEL), claimed))
    return rows


def precise(rows: Sequence[Difference], half_width: float) -> bool:
    """Whether every interval of a claim is at most this wide to either side."""
    widths = [row.paired.half_width for row in rows if row.claimed is not None]
    return all(width is not None and width <= half_width for width in widths)


def difference_table(rows: Sequence[Difference], half_width: float) -> list[str]:
    """The differences in points, as Markdown lines."""
    return [
        f"| second against first | score | difference, points | claimed | pairs for ±{100 * half_width:g} |",
        "| --- | --- | --- | --- | --- |",
        *(_difference_row(row, half_width) for row in rows),
        "",
    ]


def _difference_row(row: Difference, half_width: float) -> str:
    paired = row.paired
    assert paired.half_width is not None
    assert paired.deviation is not None
    needed = pairs_needed(paired.deviation, half_width, LEVEL)
    claimed = {None: "not tested", True: "higher" if paired.difference > 0 else "lower", False: "nothing"}[row.claimed]
    cells = (
        f"{row.arms[1]} against {row.arms[0]}",
        row.score,
        f"{100 * paired.difference:+.2f} ± {100 * paired.half_width:.2f}",
        claimed,
        "more than 10,000" if needed is None else f"{needed:,}",
    )
    return f"| {' | '.join(cells)} |"


def score_table(scores: Mapping[str, Sequence[Scores]], flops: Mapping[str, float], shown: Sequence[str]) -> list[str]:
    """Means ± standard deviations over the seeds, and the FLOPs relative to the first arm, as Markdown lines.

    Args:
        flops: of a run of each arm; averages have none.
        shown: `task score` of each column.
    """
    lines = [
        f"| arm | FLOPs | {' | '.join(shown)} |",
        f"| --- | --- | {' | '.join('---' for _ in shown)} |",
    ]
    unit = next(iter(flops.values()))
    for arm, seeds in scores.items():
        cost = f"{flops[arm] / unit:.2f}" if arm in flops else ""
        lines.append(f"| {arm} | {cost} | {' | '.join(_cell(seeds, column) for column in shown)} |")
    return [*lines, ""]


def _cell(seeds: Sequence[Scores], column: str) -> str:
    task, _, score = column.partition(" ")
    values = [seed[task][score] for seed in seeds if task in seed]
    if not values:
        return ""
    spread = deviation(values)
    return f"{math.fsum(values) / len(values):.4f}" + ("" if spread is None else f" ± {spread:.4f}")


def rate_table(sweep: Mapping[Family, Mapping[float, Sequence[float]]], seeds: Sequence[int]) -> list[str]:
    """The loss of every family, rate and seed, as Markdown lines; the chosen rates are bold."""
    lines = [
        f"| family | rate | {' | '.join(f'seed {seed}' for seed in seeds)} | mean |",
        f"| --- | --- | {' | '.join('---' for _ in seeds)} | --- |",
    ]
    for family, losses in sweep.items():
        best = best_rate(mean_losses(losses))
        for rate in sorted(losses):
            values = [f"{loss:.4f}" for loss in (*losses[rate], mean_losses(losses)[rate])]
            end = ", an end of those tried" if len(losses) > 1 and best in (min(losses), max(losses)) else ""
            name = f"**{rate:g}**{end}" if rate == best else f"{rate:g}"
            lines.append(f"| {family} | {name} | {' | '.join(values)} |")
    return [*lines, ""]


def mean_losses(losses: Mapping[float, Sequence[float]]) -> dict[float, float]:
    """Rate -> mean over the seeds."""
    return {rate: math.fsum(values) / len(values) for rate, values in losses.items()}
