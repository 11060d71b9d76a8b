"""The wheel holds every file of the rooms that git tracks, and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOMS = ("configs", "evaluation", "kernels", "launcher", "model", "storage", "streaming_data", "training")


def tracked_files(repository: Path) -> list[str]:
    listed = subprocess.run(["git", "-C", repository, "ls-files"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list to compare with")
    return listed.stdout.splitlines()


def copy_tracked_files(repository: Path, tracked: list[str], target: Path) -> Path:
    for name in tracked:
        if (repository / name).is_file():  # a file may be deleted and not yet committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((repository / name).read_bytes())
    return target


@pytest.mark.slow
def test_the_wheel_is_the_tree(repository: Path, tmp_path: Path) -> None:
    """Built from a copy whose folder has the project's own name, with a planted build folder that must stay out."""
    tracked = tracked_files(repository)
    source = copy_tracked_files(repository, tracked, tmp_path / "clinical-modernbert")
    (source / "build/lib/stale").mkdir(parents=True)
    (source / "build/lib/stale/__init__.py").touch()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    subprocess.run([*command, "--wheel-dir", str(tmp_path)], cwd=source, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    packaged = {name.removeprefix("clinical_modernbert/") for name in names if ".dist-info/" not in name}
    expected = {name for name in tracked if name.startswith(ROOMS) and (repository / name).is_file()}
    assert packaged == expected | {"__init__.py", "py.typed"}
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_source_distribution_is_complete(repository: Path, tmp_path: Path) -> None:
    """Docs, tests, recipes, the lock and the files that build images are in it, so that it can be tested by itself."""
    tracked = tracked_files(repository)
    source = copy_tracked_files(repository, tracked, tmp_path / "clinical-modernbert")
    code = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=source, check=True, timeout=300, capture_output=True
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        packed = {name.partition("/")[2] for name in opened.getnames()}
    left_out = {".ci/run", ".gitignore", ".pre-commit-config.yaml"}
    assert {name for name in tracked if (repository / name).is_file()} - packed <= left_out
