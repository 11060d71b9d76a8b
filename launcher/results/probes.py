"""The comparisons of groups that a bias probe made, as tables of the results page."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...evaluation.bias.findings import Finding, remarkable, sentence
from ...evaluation.bias.report import cells
from ..report.tables import Cell, Table

_SHOWN = 20
"""Comparisons on the page, unless more were found."""
_COLUMNS = ["measure", "groups", "difference", "95 % interval", "floor", "effect", "p", "found"]


def probe_tables(probes: Mapping[str, Sequence[Finding]]) -> list[dict[str, Any]]:
    """For each model what may be claimed, and the table of what was found and of the comparisons nearest to it."""
    return [
        {"model": model, "sentence": sentence(found), "table": _table(found)}
        for model, found in probes.items()
        if found
    ]


def _table(found: Sequence[Finding]) -> Table:
    shown = remarkable(found, _SHOWN)
    rows: list[list[Cell | str]] = [[Cell(one.measure, strong=one.found), *cells(one)[1:]] for one in shown]
    caption = (
        f"{len(shown)} of {len(found)} comparisons: the difference of the first group from the second; the floor, "
        "which differences of wordings of one group rarely exceed; the effect in standard deviations; corrected p"
    )
    return Table(_COLUMNS, rows, caption, text=[1])
