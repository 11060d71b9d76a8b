"""Recall of the finder of names on text and names it was not made from, and its false alarms on text without patients.

    python benchmarks/phi/names.py [--texts 60] [--clean RECIPE]

It needs `pip install names` and the extras `demo` and `dev`. Templates are those of `held_out_names.py`; names are
those of twelve locales of Faker that no list has, of those that the list has, and of the United States census, drawn by
frequency. PubMed's citations are those that took no part in training, in counts or in the choice of thresholds.
`--clean` is a data recipe of text without patients.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from clinical_modernbert.benchmarks.phi.clean_text import sources_of
from clinical_modernbert.benchmarks.phi.held_out_names import GOALS, TEMPLATES, Planted, fill
from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.phi.names.finder import Finder, find_names, load_finder
from clinical_modernbert.streaming_data.phi.names.spans import NameSpan
from clinical_modernbert.streaming_data.phi.names.training.people import (
    LOCALES,
    UNSEEN,
    Pool,
    census_pool,
    draw,
    faker_pool,
)
from clinical_modernbert.streaming_data.phi.names.training.train import citations, synthetic_notes

BARE = "bare full name in a note"
_AROUND = 60  # words of a note on each side of a bare name


def planted(style: str, pools: Sequence[Pool], notes: Sequence[str], count: int, rng: Random) -> Iterator[Planted]:
    """Texts of a style: a name between two words of a note, or a template between two lines of a note."""
    if style == BARE:
        for _ in range(5 * count):
            words = rng.choice(notes).split(" ")
            at = rng.randrange(1, len(words) - 1)
            before = " ".join(words[max(0, at - _AROUND) : at]) + " "
            name = " ".join(draw(pools, rng))
            yield Planted(f"{before}{name} {' '.join(words[at : at + _AROUND])}", [(len(before), len(before + name))])
        return
    for template in TEMPLATES[style]:
        for _ in range(count):
            people = [draw(pools, rng) for _ in range(3)]
            text, names = fill(template, people, rng)
            lines = [line for line in rng.choice(notes).split("\n") if len(line) > 15]
            before, after = rng.choice(lines) + "\n", "\n" + rng.choice(lines)
            yield Planted(f"{before}{text}{after}", [(start + len(before), end + len(before)) for start, end in names])


def recall(texts: Sequence[Planted], finder: Finder, least: float) -> float:
    """The share of the planted names of which a part is found with this probability."""
    found = find_names([text for text, _ in texts], finder)
    hits = [
        any(one.start < end and one.end > start and one.probability >= least for one in of_text)
        for (_, names), of_text in zip(texts, found, strict=True)
        for start, end in names
    ]
    return sum(hits) / len(hits)


def print_recall(count: int, finder: Finder) -> None:
    pools = {
        "unseen": [faker_pool(locale) for locale in UNSEEN],
        "listed": [faker_pool(locale) for locale in LOCALES],
        "census": [census_pool(Random(5))],
    }
    notes = synthetic_notes(3, 300)
    print(f"{'recall: possible / certain':34}" + "".join(f"{name:>16}" for name in pools))
    for style in (BARE, *TEMPLATES):
        cells = []
        for pool in pools.values():
            texts = list(planted(style, pool, notes, count, Random(style)))
            rates = [recall(texts, finder, least) for least in (finder.settings.possible, finder.settings.certain)]
            cells.append(" / ".join(f"{rate:6.1%}" for rate in rates))
        goal = f"   goal {GOALS[style]:.0%}" if style in GOALS else ""
        print(f"{style:34}" + "".join(f"{cell:>16}" for cell in cells) + goal, flush=True)


def print_false_alarms(name: str, texts: Sequence[str], finder: Finder, show: bool) -> None:
    words = sum(len(text.split()) for text in texts)
    start = time.process_time()
    found = find_names(texts, finder)
    seconds = time.process_time() - start
    certain = [[one for one in of_text if one.probability >= finder.settings.certain] for of_text in found]
    rates = [1000 * sum(map(len, some)) / words for some in (found, certain)]
    flagged = [sum(map(bool, some)) / len(texts) for some in (found, certain)]
    speed = sum(map(len, texts)) / seconds / 1e6
    print(
        f"{name}: {len(texts):,} texts, {words:,} words: {rates[0]:.2f} possible, {rates[1]:.3f} certain per 1,000"
        f" words, in {flagged[0]:.1%} and {flagged[1]:.1%} of the texts; {speed:.1f} MB/s",
        flush=True,
    )
    if show:
        print("   ", _most_frequent(texts, found))
        print("   ", _most_frequent(texts, certain))


def _most_frequent(texts: Sequence[str], found: Sequence[Sequence[NameSpan]]) -> str:
    from collections import Counter

    counts = Counter(text[one.start : one.end] for text, of_text in zip(texts, found, strict=True) for one in of_text)
    return ", ".join(f"{name!r} {count}" for name, count in counts.most_common(40))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=60, help="texts per template and source of names")
    parser.add_argument("--clean", metavar="RECIPE", help="also print the false alarms on the sources of this recipe")
    parser.add_argument("--finder", type=Path, help="folder of another finder")
    parser.add_argument("--show", action="store_true", help="print what is found most often; only for public text")
    arguments = parser.parse_args()
    sources = sources_of(arguments.clean)
    finder = load_finder(arguments.finder) if arguments.finder else load_finder()
    print(f"thresholds: possible {finder.settings.possible}, certain {finder.settings.certain}")
    print_recall(arguments.texts, finder)
    print_false_alarms("PubMed", citations()["test"], finder, arguments.show)
    print_false_alarms("synthetic notes", synthetic_notes(4, 1500), finder, arguments.show)
    for source in sources:
        print_false_alarms(source.name, [document.text for document in read(source)], finder, arguments.show)


if __name__ == "__main__":
    run_program(main)
