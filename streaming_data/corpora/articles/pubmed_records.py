"""The records of a PubMed file as elements, one after the other, in constant memory.

References, authors and the like, three quarters of a file, are removed as bytes before the rest is parsed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lxml import etree

from ....configs.errors import UserError
from ....configs.limits import XML_BYTES, TooLargeError
from ...documents.census import Census, markup_text_length
from ...documents.files import explain_read_errors
from ...documents.xml_bounds import Budget, message_of, split_at_declarations

_PARSE_BLOCK = 1 << 20
# Elements removed before parsing: what they are, start, end and replacement. The largest come first, because removed
# text is not searched again.
_REMOVED = [
    ("references and history", b"<PubmedData>", b"</PubmedData>", b""),
    ("authors", b"<AuthorList", b"</AuthorList>", b""),
    ("index terms and other abstracts", b"</Article>", b"</MedlineCitation>", b"</Article></MedlineCitation>"),
    ("journals", b"<Journal>", b"</Journal>", b""),
]


@contextmanager
def explain_errors(path: Path, last_pmid: Callable[[], str]) -> Iterator[None]:
    """As `explain_read_errors`, and for malformed XML; both name the last PMID."""
    try:
        with explain_read_errors(path, lambda: f"PMID {last_pmid()}" if last_pmid() else "its first bytes"):
            yield
    except etree.XMLSyntaxError as error:
        near = f"after PMID {last_pmid()}" if last_pmid() else "before any citation"
        raise UserError(f"{path}: malformed XML at line {error.lineno}, {near} ({message_of(error)})") from error


def elements(path: Path, file: BinaryIO, left_out: Census, *tags: str) -> Iterator[tuple[Any, int]]:
    """The elements with these tags, each with the number of lines before its document.

    An element is freed when the next one is requested, with all that precedes it.
    """
    budget = Budget(str(path), " or ".join(f"a {tag}" for tag in tags))
    parser, first_line, line = _parser(tags), 0, 0
    for piece, is_new in split_at_declarations(_pruned_blocks(path, file, left_out)):
        if is_new:
            parser.close()
            parser, first_line = _parser(tags), line
        budget.add(piece)
        syntax_error = _feed(parser, piece)
        line += piece.count(b"\n")
        for _, element in parser.read_events():
            budget.reset()
            yield element, first_line
            element.clear()
            while (parent := element.getparent()) is not None:
                while element.getprevious() is not None:
                    del parent[0]
                element = parent
        if syntax_error:
            syntax_error.lineno = first_line + (syntax_error.lineno or 1)
            raise syntax_error
    parser.close()


def _parser(tags: tuple[str, ...]) -> Any:
    return etree.XMLPullParser(tag=tags, no_network=True, remove_comments=True, remove_pis=True)


def _feed(parser: Any, block: bytes) -> etree.XMLSyntaxError | None:
    """Feed a block and return its syntax error, to be raised after the citations before it have been read."""
    try:
        parser.feed(block)
    except etree.XMLSyntaxError as error:
        return error
    return None


def _pruned_blocks(path: Path, file: BinaryIO, left_out: Census) -> Iterator[bytes]:
    """The file in blocks without references, authors and the like, which are three quarters of its bytes.

    Their line breaks are kept, so that the parser's line numbers are those of the file. Corruption inside removed
    elements is not detected; corruption of their tags is, because no removal spans the start of another such element.
    """
    rest = b""
    while block := file.read(_PARSE_BLOCK):
        rest += block
        cut = min([_unclosed(rest, opening, closing) for _, opening, closing, _ in _REMOVED])
        if len(rest) - cut > XML_BYTES:
            raise TooLargeError(
                f"{path}: more than {XML_BYTES:,} bytes without the end of an element; expected citations"
            )
        yield _prune(rest[:cut], left_out)
        rest = rest[cut:]
    yield rest


def _unclosed(block: bytes, opening: bytes, closing: bytes) -> int:
    """The position of an element that does not end in the block, or of the last tag if there is none."""
    start = block.rfind(opening)
    return start if start >= 0 and block.find(closing, start) < 0 else max(block.rfind(b"<"), 0)


def _prune(block: bytes, left_out: Census) -> bytes:
    for kind, opening, closing, replacement in _REMOVED:
        kept: list[bytes] = []
        removed: list[bytes] = []
        end = lines = 0
        start = block.find(opening)
        while start >= 0:
            close, following = block.find(closing, start), block.find(opening, start + 1)
            if close < 0 or 0 <= following < close:
                break
            here = block.count(b"\n", start, close)
            kept += block[end:start], b"\n" * here + replacement
            lines += here
            end = close + len(closing)
            removed.append(block[start:end])
            start = following
        if removed:
            left_out.add_counts(kind, len(removed), markup_text_length(b"".join(removed), lines))
            block = b"".join([*kept, block[end:]])
    return block
