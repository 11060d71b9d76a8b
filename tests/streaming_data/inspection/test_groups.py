"""Counts of documents that name a group, against documents that are known."""

from pathlib import Path

import pytest
from rich.console import Console

from clinical_modernbert.streaming_data.inspection.groups import GROUPS, count_groups, named_groups
from clinical_modernbert.streaming_data.inspection.table import group_table
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

NAMED = {
    ("sex", "woman"): "She was seen.",
    ("age", "65 or more"): "Aged 71 years old now.",
    ("ethnicity", "White"): "A white 50-year-old patient came.",
    ("insurance", "Medicaid"): "Medicaid pays.",
}
"""Group -> a text that names it and no other."""


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        *((text, [group]) for group, text in NAMED.items()),
        ("White blood cells, black stool, the Asian flu, 71 mg, human male-to-male", [("sex", "man")]),
        ("Race: BLACK\nSex: F, uninsured 30 y/o", [("sex", "woman"), ("age", "18 to 42"), ("ethnicity", "Black"),
                                                  ("insurance", "uninsured")]),
        ("", []),
    ],
)  # fmt: skip
def test_words_of_groups_and_no_others_are_found(text: str, groups: list[tuple[str, str]]) -> None:
    assert [GROUPS[number] for number in named_groups(text)] == groups


def test_documents_are_counted_once_and_the_table_has_no_text(tmp_path: Path, tokenizer: LoadedTokenizer) -> None:
    texts = [text for number, text in enumerate(NAMED.values(), 1) for _ in range(10 * number)]
    rows = "".join(f'{number},"Record {number}. {text} {text}"\n' for number, text in enumerate(texts))
    (tmp_path / "notes.csv").write_text("patient,text\n" + rows)
    source = {"name": "notes", "format": "table", "paths": [str(tmp_path / "notes.csv")], "licence": ""}
    config = {"output": tmp_path / "data", "tokenizer": tokenizer.directory, "workers": 1, "held_out": 0}
    config |= {"sources": [source | {"split_by": "patient"}], "seq_length": 1024}
    prepare(PrepareConfig.model_validate(config), lambda stage: lambda *_: None)
    [counts] = count_groups(str(tmp_path / "data"), 1000)
    named = {group: count for group, count in zip(GROUPS, counts.named, strict=True) if count}
    assert counts.documents == 100
    assert named == {group: 10 * number for number, group in enumerate(NAMED, 1)}
    console = Console(record=True, width=100)
    console.print(group_table([counts]))
    text = console.export_text()
    assert "insurance: Medicaid" in text
    assert "400" in text
    assert "Record" not in text
