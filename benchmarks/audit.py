"""Recall of the PHI audit on planted identifiers, by form and language, and its false alarms on biomedical text.

    python benchmarks/audit.py [--texts 60] [--clean RECIPE]

It needs `pip install babel`. The forms are those of `audit_forms.py`, made independently of the patterns. `--clean` is
a data recipe of text without patients, such as PubMed's: nearly everything found there is real but no patient's.
"""

import argparse
import time
from collections import Counter, defaultdict
from itertools import islice

from faker import Faker

from clinical_modernbert.benchmarks.audit_forms import LOCALES, forms
from clinical_modernbert.streaming_data.phi.patterns import find_identifiers
from clinical_modernbert.streaming_data.synthetic.notes import generate

_AROUND = 300  # characters of a note around the identifier


def measure(count: int, named: bool) -> dict[tuple[str, str], list[bool]]:
    """Whether each planted identifier was found, by form and language.

    Args:
        count: texts per locale.
        named: whether the audit knows the locale.
    """
    results: dict[tuple[str, str], list[bool]] = defaultdict(list)
    notes = [row["text"] for row in islice(generate(3), count)]
    for locale in LOCALES:
        fake = Faker(locale)
        fake.seed_instance(0)
        language = locale.split("_")[0]
        for note in notes:
            for form, spellings in forms(locale, fake).items():
                for identifier in spellings:
                    results[form, language].append(is_found(note, identifier, [locale] if named else [], fake))
    return results


def is_found(note: str, identifier: str, locales: list[str], fake: Faker) -> bool:
    """Whether the audit finds anything of an identifier between two words of a note; a field is on its own line."""
    words = note.split(" ")
    position = fake.random_int(1, len(words) - 1)
    mark = "\n" if ":" in identifier else " "
    before = " ".join(words[:position])[-_AROUND:] + mark
    text = f"{before}{identifier}{mark}{' '.join(words[position:])[:_AROUND]}"
    end = len(before) + len(identifier)
    return any(found.start < end and found.end > len(before) for found in find_identifiers(text, locales))


def print_recall(results: dict[tuple[str, str], list[bool]]) -> None:
    languages = list(dict.fromkeys(locale.split("_")[0] for locale in LOCALES))
    print(f"{'planted':32}" + "".join(f"{language:>6}" for language in languages))
    for form in dict.fromkeys(form for form, _ in results):
        cells = [results.get((form, language)) for language in languages]
        print(f"{form:32}" + "".join(f"{sum(cell) / len(cell):6.0%}" if cell else f"{'-':>6}" for cell in cells))


def print_false_alarms(recipe: str) -> None:
    from clinical_modernbert.configs.loader.load import load, locate_recipe
    from clinical_modernbert.configs.loader.recipes import DATA
    from clinical_modernbert.streaming_data.corpora.readers import read
    from clinical_modernbert.streaming_data.prepare.config import PrepareConfig

    for source in load(PrepareConfig, locate_recipe(recipe, DATA), []).sources:
        texts = [document.text for document in read(source)]
        words = sum(len(text.split()) for text in texts)
        print(f"{source.name}: {len(texts):,} documents, {words:,} words; findings per 1,000 words")
        for locales in ([], *([locale] for locale in LOCALES)):
            start = time.process_time()
            kinds = Counter(found.kind for text in texts for found in find_identifiers(text, locales))
            seconds = time.process_time() - start
            rate, speed = 1000 * kinds.total() / words, sum(map(len, texts)) / seconds / 1e6
            listed = ", ".join(f"{kind} {1000 * number / words:.3f}" for kind, number in kinds.most_common())
            print(f"  {' '.join(locales) or 'no locale':10}{rate:6.2f}{speed:6.1f} MB/s   {listed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=60, help="texts per form, spelling and locale")
    parser.add_argument("--clean", metavar="RECIPE", help="also print the false alarms on the sources of this recipe")
    arguments = parser.parse_args()
    for named, title in ((False, "without a locale"), (True, "with the locale of the text")):
        print(f"recall, {title}")
        print_recall(measure(arguments.texts, named))
    if arguments.clean:
        print_false_alarms(arguments.clean)


if __name__ == "__main__":
    main()
