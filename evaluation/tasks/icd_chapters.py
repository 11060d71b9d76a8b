"""Several labels per text from open files: the ICD-10 chapters of problems that are described in ICD-9's words.

A text is a list of one to a few problems, such as the diagnoses of a stay: long descriptions of ICD-9-CM codes. Its
labels are the chapters of the ICD-10-CM codes to which CMS's crosswalk maps them; some codes have several. The problems
of the splits differ by category, so that no text for training has a problem that is almost one of the test.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from ...configs.errors import UserError
from ...streaming_data.corpora.code_lists import ICD9_DIAGNOSES, ICD10CM
from ...streaming_data.corpora.codes import CodesSource
from ...streaming_data.corpora.crosswalks import read_mappings
from ...streaming_data.corpora.readers import read
from ...streaming_data.documents.document import uniform_hash
from ..fine_tuning.kind import Splits
from ..models.protocol import Pooling
from .code_chapters import icd10_chapter
from .labels import LABELS, checked_splits
from .long_texts import LongTexts
from .text_task import LabeledText

_SHARES = (("test", 0.2), ("development", 0.3), ("train", 1.0))
"""Upper bounds of the hashes of categories."""


class IcdChaptersTask(LongTexts):
    """CMS's files, relative to the evaluation's `data`: descriptions of ICD-9 and the crosswalk to ICD-10."""

    kind: Literal["icd_chapters"]
    icd9: str
    crosswalk: str
    problems: PositiveInt = Field(4, description="most problems of a text")
    texts: PositiveInt = Field(4000, description="texts for training; a quarter each for development and test")
    sample: NonNegativeInt = Field(0, description="another number gives other texts")
    thresholds: Literal["one", "each"] = "one"
    at: tuple[PositiveInt, ...] = (5,)
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        return [self.icd9, self.crosswalk]


def read_icd_chapters(task: IcdChaptersTask, data: Path) -> Splits:
    """The texts; the same files and settings give the same ones.

    Raises:
        UserError: a file is missing or malformed, or the crosswalk maps none of the codes.
    """
    chapters = _chapters(data / task.crosswalk)
    problems: dict[str, list[tuple[str, tuple[str, ...]]]] = {name: [] for name, _ in _SHARES}
    for code, description, category in _descriptions(data / task.icd9):
        if code in chapters:
            place = uniform_hash("icd_chapters", category)
            split = next(name for name, bound in _SHARES if place < bound)
            problems[split].append((description, chapters[code]))
    if not all(problems.values()):
        raise UserError(
            f"{data / task.crosswalk}: maps too few codes of {data / task.icd9}; use CMS's file from ICD-9 to ICD-10"
        )
    counts = {"train": task.texts, "test": max(1, task.texts // 4), "development": max(1, task.texts // 4)}
    splits = [[*_texts(problems[name], counts[name], task, name)] for name in ("train", "test", "development")]
    return checked_splits(splits, [data / task.icd9] * 3)


def _texts(
    problems: Sequence[tuple[str, tuple[str, ...]]], count: int, task: IcdChaptersTask, split: str
) -> Iterator[LabeledText]:
    for number in range(count):
        name = f"{task.sample} {split} {number}"
        size = 1 + int(uniform_hash("icd_chapters size", name) * task.problems)
        places = [int(uniform_hash(f"icd_chapters {draw}", name) * len(problems)) for draw in range(size)]
        chosen = [problems[place] for place in dict.fromkeys(places)]
        labels = sorted({label for _, those in chosen for label in those})
        yield LabeledText("; ".join(text for text, _ in chosen), tuple(labels), id=str(number + 1))


def _descriptions(path: Path) -> Iterator[tuple[str, str, str]]:
    """Code without its dot, description and category."""
    source = CodesSource(
        name="icd9", paths=[str(path)], licence="", format="codes", system="icd9_diagnoses",
        template="{description}", details=False,
    )  # fmt: skip
    for document in read(source):
        yield document.meta["code"].replace(".", ""), document.text, document.meta["category"]


def _chapters(path: Path) -> Mapping[str, tuple[str, ...]]:
    """The chapters of each ICD-9 code, of all ICD-10 codes that it is mapped to."""
    chapters: dict[str, set[str]] = {}
    for mapping in read_mappings(path, ICD9_DIAGNOSES, ICD10CM):
        if not mapping.no_map:
            chapters.setdefault(mapping.source, set()).add(icd10_chapter(mapping.target))
    return {code: tuple(sorted(those)) for code, those in chapters.items()}


ICD_CHAPTERS = replace(LABELS, read=read_icd_chapters)
