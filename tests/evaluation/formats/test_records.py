"""PubMed-RCT's format, also with roles of two words, as NICTA-PIBOSO has."""

from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.formats.records import read_rct


def test_roles_of_sentences(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("###1\nMETHODS\tWe looked .\nstudy design\tA trial .\n\n###2\nother\tBoth\tcolumns\n")
    assert list(read_rct(path)) == [
        (2, "We looked .", "METHODS"),
        (3, "A trial .", "study design"),
        (6, "Both\tcolumns", "other"),
    ]


@pytest.mark.parametrize("line", ["no tab", "\tno role", "two  spaces\tx", "digits 1\tx", " \tx"])
def test_another_line_is_an_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "train.txt").write_text(f"METHODS\tWe looked .\n{line}\n")
    with pytest.raises(UserError, match="line 2: expected a role, a tab and a sentence"):
        list(read_rct(tmp_path / "train.txt"))
