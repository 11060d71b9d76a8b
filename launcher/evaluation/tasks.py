"""The tasks that a command line names: their files, and those of a suite whose files are in a directory."""

import logging
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...configs.errors import UserError
from ...configs.loader.load import load, locate_recipe
from ...configs.loader.recipes import SUITE, TASK
from ...configs.preconditions import check_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ...evaluation.benchmark import Found, Suite
    from ...evaluation.origin import Origin
    from ...evaluation.suite import Evaluation


logger = logging.getLogger(__name__)


def load_tasks(
    names: "Sequence[str]", overrides: "Sequence[str]", suite: str | None = None, data: Path | None = None
) -> "list[Evaluation]":
    """Load the files of all tasks; one error reports the mistakes in all of them.

    Args:
        suite: also the tasks of this one whose files are in `data`.
    """
    if suite is None and not names:
        raise UserError("no task; name one with --task, or a suite with --suite and --data")
    if (suite is None) is not (data is None):
        raise UserError("--suite and --data belong together: the suite, and the directory of its files")
    files = check_all(partial(locate_recipe, name, TASK) for name in names)

    from ...evaluation.suite import Evaluation

    evaluations = check_all(partial(load, Evaluation, file, overrides) for file in files)
    if suite is not None and data is not None:
        evaluations += load_suite(suite, data, overrides)
    if len({evaluation.name for evaluation in evaluations}) < len(evaluations):
        raise UserError("two of the tasks have the same name; each needs its own")
    return evaluations


def load_suite(name: str, directory: Path, overrides: "Sequence[str]") -> "list[Evaluation]":
    """The tasks of a suite whose files are in `directory`; announces where to get the others, and under which licence.

    Raises:
        UserError: there is no such suite, or none of its tasks has its files there: where to get them.
    """
    from ...evaluation.benchmark import Suite, find_task
    from ...evaluation.suite import Evaluation

    suite = load(Suite, locate_recipe(name, SUITE))
    files = check_all(partial(locate_recipe, entry.task, TASK) for entry in suite.tasks)
    evaluations = check_all(partial(load, Evaluation, file, overrides) for file in files)
    found = [
        find_task(evaluation, entry, directory) for evaluation, entry in zip(evaluations, suite.tasks, strict=True)
    ]
    here = [one.evaluation for one in found if one.missing is None]
    lines = list(_describe(suite, found, directory))
    if not here:
        raise UserError("\n".join(lines))
    for line in lines:
        logger.info(line)
    return here


def _describe(suite: "Suite", found: "Sequence[Found]", directory: Path) -> "Iterator[str]":
    """What is there, and for each of the others where to get it and under which licence."""
    here = sum(missing is None for _, missing in found)
    yield f"{suite.name}: {here} of {len(found) + len(suite.elsewhere)} sets are in {directory}"
    for evaluation, missing in found:
        if missing is None:
            yield f"here     {evaluation.name}"
            continue
        yield f"missing  {evaluation.name}: no {missing}"
        if evaluation.origin:
            yield from _describe_origin(evaluation.origin)
    for other in suite.elsewhere:
        yield f"not yet  {other.name}: needs {other.needs}"
        yield f"         {other.source}"
        yield f"         licence: {other.licence}"


def _describe_origin(origin: "Origin") -> "Iterator[str]":
    yield f"         {origin.source}"
    for name, md5 in origin.archives.items():
        yield f"         {name} has the MD5 {md5}"
    if origin.unpack:
        yield f"         {origin.unpack}"
    yield f"         licence: {origin.licence}"
