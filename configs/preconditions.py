"""Checks before the work: all of them run, and one error lists everything that is missing.

A command checks what it needs from cheap to expensive, before it imports torch, opens a model or downloads anything.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from importlib import metadata
from shlex import quote
from typing import TypeVar

from packaging.requirements import Requirement

from .errors import UserError

DISTRIBUTION = "clinical-modernbert"
Result = TypeVar("Result")
Check = Callable[[], object]
"""Raises UserError if something is missing."""


def check_all(checks: Iterable[Callable[[], Result]]) -> list[Result]:
    """Run every check, and return what they return.

    Raises:
        UserError: some failed; one with the messages of all, one per line.
    """
    results: list[Result] = []
    problems = dict.fromkeys(line for check in checks for line in _run(check, results))
    if problems:
        raise UserError("\n".join(problems))
    return results


def _run(check: Callable[[], Result], results: list[Result]) -> list[str]:
    """Append the result of a check, or return the lines of its error."""
    try:
        results.append(check())
    except UserError as error:
        return str(error).split("\n")
    return []


def check_packages(needed_by: str, extra: str, names: Collection[str] = ()) -> None:
    """Check that packages of one of this project's extras are installed, without importing them.

    Args:
        needed_by: what needs them, the start of the error message.
        names: of the packages, without versions; none: all packages of the extra.
    Raises:
        UserError: some are absent or too old; the message has the command that installs them. It names the packages,
            not the extra, because this project is not on PyPI.
    """
    required = {requirement.name: requirement for requirement in _requirements(extra)}
    wanted = [required.get(name, Requirement(name)) for name in sorted(names or required)]
    if lacking := {str(requirement): problem for requirement in wanted if (problem := _problem(requirement))}:
        raise UserError(
            f"{needed_by}: {', '.join(lacking.values())}: run `pip install {' '.join(map(quote, lacking))}`"
        )


def _problem(requirement: Requirement) -> str | None:
    try:
        installed = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(installed, prereleases=True):
        return None
    return f"{requirement.name} is {installed}, not {requirement.specifier}"


def _requirements(extra: str) -> Iterator[Requirement]:
    """The requirements of an extra, without their markers; none where this project runs without being installed."""
    try:
        texts = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return
    for requirement in map(Requirement, texts):
        marker = requirement.marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            requirement.marker = None
            yield requirement
