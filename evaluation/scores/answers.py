"""How well an answer matches the expected ones, as SQuAD's official script counts it."""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(answer: str) -> str:
    """In lower case, without punctuation, articles and repeated space."""
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, expected: Sequence[str]) -> float:
    """1 if the answer is one of those expected, else 0. No expected answer is an empty one."""
    return float(normalize(answer) in _normalized(expected))


def token_f1(answer: str, expected: Sequence[str]) -> float:
    """The highest F1 of the answer's words and those of an expected answer."""
    words = normalize(answer).split()
    return max(_f1(words, other.split()) for other in _normalized(expected))


def _normalized(expected: Sequence[str]) -> list[str]:
    """Those that are more than articles and punctuation."""
    return [text for text in map(normalize, expected) if text] or [""]


def _f1(words: Sequence[str], expected: Sequence[str]) -> float:
    if not words or not expected:
        return float(words == expected)
    common = sum((Counter(words) & Counter(expected)).values())
    return 2 * common / (len(words) + len(expected))
