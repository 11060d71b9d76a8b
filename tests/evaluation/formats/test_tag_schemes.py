"""Schemes: every one gives the same chunks back, is found from its tags, and tags that do not follow it are counted."""

import random
from collections import Counter

import pytest

from clinical_modernbert.evaluation.formats.tag_schemes import (
    UNTYPED,
    Chunk,
    Scheme,
    Tag,
    chunks_of,
    find_scheme,
    find_style,
    letters_of,
    parse_tag,
    write_tag,
)

STYLES = ("B-TYPE", "B_TYPE", "TYPE-B", "TYPE_B")
NAMES = ("IOB1", "IOB2", "IOE1", "IOE2", "BIOES")
BIOES, BILOU, BMES = ("I", "E", "S"), ("I", "L", "U"), ("M", "E", "S")


def sentences(seed: int, types: list[str]) -> list[tuple[int, list[Chunk]]]:
    """Chunks of random sentences, some of which touch."""
    generator = random.Random(seed)
    made = [(3, [Chunk(0, 1, types[0]), Chunk(1, 3, types[0])]), (2, [Chunk(0, 2, types[-1])]), (1, [])]
    for _ in range(30):
        chunks, word = [], generator.randint(0, 2)
        for _ in range(generator.randint(0, 4)):
            end = word + generator.randint(1, 3)
            chunks.append(Chunk(word, end, generator.choice(types)))
            word = end + generator.choice((0, 0, 1, 3))
        made.append((word + 1, chunks))
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_scheme_is_found_and_gives_the_chunks_back(name: str) -> None:
    every = [
        (style, letters) for style in STYLES for letters in [("I", "E", "S"), *([BILOU, BMES] * (name == "BIOES"))]
    ]
    for seed, (style, letters) in enumerate([*every, ("B", ("I", "E", "S"))]):
        made = sentences(seed, ["Disease", "Cell-line", "E", "B_x"] if style != "B" else [UNTYPED])
        scheme = Scheme(name, style, letters)
        written = [[write_tag(tag, scheme) for tag in letters_of(chunks, count, name)] for count, chunks in made]
        tags = Counter(tag for sentence in written for tag in sentence)
        found_style = find_style(tags)
        assert found_style == style, scheme
        parsed = [[parse_tag(tag, style) or pytest.fail(tag) for tag in sentence] for sentence in written]
        assert [chunks_of(sentence) for sentence in parsed] == [chunks for _, chunks in made], scheme
        found, wrong, first = find_scheme(tags, parsed, style)
        assert (found.name, found.style, wrong, first) == (name, style, 0, -1)
        assert [[write_tag(tag, found) for tag in sentence] for sentence in parsed] == written, scheme


def test_chunks_that_do_not_follow_the_scheme_are_counted() -> None:
    made = [[Tag("B", "D"), Tag("I", "D"), Tag("O", "")], [Tag("B", "D")], [Tag("O", ""), Tag("I", "D")]]
    scheme, wrong, first = find_scheme(["B-D", "I-D"], made, "B-TYPE")
    assert (scheme.name, wrong, first) == ("IOB2", 1, 2)
    scheme, wrong, first = find_scheme(["B-D", "E-D", "S-D"], [[Tag("S", "D")], [Tag("B", "D")]], "B-TYPE")
    assert (scheme.name, wrong, first) == ("BIOES", 1, 1)


def test_what_is_mostly_no_tag_has_no_style() -> None:
    for tags in (["NN", "VB", "O"], ["1", "2"], [], ["B-D", "x", "y"]):
        assert find_style(Counter(tags)) is None
    assert find_style(Counter(["O"] * 5)) == "B-TYPE"
