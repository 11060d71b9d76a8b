"""Results of `cmbert evaluate`, read from results.json for the report and the model card."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from ...configs.errors import UserError
from ...configs.json_text import read_json

logger = logging.getLogger(__name__)

Scores = dict[str, dict[str, dict[str, dict[str, Any]]]]
"""Task -> model -> score -> its `mean`, `deviation` and the `values` of the seeds."""


class _Score(BaseModel):
    mean: float
    deviation: float | None = None
    values: list[float] = []


_SCHEMA = TypeAdapter(dict[str, dict[str, dict[str, _Score]]])


def read_scores(run_dir: Path, evaluations: Sequence[Path] = ()) -> Scores:
    """Return the results in the run's `evaluation` directory and in `evaluations`.

    For the same task and model the later directory wins.

    Raises:
        UserError: one of `evaluations` has no results, or its results.json is not as it was written.
    """
    merged: Scores = {}
    for directory in [run_dir / "evaluation", *evaluations]:
        path = directory / "results.json"
        if not path.is_file():
            if directory not in evaluations:
                continue
            raise UserError(f"{directory}: no results.json: expected the --out directory of cmbert evaluate")
        try:
            results = read_json(path, _SCHEMA, "restore it, or run the same cmbert evaluate again")
        except UserError as error:
            if directory in evaluations:
                raise
            logger.warning(f"{error}. It is left out")
            continue
        for task, models in results.items():
            scores = {model: {name: score.model_dump() for name, score in of.items()} for model, of in models.items()}
            merged.setdefault(task, {}).update(scores)
    return merged
