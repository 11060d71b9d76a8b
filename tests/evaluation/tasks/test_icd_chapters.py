"""ICD chapters: several labels per text from CMS's files, and splits that share no category."""

from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.tasks.icd_chapters import IcdChaptersTask, read_icd_chapters

TASK = IcdChaptersTask(kind="icd_chapters", icd9="icd9.txt", crosswalk="gem.txt", texts=80, problems=3)


def write(directory: Path) -> None:
    """Forty categories, each with two codes of one description: codes that end in 1 are in two chapters."""
    codes = [f"{category}{digit}" for category in range(300, 340) for digit in "01"]
    (directory / "icd9.txt").write_text("".join(f"{code}  Problem {code[:3]}\n" for code in codes))
    lines = [f"{code} {'ACE'[int(code) % 3]}10 00000\n" for code in codes] + [
        f"{code} N10 10111\n" for code in codes if code.endswith("1")
    ]
    (directory / "gem.txt").write_text("".join([*lines, "3999 NoDx 11000\n"]))


def test_texts_are_problems_with_the_chapters_of_all_their_codes(tmp_path: Path) -> None:
    write(tmp_path)
    splits = read_icd_chapters(TASK, tmp_path)
    assert [len(split) for split in splits] == [80, 20, 20]
    assert splits == read_icd_chapters(TASK, tmp_path)
    assert splits.train != read_icd_chapters(TASK.model_copy(update={"sample": 1}), tmp_path).train
    categories = [{part for text in split for part in text.text.split("; ")} for split in splits]
    assert len(set.union(*categories)) == sum(map(len, categories))
    assert {len(text.text.split("; ")) for text in splits.train} == {1, 2, 3}
    assert {label for text in splits.train for label in text.label} <= {
        "Infections", "Neoplasms", "Endocrine", "Genitourinary"
    }  # fmt: skip
    single = [text for text in splits.train if ";" not in text.text]
    assert {len(text.label) for text in single} == {1, 2}
    assert all("Genitourinary" in text.label for text in single if len(text.label) == 2)


def test_a_crosswalk_of_other_codes_is_an_error(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "gem.txt").write_text("A10 3001 00000\n")
    with pytest.raises(UserError, match=r"gem\.txt: maps too few codes of .*icd9\.txt; use CMS's file from ICD-9"):
        read_icd_chapters(TASK, tmp_path)
