"""The page of a comparison, `comparison.md`, and its numbers, `comparison.json`: what may be claimed, and what not.

Claims are made only of scores that were named before the first result, each at a level at which all of them together
hold in 95 of 100 comparisons (Bonferroni).
"""

import json
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from ...configs.progress import short_number
from ...evaluation.results import deviation
from ...evaluation.scores.paired import Paired, compare, pairs_needed
from ...storage.files import atomic_write
from ..report.comparison import differing_keys, flatten
from .arms import Arm, shared
from .record import Record
from .runs import Scores

PAGE, NUMBERS = "comparison.md", "comparison.json"
_EQUAL = {"tokens": "tokens", "flops": "FLOPs"}
LEVEL = 0.95
"""With which all claims of a page together hold."""


class Row(NamedTuple):
    """A score of both arms; `claimed` if claims are made of it."""

    task: str
    score: str
    values: tuple[list[float], list[float]]
    paired: Paired
    claimed: bool

    @property
    def name(self) -> str:
        return f"{self.task} {self.score}"


class Comparison(NamedTuple):
    """What a page shows: `pairs` has the scores of both arms for each seed that is done."""

    arms: Sequence[Arm]
    record: Record
    pairs: dict[int, tuple[Scores, Scores]]
    half_width: float

    @property
    def level(self) -> float:
        """Of one interval."""
        return 1 - (1 - LEVEL) / max(1, sum(self._claims(task, score) for task, score in self._scores()))

    def rows(self) -> list[Row]:
        level = self.level
        rows = []
        for task, score in self._scores():
            first, second = ([pair[arm][task][score] for pair in self.pairs.values()] for arm in (0, 1))
            paired = compare(first, second, level)
            rows.append(Row(task, score, (first, second), paired, self._claims(task, score)))
        return rows

    def _scores(self) -> list[tuple[str, str]]:
        """The scores that all runs have, in the order of the first."""
        runs = [scores for pair in self.pairs.values() for scores in pair]
        return [
            (task, score)
            for task, scores in (runs[0].items() if runs else ())
            for score in scores
            if all(score in run[task] for run in runs)
        ]

    def _claims(self, task: str, score: str) -> bool:
        return any(fnmatchcase(f"{task} {score}", pattern) for pattern in self.record.claims or ["*"])


def write_page(out: Path, comparison: Comparison) -> list[str]:
    """Write the page and its numbers; returns the sentences about what may be claimed."""
    rows = comparison.rows()
    sentences = [_sentence(row, comparison.arms) for row in rows if row.claimed]
    atomic_write(out / NUMBERS, json.dumps(_numbers(comparison, rows), indent=1) + "\n")
    atomic_write(out / PAGE, "\n".join(_lines(comparison, rows, sentences)) + "\n")
    return sentences


def _lines(comparison: Comparison, rows: Sequence[Row], sentences: Sequence[str]) -> list[str]:
    names = [_cell(arm.name) for arm in comparison.arms]
    return [
        f"# {names[0]} against {names[1]}",
        "",
        *_conditions(comparison),
        "",
        "## Scores",
        "",
        f"| score | {names[0]} | {names[1]} | difference | pairs for ±{comparison.half_width:g} |",
        "| --- | --- | --- | --- | --- |",
        *(_table_row(row, comparison) for row in rows),
        "",
        f"Means ± standard deviations over seeds. The difference is {names[1]} - {names[0]}, with its interval at "
        f"{_percent(comparison.level)}. The last column is how many pairs of runs would give an interval of "
        f"±{comparison.half_width:g}, if they vary as these do; few pairs estimate it roughly.",
        "",
        "## What may be claimed",
        "",
        *(f"- {sentence}" for sentence in sentences or ["Nothing: no score was named of which claims are made."]),
        "",
        *_limits(comparison, rows),
        "",
        "## Recipes",
        "",
        *_recipes(comparison.arms),
        "",
        "## Values of each seed",
        "",
        f"Seeds: {', '.join(map(str, comparison.pairs))}.",
        "",
        f"| score | {names[0]} | {names[1]} |",
        "| --- | --- | --- |",
        *(f"| {_cell(row.name)} | {_series(row.values[0])} | {_series(row.values[1])} |" for row in rows),
    ]


def _conditions(comparison: Comparison) -> list[str]:
    arms, record = comparison.arms, comparison.record
    amounts = [f"{arm.tokens:,} tokens, {short_number(arm.flops)} FLOPs ({arm.name})" for arm in arms]
    same = shared(arms)
    asked = record.seeds[-1]
    done = "" if len(comparison.pairs) >= asked else f" so far, of {asked} that were asked for"
    lines = [
        f"Both recipes were trained on the same data with equal **{_EQUAL[record.equal]}**: "
        f"a run has {'; or '.join(amounts)}. FLOPs are as `cmbert plan` counts them, for full packs.",
        "",
        f"{len(comparison.pairs)} pairs of runs{done}. The two runs of a pair share the seed"
        + (f", and with it the {', the '.join(same)}." if same else ", but neither weights, order nor masks."),
    ]
    if len(set(record.seeds)) > 1:
        lines += [
            "",
            f"**The number of seeds was changed after the comparison began ({', '.join(map(str, record.seeds))}).** "
            "Whoever adds seeds until an interval leaves out 0 finds differences more often than the level says.",
        ]
    return lines


def _table_row(row: Row, comparison: Comparison) -> str:
    paired = row.paired
    interval = "" if paired.half_width is None else f" {_interval(paired)}"
    needed = ""
    if paired.deviation is not None:
        pairs = pairs_needed(paired.deviation, comparison.half_width, comparison.level)
        needed = "more than 10,000" if pairs is None else f"{pairs:,}"
    cells = [_cell(row.name), *map(_mean, row.values), f"{paired.difference:+.4f}{interval}", needed]
    return f"| {' | '.join(cells)} |"


def _sentence(row: Row, arms: Sequence[Arm]) -> str:
    paired, (first, second) = row.paired, (arm.name for arm in arms)
    if paired.half_width is None:
        return f"{row.name}: nothing yet; one pair of runs has no interval."
    low, high = sorted(abs(bound) for bound in _bounds(paired))
    if paired.differs:
        than = f"{second} is {'higher' if paired.difference > 0 else 'lower'} than {first}"
        return f"{row.name}: **{than}**, by {abs(paired.difference):.4f} ({low:.4f} to {high:.4f})."
    if paired.difference == paired.half_width == 0:
        return f"{row.name}: no difference; all pairs are equal."
    return f"{row.name}: no difference can be claimed, and none beyond {_interval(paired)} is likely."


def _limits(comparison: Comparison, rows: Sequence[Row]) -> list[str]:
    claims = sum(row.claimed for row in rows)
    together = f"Intervals are so wide that all {claims} hold together" if claims > 1 else "The interval holds"
    return [
        f"{together} in {_percent(LEVEL)} of such comparisons. They are of these recipes as written: another "
        "learning rate may suit one of them better. They are of the texts that were scored: other texts are a further "
        "source of variation. With few pairs they rest on the assumption that differences are distributed normally.",
    ]


def _recipes(arms: Sequence[Arm]) -> list[str]:
    flat = [dict(flatten(arm.config.model_dump(mode="json", exclude={"run_dir", "seed"}))) for arm in arms]
    rows = [
        f"| `{key}` | {' | '.join('' if value is None else f'`{_cell(value)}`' for value in values)} |"
        for key, values in differing_keys(flat).items()
    ]
    if not rows:
        return ["The recipes are the same."]
    return ["Everything that differs:", "", f"| key | {' | '.join(_cell(arm.name) for arm in arms)} |",
            "| --- | --- | --- |", *rows]  # fmt: skip


def _numbers(comparison: Comparison, rows: Sequence[Row]) -> dict[str, Any]:
    scores: dict[str, dict[str, Any]] = {}
    for row in rows:
        paired = row.paired._asdict()
        values = dict(zip((arm.name for arm in comparison.arms), row.values, strict=True))
        scores.setdefault(row.task, {})[row.score] = {**paired, "claimed": row.claimed, "values": values}
    return {
        "arms": [{"name": arm.name, "tokens": arm.tokens, "flops": arm.flops} for arm in comparison.arms],
        "equal": comparison.record.equal,
        "level": comparison.level,
        "seeds": list(comparison.pairs),
        "scores": scores,
    }


def _bounds(paired: Paired) -> tuple[float, float]:
    assert paired.half_width is not None
    return paired.difference - paired.half_width, paired.difference + paired.half_width


def _interval(paired: Paired) -> str:
    return "[{:+.4f}, {:+.4f}]".format(*_bounds(paired))


def _mean(values: Sequence[float]) -> str:
    spread = deviation(values)
    return f"{sum(values) / len(values):.4f}" + ("" if spread is None else f" ± {spread:.4f}")


def _series(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
