"""What is known of a word before it is read: how public text writes it, whether lists of names have it.

Of each word (see `words.fold`) the file has five digits: how often public text writes it in small letters, with a
capital inside sentences, in capitals (0 to 4, see `level`); whether it is a first name (1), a last name (2) or both
(3); whether it is a cue, a word of the phrases around names.
"""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ....configs.errors import UserError

_LEVELS = (2, 5, 20, 300)


class Usage(NamedTuple):
    """What is known of a word, see the module."""

    lower: int = 0
    title: int = 0
    upper: int = 0
    names: int = 0
    cue: int = 0


Lexicon = Mapping[str, Usage]
UNKNOWN = Usage()


def level(count: int) -> int:
    """0 for a word that was met at most once, up to 4 for a common one."""
    return sum(count >= least for least in _LEVELS)


def read_lexicon(path: Path) -> Lexicon:
    """Raises: UserError: a line is none of ours."""
    usages: dict[str, Usage] = {}  # words share them
    lexicon: dict[str, Usage] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            word, _, digits = line.rstrip("\n").partition("\t")
            if not word or len(digits) != len(UNKNOWN) or not (digits.isascii() and digits.isdigit()):
                raise UserError(f"{path}:{number}: expected a word, a tab and five digits; install the package again")
            lexicon[word] = usages.setdefault(digits, Usage(*map(int, digits)))
    return lexicon


def write_lexicon(path: Path, lexicon: Lexicon) -> None:
    """The same bytes for the same lexicon."""
    content = "".join(f"{word}\t{''.join(map(str, lexicon[word]))}\n" for word in sorted(lexicon))
    path.write_bytes(gzip.compress(content.encode(), 9, mtime=0))
