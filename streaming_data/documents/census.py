"""What a reader leaves out: numbers of elements and of their characters, by kind."""

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from lxml import etree

element_text = cast("Callable[[Any], str]", etree.XPath("string()"))
"""All text inside an element, less its tail; compiled, because an article has thousands of elements."""


class Census:
    """Counts of what is in the files but in no text. Characters are those that are not white space.

    Attributes:
        elements: by kind.
        characters: by kind.
    """

    def __init__(self) -> None:
        self.elements: Counter[str] = Counter()
        self.characters: Counter[str] = Counter()

    def add(self, kind: str, text: str) -> None:
        """Count one element that has this text."""
        self.elements[kind] += 1
        self.characters[kind] += visible(text)

    def add_element(self, kind: str, element: Any) -> None:
        """Count one element of lxml with all that is in it, less its tail."""
        self.add(kind, (element_text(element) if len(element) else element.text) or "")

    def add_counts(self, kind: str, elements: int, characters: int) -> None:
        if elements:
            self.elements[kind] += elements
            self.characters[kind] += characters

    def update(self, other: "Census") -> None:
        self.elements.update(other.elements)
        self.characters.update(other.characters)

    def clear(self) -> None:
        self.elements.clear()
        self.characters.clear()

    def counts(self) -> dict[str, tuple[int, int]]:
        """By kind, elements and characters; the kind with the most characters first."""
        kinds = sorted(self.elements, key=lambda kind: (-self.characters[kind], kind))
        return {kind: (self.elements[kind], self.characters[kind]) for kind in kinds}


def squeezed(text: str) -> str:
    """The text with one space for each run of white space, and none at its ends."""
    if text.isprintable() and "  " not in text and text[:1] != " " and text[-1:] != " ":
        return text  # as most are: the only printable white space is the space
    return " ".join(text.split())


def visible(text: str) -> int:
    """The number of characters that are not white space."""
    return len("".join(text.split()))


def markup_text_length(content: bytes) -> int:
    """The characters of XML in UTF-8 that are neither in tags nor white space, entities as written.

    Nothing is parsed: this costs a tenth of parsing.
    """
    content = content.translate(None, b" \t\r\n")
    array = np.frombuffer(content, np.uint8)
    opening, closing = np.flatnonzero(array == ord("<")), np.flatnonzero(array == ord(">"))
    if len(opening) != len(closing):  # an angle bracket as a character
        return len(content)
    continuations = np.count_nonzero(array.view(np.int8) < -64)
    return int(len(content) - (closing - opening + 1).sum() - continuations)
