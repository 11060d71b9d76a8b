"""Names of persons in any text, by a linear classifier of its capitalized words.

The first pass looks at a word and three neighbors on each side, the second also at the first's answers for them.
Weights are integers, so every machine and every batch finds the same. Names in small letters are not found.
"""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, PositiveFloat

from ....configs.errors import UserError
from .features import BITS, NEAR, Answers, Rows, Vocabulary, Words, first_features, second_features
from .lexicon import Lexicon, read_lexicon
from .pieces import Piece, pieces_of
from .spans import NameSpan, join
from .words import WORD

LEXICON, WEIGHTS, SETTINGS = "lexicon.txt.gz", "weights.npz", "settings.json"
FOLDER = Path(__file__).parent / "trained"
ANSWERS = np.array([0.02, 0.1, 0.3, 0.6, 0.9])
"""The probabilities between the first pass's answers, 1 to 6."""
_LEAST = 0.3  # probability of a word that is joined with others to a name
_BATCH = 1 << 19  # characters that are read at once: what bounds memory

Weights: TypeAlias = "npt.NDArray[np.int8]"
LogOdds: TypeAlias = "npt.NDArray[np.float64]"


class Settings(BaseModel):
    """What the weights mean.

    Attributes:
        scales: of the first and the second pass: the log odds of a weight of 1.
        biases: log odds without any feature.
        possible: the least probability of a possible name.
        certain: that of a name that counts like an identifier of a fixed form.
        languages: whose words were counted: only in their text is a name ever certain.
        made_from: what the lexicon and the weights were made from, and their licences.
    """

    model_config = ConfigDict(extra="forbid")

    scales: tuple[PositiveFloat, PositiveFloat]
    biases: tuple[float, float]
    possible: float
    certain: float
    languages: list[str]
    made_from: dict[str, str]


class Finder(NamedTuple):
    vocabulary: Vocabulary
    first: Weights
    second: Weights
    settings: Settings


@cache
def load_finder(folder: Path = FOLDER) -> Finder:
    """Raises: UserError: a file is missing or none of ours."""
    try:
        settings = Settings.model_validate_json((folder / SETTINGS).read_bytes())
        with np.load(folder / WEIGHTS, allow_pickle=False) as arrays:
            first, second = arrays["first"], arrays["second"]
        lexicon = read_lexicon(folder / LEXICON)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{folder}: cannot be read ({error}); install the package again") from error
    if {weights.shape for weights in (first, second)} != {(1 << BITS,)} or first.dtype != np.int8:
        raise UserError(f"{folder / WEIGHTS}: expected {1 << BITS:,} int8 per pass; install the package again")
    return Finder(Vocabulary(lexicon), first, second, settings)


def write_finder(folder: Path, lexicon: Lexicon, first: Weights, second: Weights, settings: Settings) -> None:
    from ....storage.files import atomic_write
    from .lexicon import write_lexicon

    folder.mkdir(parents=True, exist_ok=True)
    write_lexicon(folder / LEXICON, lexicon)
    np.savez_compressed(folder / WEIGHTS, allow_pickle=False, first=first, second=second)
    atomic_write(folder / SETTINGS, json.dumps(settings.model_dump(), indent=1, ensure_ascii=False) + "\n")


def find_names(texts: Sequence[str], finder: Finder | None = None) -> list[list[NameSpan]]:
    """The possible names in each text, in order, with exact positions and probabilities."""
    finder = finder or load_finder()
    found: list[list[NameSpan]] = [[] for _ in texts]
    batch: list[Piece] = []
    size = 0
    for piece in pieces_of(texts):
        batch.append(piece)
        size += len(piece.text)
        if size >= _BATCH:
            _find_in_batch(batch, finder, found)
            batch, size = [], 0
    _find_in_batch(batch, finder, found)
    return found


def _find_in_batch(batch: Sequence[Piece], finder: Finder, found: list[list[NameSpan]]) -> None:
    if not batch:
        return
    split = [WORD.findall(piece.text) for piece in batch]
    words = finder.vocabulary.read(split)
    odds = log_odds(words, finder)
    hits = np.flatnonzero(odds >= np.log(_LEAST / (1 - _LEAST)))
    places, probabilities = words.candidates[hits], 1 / (1 + np.exp(-odds[hits]))
    begins = np.cumsum([NEAR, *(len(one) + NEAR for one in split)])[:-1]
    bounds = np.searchsorted(places, [*begins, len(words.rows)])
    for piece, begin, first, last in zip(batch, begins, bounds[:-1], bounds[1:], strict=True):
        if first < last:
            within = dict(zip((places[first:last] - begin).tolist(), probabilities[first:last].tolist(), strict=True))
            names = join(piece.text, within, piece.start)
            found[piece.number] += (name for name in names if name.probability >= finder.settings.possible)


def log_odds(words: Words, finder: Finder) -> LogOdds:
    """Of each candidate, that it is a name."""
    features = first_features(words, finder.vocabulary)
    (scale, scale2), (bias, bias2) = finder.settings.scales, finder.settings.biases
    answers = answers_of(_sum(finder.first, features) * scale + bias)
    both = _sum(finder.second, features) + _sum(finder.second, second_features(words, answers))
    return both * scale2 + bias2


def answers_of(odds: LogOdds) -> Answers:
    """What the second pass sees of the first, see `second_features`."""
    return (1 + np.searchsorted(np.log(ANSWERS / (1 - ANSWERS)), odds, side="right")).astype(np.int8)


def _sum(weights: Weights, features: Rows) -> LogOdds:
    """The sums of the weights: whole numbers, so that their order does not matter."""
    return weights[features].sum(axis=1, dtype=np.int64).astype(np.float64)
