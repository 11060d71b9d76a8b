"""Copies of the code and the recipe, from which a launched run is started.

A job may start days after its submission, and again weeks later; the checkout may have changed by then.
"""

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel

from ...configs.errors import UserError
from ...configs.loader.load import dump

PACKAGE = Path(__file__).resolve().parents[2]
NAME = "clinical_modernbert"
LAUNCH_NAME = re.compile(r"\d{8}-\d{6}(-\d+)?", re.ASCII)
"""The names of the directories in `launches` that `new_launch_directory` returns. Others are not ours."""


def new_launch_directory(run_dir: Path) -> Path:
    """Return the directory for the files of the next launch of a run, without creating it."""
    # With microseconds: two launches may come in one second. Names sort by time.
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S-%f")
    return run_dir.resolve() / "launches" / stamp


@contextmanager
def snapshot(launch: Path, config: BaseModel) -> Iterator[Callable[[], object]]:
    """Take a snapshot and yield a function that marks it as used; on an error before, nothing is left behind."""
    used: list[bool] = []
    directories = (launch, launch.parent, launch.parent.parent / "logs", launch.parent.parent)
    new = [directory for directory in directories if not directory.exists()]
    try:
        take_snapshot(launch, config)
        yield lambda: used.append(True)
    finally:
        if not used:
            if launch in new:
                shutil.rmtree(launch, ignore_errors=True)
            for directory in new:
                with suppress(OSError):  # another launch may have begun
                    directory.rmdir()


def take_snapshot(launch: Path, config: BaseModel) -> None:
    """Copy the package to `launch`/code and write `config` to `launch`/recipe.yaml.

    Raises UserError if `launch` cannot be written.
    """
    try:
        launch.mkdir(parents=True)
        for subpackage in (path.parent for path in PACKAGE.glob("*/__init__.py")):
            copy = code_directory(launch) / NAME / subpackage.name
            shutil.copytree(
                subpackage, copy, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("__pycache__")
            )
        shutil.copyfile(PACKAGE / "__init__.py", code_directory(launch) / NAME / "__init__.py")
        recipe_path(launch).write_text(dump(config), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{launch}: cannot be written: {error.strerror or 'check the disk'}") from error


def code_directory(launch: Path) -> Path:
    """Return the directory for PYTHONPATH."""
    return launch / "code"


def entry_point(launch: Path) -> Path:
    """Return the copy of a rank's entry point."""
    return code_directory(launch) / NAME / "launcher" / "train.py"


def recipe_path(launch: Path) -> Path:
    return launch / "recipe.yaml"
