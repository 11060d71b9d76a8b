"""Find recipes: the user's own YAML files, and those inside the package. Each command takes one kind of recipe."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..spelling import nearest_name

PACKAGED = Path(__file__).resolve().parents[1]
_FIRST_SENTENCE = re.compile(r".*?(?=[.:] (?:[A-Z]|https?:)|[.:]?$)")
_FEW = 3
"""A word that is in the descriptions of more recipes than this identifies none of them."""


@dataclass(frozen=True)
class Kind:
    """A kind of recipe.

    Attributes:
        name: for messages, in the singular.
        folder: of the packaged ones, under `configs/`.
        keys: top-level keys of this kind only; one of them is in every recipe of it.
        command: a command that takes it; `{}` stands for the recipe.
    """

    name: str
    folder: str
    keys: frozenset[str]
    command: str


TRAINING = Kind("training recipe", "", frozenset({"schedule", "batch", "optimizer"}), "cmbert train {}")
DATA = Kind("data recipe", "data", frozenset({"sources"}), "cmbert data prepare {}")
TASK = Kind("task", "evaluation", frozenset({"task"}), "cmbert evaluate MODEL --task {}")
SUITE = Kind("suite", "evaluation/suites", frozenset({"tasks"}), "cmbert evaluate MODEL --suite {} --data DIRECTORY")
CLUSTER = Kind("cluster file", "cluster", frozenset({"ranks_per_node"}), "cmbert launch slurm RECIPE --cluster {}")
KINDS = (TRAINING, DATA, TASK, SUITE, CLUSTER)


def kind_of(keys: Collection[str]) -> Kind | None:
    """Return the kind of a recipe with these top-level keys; None if they identify none, or more than one."""
    kinds = [kind for kind in KINDS if not kind.keys.isdisjoint(keys)]
    return kinds[0] if len(kinds) == 1 else None


def recipe_names(kind: Kind | None = None) -> list[str]:
    """Return the names of the packaged recipes, of one kind or all: their paths under `configs/`, without the suffix.

    Tasks and suites of the kinds `TASK` and `SUITE` are named without their folder.
    """
    paths = {path.relative_to(PACKAGED).with_suffix("").as_posix(): path for path in PACKAGED.rglob("*.yaml")}
    if kind is None:
        return sorted(paths)
    inside = [name for name in paths if name.rpartition("/")[0] == kind.folder]
    return sorted(name.rpartition("/")[2] if kind in (TASK, SUITE) else name for name in inside)


def describe_recipe(name: str) -> str:
    """Return the first sentence of the comment at the top of a packaged recipe."""
    lines = _packaged(name).read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines()
    text = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
    match = _FIRST_SENTENCE.match(text)
    return match[0] if match else ""


def find_recipe(name_or_path: str, directory: Path = Path(), kind: Kind | None = None) -> Path:
    """Return the file `name_or_path` (relative to `directory`), or else the packaged recipe of that name.

    Args:
        kind: of which names are suggested; None: all.

    Raises:
        UserError: neither exists. It lists the names of the recipes of that kind.
    """
    path = directory / name_or_path
    if path.is_file():
        return path
    name = name_or_path.removesuffix(".yaml")
    if name in {*recipe_names(), *recipe_names(kind)}:
        return _packaged(name)
    names = recipe_names(kind)
    what = kind.name if kind else "recipe"
    raise UserError(
        f"{path}: no such file, and no {what} has this name{_hint(name, names, kind)} "
        f"({what}s: {', '.join(names) or 'none'})"
    )


def _packaged(name: str) -> Path:
    """Return the file of a name as `recipe_names` gives it."""
    folders = ("", TASK.folder, SUITE.folder)
    paths = [PACKAGED / folder / f"{name}.yaml" for folder in folders]
    return next((path for path in paths if path.is_file()), paths[0])


def _hint(name: str, names: list[str], kind: Kind | None) -> str:
    """Suggest the command for the recipe of another kind, else a close name, else those described by this word."""
    for other in (other for other in KINDS if kind not in (None, other)):
        for known in recipe_names(other):
            if name == known.rpartition("/")[2]:
                return f"; {known} is a {other.name}: run `{other.command.format(known)}`"
    if close := nearest_name(name, names):
        return f"; did you mean {close}?"
    about = [known for known in names if name.lower() in describe_recipe(known).lower()]
    return f"; did you mean {' or '.join(about)}?" if 0 < len(about) <= _FEW else ""
