"""Checks of what is installed, alone and together."""

import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator, Mapping

from packaging.requirements import Requirement
from packaging.version import Version

from .finding import Finding

SHOWN = ("torch", "triton", "deepspeed", "transformers", "mosaicml-streaming", "clinical-modernbert")
_OWN = "clinical-modernbert"
_INSTALL = "Use the versions of requirements/lock.txt, which were tested together (make install)."


def versions() -> dict[str, str]:
    """Of Python and the packages that ranks must have in common."""
    found = {"python": platform.python_version()}
    for name in SHOWN:
        if (version := _installed(name)) is not None:
            found[name] = version
    return found


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_requirements(installed: Mapping[str, str | None], required: list[str]) -> Finding:
    """Whether every package that a run needs is there, at a version it works with."""
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
    return Finding("packages", "ok", ", ".join(f"{name} {installed[name]}" for name in SHOWN if installed.get(name)))


def packages() -> Finding:
    """Of this environment; where this package is only on Python's path, its requirements are not known."""
    if _installed(_OWN) is None:
        met = check_requirements({name: _installed(name) for name in SHOWN}, [name for name in SHOWN if name != _OWN])
        found = f"{_OWN} is not installed, so what it needs is not known; {met.found}"
        return met if met.status == "failed" else Finding("packages", "warning", found, _INSTALL)
    required = importlib.metadata.requires(_OWN) or []
    names = {re.split(r"[^A-Za-z0-9._-]", text)[0] for text in required} | set(SHOWN)
    return check_requirements({name: _installed(name) for name in names}, required)


def pairs(installed: Mapping[str, str | None], torchs: list[str], environment: Mapping[str, str]) -> Iterator[Finding]:
    """Known bad company: `torchs` are the requirements of the installed torch."""
    triton = installed.get("triton")
    for text in torchs:
        requirement = Requirement(text)
        if requirement.name == "triton" and triton and not requirement.specifier.contains(Version(triton)):
            advice = f"pip install 'triton{requirement.specifier}': torch {installed.get('torch')} was built with it."
            yield Finding("torch and triton", "failed", f"triton {triton}, torch wants {requirement.specifier}", advice)
    if environment.get("TRITON_INTERPRET") == "1":
        advice = "unset TRITON_INTERPRET: kernels would run in Triton's interpreter, which is for tests."
        yield Finding("TRITON_INTERPRET", "failed", "1", advice)


def known_incompatibilities() -> Iterator[Finding]:
    installed = {name: _installed(name) for name in SHOWN}
    torchs = importlib.metadata.requires("torch") or [] if installed["torch"] else []
    yield from pairs(installed, torchs, os.environ)
