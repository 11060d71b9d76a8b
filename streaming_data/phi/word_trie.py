"""One pattern for a long list of words, which tests the first letter once for all words that begin with it."""

import re
from collections.abc import Iterable

_Node = dict[str, "_Node"]


def any_of(words: Iterable[str]) -> str:
    """A pattern of exactly these words; it matches the longest that is there."""
    root: _Node = {}
    for word in words:
        node = root
        for character in word:
            node = node.setdefault(character, {})
        node[""] = {}
    return _pattern(root)


def _pattern(node: _Node) -> str:
    branches = [re.escape(character) + _pattern(node[character]) for character in sorted(node) if character]
    if not branches:
        return ""
    pattern = branches[0] if len(branches) == 1 and "" not in node else f"(?:{'|'.join(branches)})"
    return f"{pattern}?" if "" in node else pattern
