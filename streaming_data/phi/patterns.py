"""Detection of protected health information (PHI): patterns for HIPAA's Safe Harbor list (45 CFR 164.514(b)(2)).

Patterns detect identifiers with a fixed form: numbers, dates, addresses, names with a title. Other names are found by
`names/`, which is not always right. So an audit without findings does not prove de-identification; its purpose is to
reveal text that was never de-identified. Reports hold kinds, counts and positions, never text.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ...configs.errors import UserError
from ..locales.english import STREET_SUFFIXES
from .first_characters import Searcher, compile_heads
from .local_forms import LOCAL_KINDS, find_local_forms, plain_characters
from .names.kinds import POSSIBLE_NAME, find_kinds_of_names
from .word_trie import any_of

if TYPE_CHECKING:
    from ..shards.manifest import SourceInfo

_MONTH = "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
_MONTH += "|Nov(?:ember)?|Dec(?:ember)?)"
_FULL_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_MONTH_HEADS = "Jan[u. ]|Feb[r. ]|Mar[c. ]|Apr[i. ]|May[. ]|Jun[e. ]|Jul[y. ]|Aug[u. ]|Sep[te. ]|Oct[o. ]|Nov[e. ]"
_MONTH_HEADS += "|Dec[e. ]"
_DAY, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19|20)\d\d"
_STREET = any_of(STREET_SUFFIXES)
_STREET_IN_CAPITALS = (
    "(?:STREET|ST|AVENUE|AVE|ROAD|RD|BOULEVARD|BLVD|LANE|LN|DRIVE|COURT|TERRACE|HIGHWAY|CRESCENT|SQUARE)"
)
_STATE = "(?:A[KLRZ]|C[AOT]|D[CE]|FL|GA|HI|I[ADLN]|K[SY]|LA|M[ADEINOST]|N[CDEHJMVY]|O[HKR]|PA|RI|S[CD]|T[NX]|UT|V[AT]"
_STATE += "|W[AIVY])"
_BYTE = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_NAME = r"[A-Z][A-Za-z'’-]{0,40}[a-z]"  # bounded, like all repetitions here: hostile text takes linear time

# Matched within a run of digits and separators. A kind of `_WORDED` may have several patterns, because one that begins
# with a character or a class is searched many times faster than an alternation. Before each is how its matches begin.
_NUMERIC = {
    "social_security_number": r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])",
    "phone": r"(?<![\d.-])(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\d-])",
    "date": rf"(?<![\d/.-])(?:(?:0?[1-9]|1[0-2])/{_DAY}/(?:{_YEAR}|\d\d)|(?:0?[1-9]|1[0-2])-{_DAY}-(?:{_YEAR}|\d\d)"
    rf"|{_YEAR}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01]))(?![\d/-])",
    "ip_address": rf"(?<![\d.])(?:25[0-5]|2[0-4]\d|1\d\d|\d\d)\.(?:{_BYTE}\.){{2}}{_BYTE}(?![\d.])",
}
_DIGIT_RUN = re.compile(r"[(\d](?:(?<=\d)|(?=\d))[\d/.() -]{4,}\d")
_IN_DIGIT_RUN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _NUMERIC.items()))
_DEGREE = re.compile(r", (?:M\.?D|R\.?N|D\.?O|N\.?P|PA-C)\b")
_DEGREE_HEADS = compile_heads(r", [MRDNP][.A-Z]")
_WORDED = [
    ("email", None, r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+"),  # searched only where there is an @
    ("url", "[hH][tT][tT][pP]", r"[hH][tT][tT][pP][sS]?://[^\s<>]+"),
    ("url", r"[wW][wW][wW]\.", r"[wW][wW][wW]\.(?<!//[wW]{3}\.)[^\s<>]+"),
    (
        "date",  # not the genes Oct 4, Dec 1 and Sept 9
        _MONTH_HEADS,
        rf"(?:{_FULL_MONTH} {_DAY}|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Nov)\.? {_DAY}"
        rf"|{_MONTH}\.? (?:[12]\d|3[01]|{_DAY}(?=st|nd|rd|th|,? {_YEAR}\b)))(?:st|nd|rd|th)?"
        rf"(?:,? {_YEAR}\b|(?![\w%]|[.,/]\d|-\d{{3}}| ?(?:patients|cases|mg|ml)\b))",
    ),
    (
        "address",
        "|".join(r"\d" * digits + r" [A-Z][A-Za-z'’. -]" for digits in range(1, 6)),
        rf"\d{{1,5}} (?:[NSEW]\.? )?"
        rf"(?:(?:{_NAME} ){{1,3}}{_STREET}|(?:[A-Z'-]{{2,24}} ){{1,3}}{_STREET_IN_CAPITALS})\b(?!-)",
    ),
    ("zip_code", r"[A-Z][A-Z] \d", rf"[A-Z]{{2}}(?<={_STATE}) \d{{5}}(?:-\d{{4}})?\b"),
    ("name", r"Mr[s. ]|Ms[. ]|Miss", rf"M(?<![A-Za-z]M)(?:rs?|s|iss)\.? {_NAME}(?: {_NAME})?"),
    ("name", r"Dr\. [A-Z]|Dr [A-Z]", rf"Dr(?<![A-Za-z]Dr)\.? {_NAME}(?: {_NAME})?"),
    ("name", "Name", rf"Name:\s{{0,3}}{_NAME},? {_NAME}"),
    (
        "name",
        "[A-Z][A-Za-z'’-][A-Za-z'’ -][A-Za-z'’ -]",
        rf"{_NAME} (?:[A-Z]\. )?{_NAME}{_DEGREE.pattern}",
    ),
]
_PATTERNS = [(kind, re.compile(pattern)) for kind, _, pattern in _WORDED]
_NAME_AND_DEGREE = _PATTERNS[-1][1]
_HEADS = [compile_heads(heads) if heads else None for _, heads, _ in _WORDED]
_HEADS_OF_DIGIT_RUN = compile_heads(r"[(\d]" + r"[\d/.() -]" * 5)
_BLOCK = 64  # characters
KINDS = tuple(dict.fromkeys([*_NUMERIC, *(kind for kind, *_ in _WORDED), *LOCAL_KINDS]))
"""What counts as an identifier. The kind `possible_name` is reported beside them."""


class Identifier(NamedTuple):
    """An identifier found in a text: its kind and its position in characters."""

    kind: str
    start: int
    end: int


@dataclass
class PhiAudit:
    """Number of documents, number of flagged documents (with at least one identifier), and findings by kind.

    A document that has possible names only is not flagged.
    """

    documents: int = 0
    flagged: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, text: str, locales: Sequence[str] = ()) -> list[Identifier]:
        """Count a document and return the identifiers found in it."""
        return self.add_all([text], locales)[0]

    def add_all(
        self,
        texts: Sequence[str],
        locales: Sequence[str] = (),
        expected: Sequence[Sequence[tuple[int, int]]] | None = None,
        names: bool = False,
    ) -> list[list[Identifier]]:
        """Count documents, and return the identifiers found in each of them; many at once are faster.

        Args:
            expected: parts of each text that are known, such as surrogates: what is found within them is left out.
            names: see `find_identifiers`.
        """
        found = find_in_all(texts, locales, names)
        if expected is not None:
            found = [_outside(one, parts) for one, parts in zip(found, expected, strict=True)]
        for identifiers in found:
            self.documents += 1
            self.flagged += any(identifier.kind != POSSIBLE_NAME for identifier in identifiers)
            self.kinds.update(identifier.kind for identifier in identifiers)
        return found

    def describe(self) -> dict[str, Any]:
        """The counts as they are stored in the manifest."""
        return {"documents": self.documents, "flagged": self.flagged, "kinds": dict(sorted(self.kinds.items()))}


def sum_audits(audits: Iterable[PhiAudit]) -> PhiAudit:
    """The sum of the counts."""
    total = PhiAudit()
    for audit in audits:
        total.documents += audit.documents
        total.flagged += audit.flagged
        total.kinds.update(audit.kinds)
    return total


def find_identifiers(text: str, locales: Sequence[str] = (), names: bool = False) -> list[Identifier]:
    """All parts of the text that have the form of an identifier, in order.

    Args:
        locales: of the text, see `locales/locale.py`. Forms that are doubtful elsewhere count in their countries.
        names: whether to search names without a title or label, too: kinds `name` and `possible_name`.
    """
    return find_in_all([text], locales, names)[0]


def find_in_all(texts: Sequence[str], locales: Sequence[str] = (), names: bool = False) -> list[list[Identifier]]:
    """The identifiers of each of many texts, see `find_identifiers`."""
    texts = [plain_characters(text) for text in texts]
    identifiers = _find_us_forms(texts)
    for found, local_forms in zip(identifiers, find_local_forms(texts, locales), strict=True):
        _add_all(found, (Identifier(*local) for local in local_forms))
    if names:
        for found, of_text in zip(identifiers, find_kinds_of_names(texts, locales), strict=True):
            _add_all(found, (Identifier(*name) for name in of_text))
    return [sorted(found, key=lambda identifier: identifier.start) for found in identifiers]


def _find_us_forms(texts: Sequence[str]) -> list[list[Identifier]]:
    identifiers: list[list[Identifier]] = [[] for _ in texts]
    searcher = Searcher(texts)
    for number, run in searcher.find(_DIGIT_RUN, _HEADS_OF_DIGIT_RUN):
        for match in _IN_DIGIT_RUN.finditer(texts[number], run.start(), run.end()):
            identifiers[number].append(Identifier(str(match.lastgroup), match.start(), match.end()))
    with_email = Searcher([text if "@" in text else "" for text in texts])
    have_degrees = {number for number, _ in searcher.find(_DEGREE, _DEGREE_HEADS)}
    with_degree = Searcher([text if number in have_degrees else "" for number, text in enumerate(texts)])
    for (kind, pattern), heads in zip(_PATTERNS, _HEADS, strict=True):
        within = with_email if kind == "email" else with_degree if pattern is _NAME_AND_DEGREE else searcher
        for number, match in within.find(pattern, heads):
            identifiers[number].append(Identifier(kind, match.start(), match.end()))
    return identifiers


def _add_all(identifiers: list[Identifier], more: Iterable[Identifier]) -> None:
    """Add identifiers, or let one of a kind that overlaps one of it cover both. Nothing is added inside another one.

    Only neighbours are compared: a text of dates takes linear time.
    """
    near: dict[int, list[int]] = defaultdict(list)

    def put(at: int) -> None:
        for block in _blocks(identifiers[at]):
            near[block].append(at)

    for at in range(len(identifiers)):
        put(at)
    for new in more:
        for at in sorted({at for block in _blocks(new) for at in near[block]}):
            old = identifiers[at]
            if new.start < old.end and old.start < new.end:
                if old.start <= new.start and new.end <= old.end:
                    break
                if old.kind == new.kind:
                    identifiers[at] = Identifier(old.kind, min(old.start, new.start), max(old.end, new.end))
                    put(at)
                    break
        else:
            identifiers.append(new)
            put(len(identifiers) - 1)


def _blocks(identifier: Identifier) -> range:
    return range(identifier.start // _BLOCK, (identifier.end - 1) // _BLOCK + 1)


def _outside(identifiers: list[Identifier], parts: Sequence[tuple[int, int]]) -> list[Identifier]:
    """The identifiers that are not within one of the parts."""
    return [one for one in identifiers if not any(start <= one.start and one.end <= end for start, end in parts)]


def require_deidentified(sources: "Mapping[str, SourceInfo]", max_flagged: float = 0.01) -> None:
    """Refuse to share a data set if more than this fraction of the documents of a source is flagged.

    Raises:
        UserError: names the source and its counts.
    """
    for name, source in sources.items():
        audit = source.audit
        if audit and audit.flagged > max_flagged * audit.documents:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in audit.kinds.items())
            raise UserError(
                f"source {name}: {audit.flagged:,} of {audit.documents:,} documents contain possible patient "
                f"identifiers ({kinds}), more than {max_flagged:.1%}; de-identify them, or see `cmbert data audit`"
            )
