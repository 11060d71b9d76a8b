"""Pairs for contrastive training from texts alone: two readings of a text, each without some of its words.

SimCSE's pairs differ by dropout, which ModernBERT has none of inside its layers; TSDAE needs a decoder that is thrown
away. Deleting words, as TSDAE does to its inputs, gives SimCSE's loss two readings of a text without either.
"""

import random
from collections.abc import Sequence

from ..formats.words import words_of
from .contrastive import Triple

DELETED = 0.3
"""The share of words that a reading leaves out. Ours; TSDAE deletes 0.6 of the input that a decoder completes."""


def pairs_of(texts: Sequence[str], seed: int) -> list[Triple]:
    """One pair of readings per text."""
    generator = random.Random(seed)
    return [Triple(_reading(text, generator), _reading(text, generator)) for text in texts]


def _reading(text: str, generator: random.Random) -> str:
    """The text without some words; of a text of few words at least one is left."""
    words = words_of(text)
    kept = [word for word in words if generator.random() >= DELETED] or words[:1]
    return " ".join(text[start:end] for start, end in kept)
