"""What `cmbert evaluate` found out about a run, read from its results.json: for the report and the model card."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...configs.errors import UserError

Scores = dict[str, dict[str, dict[str, dict[str, Any]]]]
"""Task -> subject -> score -> its `mean`, `deviation` and the `values` of the seeds."""


def read_scores(run_dir: Path, evaluations: Sequence[Path] = ()) -> Scores:
    """Those beside the run, in its directory `evaluation`, and those named; of the same task and subject the later.

    Raises:
        UserError: one that is named has no results.
    """
    merged: Scores = {}
    for directory in [run_dir / "evaluation", *evaluations]:
        found = None
        with suppress(OSError, ValueError):
            found = json.loads((directory / "results.json").read_text(encoding="utf-8"))
        if found is None and directory in evaluations:
            raise UserError(f"{directory}: no results.json that can be read: expected the --out of cmbert evaluate")
        for task, subjects in (found or {}).items():
            merged.setdefault(task, {}).update(subjects)
    return merged
