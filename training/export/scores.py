"""Results of `cmbert evaluate`, read from results.json for the report and the model card."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...configs.errors import UserError

Scores = dict[str, dict[str, dict[str, dict[str, Any]]]]
"""Task -> model -> score -> its `mean`, `deviation` and the `values` of the seeds."""


def read_scores(run_dir: Path, evaluations: Sequence[Path] = ()) -> Scores:
    """Return the results in the run's `evaluation` directory and in `evaluations`.

    For the same task and model the later directory wins.

    Raises:
        UserError: one of `evaluations` has no results.
    """
    merged: Scores = {}
    for directory in [run_dir / "evaluation", *evaluations]:
        results = None
        with suppress(OSError, ValueError):
            results = json.loads((directory / "results.json").read_text(encoding="utf-8"))
        if results is None and directory in evaluations:
            raise UserError(
                f"{directory}: no results.json, or it cannot be read: expected the --out directory of cmbert evaluate"
            )
        for task, models in (results or {}).items():
            merged.setdefault(task, {}).update(models)
    return merged
