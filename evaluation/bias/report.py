"""The comparisons of bias probes as bias.json, and as a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter

from ...configs.json_text import read_json
from ...storage.files import atomic_write
from ..scores.significance import LEVEL, SAMPLES
from .findings import ALPHA, Finding, remarkable

if TYPE_CHECKING:
    from rich.table import Table

Probes = Mapping[str, Mapping[str, Sequence[Finding]]]
"""Task -> model -> comparisons."""

FILE = "bias.json"
_SHOWN = 12
"""Comparisons in the terminal, unless more were found."""
_METHOD = {
    "interval": f"paired bootstrap over templates or texts, {LEVEL:.0%}, {SAMPLES} samples",
    "effect": "difference / standard deviation of the differences over templates or texts",
    "floor": f"differences of wordings of one group, {LEVEL:.0%}, Student's t with their pooled variance",
    "p": f"the larger of approximate randomization ({SAMPLES} exchanges) and of wordings, Holm's correction by measure",
    "found": f"p < {ALPHA}, and an interval without 0",
}


class _File(BaseModel):
    """What is read back of an earlier bias.json: tasks are added to it."""

    tasks: dict[str, dict[str, list[dict[str, Any]]]] = {}


_SCHEMA = TypeAdapter(_File)


def write_probes(probes: Probes, out: Path) -> Path:
    """Write or extend `out`/bias.json; other tasks in it are kept. It has names of groups and numbers, and no text.

    Raises:
        UserError: an earlier file is not as it was written.
    """
    path = out / FILE
    tasks = read_json(path, _SCHEMA, "restore or remove the file").tasks if path.is_file() else {}
    for task, models in probes.items():
        tasks[task] = {
            model: [{**one._asdict(), "found": one.found} for one in found] for model, found in models.items()
        }
    atomic_write(path, json.dumps({"method": _METHOD, "tasks": tasks}, indent=1) + "\n")
    return path


def probe_table(task: str, model: str, found: Sequence[Finding]) -> "Table":
    """What was found, and the comparisons nearest to it, for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(f"{task}: {model}, {LEVEL:.0%} intervals, * found"), title_justify="left")
    table.add_column("comparison", overflow="fold")
    for column in ("difference", "interval", "floor", "p"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in remarkable(found, _SHOWN):
        _, _, difference, interval, floor, _, p, yes = cells(one)
        name = f"{one.measure}, {one.groups.split(': ', 1)[1]}"
        table.add_row(escape(f"{name} *" if yes == "yes" else name), difference, interval, floor, p)
    return table


def cells(one: Finding) -> list[str]:
    """A comparison as a row: measure, groups, difference, interval, floor, effect, p and whether it is found."""
    effect = "-" if one.effect is None else f"{one.effect:+.2f}"
    interval = f"{one.low:+.3f} to {one.high:+.3f}"
    numbers = (f"{one.difference:+.3f}", interval, f"{one.floor:.3f}", effect, f"{one.p:.4f}")
    return [one.measure, one.groups, *numbers, "yes" if one.found else "no"]
