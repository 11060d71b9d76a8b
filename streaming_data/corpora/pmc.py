"""PMC open-access full text (JATS), from article files, tar packages of them, and answers of efetch and OAI servers.

`articles/jats.py` reads the text of an article.
"""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from lxml import etree

from ...configs.errors import UserError
from ...configs.limits import XML_BYTES
from ..documents.bounded import read_at_once
from ..documents.census import Census
from ..documents.clean import CleaningStep
from ..documents.document import Document
from ..documents.files import explain_read_errors, open_binary
from ..documents.spans import Span, open_span
from ..documents.tar_package import read_members
from ..documents.xml_bounds import check_tags, message_of, split_at_declarations
from .articles.jats import article_text
from .articles.jats_elements import PROSE, ArticlePart, Reading, reading
from .articles.scripts import MATHML, ScriptStyle
from .source import Source


class PmcSource(Source):
    """PMC open-access full text in JATS XML: article files, PMC's tar packages of them, answers of efetch or OAI.

    It splits by PMID, like PubMed, so that an article and its abstract are in the same split.

    Attributes:
        parts: what is read besides the title, the abstract, sections and captions; by default all prose.
        scripts: `marked` writes raised numbers as in `10^9/l`; `plain` writes only their digits.
    """

    format: Literal["pmc"]
    public: bool = True
    clean: list[CleaningStep] = ["encoding", "control_characters", "boilerplate"]
    split_by: str = "pmid"
    parts: list[ArticlePart] = PROSE
    scripts: ScriptStyle = "marked"


_NAMESPACE = re.compile(rb"""xmlns(?::[\w.-]+)?\s*=\s*["']([^"']+)""")


def read(path: Path, source: PmcSource, census: Census, span: Span | None = None) -> Iterator[Document]:
    """One document per article of a file or of a span of a package.

    Its meta holds its PMCID, and its PMID or, if it has none, the PMCID again. The census counts what is left out of
    each article.
    """
    how = reading(source.parts, source.scripts, census)
    for name, content in _files(path, span):
        check_tags(name, content)
        line = 0
        for document, _ in split_at_declarations([content]):
            parser = etree.XMLParser(no_network=True, load_dtd=False, remove_comments=True, remove_pis=True)
            try:
                root = etree.fromstring(document, parser)
            except etree.XMLSyntaxError as error:
                raise UserError(
                    f"{name}: malformed XML at line {line + (error.lineno or 1)} ({message_of(error)})"
                ) from error
            line += document.count(b"\n")
            for article in _articles(root, name, set(_NAMESPACE.findall(document))):
                yield _document(article, name, source, how)


def _articles(root: Any, name: str, namespaces: set[bytes]) -> list[Any]:
    """The articles in a file: its root, or those in the answer of efetch (<pmc-articleset>) or of an OAI server.

    Their elements get names without namespace, except MathML.
    """
    articles = list(root.iter("{*}article"))
    for article in articles:
        for namespace in namespaces - {MATHML[1:-1].encode()}:
            for element in article.iter(f"{{{namespace.decode()}}}*"):
                element.tag = etree.QName(element).localname
    if not articles:
        error = root.find("{*}error")
        seen = "" if error is None else f", and the server's error is {error.get('code')}"
        raise UserError(
            f"{name}: its root is <{etree.QName(root).localname}> without an article in it{seen}; expected a JATS "
            "<article>"
        )
    return articles


def is_package(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".tar", ".tgz"))


def _files(path: Path, span: Span | None) -> Iterator[tuple[str, bytes]]:
    """The XML files in a file: a name for messages, and the bytes."""
    if not is_package(path):
        with open_binary(path) as file, explain_read_errors(path, lambda: "its first bytes"):
            yield str(path), read_at_once(file, XML_BYTES, str(path))
        return
    last = "its first bytes"
    with open_span(span) if span else open_binary(path) as file, explain_read_errors(path, lambda: last):
        try:
            for name, member in read_members(path, file, (".xml", ".nxml")):
                yield f"{path}: {name}", read_at_once(member, XML_BYTES, f"{path}: {name}")
                last = name
        except tarfile.TarError as error:
            raise UserError(f"{path}: truncated or corrupt after {last} ({error}); download the file again") from error


def _document(article: Any, name: str, source: PmcSource, how: Reading) -> Document:
    front = article.find("front/article-meta")
    found = [] if front is None else front.iterfind("article-id")
    ids = {part.get("pub-id-type"): " ".join("".join(part.itertext()).split()) for part in found}
    pmcid = ids.get("pmcid") or ids.get("pmc")
    if front is None or not pmcid:
        raise UserError(f"{name}: no PMC id in its front matter; expected an article of PMC")
    pmcid = f"PMC{pmcid.removeprefix('PMC')}"
    meta = {"pmcid": pmcid, "pmid": ids.get("pmid") or pmcid, "type": article.get("article-type", "")}
    return Document(pmcid, source.name, article_text(article, how), meta)
