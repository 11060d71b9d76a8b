"""The PHI audit finds planted identifiers, none in de-identified notes, and never prints text."""

import csv
import itertools
import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.streaming_data.corpora.pmc import PmcSource
from clinical_modernbert.streaming_data.corpora.pubmed import PubMedSource
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.phi.patterns import KINDS, find_identifiers, require_deidentified
from clinical_modernbert.streaming_data.shards.manifest import AuditCounts, SourceInfo
from clinical_modernbert.streaming_data.synthetic.notes import generate

FIRST = ("James", "Mary", "Robert", "Patricia", "John", "Jennifer", "Michael", "Linda", "Siobhan", "Mei-Ling")
LAST = ("Smith", "Johnson", "Williams", "Brown", "Garcia", "Miller", "Davis", "O'Brien", "Nguyen", "Kowalski")
MONTHS = ("January", "Feb", "March", "Apr.", "May", "June", "July", "Aug", "September", "Oct", "November", "Dec.")


def plant(kind: str, rng: Random) -> str:
    """An identifier of a kind, in one of the forms that occur in clinical notes."""
    first, last, digits = rng.choice(FIRST), rng.choice(LAST), rng.randint
    month, day, year = digits(1, 12), digits(1, 28), digits(1925, 2024)
    area, exchange, line = digits(201, 989), digits(200, 999), digits(1000, 9999)
    forms = {
        "name": (f"Dr. {last}", f"Mr. {first} {last}", f"Mrs {last}", f"{first} {last}, MD", f"{first} Q. {last}, RN"),
        "date": (
            f"{month}/{day}/{year}",
            f"{month:02}/{day:02}/{year % 100:02}",
            f"{year}-{month:02}-{day:02}",
            f"{MONTHS[month - 1]} {day}, {year}",
            f"{day} {MONTHS[month - 1]} {year}",
            f"{month}-{day}-{year}",
        ),
        "phone": (f"({area}) {exchange}-{line}", f"{area}-{exchange}-{line}", f"{area}.{exchange}.{line}"),
        "email": (f"{first.lower()}.{last.lower().replace(chr(39), '')}@example.org",),
        "url": ("https://www.example.org/portal?id=1", "www.example.com/a"),
        "social_security_number": (f"{digits(1, 665):03}-{digits(1, 99):02}-{line}",),
        "record_number": (
            f"MRN: {digits(10**5, 10**9)}",
            f"Medical Record Number {digits(10**6, 10**8)}",
            "MRN#0012345",
        ),
        "ip_address": (f"10.{digits(0, 255)}.{digits(0, 255)}.{digits(1, 254)}",),
        "address": (
            f"{digits(1, 9999)} {rng.choice(('Main', 'Oak Hill', 'Elm'))} {rng.choice(('Street', 'Ave', 'Rd'))}",
        ),
        "zip_code": (f"{rng.choice(('MA', 'NY', 'CA', 'TX'))} {digits(10000, 99999)}",),
        "national_number": ("12345678Z", "A123456780", "811218-9876"),
        "postcode": ("SW1A 1AA", "K1A 0B6", "M5V 2T6"),
        "age_over_89": (f"{digits(90, 104)} year old", f"{digits(90, 99)}-year-old", f"{digits(90, 99)} y/o"),
    }
    return rng.choice(forms[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_planted_identifiers_are_found_at_their_position(kind: str) -> None:
    rng = Random(kind)
    notes = [row["text"] for row in itertools.islice(generate(1), 100)]
    for note in notes:
        words = note.split(" ")
        position = rng.randrange(1, len(words))
        planted = plant(kind, rng)
        before = " ".join([*words[:position], ""])
        text = f"{before}{planted} {' '.join(words[position:])}"
        found = [each for each in find_identifiers(text) if each.kind == kind]
        assert any(each.start <= len(before) and each.end >= len(before) + len(planted) for each in found), planted


def test_deidentified_notes_have_no_false_positives() -> None:
    kinds = Counter(
        found.kind for row in itertools.islice(generate(0), 1000) for found in find_identifiers(row["text"])
    )
    assert not kinds


@pytest.mark.parametrize(
    "text",
    [
        "BP 120/80, HR 72-84, T 98.6, 5-10 mg, ratio 1/2, 12-35-20 and G2P1001",
        "PMID 12345678, NCT04390672, pH 7.35-7.45, 100-200-300 mL, 2.5.1 and 10 000-20 000",
        "Dr. ___ saw Ms. ___ on ___ at ___; MRN ___, tel. ___",
        "C:\\data 3/4 of the 50/50 mix, 11/0/19 and 2019-13-01, age 89 years old, 990 years old",
        "Discharge Diagnosis:\nName:  ___   Unit No:   ___",
    ],
)
def test_clinical_numbers_are_not_identifiers(text: str) -> None:
    assert find_identifiers(text) == []


def test_public_text_has_few_false_positives(dev_data: Path) -> None:
    """PubMed and PMC contain dates, authors' names and web addresses; hardly anything else may be reported."""
    pubmed = PubMedSource(name="p", format="pubmed", licence="", paths=[str(dev_data / "pubmed" / "example_*.xml.gz")])
    pmc = PmcSource(name="f", format="pmc", licence="", paths=[str(dev_data / "pmc_fulltext" / "nxml" / "*.nxml")])
    documents = [document.text for source in (pubmed, pmc) for document in read(source)]
    kinds = Counter(found.kind for text in documents for found in find_identifiers(text))
    strict = {"phone", "social_security_number", "record_number", "email", "ip_address", "address"}
    assert sum(kinds[kind] for kind in strict) <= len(documents) // 200
    flagged = [{found.kind for found in find_identifiers(text)} for text in documents]
    assert sum(bool(kinds) for kinds in flagged) < len(documents) // 6, "months with a year, mostly"
    assert sum(bool(kinds - {"date", "url"}) for kinds in flagged) < len(documents) // 25


def test_require_deidentified_refuses_too_many_flagged_documents() -> None:
    def sources(flagged: int) -> dict[str, SourceInfo]:
        audit = AuditCounts(documents=1000, flagged=flagged, kinds={"date": 2 * flagged})
        return {"public": SourceInfo(audit=None, splits={}), "letters": SourceInfo(audit=audit, splits={})}

    require_deidentified(sources(10))
    with pytest.raises(UserError, match=r"source letters: 11 of 1,000 documents .*\(date 22\), more than 1\.0%"):
        require_deidentified(sources(11))


def test_the_audit_command_searches_the_forms_of_the_locales(tmp_path: Path) -> None:
    (tmp_path / "letters.jsonl").write_text(json.dumps({"mrn": "1", "text": "Anruf unter 030 1234567, 80331 München"}))
    source = {"name": "letters", "format": "table", "paths": [str(tmp_path / "letters.jsonl")], "licence": ""}
    recipe = tmp_path / "recipe.yaml"

    def audit(*arguments: str, **keys: list[str]) -> str:
        sources = [source | keys | {"split_by": "mrn"}]
        recipe.write_text(json.dumps({"output": "data", "tokenizer": "none", "workers": 1, "sources": sources}))
        result = CliRunner().invoke(app, ["data", "audit", str(recipe), *arguments])
        return result.output + str(result.exception or "")

    both = "letters: 1 of 1 documents: phone 1, postcode 1"
    assert "letters: 0 of 1 documents: nothing found" in audit()
    assert both in audit("--locale", "de_DE")
    assert both in audit("--locale", "en_US", "--locale", "de_DE")
    assert both in audit(locale=["de_DE"])
    assert both in audit("--locale", "fr_FR", locale=["de_DE"])
    assert "--locale de: unknown; did you mean de_DE?" in audit("--locale", "de")
    assert "sources.0.locale" in audit(locale=["german"])


def test_the_audit_command_reports_positions_and_no_text(tmp_path: Path) -> None:
    letters = [f"Letter {n} about the knee." for n in range(20)]
    letters[3] = "Dr. Undisclosed saw her on 03/04/2019."
    rows = [json.dumps({"mrn": str(n), "text": text}) for n, text in enumerate(letters)]
    (tmp_path / "letters.jsonl").write_text("\n".join(rows))
    source = {"name": "letters", "format": "table", "paths": [str(tmp_path / "letters.jsonl")], "licence": ""}
    recipe = {"output": str(tmp_path / "data"), "tokenizer": "none", "workers": 1}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe | {"sources": [source | {"split_by": "mrn"}]}))
    arguments = ["data", "audit", str(tmp_path / "recipe.yaml"), "--positions", str(tmp_path / "findings.csv")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "letters: 1 of 20 documents: date 1, name 1" in result.output
    written = (tmp_path / "findings.csv").read_text()
    assert "Undisclosed" not in result.output + written
    assert [list(row.values()) for row in csv.DictReader(written.splitlines())] == [
        ["letters", "letters.jsonl", "4", "name", "0", "15"],
        ["letters", "letters.jsonl", "4", "date", "27", "37"],
    ]
    assert (tmp_path / "findings.csv").stat().st_mode & 0o077 == 0
    assert "exists already" in str(CliRunner().invoke(app, arguments).exception)
    nowhere = CliRunner().invoke(app, [*arguments[:-1], str(tmp_path / "findings.csv/more.csv")])
    assert "more.csv: cannot be written: " in str(nowhere.exception)
    assert "1/1" not in nowhere.output, "refused before the audit starts"
    assert CliRunner().invoke(app, [*arguments[:-1], str(tmp_path / "new/findings.csv")]).exit_code == 0
    assert (tmp_path / "new/findings.csv").read_text() == written
