"""Looking for what may identify a patient: patterns of HIPAA's Safe Harbor list (45 CFR 164.514(b)(2)).

Patterns find what has a form: numbers, dates, addresses, names with a title. A name without a title has none, so a
clean report is no proof; text that was never de-identified shows up at once, and that is what this is for. Reports hold
kinds, counts and places, never the text.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ...configs.errors import UserError

if TYPE_CHECKING:
    from ..shards.manifest import SourceInfo

_MONTH = "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
_MONTH += "|Nov(?:ember)?|Dec(?:ember)?)"
_DAY, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19|20)\d\d"
_STREET = "(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Terrace|Ter|Highway|Hwy"
_STREET += "|Way|Circle|Cir|Square|Sq|Parkway|Pkwy|Plaza|Trail|Trl|Turnpike|Tpke|Crescent|Alley|Loop|Pike|Expressway"
_STREET += "|Crossing|Glen|Grove|Heights|Hollow|Knoll|Landing|Manor|Meadows?|Mews|Ridge|Springs?|Valley|Village|Vista)"
_STATE = "(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]"
_STATE += "|W[AIVY])"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_RECORD = "[Mm][Rr][Nn]|[Mm]edical [Rr]ecord(?: [Nn]umber| [Nn]o)?|[Uu]nit [Nn]o|[Aa]ccount(?: [Nn]umber| [Nn]o)?"
_RECORD += "|[Pp]atient ID|[Aa]ccession(?: [Nn]umber| [Nn]o)?"
_YEARS_OLD = r"[- ]?(?i:years?|yrs?|y)[-/. ]?(?i:old|o)\b"
_NAME = r"[A-Z][A-Za-z'’-]*[a-z]"

# Within a run of digits and separators. Each kind may stand in several patterns, since one that begins with a
# character or a class is searched many times faster than an alternation.
_NUMERIC = {
    "social_security_number": r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])",
    "phone": r"(?<![\d.-])(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\d-])",
    "date": rf"(?<![\d/.-])(?:(?:0?[1-9]|1[0-2])/{_DAY}/(?:{_YEAR}|\d\d)|(?:0?[1-9]|1[0-2])-{_DAY}-(?:{_YEAR}|\d\d)"
    rf"|{_YEAR}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))(?![\d/-])",
    "ip_address": rf"(?<![\d.])(?:25[0-5]|2[0-4]\d|1\d\d|\d\d)\.(?:{_BYTE}\.){{2}}{_BYTE}(?![\d.])",
}
_RUN = re.compile(r"[(\d][\d/.() -]{4,}\d")
_IN_RUN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _NUMERIC.items()))
_WORDED = [
    ("email", r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    ("url", r"[hH][tT][tT][pP][sS]?://[^\s<>]+"),
    ("url", r"[wW][wW][wW]\.(?<!//[wW]{3}\.)[^\s<>]+"),
    ("date", rf"{_MONTH}\.? {_DAY}(?:st|nd|rd|th)?,? {_YEAR}\b"),
    ("date", rf"\d{{1,2}} {_MONTH}\.? {_YEAR}\b"),
    ("record_number", rf"(?:{_RECORD})\W{{0,4}}[A-Z]{{0,3}}\d{{5,}}"),
    ("address", rf"\d{{1,5}} (?:[NSEW]\.? )?(?:{_NAME} ){{1,3}}{_STREET}\b"),
    ("zip_code", rf"[A-Z]{{2}}(?<={_STATE}) \d{{5}}(?:-\d{{4}})?\b"),
    ("age_over_89", rf"9\d(?<!\d9\d){_YEARS_OLD}"),
    ("age_over_89", rf"1[01]\d(?<!\d1[01]\d){_YEARS_OLD}"),
    ("name", rf"M(?<![A-Za-z]M)(?:rs?|s|iss)\.? {_NAME}(?: {_NAME})?"),
    ("name", rf"Dr(?<![A-Za-z]Dr)\.? {_NAME}(?: {_NAME})?"),
    ("name", rf"Name:\s{{0,3}}{_NAME},? {_NAME}"),
    ("name", rf"{_NAME} (?:[A-Z]\. )?{_NAME}, (?:M\.?D|R\.?N|D\.?O|N\.?P|PA-C)\b"),
]
_PATTERNS = [(kind, re.compile(pattern)) for kind, pattern in _WORDED]
KINDS = tuple(dict.fromkeys([*_NUMERIC, *(kind for kind, _ in _WORDED)]))


class Finding(NamedTuple):
    """What kind of thing stands where in a text, in characters."""

    kind: str
    start: int
    end: int


@dataclass
class Audit:
    """Counts over documents: how many there were, how many have any finding, and findings by kind."""

    documents: int = 0
    flagged: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, text: str) -> list[Finding]:
        """Counts a document and returns what was found in it."""
        findings = find(text)
        self.documents += 1
        self.flagged += bool(findings)
        self.kinds.update(finding.kind for finding in findings)
        return findings

    def describe(self) -> dict[str, Any]:
        """As the manifest holds it."""
        return {"documents": self.documents, "flagged": self.flagged, "kinds": dict(sorted(self.kinds.items()))}


def sum_audits(audits: Iterable[Audit]) -> Audit:
    """One audit of all their documents."""
    total = Audit()
    for audit in audits:
        total.documents += audit.documents
        total.flagged += audit.flagged
        total.kinds.update(audit.kinds)
    return total


def find(text: str) -> list[Finding]:
    """Everything in the text that has the form of an identifier, in order."""
    findings = [
        Finding(str(match.lastgroup), match.start(), match.end())
        for run in _RUN.finditer(text)
        for match in _IN_RUN.finditer(text, run.start(), run.end())
    ]
    for kind, pattern in _PATTERNS:
        if kind == "email" and "@" not in text:
            continue
        findings += [Finding(kind, match.start(), match.end()) for match in pattern.finditer(text)]
    return sorted(findings, key=lambda finding: finding.start)


def refuse_identified(sources: "Mapping[str, SourceInfo]", most: float = 0.01) -> None:
    """Stops what would take text out of the house where too many documents of a source have findings.

    Raises:
        UserError: it names the source and its counts.
    """
    for name, source in sources.items():
        audit = source.audit
        if audit and audit.flagged > most * audit.documents:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in audit.kinds.items())
            raise UserError(
                f"source {name}: {audit.flagged:,} of {audit.documents:,} documents hold what may identify a "
                f"patient ({kinds}), more than {most:.1%}; de-identify them, or look with `cmbert data audit`"
            )
