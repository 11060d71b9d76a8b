"""Find recipes: the user's own YAML files, and those inside the package."""

from pathlib import Path

from ..errors import UserError
from ..spelling import nearest_name

PACKAGED = Path(__file__).resolve().parents[1]


def recipe_names() -> list[str]:
    """Return the names of the packaged recipes: their paths under `configs/`, without the suffix."""
    return sorted(path.relative_to(PACKAGED).with_suffix("").as_posix() for path in PACKAGED.rglob("*.yaml"))


def find_recipe(name_or_path: str, directory: Path = Path()) -> Path:
    """Return the file `name_or_path` (relative to `directory`), or else the packaged recipe of that name.

    Raises UserError with the names of all recipes if neither exists.
    """
    path = directory / name_or_path
    if path.is_file():
        return path
    names = recipe_names()
    name = name_or_path.removesuffix(".yaml")
    if name in names:
        return PACKAGED / f"{name}.yaml"
    close = nearest_name(name, names)
    hint = f"; did you mean {close}?" if close else ""
    raise UserError(f"{path}: no such file, and no recipe has this name{hint} (recipes: {', '.join(names) or 'none'})")
