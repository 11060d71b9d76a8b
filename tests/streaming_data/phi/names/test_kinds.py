"""Names in the audit: certain ones flag a document and gate, possible ones are reported; both only where wanted."""

from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.streaming_data.phi.patterns import PhiAudit, find_identifiers, require_deidentified
from clinical_modernbert.streaming_data.shards.manifest import AuditCounts, SourceInfo
from clinical_modernbert.streaming_data.synthetic.notes import generate

CERTAIN = "John Michael Smith, Mary Johnson and Robert Williams, his brother, were informed by phone."
POSSIBLE = "The neighbor, Jadwiga Wojciechowska, found the patient on the floor."


def test_a_certain_name_flags_its_document_and_a_possible_one_does_not() -> None:
    audit = PhiAudit()
    found = audit.add_all([CERTAIN, POSSIBLE, "No pain."], names=True)
    assert "name" in {one.kind for one in found[0]}
    assert [{one.kind for one in of_text} for of_text in found[1:]] == [{"possible_name"}, set()]
    assert (audit.documents, audit.flagged) == (3, 1)
    assert set(audit.kinds) == {"name", "possible_name"}


def test_in_a_language_whose_words_were_not_counted_no_name_is_certain() -> None:
    assert {one.kind for one in find_identifiers(CERTAIN, ["de_DE"], names=True)} == {"possible_name"}
    assert {one.kind for one in find_identifiers(CERTAIN, ["en_GB", "de_DE"], names=True)} >= {"name"}


def test_a_name_that_a_pattern_finds_is_one_finding() -> None:
    (found,) = find_identifiers("Seen by Dr. Jadwiga Wojciechowska.", names=True)
    assert (found.kind, found.start, found.end) == ("name", 8, 33)


def test_names_of_a_source_that_was_never_deidentified_close_the_gate() -> None:
    notes = [row["text"] for row in islice(generate(5), 60)]
    for texts, closes in ((notes, False), ([f"{note}\n{CERTAIN}" for note in notes], True)):
        audit = PhiAudit()
        audit.add_all(texts, names=True)
        source = SourceInfo.model_construct(splits={}, audit=AuditCounts(**audit.describe()))
        if closes:
            with pytest.raises(UserError, match="possible patient identifiers"):
                require_deidentified({"notes": source})
        else:
            require_deidentified({"notes": source})


@pytest.mark.parametrize(("key", "option"), [("", []), ("    find_names: false\n", []), ("", ["--no-names"])])
def test_the_command_searches_names_unless_a_key_or_an_option_forbids_it(
    tmp_path: Path, key: str, option: list[str]
) -> None:
    (tmp_path / "notes.csv").write_text(f'patient,text\n1,"{POSSIBLE}"\n2,No pain.\n')
    (tmp_path / "data.yaml").write_text(
        f"output: {tmp_path}/data\ntokenizer: none\nsources:\n  - name: notes\n    format: table\n"
        f"    paths: [{tmp_path}/notes.csv]\n    licence: mine\n    split_by: patient\n{key}"
    )
    result = CliRunner().invoke(app, ["data", "audit", str(tmp_path / "data.yaml"), *option])
    assert not result.exception, result.output
    expected = "nothing found" if key or option else "possible_name 1"
    assert f"notes: 0 of 2 documents: {expected}" in result.output
    assert "Jadwiga" not in result.output
