"""Options whose values click cannot express: one that may be left out, and several after one option."""

from collections.abc import Sequence


def with_optional_number(arguments: Sequence[str], option: str, default: str) -> list[str]:
    """Insert `default` after an `option` that no number follows: `--watch` is `--watch 2`."""
    words = list(arguments)
    for at in reversed([at for at, word in enumerate(words) if word == option]):
        if not _is_number(words[at + 1] if at + 1 < len(words) else ""):
            words.insert(at + 1, default)
    return words


def with_repeated(arguments: Sequence[str], option: str) -> list[str]:
    """Repeat `option` before each of the words that follow it: `--notes a b` is `--notes a --notes b`."""
    words: list[str] = []
    inside = False
    for word in arguments:
        if word.startswith("-"):
            inside = word == option
        elif inside and words[-1] != option:
            words.append(option)
        words.append(word)
    return words


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
