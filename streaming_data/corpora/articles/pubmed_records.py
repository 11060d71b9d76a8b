"""The records of a PubMed file as elements, one after the other, in constant memory.

References, authors and the like, three quarters of a file, are removed as bytes before the rest is parsed.
"""

import re
from collections import defaultdict
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
RETRACTED = "D016441"
"""The type of publication of a retracted article. A list that has it is not removed before parsing."""
_AFTER_ARTICLE = b"</Article>"
_METADATA = "PublicationTypeList GrantList DataBankList ELocationID Pagination ArticleDate"
_METADATA += " DateCompleted DateRevised DateCreated"
# Elements removed before parsing: by the start of their first tag, what they are and their last tag.
_REMOVED = {
    b"<PubmedData>": ("references and history", b"</PubmedData>"),
    b"<AuthorList": ("authors", b"</AuthorList>"),
    _AFTER_ARTICLE: ("index terms and other abstracts", b"</MedlineCitation>"),
    b"<Journal>": ("journals", b"</Journal>"),
    **{b"<" + name: ("metadata", b"</" + name + b">") for name in _METADATA.encode().split()},
}
_FIRST_TAG = re.compile(rb"(%b)(?:(?<=>)|[^<>]*(?<!/)>)" % b"|".join(_REMOVED))


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
        kept, rest = _prune(rest + block, left_out)
        if len(rest) > XML_BYTES:
            raise TooLargeError(
                f"{path}: more than {XML_BYTES:,} bytes without the end of an element; expected citations"
            )
        yield kept
    yield rest


def _prune(block: bytes, left_out: Census) -> tuple[bytes, bytes]:
    """What to parse of a block, and what to read again with the next: from an element that does not end in the block,
    or else from the last tag.
    """
    kept: list[bytes] = []
    removed: dict[str, list[memoryview]] = defaultdict(list)
    done = position = 0
    cut, view = None, memoryview(block)
    while cut is None and (match := _FIRST_TAG.search(block, position)):
        start, position = match.span()
        opening = match[1]
        kind, closing = _REMOVED[opening]
        close = block.find(closing, position)
        if block.find(opening, position, close if close >= 0 else len(block)) >= 0:
            continue  # the tags are corrupt, which the parser explains
        if close < 0:
            cut = start
        elif opening != b"<PublicationTypeList" or block.find(RETRACTED.encode(), position, close) < 0:
            kept += block[done:start], b"\n" * block.count(b"\n", start, close)
            if opening == _AFTER_ARTICLE:
                kept.append(_AFTER_ARTICLE + closing)
            done = position = close + len(closing)
            removed[kind].append(view[start:done])
    if cut is None:
        cut = max(block.rfind(b"<", done), done)
    for kind, parts in removed.items():
        left_out.add_counts(kind, len(parts), markup_text_length(b"".join(parts)))
    return b"".join([*kept, block[done:cut]]), block[cut:]
