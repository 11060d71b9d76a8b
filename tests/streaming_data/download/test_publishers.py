"""The table of addresses, and its copy in the documentation."""

import re
from datetime import date
from pathlib import Path

import pytest

from clinical_modernbert.streaming_data.download.publishers import PUBLISHERS

DOCS = Path(__file__).parents[3] / "docs/corpora.md"
NAMES = {
    "pubmed": ["pubmed26n0001.xml.gz", "pubmed27n1400.xml.gz"],
    "icd10cm": [
        "icd10cm-table-and-index-2027.zip",
        "icd10cm-Table and Index-2024.zip",
        "icd10cm-table-index-2025.zip",
        "2027-code-tables-tabular-index.zip",
        "2025-code-tables-tabular-and-index.zip",
    ],
    "icd10pcs": ["2027-icd-10-pcs-codes-file.zip", "zip-file-3-2027-icd-10-pcs-codes-file.zip"],
    "hcpcs": ["october-2026-alpha-numeric-hcpcs-file.zip", "january-2024-alpha-numeric-hcpcs-files.zip"],
    "mesh": ["mtrees2026.bin"],
    "mesh_descriptors": ["desc2026.zip"],
    "hpo": ["hp.obo"],
    "gem": ["icd9toicd10cmgem.csv", "icd10cmtoicd9gem.csv"],
}
"""Names under which the publishers have published since 2024."""


@pytest.mark.parametrize("corpus", NAMES)
def test_published_names_are_matched(corpus: str) -> None:
    assert all(re.fullmatch(PUBLISHERS[corpus].pattern, name) for name in NAMES[corpus])
    others = [name for other, names in NAMES.items() if other != corpus for name in names]
    assert not any(re.fullmatch(PUBLISHERS[corpus].pattern, name) for name in others)


def test_every_address_has_the_date_of_its_review() -> None:
    for publisher in PUBLISHERS.values():
        assert date(2026, 11, 1) <= date.fromisoformat(publisher.checked) <= date.today()
        assert publisher.checked in publisher.advice
        assert all(
            address.startswith("https://") for address in (*publisher.addresses, publisher.elsewhere or "https://")
        )


def test_the_documentation_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \| (\S+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    shown = {corpus: (what, addresses, checked) for corpus, what, addresses, checked in rows if corpus in PUBLISHERS}
    assert shown == {
        corpus: (publisher.what, " ".join(f"<{address}>" for address in publisher.addresses), publisher.checked)
        for corpus, publisher in PUBLISHERS.items()
    }
