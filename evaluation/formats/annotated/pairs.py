"""Formats with two files per document: the text, and its annotations next to it or in a directory next to it."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ....configs.errors import UserError
from ....configs.names import is_file_name
from ....storage.files import atomic_write, stage_directory
from .text import AnnotatedText

TEXT = ".txt"


class Pair(NamedTuple):
    """A text and its annotations; `id` is the path of the text without suffix, relative to the directory."""

    id: str
    text: Path
    annotations: Path | None


def find_pairs(path: Path, suffix: str) -> list[Pair]:
    """The documents of a directory and those below it, or that of one file (its text or its annotations).

    Annotations are in a file of the same name, in the same directory or elsewhere below `path`.

    Raises:
        UserError: there is no text, annotations have no text, or several have the name of one.
    """
    if not path.is_dir():
        text, annotations = path.with_suffix(TEXT), path.with_suffix(suffix)
        if not text.is_file():
            raise UserError(f"{text}: no such file; expected the text of {annotations.name} next to it")
        return [Pair(path.stem, text, annotations if annotations.is_file() else None)]
    texts = sorted(path.rglob(f"*{TEXT}"))
    if not texts:
        raise UserError(f"{path}: has no {TEXT} file; expected a text next to each {suffix} file")
    files = set(path.rglob(f"*{suffix}"))
    annotations = {text: text.with_suffix(suffix) for text in texts if text.with_suffix(suffix) in files}
    elsewhere: dict[str, list[Path]] = {}
    for file in sorted(files - {*annotations.values()}):
        elsewhere.setdefault(file.stem, []).append(file)
    for text in texts:
        if text not in annotations and (others := elsewhere.pop(text.stem, [])):
            if len(others) > 1:
                raise UserError(
                    f"{text}: {len(others)} files below {path} are named {others[0].name}; keep one of them"
                )
            annotations[text] = others[0]
    if elsewhere:
        first = min(elsewhere.values())[0]
        raise UserError(f"{first}: has no text; expected {first.with_suffix(TEXT).name} next to it")
    return [Pair(text.relative_to(path).with_suffix("").as_posix(), text, annotations.get(text)) for text in texts]


def write_pairs(
    texts: Sequence[AnnotatedText],
    target: Path,
    originals: Mapping[str, Path] | None,
    render: Callable[[AnnotatedText], Mapping[str, str]],
) -> None:
    """Write each text, and a file per suffix that `render` returns.

    Args:
        target: a new directory; or, for one text, a file, whose suffix is replaced.
        originals: by identifier the files with the texts, whose bytes are copied.
    """
    if target.suffix == TEXT or target.suffix in (render(texts[0]) if texts else {}):
        if len(texts) != 1:
            raise UserError(
                f"{target}: {len(texts):,} texts do not fit into one file of this format; name a directory for them"
            )
        _write(texts[0], target.with_suffix(""), originals, render)
        return
    file_names(texts, target)
    with stage_directory(target) as directory:
        for text in texts:
            (directory / text.id).parent.mkdir(parents=True, exist_ok=True)
            _write(text, directory / text.id, originals, render)


def file_names(texts: Sequence[AnnotatedText], target: Path) -> list[str]:
    """The identifiers of the texts, checked as names of different files in a directory."""
    seen: set[str] = set()
    for text in texts:
        if not all(map(is_file_name, text.id.split("/"))):
            raise UserError(f"{text.where}: its identifier cannot be the name of a file in {target}; rename it")
        if text.id in seen:
            raise UserError(f"{text.where}: another text has its identifier, so {target} would hold one of them only")
        seen.add(text.id)
    return [text.id for text in texts]


def _write(
    text: AnnotatedText,
    base: Path,
    originals: Mapping[str, Path] | None,
    render: Callable[[AnnotatedText], Mapping[str, str]],
) -> None:
    for suffix, content in render(text).items():
        atomic_write(base.with_name(base.name + suffix), content)
    copy = base.with_name(base.name + TEXT)
    if originals is None:
        atomic_write(copy, text.text)
    elif not (copy.exists() and copy.samefile(originals[text.id])):
        shutil.copyfile(originals[text.id], copy)
