"""What the audit finds is replaced: nothing is left with placeholders, and surrogates agree within a patient alone."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from random import Random

import pytest

from clinical_modernbert.streaming_data.deidentify import replace as replacing
from clinical_modernbert.streaming_data.deidentify.dates import parse, shift
from clinical_modernbert.streaming_data.deidentify.findings import merge
from clinical_modernbert.streaming_data.deidentify.replace import deidentify, kinds_of
from clinical_modernbert.streaming_data.deidentify.surrogates import surrogate
from clinical_modernbert.streaming_data.documents.document import Document
from clinical_modernbert.streaming_data.phi.check_digits import is_valid
from clinical_modernbert.streaming_data.phi.patterns import Identifier, PhiAudit, find_identifiers
from clinical_modernbert.streaming_data.synthetic.notes import generate

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
IDENTIFIERS = (
    "Dr. Katherine Oxenham", "Mr. Zebediah", "Name: Quillon, Ambrosine", "Frau von Trottenburg", "MRN: 48151623",
    "Pat.-Nr.: 9988776", "617-254-9876", "(617) 254-9876", "Tel: +49 30 9018820", "03/14/2019", "2019-03-04",
    "4 March 2019", "März 2018", "14. Februar 2019", "3 mars 2019", "MARCH 3, 2019", "a.quillon@hospital.org",
    "https://hospital.org/quillon", "12 Oxenham Street", "Trottenburgstraße 17", "MA 02139", "93 year old",
    "078-05-1120", "943 476 5919", "171.64.20.12",
)  # fmt: skip
WORDS = ("seen", "in", "clinic", "with", "chest pain", "and", "no fever.", "BP 120/80.", "\n", "___", "Plan:", "(", ")")


def run(texts: Iterable[str], key: bytes | None, patient: str = "1", locales: Sequence[str] = ()) -> list[Document]:
    documents = [Document(f"{patient}-{n}", "notes", text, {"patient": patient}) for n, text in enumerate(texts)]
    return list(deidentify(documents, "patient", locales, key, Counter()))


def one(text: str, key: bytes = KEY, patient: str = "1", locales: Sequence[str] = ()) -> str:
    return run([text], key, patient, locales)[0].text


def random_texts(count: int, seed: int) -> list[str]:
    rng = Random(seed)
    pieces = (*IDENTIFIERS, *WORDS, *WORDS)
    return [rng.choice(["", " "]).join(rng.choices(pieces, k=rng.randrange(1, 30))) for _ in range(count)]


def test_with_placeholders_nothing_is_left_and_a_second_pass_changes_nothing() -> None:
    texts = [*random_texts(300, 0), *(row["text"] for row, _ in zip(generate(0), range(30), strict=False))]
    for locales in ([], ["de_DE"], ["en_GB", "fr_FR"]):
        once = [document.text for document in run(texts, None, locales=locales)]
        left = PhiAudit()
        left.add_all(once, locales)
        assert (left.flagged, left.kinds) == (0, Counter())
        assert [document.text for document in run(once, None, locales=locales)] == once


def test_what_is_not_found_stays_as_it_is() -> None:
    texts = [
        "",
        "No pain.\n\n Plan:\t___ rest ",
        *(row["text"] for row, _ in zip(generate(1), range(50), strict=False)),
    ]
    for key in (None, KEY):
        changed: Counter[str] = Counter()
        documents = [Document(str(n), "notes", text) for n, text in enumerate(texts)]
        assert list(deidentify(documents, "patient", (), key, changed)) == documents
        assert changed == {}


def test_a_label_stays() -> None:
    for text, expected in {
        "Seen by Dr. Katherine Oxenham, MRN: 48151623.": "Seen by Dr. ___, MRN: ___.",
        "Frau von Trottenburg, Tel: +49 30 9018820": "Frau ___, Tel: ___",
        "Name: Quillon, Ambrosine\nAdmitted 03/14/2019": "Name: ___\nAdmitted ___",
    }.items():
        assert run([text], None)[0].text == expected


def test_the_order_and_the_batch_of_documents_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = random_texts(80, 1)
    for key in (None, KEY):
        together = [document.text for document in run(texts, key)]
        alone = [one.text for text in reversed(texts) for one in run([text], key)]
        assert alone[::-1] == together


def test_surrogates_are_where_the_document_has_them_and_the_rest_is_unchanged() -> None:
    """Replacing each stated part of the new text by the finding of the old one gives the old text."""
    for text, document in zip(texts := random_texts(300, 2), run(texts, KEY), strict=True):
        findings = merge(find_identifiers(text), text, possible=False)
        assert len(findings) == len(document.surrogates)
        restored, at = "", 0
        for finding, (start, end) in zip(findings, document.surrogates, strict=True):
            restored += document.text[at:start] + text[finding.start : finding.end]
            at = end
        assert restored + document.text[at:] == text


def test_no_value_survives_as_it_was() -> None:
    secret = re.compile(
        "Oxenham|Katherine|Zebediah|Quillon|Ambrosine|Trottenburg|4815|9988|9018|254-9876|0780|171[.]64|0213"
    )
    for text in IDENTIFIERS:
        new = one(f"Seen: {text}. Then home.", locales=["de_DE", "en_US"])
        assert not secret.search(new), "a part of the identifier is left"
        assert new.startswith("Seen: ")
        assert new.endswith(". Then home.")


def test_surrogates_agree_within_a_patient_and_differ_between_patients_and_keys() -> None:
    text = "Dr. Katherine Oxenham, MRN: 48151623, on 03/14/2019, call 617-254-9876."
    assert one(text) == one(text)
    others = {one(text, patient=str(number)) for number in range(50)} | {one(text, OTHER_KEY)}
    assert len(others) == 51
    name = one("Dr. Katherine Oxenham").split()[-1]
    assert one("Mr. Oxenham") == f"Mr. {name}"
    assert one("Name: OXENHAM, KATHERINE").split()[1] == f"{name.upper()},"
    number = re.search(r"\d{8}", one("MRN: 48151623"))
    assert number
    assert number[0] in one("Medical Record Number 48151623 seen")
    documents = [Document("a", "notes", text), Document("b", "notes", text)]
    without_patient = [document.text for document in deidentify(documents, "patient", (), KEY, Counter())]
    assert without_patient[0] != without_patient[1]


SPELLINGS = {
    "%m/%d/%Y": (), "%Y-%m-%d": (), "%d.%m.%Y": ("de_DE",), "%d/%m/%Y": ("fr_FR",), "%B %d, %Y": (), "%d %B %Y": (),
    "%d-%b-%Y": (), "%Y%m%d": (),
}  # fmt: skip


def test_intervals_and_weekdays_are_kept_exactly_in_every_spelling() -> None:
    rng = Random(3)
    for spelling, locales in SPELLINGS.items():
        for patient in map(str, range(12)):
            days = [date(2011, 1, 1) + timedelta(rng.randrange(3000)) for _ in range(8)]
            text = "\n".join(f"Seen {day.strftime(spelling)} again." for day in days)
            new = one(text, patient=patient, locales=locales)
            moved = [date_of(line.split(" ", 1)[1].removesuffix(" again."), spelling) for line in new.split("\n")]
            shifts = {(after - before).days for before, after in zip(days, moved, strict=True)}
            assert len(shifts) == 1, (spelling, shifts)
            assert (shift := shifts.pop())
            assert shift % 7 == 0
            assert shift == replacing._days(replacing.numbers_of(KEY, patient))


def date_of(text: str, spelling: str) -> date:
    return datetime.strptime(text, spelling).date()


def test_dates_keep_their_spelling() -> None:
    """Digits of one day and month may become those of another; separators, padding and the length of names stay."""
    cases = {
        "on 3/4/2019 seen": (r"on \d{1,2}/\d{1,2}/\d{4} seen", ()),
        "on 03/04/19 seen": (r"on \d\d/\d\d/\d\d seen", ()),
        "am 03.04.2019 da": (r"am \d\d\.\d\d\.\d{4} da", ("de_DE",)),
        "on March 3rd, 2019 seen": (r"on [A-Z][a-z]+ \d+(st|nd|rd|th), \d{4} seen", ()),
        "on 3 MAR 2019 seen": (r"on \d+ [A-Z]{3} \d{4} seen", ()),
        "am 14. Februar 2019 da": (r"am \d+\. [JFMASOND][a-zä]+ \d{4} da", ("de_DE",)),
        "vu le 3 mars 2019 ici": (r"vu le \d+ [a-zéû]+ \d{4} ici", ("fr_FR",)),
    }
    for patient in map(str, range(20)):
        for text, (expected, locales) in cases.items():
            new = one(text, patient=patient, locales=locales)
            assert re.fullmatch(expected, new), (text, new)
            assert new != text


def test_a_month_or_a_year_alone_moves_with_the_patients_dates() -> None:
    def moved(text: str, days: int, year: int | None = None, locales: tuple[str, ...] = ()) -> str | None:
        written = parse(text, locales)
        return written and shift(written, days, year, locales)

    assert moved("03/2019", 364) == "03/2020"
    assert moved("March 2019", -7) == "March 2019"
    assert moved("2019", 728) == "2021"
    assert moved("12.03.", 14, 2019, ("de_DE",)) == "26.03."
    assert moved("March 12", 7, 2019) == "March 19"
    assert moved("3-Mar-19", 28) == "31-Mar-19"
    assert moved("29 February", 7) == "7 March"
    assert moved("31/12/99", 7, None, ("en_GB",)) == "07/01/00"
    assert moved("02/30/2019", 7) is None
    assert moved("3/4/2019 and 5/6/2019", 7) is None


def test_surrogates_have_the_form_of_what_they_replace_and_are_nobodys() -> None:
    def form(value: str) -> str:
        return re.sub(r"[a-z]", "a", re.sub(r"[A-Z]", "A", re.sub(r"\d", "0", value)))

    for kind, value in (
        ("national_number", "943 476 5919"), ("record_number", "AB-4815162"), ("postcode", "SW1A 2AA"),
        ("phone", "(617) 254-9876"), ("phone", "030 9018820"), ("phone", "+49 30 9018820"),
        ("zip_code", "MA 02139-1234"),
        ("social_security_number", "078-05-1120"), ("something_new", "X12 345"),
    ):  # fmt: skip
        for patient in map(str, range(30)):
            numbers = replacing.numbers_of(KEY, patient)
            new = surrogate(kind, value, numbers)
            assert form(new) == form(value), (kind, new)
            assert new != value
            if kind == "national_number":
                assert not is_valid("nhs", new.replace(" ", ""))
            if kind == "social_security_number":
                assert new.startswith("666")
            if value.startswith("(617"):
                assert re.fullmatch(r"\([2-9]\d\d\) 555-01\d\d", new)
    assert surrogate("age_over_89", "97 year old", replacing.numbers_of(KEY, "1")) == "90 year old"
    assert surrogate("something_new", "a word", replacing.numbers_of(KEY, "1")) == "___"


def test_the_audit_counts_what_is_left_beside_surrogates_and_each_finding_is_counted() -> None:
    texts = random_texts(100, 5)
    changed: Counter[str] = Counter()
    documents = list(deidentify((Document(str(n), "", text) for n, text in enumerate(texts)), "", (), KEY, changed))
    found = [merge(find_identifiers(text), text, possible=False) for text in texts]
    assert changed["deidentify"] == sum(map(bool, found))
    assert kinds_of(changed) == Counter(finding.kind for findings in found for finding in findings)
    audit = PhiAudit()
    audit.add_all(["Seen by Dr. Miller. Dr. Smith"], (), [[(8, 18)]])
    assert audit.kinds == {"name": 1}
    after = PhiAudit()
    after.add_all([document.text for document in documents], (), [document.surrogates for document in documents])
    assert sum(after.kinds.values()) < sum(kinds_of(changed).values()) // 50


def test_findings_of_any_kind_that_overlap_are_one() -> None:
    text = "x" * 40
    found = [Identifier("a", 0, 5), Identifier("new", 3, 20), Identifier("b", 20, 25), Identifier("a", 22, 23)]
    found.append(Identifier("possible_name", 30, 35))
    merged = [(one.kind, one.start, one.end) for one in merge(found, text, possible=False)]
    assert [one.kind for one in merge(found, text, possible=True)] == [*(kind for kind, *_ in merged), "name"]
    assert merged == [("new", 0, 20), ("b", 20, 25)]
