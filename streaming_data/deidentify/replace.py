"""De-identification of documents: what the audit finds in them is replaced by `___` or by surrogates.

The result of a document depends on its text, its patient, the locales and the key alone.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from ..documents.document import Document, in_batches
from ..phi.names.kinds import are_counted
from ..phi.patterns import find_in_all
from . import dates
from .findings import Finding, merge
from .key import Numbers, numbers_of
from .surrogates import PLACEHOLDER, surrogate

STEP = "deidentify"
_KIND = f"{STEP}: "
_MOST_WEEKS = 260
"""Dates move by at least one week and at most five years, in weeks: their weekday stays."""
_PASSES = 10


def deidentify(
    documents: Iterable[Document],
    split_by: str,
    locales: Sequence[str],
    key: bytes | None,
    changed: "Counter[str]",
    names: bool = False,
) -> Iterator[Document]:
    """The documents without what the audit finds in them.

    Args:
        split_by: the key of meta that names the patient. A document without it is a patient of its own.
        key: of the surrogates; None for placeholders.
        changed: counts the documents that are changed, and the findings by kind; see `kinds_of`.
        names: whether names without a title or label are replaced, too: possible ones where few of them are wrong.
    """
    # A name that is left is worse than a word that is lost, unless most of them would be words.
    possible = names and are_counted(locales)
    for batch in in_batches(documents):
        texts = [document.text for document in batch]
        searched = find_in_all(texts, locales, names)
        findings = [merge(found, text, possible) for found, text in zip(searched, texts, strict=True)]
        changed.update({STEP: sum(map(bool, findings))} if any(findings) else {})
        if key is None:
            replaced = _with_placeholders(texts, findings, locales, changed, names, possible)
            yield from (
                document if text is document.text else replace(document, text=text)
                for document, text in zip(batch, replaced, strict=True)
            )
            continue
        for document, found in zip(batch, findings, strict=True):
            if not found:
                yield document
                continue
            _count(found, changed)
            numbers = numbers_of(key, document.meta.get(split_by) or document.id)
            text, surrogates = _with_surrogates(document.text, found, tuple(locales), numbers)
            yield replace(document, text=text, surrogates=surrogates)


def kinds_of(changed: Mapping[str, int]) -> dict[str, int]:
    """The numbers of findings that were replaced, by kind."""
    return {name.removeprefix(_KIND): number for name, number in sorted(changed.items()) if name.startswith(_KIND)}


def _count(findings: Iterable[Finding], changed: "Counter[str]") -> None:
    changed.update(f"{_KIND}{finding.kind}" for finding in findings)


def _with_placeholders(
    texts: Sequence[str],
    findings: Sequence[Sequence[Finding]],
    locales: Sequence[str],
    changed: "Counter[str]",
    names: bool,
    possible: bool,
) -> list[str]:
    """The texts when nothing is left to replace: a placeholder may bring together what is found then."""
    replaced = list(texts)
    left = {number: found for number, found in enumerate(findings) if found}
    for _ in range(_PASSES):
        for number, found in left.items():
            _count(found, changed)
            replaced[number] = _put(PLACEHOLDER, replaced[number], found)
        searched = find_in_all([replaced[number] for number in left], locales, names)
        again = {number: merge(found, replaced[number], possible) for number, found in zip(left, searched, strict=True)}
        # The second time the label goes too, if it is what is found.
        left = {number: [one._replace(value=one.start) for one in found] for number, found in again.items() if found}
        if not left:
            break
    return replaced


def _put(new: str, text: str, findings: Iterable[Finding]) -> str:
    pieces, at = [], 0
    for finding in findings:
        pieces += [text[at : finding.value], new]
        at = finding.end
    return "".join(pieces) + text[at:]


def _with_surrogates(
    text: str, findings: Sequence[Finding], locales: tuple[str, ...], numbers: Numbers
) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text with surrogates, and where in it they are, with their labels."""
    written = {
        finding: parsed
        for finding in findings
        if finding.kind == "date" and (parsed := dates.parse(text[finding.value : finding.end], locales))
    }
    years = [(finding.start, parsed.year) for finding, parsed in written.items() if parsed.year]
    days = _days(numbers)
    pieces, spans, at, length = [], [], 0, 0
    for finding in findings:
        value = text[finding.value : finding.end]
        if finding.kind != "date":
            new = surrogate(finding.kind, value, numbers)
        elif finding in written:
            year = min(years, key=lambda one: abs(one[0] - finding.start), default=(0, None))[1]
            new = dates.shift(written[finding], days, year, locales) or PLACEHOLDER
        else:
            new = PLACEHOLDER
        before = text[at : finding.value]
        pieces += [before, new]
        start = length + finding.start - at
        length += len(before) + len(new)
        spans.append((start, length))
        at = finding.end
    return "".join(pieces) + text[at:], tuple(spans)


def _days(numbers: Numbers) -> int:
    weeks = numbers("days") % (2 * _MOST_WEEKS) - _MOST_WEEKS
    return 7 * (weeks + (weeks >= 0))
