"""What a launched run is started from: a copy of the code and the recipe in its own directory.

A job may start days after it was submitted, and start again weeks later; meanwhile the checkout it came from changes.
"""

import shutil
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel

from ...configs.errors import UserError
from ...configs.loader.load import dump

PACKAGE = Path(__file__).resolve().parents[2]
_NAME = "clinical_modernbert"


def launch_directory(run_dir: Path) -> Path:
    """Where the next launch of a run keeps its files; not made yet."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    return run_dir.resolve() / "launches" / stamp


def take_snapshot(launch: Path, config: BaseModel) -> None:
    """Copy the package to `launch`/code and write `config` to `launch`/recipe.yaml.

    Raises UserError when `launch` cannot be written.
    """
    try:
        launch.mkdir(parents=True)
        for room in (path.parent for path in PACKAGE.glob("*/__init__.py")):
            shutil.copytree(room, code(launch) / _NAME / room.name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(PACKAGE / "__init__.py", code(launch) / _NAME)
        recipe(launch).write_text(dump(config), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{launch}: cannot be written: {error.strerror or 'see the disk'}") from error


def code(launch: Path) -> Path:
    """What PYTHONPATH names."""
    return launch / "code"


def entry(launch: Path) -> Path:
    """The copied entry point of a rank."""
    return code(launch) / _NAME / "launcher" / "train.py"


def recipe(launch: Path) -> Path:
    return launch / "recipe.yaml"
