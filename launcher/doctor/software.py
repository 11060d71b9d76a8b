"""Checks of installed packages: their versions and known incompatible combinations."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence

from packaging.requirements import Requirement
from packaging.version import Version

from .finding import Finding

REPORTED_PACKAGES = ("torch", "triton", "deepspeed", "transformers", "mosaicml-streaming", "clinical-modernbert")
_DISTRIBUTION = "clinical-modernbert"
_INSTALL = "Install the versions in requirements/lock.txt, which were tested together (make install)."


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that must be equal on all ranks."""
    result = {"python": platform.python_version()}
    for name in REPORTED_PACKAGES:
        if (version := _installed(name)) is not None:
            result[name] = version
    return result


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_requirements(installed: Mapping[str, str | None], required: list[str]) -> Finding:
    """Check that every required package is installed in a supported version."""
    problems = []
    for text in required:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = installed.get(requirement.name)
        if version is None:
            problems.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(Version(version), prereleases=True):
            problems.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if problems:
        return Finding("packages", "failed", "; ".join(problems), _INSTALL)
    shown = [f"{name} {installed[name]}" for name in REPORTED_PACKAGES if installed.get(name)]
    return Finding("packages", "ok", ", ".join(shown))


def packages(distribution: str = _DISTRIBUTION, reported: Sequence[str] = REPORTED_PACKAGES) -> Finding:
    """Check this environment. If `distribution` is only on Python's path, its requirements are unknown."""
    if _installed(distribution) is None:
        installed = {name: _installed(name) for name in reported}
        finding = check_requirements(installed, [name for name in reported if name != distribution])
        result = f"{distribution} is not installed, so its requirements are unknown; {finding.result}"
        return finding if finding.status == "failed" else Finding("packages", "warning", result, _INSTALL)
    required = importlib.metadata.requires(distribution) or []
    names = {re.split(r"[^A-Za-z0-9._-]", text)[0] for text in required} | set(reported)
    return check_requirements({name: _installed(name) for name in names}, required)


def incompatibilities(
    installed: Mapping[str, str | None], torch_requirements: list[str], environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Find known incompatible versions and settings; `torch_requirements` are those of the installed torch."""
    triton = installed.get("triton")
    for text in torch_requirements:
        requirement = Requirement(text)
        if requirement.name == "triton" and triton and not requirement.specifier.contains(Version(triton)):
            advice = f"pip install 'triton{requirement.specifier}': torch {installed.get('torch')} was built with it."
            result = f"triton {triton}, torch requires {requirement.specifier}"
            yield Finding("torch and triton", "failed", result, advice)
    if environment.get("TRITON_INTERPRET") == "1":
        advice = "unset TRITON_INTERPRET: kernels would run in Triton's interpreter, which is only for tests."
        yield Finding("TRITON_INTERPRET", "failed", "1", advice)


def installed_incompatibilities() -> Iterator[Finding]:
    """Find known incompatible versions and settings of this environment."""
    installed = {name: _installed(name) for name in REPORTED_PACKAGES}
    torch_requirements = importlib.metadata.requires("torch") or [] if installed["torch"] else []
    yield from incompatibilities(installed, torch_requirements, os.environ)
