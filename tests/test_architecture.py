"""The house: imports go down, folders form no circle, and no folder holds more than one can keep in mind.

docs/architecture.md describes the rooms. Everything is read from the sources, and each rule is tried on a violation.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pytest

PACKAGE = "clinical_modernbert"
MAY_IMPORT = {
    "configs": set(),
    "kernels": set(),
    "storage": {"configs"},
    "streaming_data": {"configs", "storage"},
    "model": {"configs", "storage", "kernels"},
    "training": {"configs", "storage", "kernels", "streaming_data", "model"},
    "evaluation": {"configs", "storage", "kernels", "streaming_data", "model"},
    "launcher": {"configs", "storage", "kernels", "streaming_data", "model", "training", "evaluation"},
}
MOST_FILES = 16
"""Modules in one folder, without `__init__.py`: a dozen and some."""


class Import(NamedTuple):
    """One import of one of our modules: where it is written and which file it names, both relative to the root."""

    file: PurePosixPath
    line: int
    target: PurePosixPath

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target}"


def modules(root: Path) -> list[PurePosixPath]:
    """Every Python file of the rooms."""
    return [
        PurePosixPath(path.relative_to(root)) for room in MAY_IMPORT for path in sorted((root / room).rglob("*.py"))
    ]


def imports(root: Path) -> Iterator[Import]:
    """The imports between modules of the rooms, those inside functions and for type checking included."""
    known = set(modules(root))
    for file in sorted(known):
        for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"), str(file))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name in _imported_names(node, file):
                    if target := _module(name, known):
                        yield Import(file, node.lineno, target)


def _imported_names(node: ast.Import | ast.ImportFrom, file: PurePosixPath) -> Iterator[PurePosixPath]:
    """What one statement imports, as paths without a suffix; of `from a import b` that is a/b."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.startswith(f"{PACKAGE}."):
                yield PurePosixPath(*alias.name.split(".")[1:])
    if isinstance(node, ast.ImportFrom):
        parts = node.module.split(".") if node.module else []
        if node.level:
            above = file.parents[node.level - 1]
        elif parts[:1] == [PACKAGE]:
            above, parts = PurePosixPath(), parts[1:]
        else:
            return
        for alias in node.names:
            yield PurePosixPath(above, *parts, alias.name)


def _module(name: PurePosixPath, known: set[PurePosixPath]) -> PurePosixPath | None:
    """The file that defines the imported name, if it is one of ours."""
    for path in (name, name.parent):
        for file in (path.with_name(f"{path.name}.py") if path.name else path, path / "__init__.py"):
            if file in known:
                return file
    return None


def upward_imports(root: Path) -> list[str]:
    """Imports of a room that the importing room may not use."""
    return [
        f"{found}; {room}/ may import {', '.join(sorted(MAY_IMPORT[room])) or 'nothing of ours'}"
        for found in imports(root)
        if (room := found.file.parts[0]) != found.target.parts[0] and found.target.parts[0] not in MAY_IMPORT[room]
    ]


def folder_circles(root: Path) -> list[str]:
    """The imports that lie on a circle of folders, whose files import one another in turn."""
    between: dict[PurePosixPath, set[PurePosixPath]] = {}
    found = [one for one in imports(root) if one.file.parent != one.target.parent]
    for one in found:
        between.setdefault(one.file.parent, set()).add(one.target.parent)
    return [str(one) for one in found if one.file.parent in _reachable(between, one.target.parent)]


def _reachable(between: Mapping[PurePosixPath, set[PurePosixPath]], start: PurePosixPath) -> set[PurePosixPath]:
    reached: set[PurePosixPath] = set()
    waiting = [start]
    while waiting:
        for following in between.get(waiting.pop(), set()) - reached:
            reached.add(following)
            waiting.append(following)
    return reached


def crowded_folders(root: Path) -> list[str]:
    """Folders with too many modules."""
    counts: dict[PurePosixPath, int] = {}
    for file in modules(root):
        if file.name != "__init__.py":
            counts[file.parent] = counts.get(file.parent, 0) + 1
    return [
        f"{folder}/ holds {count} modules, more than {MOST_FILES}"
        for folder, count in counts.items()
        if count > MOST_FILES
    ]


def test_no_import_goes_upward(repository: Path) -> None:
    assert upward_imports(repository) == []


def test_no_circle_between_folders(repository: Path) -> None:
    assert folder_circles(repository) == []


def test_no_folder_is_crowded(repository: Path) -> None:
    assert crowded_folders(repository) == []


def test_every_room_is_known(repository: Path) -> None:
    """A room that the table forgets would be checked by nothing."""
    rooms = {path.parent.name for path in repository.glob("*/__init__.py")}
    assert rooms == MAY_IMPORT.keys()
    assert len(list(imports(repository))) > 500


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small one in which everything is as it should be."""
    for file, text in {
        "configs/errors.py": "class UserError(Exception): pass\n",
        "kernels/rope/triton.py": "import torch\n",
        "kernels/rope/__init__.py": "",
        "model/encoder.py": "from ..kernels.rope import triton\nfrom ..configs.errors import UserError\n",
        "training/zero/engine.py": "from ...model.encoder import Encoder\n",
        "training/trainer.py": "def train():\n    from .zero.engine import start\n",
        "launcher/train.py": f"from {PACKAGE}.training.trainer import train\nimport {PACKAGE}.configs.errors\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    return tmp_path


def plant(house: Path, file: str, text: str) -> None:
    with (house / file).open("a") as stream:
        stream.write(text)


def test_the_small_house_is_in_order(house: Path) -> None:
    assert upward_imports(house) == folder_circles(house) == crowded_folders(house) == []
    assert sorted(map(str, imports(house))) == [
        "launcher/train.py:1 imports training/trainer.py",
        "launcher/train.py:2 imports configs/errors.py",
        "model/encoder.py:1 imports kernels/rope/triton.py",
        "model/encoder.py:2 imports configs/errors.py",
        "training/trainer.py:2 imports training/zero/engine.py",
        "training/zero/engine.py:1 imports model/encoder.py",
    ]


@pytest.mark.parametrize(
    ("file", "text", "found"),
    [
        (
            "kernels/rope/triton.py",
            "from ...configs.errors import UserError\n",
            "kernels/rope/triton.py:2 imports configs/errors.py; kernels/ may import nothing of ours",
        ),
        (
            "model/encoder.py",
            f"def late():\n    import {PACKAGE}.training.trainer\n",
            "model/encoder.py:4 imports training/trainer.py; model/ may import configs, kernels, storage",
        ),
        (
            "configs/errors.py",
            "from .. import launcher\nfrom ..launcher import train\n",
            "configs/errors.py:3 imports launcher/train.py; configs/ may import nothing of ours",
        ),
    ],
)
def test_a_planted_upward_import_is_named(house: Path, file: str, text: str, found: str) -> None:
    plant(house, file, text)
    assert upward_imports(house) == [found]


def test_a_planted_circle_is_named(house: Path) -> None:
    plant(house, "training/zero/engine.py", "if TYPE_CHECKING:\n    from ..trainer import train\n")
    assert folder_circles(house) == [
        "training/trainer.py:2 imports training/zero/engine.py",
        "training/zero/engine.py:3 imports training/trainer.py",
    ]


def test_a_crowded_folder_is_named(house: Path) -> None:
    for number in range(MOST_FILES + 1):
        (house / f"kernels/kernel_{number}.py").touch()
    assert crowded_folders(house) == [f"kernels/ holds {MOST_FILES + 1} modules, more than {MOST_FILES}"]
