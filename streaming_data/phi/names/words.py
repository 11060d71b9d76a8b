"""A text as words: letters, numbers, ends of lines and single signs, and how a word is compared and written."""

import re
import unicodedata

WORD = re.compile(r"[^\W\d_]+(?:[\u0300-\u036f]+[^\W\d_]*|['’][^\W\d_]+)*|\d+|\n|[^\w\s]|_+")
"""Time is linear: what may repeat begins with a character that what precedes it cannot hold."""

LINE_END, NUMBER, SIGN, CAPITAL, LOWER, CAPITALS, TITLE, MIXED, INNER_CAPITALS = range(9)
"""How a word is written: `X` CAPITAL, `xy` LOWER, `XY` CAPITALS, `Xy` TITLE, `XyZ` MIXED, `xY` INNER_CAPITALS."""


def fold(word: str) -> str:
    """The word in small letters without accents, as lists of words have it."""
    if word.isascii():
        return word.lower()
    plain = unicodedata.normalize("NFKD", word.lower().replace("’", "'").replace("ø", "o").replace("ł", "l"))
    return "".join(character for character in plain if not unicodedata.combining(character))


def shape(word: str) -> int:
    if word == "\n":
        return LINE_END
    if not word[0].isalpha():
        return NUMBER if word[0].isdigit() else SIGN
    if word.lower() == word:  # letters that are neither small nor capital, too
        return LOWER
    if word.isupper():
        return CAPITAL if len(word) == 1 else CAPITALS
    if word[0].isupper():
        return TITLE if word[1:].islower() else MIXED
    return INNER_CAPITALS


def may_be_name(word: str) -> bool:
    """Whether the word can be part of a name: two letters or more, not all of them small."""
    return len(word) > 1 and shape(word) >= CAPITALS
