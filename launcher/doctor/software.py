"""Checks of installed packages: their versions and known incompatible combinations."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from ...configs.progress import Progress
from .finding import Finding

TESTED_VERSIONS = Path(__file__).with_name("tested_versions.json")

REPORTED_PACKAGES = ("torch", "triton", "deepspeed", "transformers", "mosaicml-streaming", "clinical-modernbert")
_DISTRIBUTION = "clinical-modernbert"
_INSTALL = "Install versions that were tested together: pip install --constraint requirements/constraints-cuda.txt ."


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


def tested_versions(installed: Mapping[str, str | None], tested: Mapping[str, Mapping[str, str]]) -> Finding:
    """Compare the packages that decide whether a run works with the sets that the tests pass with.

    Args:
        tested: name of a set -> package -> version.
    """
    differing = {
        name: [
            f"{package} {_public(installed.get(package)) or 'missing'} ({version})"
            for package, version in versions.items()
            if _public(installed.get(package)) != version
        ]
        for name, versions in tested.items()
    }
    nearest = min(differing, key=lambda name: len(differing[name]))
    if not differing[nearest]:
        return Finding("tested versions", "ok", f"those of {nearest}")
    result = f"differ from {nearest}: {', '.join(differing[nearest])}"
    return Finding("tested versions", "warning", result, f"Other versions may work as well. {_INSTALL}")


def installed_tested_versions() -> Finding:
    """Compare this environment with the tested sets."""
    tested = json.loads(TESTED_VERSIONS.read_text())
    return tested_versions({name: _installed(name) for versions in tested.values() for name in versions}, tested)


def _public(version: str | None) -> str | None:
    """The version without what names a build, such as +cpu."""
    return version.partition("+")[0] if version else None


IMPORTED = (
    "import deepspeed",
    "import tokenizers, safetensors",
    "from transformers import ModernBertForMaskedLM",
    "from clinical_modernbert.storage import mosaic",
)
_TORCHVISION = "import torchvision"


def imports(statements: Sequence[str] = IMPORTED, python: str = sys.executable) -> Iterator[Finding]:
    """Import what a run imports: versions that pip finds compatible may still fail to load together.

    Each statement runs in a process of its own, without torchvision as in every command, and torchvision by itself.
    """
    hide = "from clinical_modernbert.configs.libraries import hide_torchvision; hide_torchvision(); "
    problems = {}
    with Progress("importing", len(statements), "libraries") as progress:
        for statement in statements:
            problems[statement] = _failure(python, hide + statement)
            progress.advance()
    if failed := [f"`{statement}`: {problem}" for statement, problem in problems.items() if problem]:
        yield Finding("imports", "failed", "; ".join(failed), _INSTALL)
    else:
        yield Finding("imports", "ok", f"{len(statements)} of what a run imports")
    if _installed("torchvision") and (problem := _failure(python, _TORCHVISION)):
        advice = (
            "pip uninstall torchvision, which nothing here uses, or install the build for this torch. cmbert does "
            "without it, but transformers' ModernBERT cannot be imported in your own programs."
        )
        yield Finding("torchvision", "warning", problem, advice)


def _failure(python: str, statement: str) -> str | None:
    """The last line of the error, or None if the statement runs."""
    done = subprocess.run([python, "-c", statement], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
