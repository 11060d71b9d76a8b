"""Reading complete files: text in UTF-8, JSON, and XML without entities."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ....configs.errors import UserError
from ....configs.limits import ANNOTATION_BYTES
from ....streaming_data.documents.bounded import read_at_once
from ....streaming_data.documents.files import explain_read_errors, open_binary
from ....streaming_data.documents.xml_bounds import BoundedXml, Budget, message_of

_MARK = "\ufeff"
_NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_utf8(path: Path) -> str:
    """The text of a file, with its line ends and its byte order mark if it has one."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with explain_read_errors(path, lambda: "its start"), open_binary(path) as file:
        content = read_at_once(file, ANNOTATION_BYTES, str(path))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}: line {line:,} is not UTF-8 ({error.reason}); convert the file to UTF-8") from None


def read_json_values(path: Path) -> Any:
    """The value of a JSON file; of a file with one value per line, their list."""
    text = read_utf8(path).removeprefix(_MARK)
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError(f"{path}: nested too deeply; expected annotated documents") from None
    except ValueError as error:
        lines = [line for line in text.split("\n") if line.strip()]
        try:
            if len(lines) > 1:
                return [json.loads(line) for line in lines]
        except (ValueError, RecursionError):
            pass
        line, why = getattr(error, "lineno", 1), getattr(error, "msg", "a number that is too large")
        raise UserError(f"{path}: line {line:,} is not JSON ({why}); export or download the file again") from None


def read_xml_elements(path: Path, tag: str) -> Iterator[Any]:
    """The elements of this name, one at a time; each is cleared after its use.

    Entities are refused and external DTDs are not read, since both can read files or fill the memory.
    """
    from lxml import etree

    budget = Budget(str(path), f"<{tag}>")
    number = 0
    with explain_read_errors(path, lambda: f"<{tag}> {number}"), open_binary(path) as file:
        safe: dict[str, Any] = {"no_network": True, "load_dtd": False, "resolve_entities": False, "huge_tree": False}
        events = etree.iterparse(BoundedXml(file, budget), tag=tag, remove_comments=True, remove_pis=True, **safe)
        try:
            for _, element in events:
                number += 1
                _refuse_entities(path, element)
                yield element
                element.clear()
                budget.reset()
        except etree.XMLSyntaxError as error:
            raise UserError(f"{path}: malformed XML at line {error.lineno} ({message_of(error)})") from None


def xml_root_name(path: Path) -> str:
    """The name of the root of an XML file, in which nothing else is looked at."""
    from lxml import etree

    with explain_read_errors(path, lambda: "its start"), open_binary(path) as file:
        try:
            safe: dict[str, Any] = {"no_network": True, "load_dtd": False, "resolve_entities": False}
            _, root = next(etree.iterparse(BoundedXml(file, Budget(str(path), "its root")), events=("start",), **safe))
        except (etree.XMLSyntaxError, StopIteration) as error:
            why = f" at line {error.lineno} ({message_of(error)})" if isinstance(error, etree.XMLSyntaxError) else ""
            raise UserError(f"{path}: malformed XML{why}") from None
        return str(etree.QName(root).localname)


def xml_content(root: Any) -> bytes:
    """An element as a file."""
    from lxml import etree

    etree.indent(root)
    return bytes(etree.tostring(root, xml_declaration=True, encoding="UTF-8"))


def require_xml_text(text: str, where: str) -> str:
    """Return the text if XML can hold it; UserError names the first character that it cannot."""
    if match := _NOT_IN_XML.search(text):
        raise UserError(
            f"{where}: character {match.start():,} is U+{ord(match[0]):04X}, which XML cannot hold; choose another "
            "format, or clean the text"
        )
    return text


def _refuse_entities(path: Path, element: Any) -> None:
    from lxml import etree

    declared = element.getroottree().docinfo.internalDTD
    if next(element.iter(etree.Entity), None) is not None or (
        declared is not None and next(iter(declared.iterentities()), None) is not None
    ):
        raise UserError(f"{path}: declares or uses XML entities, which are refused; write their text in their place")
