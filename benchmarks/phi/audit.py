"""Recall of the PHI audit on planted identifiers, by form, locale and style, and its false alarms on biomedical text.

    python benchmarks/phi/audit.py [--texts 60] [--against COMMIT] [--clean RECIPE]

It needs the extra `dev` (Babel, Faker). `forms.py` makes forms, independently of the patterns, and `letters.py` makes
letters. `--against` shows the audit of an earlier commit beside this one's, and their speeds. `--clean` is a data
recipe of text without patients, such as PubMed's: nearly all that is found there is real, but no patient's.
"""

import argparse
import importlib
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

from faker import Faker

from clinical_modernbert.benchmarks.phi.clean_text import sources_of
from clinical_modernbert.benchmarks.phi.forms import LOCALES, faker_of, forms, knows_addresses
from clinical_modernbert.benchmarks.phi.letters import STYLES, letters
from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.streaming_data.corpora.readers import AnySource, read
from clinical_modernbert.streaming_data.phi.patterns import find_in_all
from clinical_modernbert.streaming_data.synthetic.notes import generate

Audit: TypeAlias = Callable[[Sequence[str], Sequence[str]], list[list[Any]]]
Hits: TypeAlias = dict[tuple[str, str], list[bool]]

_AROUND = 300  # characters of a note around the identifier
_BATCH = 200  # texts
_RUNS = 7


def audit_of(commit: str, directory: str) -> Audit:
    """The audit of a commit, imported from its files beside this one's."""
    package = Path(directory) / f"audit_{commit}"
    package.mkdir()
    repository = Path(__file__).parents[2]
    archive = subprocess.run(["git", "archive", commit], cwd=repository, stdout=subprocess.PIPE, check=True)
    subprocess.run(["tar", "x"], cwd=package, input=archive.stdout, check=True)
    sys.path.insert(0, directory)
    if (package / "streaming_data/phi/patterns.py").exists():
        earlier = importlib.import_module(f"audit_{commit}.streaming_data.phi.patterns")
        known = importlib.import_module(f"audit_{commit}.streaming_data.locales.locale").LOCALES
        return lambda texts, locales: earlier.find_in_all(texts, [each for each in locales if each in known])
    first = importlib.import_module(f"audit_{commit}.streaming_data.audit")  # of the United States' forms only
    return lambda texts, locales: [first.find(text) for text in texts]


def recall_of_forms(audit: Audit, count: int, named: bool) -> Hits:
    """Whether each planted identifier was found, by form and language.

    Args:
        count: texts per locale.
        named: whether the audit knows the locale.
    """
    results: Hits = defaultdict(list)
    notes = [row["text"] for row in islice(generate(3), count)]
    for locale in LOCALES:
        fake = faker_of(locale)
        planted = [
            (form, *_plant(note, identifier, fake))
            for note in notes
            for form, spellings in forms(locale, fake).items()
            for identifier in spellings
        ]
        found = audit([text for _, text, _, _ in planted], [locale] if named else [])
        for (form, _, start, end), identifiers in zip(planted, found, strict=True):
            results[form, locale[:2]].append(_overlaps(identifiers, start, end))
    return results


def _plant(note: str, identifier: str, fake: Faker) -> tuple[str, int, int]:
    """The identifier between two words of a note; a field is on its own line."""
    words = note.split(" ")
    position = fake.random_int(1, len(words) - 1)
    mark = "\n" if ":" in identifier else " "
    before = " ".join(words[:position])[-_AROUND:] + mark
    text = f"{before}{identifier}{mark}{' '.join(words[position:])[:_AROUND]}"
    return text, len(before), len(before) + len(identifier)


def recall_of_letters(audit: Audit, count: int) -> tuple[Hits, Hits]:
    """Whether each identifier of letters was found with their locale: by locale and style, and by kind and style."""
    by_locale: Hits = defaultdict(list)
    by_kind: Hits = defaultdict(list)
    for locale in LOCALES:
        fake = faker_of(locale)
        if not knows_addresses(fake, locale):
            continue
        written = list(letters(locale, fake, count))
        for (style, planted), found in zip(written, audit([each.text for _, each in written], [locale]), strict=True):
            for kind, start, end in planted.identifiers:
                hit = _overlaps(found, start, end)
                by_kind[kind, style].append(hit)
                if kind != "bare":
                    by_locale[locale, style].append(hit)
    return by_locale, by_kind


def _overlaps(identifiers: Iterable[Any], start: int, end: int) -> bool:
    return any(found.start < end and found.end > start for found in identifiers)


def print_table(head: str, earlier: Hits | None, now: Hits) -> None:
    """A row per first key and a column per second; with an earlier audit, `before > now`."""
    columns = list(dict.fromkeys(column for _, column in now))
    width = 6 if earlier is None else 9
    print(f"{head:32}" + "".join(f"{column:>{width}}" for column in columns))
    for row in dict.fromkeys(row for row, _ in now):
        cells = []
        for column in columns:
            hits = now.get((row, column))
            cell = f"{_share(hits):.0%}" if hits else "-"
            if hits and earlier is not None:
                cell = f"{100 * _share(earlier[row, column]):.0f}>{100 * _share(hits):.0f}"
            cells.append(f"{cell:>{width}}")
        print(f"{row:32}" + "".join(cells))


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)


def print_false_alarms(sources: Iterable[AnySource], earlier: Audit | None) -> None:
    for source in sources:
        texts = [document.text for document in read(source)]
        words = sum(len(text.split()) for text in texts)
        print(f"{source.name}: {len(texts):,} documents, {words:,} words; findings per 1,000 words")
        for locales in ([], *([locale] for locale in LOCALES)):
            found = [each for batch in _batches(texts) for each in find_in_all(batch, locales)]
            kinds = Counter(identifier.kind for identifiers in found for identifier in identifiers)
            listed = ", ".join(f"{kind} {1000 * number / words:.3f}" for kind, number in kinds.most_common())
            name, flagged = " ".join(locales) or "no locale", sum(map(bool, found))
            print(f"  {name:10}{1000 * kinds.total() / words:6.2f}, {flagged:,} flagged   {listed}")
        if earlier:
            found = [each for batch in _batches(texts) for each in earlier(batch, [])]
            print(f"  before    {1000 * sum(map(len, found)) / words:6.2f}, {sum(map(bool, found)):,} flagged")
            for locales in ([], ["en_US"], ["de_DE"]):
                print(f"  {' '.join(locales) or 'no locale':10}{_speeds(texts, earlier, locales)}")


def _speeds(texts: Sequence[str], earlier: Audit, locales: Sequence[str]) -> str:
    """Megabytes per second of processor time of both audits, medians of alternating runs."""
    seconds: dict[Audit, list[float]] = {earlier: [], find_in_all: []}
    for _ in range(_RUNS):
        for audit, runs in seconds.items():
            start = time.process_time()
            for batch in _batches(texts):
                audit(batch, locales)
            runs.append(time.process_time() - start)
    before, now = (sum(map(len, texts)) / median(runs) / 1e6 for runs in seconds.values())
    return f"{before:6.1f} MB/s before, {now:.1f} now"


def _batches(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    return (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=60, help="texts per form, spelling and locale")
    parser.add_argument("--against", metavar="COMMIT", help="also measure the audit of this commit")
    parser.add_argument("--clean", metavar="RECIPE", help="also print the false alarms on the sources of this recipe")
    arguments = parser.parse_args()
    sources = sources_of(arguments.clean)
    with tempfile.TemporaryDirectory() as directory:
        earlier = audit_of(arguments.against, directory) if arguments.against else None
        for named, title in ((False, "without a locale"), (True, "with the locale of the text")):
            print(f"recall, {title}")
            before = recall_of_forms(earlier, arguments.texts, named) if earlier else None
            print_table("planted", before, recall_of_forms(find_in_all, arguments.texts, named))
        by_locale, by_kind = recall_of_letters(find_in_all, arguments.texts)
        old_by_locale, old_by_kind = recall_of_letters(earlier, arguments.texts) if earlier else (None, None)
        print(f"recall in letters, with the locale of the text; styles: {', '.join(STYLES)}")
        print_table("locale", old_by_locale, by_locale)
        print_table("kind", old_by_kind, by_kind)
        print_false_alarms(sources, earlier)


if __name__ == "__main__":
    run_program(main)
