"""The files that say which versions belong together agree with one another and with pyproject.toml."""

import json
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later read TOML")


def pins(path: Path, python: str = "3.11") -> dict[str, str]:
    """Package -> version for a version of Python."""
    found: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if line.startswith("#"):
            continue
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate({"python_version": python}):
            assert pin.name.lower() not in found, f"{path.name}: {pin.name} is pinned twice for Python {python}"
            found[pin.name.lower()] = str(pin.specifier).removeprefix("==")
    return found


PYTHONS = ["3.10", "3.11", "3.12", "3.13"]


@pytest.mark.parametrize(
    ("name", "python"),
    [("lock", "3.11"), *((f"constraints-{name}", python) for name in ("cpu", "cuda") for python in PYTHONS)],
)
def test_pinned_versions_are_allowed_and_complete(repository: Path, name: str, python: str) -> None:
    """Every dependency of ours is pinned at a version that pyproject.toml allows."""
    pinned = pins(repository / f"requirements/{name}.txt", python)
    for text in tomllib.loads((repository / "pyproject.toml").read_text())["project"]["dependencies"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(Version(pinned[requirement.name])), f"{text}: {pinned[requirement.name]}"


@pytest.mark.parametrize("python", PYTHONS)
def test_both_platforms_have_the_same_versions(repository: Path, python: str) -> None:
    cpu, cuda = (pins(repository / f"requirements/constraints-{name}.txt", python) for name in ("cpu", "cuda"))
    assert cpu == cuda


def test_every_supported_python_has_constraints(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    stated = [text.rpartition(" ")[2] for text in project["classifiers"] if "Python :: 3." in text]
    assert stated == PYTHONS
    assert project["requires-python"] == f">={PYTHONS[0]}"


def test_the_doctor_knows_the_tested_versions(repository: Path) -> None:
    tested = json.loads((repository / "launcher/doctor/tested_versions.json").read_text())
    for name, versions in tested.items():
        pinned = pins(repository / f"requirements/{name}.txt")
        assert versions == {package: pinned[package] for package in versions}
    assert {"torch", "triton", "deepspeed", "transformers", "mosaicml-streaming"} <= set(tested["lock"])


def test_the_uv_lock_has_every_dependency_and_no_torchvision(repository: Path) -> None:
    locked = {package["name"]: package for package in tomllib.loads((repository / "uv.lock").read_text())["package"]}
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = [text for texts in project["optional-dependencies"].values() for text in texts]
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        assert requirement.name.lower() in locked, requirement.name
    assert "torchvision" not in locked
    assert locked["torch"]["version"] == pins(repository / "requirements/lock.txt")["torch"]
    assert {package["source"].get("registry", "https://pypi.org/simple") for package in locked.values()} == {
        "https://pypi.org/simple"
    }
