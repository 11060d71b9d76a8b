"""The PubMed reader: texts compared with lxml's full tree, versions and deletions, corrupt files."""

import gzip
from pathlib import Path

import pytest
from lxml import etree

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora import pubmed
from clinical_modernbert.streaming_data.corpora.articles import pubmed_records, pubmed_versions
from clinical_modernbert.streaming_data.corpora.pubmed import PubMedSource
from clinical_modernbert.streaming_data.corpora.readers import input_files, read, read_file
from clinical_modernbert.streaming_data.documents.census import Census, element_text
from clinical_modernbert.streaming_data.documents.document import Document


def citation(pmid: int, title: str = "A title.", abstract: str = "", version: int = 1, more: str = "") -> str:
    return f"""
<PubmedArticle><MedlineCitation Status="MEDLINE" Owner="NLM">
<PMID Version="{version}">{pmid}</PMID>
<Article PubModel="Print"><Journal><Title>J</Title></Journal><ArticleTitle>{title}</ArticleTitle>{abstract}
<AuthorList CompleteYN="Y"><Author><LastName>Doe</LastName></Author></AuthorList><Language>eng</Language>
{more}</Article>
<CommentsCorrectionsList><CommentsCorrections RefType="Cites"><PMID Version="1">99</PMID></CommentsCorrections>
</CommentsCorrectionsList></MedlineCitation>
<PubmedData><ReferenceList><Reference><Citation>Someone &amp; al.</Citation></Reference></ReferenceList></PubmedData>
</PubmedArticle>"""


def write(path: Path, *records: str, deleted: tuple[int, ...] = (), root: str = "PubmedArticleSet") -> Path:
    deletions = "".join(f'<PMID Version="1">{pmid}</PMID>\n' for pmid in deleted)
    tail = f"<DeleteCitation>\n{deletions}</DeleteCitation>" if deletions else ""
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<{root}>{"".join(records)}\n{tail}</{root}>\n'
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def source(*paths: Path, **options: object) -> PubMedSource:
    return PubMedSource.model_validate(
        {"name": "pubmed", "format": "pubmed", "licence": "NLM", "paths": [str(path) for path in paths], **options}
    )


def documents(*paths: Path, **options: object) -> list[Document]:
    return list(read(source(*paths, **options)))


def text(path: Path) -> str:
    (document,) = documents(path)
    return document.text


def test_title_and_abstract_are_separate_lines(tmp_path: Path) -> None:
    abstract = (
        "<Abstract><AbstractText>One. Two.</AbstractText><CopyrightInformation>(c)</CopyrightInformation></Abstract>"
    )
    assert text(write(tmp_path / "a.xml", citation(1, "Title.", abstract))) == "Title.\nOne. Two."


def test_structured_abstracts_keep_their_labels(tmp_path: Path) -> None:
    abstract = """<Abstract><AbstractText Label="BACKGROUND" NlmCategory="BACKGROUND">Why.</AbstractText>
    <AbstractText Label="UNLABELLED">Then.</AbstractText><AbstractText Label="EMPTY"/></Abstract>"""
    assert text(write(tmp_path / "a.xml", citation(1, "T.", abstract))) == "T.\nBACKGROUND: Why.\nThen."


def test_inline_markup_and_mathml_keep_their_order(tmp_path: Path) -> None:
    abstract = """<Abstract><AbstractText>Of 10<sup>3</sup> <i>in <b>vitro</b></i> cells, <mml:math
    xmlns:mml="http://www.w3.org/1998/Math/MathML"><mml:mi>p</mml:mi><mml:mo>&lt;</mml:mo><mml:mn>0.05</mml:mn>
    </mml:math> &#x3b1;.<!-- no --></AbstractText></Abstract>"""
    assert text(write(tmp_path / "a.xml", citation(1, "H<sub>2</sub>O", abstract))) == (
        "H2O\nOf 10^3 in vitro cells, p<0.05 α."
    )


def test_other_abstracts_and_books_are_left_out(tmp_path: Path) -> None:
    book = "<PubmedBookArticle><BookDocument><PMID Version='1'>7</PMID></BookDocument></PubmedBookArticle>"
    other = "<OtherAbstract Type='plain-language-summary'><AbstractText>No.</AbstractText></OtherAbstract>"
    path = write(tmp_path / "a.xml", book, citation(1, "T.", more=other), book)
    assert [(document.id, document.text) for document in documents(path)] == [("1", "T.")]


def test_an_untranslated_title_is_used_in_its_language(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", citation(1, "[Not Available].", more="<VernacularTitle>Titel.</VernacularTitle>"))
    assert text(path) == "Titel."


def test_require_abstract_excludes_citations_without_abstract(tmp_path: Path) -> None:
    abstract = "<Abstract><AbstractText>Text.</AbstractText></Abstract>"
    path = write(tmp_path / "a.xml", citation(1), citation(2, "T.", abstract))
    assert [document.id for document in documents(path, require_abstract=True)] == ["2"]


def test_retractions_are_flagged(tmp_path: Path) -> None:
    kind = '<PublicationType UI="D016441">Retracted Publication</PublicationType>'
    kinds = f"<PublicationTypeList>{kind}</PublicationTypeList>"
    first, second = documents(write(tmp_path / "a.xml", citation(1, more=kinds), citation(2)))
    assert (first.meta["retracted"], second.meta["retracted"]) == ("true", "false")


def test_the_newest_version_is_kept_across_files(tmp_path: Path) -> None:
    old = write(tmp_path / "1.xml.gz", citation(1, "old"), citation(2, "v2", version=2), citation(3, "same"))
    new = write(tmp_path / "2.xml.gz", citation(3, "same, again"), citation(1, "new"), citation(2, "v1 revised"))
    assert [document.text for document in documents(old, new)] == ["v2", "same, again", "new"]


def test_the_newest_version_is_kept_within_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path / "1.xml", citation(1, "v2", version=2), citation(1, "v1"), citation(2, "a"), citation(2, "b")
    )
    assert [document.text for document in documents(path)] == ["v2", "b"]


def test_deletion_applies_only_to_earlier_records(tmp_path: Path) -> None:
    first = write(tmp_path / "1.xml", citation(1), citation(2), citation(3))
    second = write(tmp_path / "2.xml", citation(4), deleted=(1, 2, 4, 1234567))
    third = write(tmp_path / "3.xml", citation(2, "back again"))
    assert [document.id for document in documents(first, second, third)] == ["3", "2"]


def test_the_older_format_without_pubmed_article(tmp_path: Path) -> None:
    article = "<Article><ArticleTitle>T.</ArticleTitle></Article>"
    record = f'<MedlineCitation Status="MEDLINE"><PMID>5</PMID>{article}</MedlineCitation>'
    assert text(write(tmp_path / "a.xml", record, root="MedlineCitationSet")) == "T."


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_block_boundaries_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    path = write(tmp_path / "a.xml", *(citation(n, f"Title {n}") for n in range(1, 20)), deleted=(3, 5))
    expected = documents(path)
    monkeypatch.setattr(pubmed_records, "_PARSE_BLOCK", block)
    monkeypatch.setattr(pubmed_versions, "_SCAN_BLOCK", 1000 + block)
    assert documents(path) == expected
    assert len(expected) == 17


SPELLINGS = [
    '<PMID Version="{version}">{pmid}</PMID>',
    "<PMID Version='{version}'>{pmid}</PMID>",
    '<PMID\n  Version = "{version}" >\n{pmid}\n</PMID >',
    '<PMID VersionDate="2013/07/18" Version="{version}">{pmid}</PMID>',
    '<!-- an export --><PMID Version="{version}">{pmid}</PMID>',
    '<MedlineID>21</MedlineID><PMID Version="{version}">{pmid}</PMID>',
    '<PMID Version="{version}">&#x20;{pmid}<!-- --></PMID>',
    '<?pi?><PMID Version="{version}"><![CDATA[{pmid}]]></PMID>',
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_any_spelling_of_a_pmid_is_read(tmp_path: Path, spelling: str, encoding: str) -> None:
    usual = SPELLINGS[0]
    records = [citation(n, f"Title {n} v{v}", version=v) for n, v in [(1, 1), (2, 1), (1, 2), (3, 1), (10**7, 1)]]
    path = write(tmp_path / "a.xml", *records, citation(4), deleted=(3,))
    expected = documents(path)
    assert [document.id for document in expected] == ["2", "1", "10000000", "4"]
    text = path.read_text()
    for pmid, version in [(1, 1), (1, 2), (2, 1), (3, 1), (10**7, 1)]:
        text = text.replace(usual.format(pmid=pmid, version=version), spelling.format(pmid=pmid, version=version))
    path.write_bytes(text.replace('encoding="utf-8"', f'encoding="{encoding}"').encode(encoding))
    assert documents(path) == expected


@pytest.mark.parametrize("hidden", ["<!-- {} -->", "<PubmedBookArticle><![CDATA[{}]]></PubmedBookArticle>"])
def test_tags_that_are_no_tags(tmp_path: Path, hidden: str) -> None:
    path = write(tmp_path / "a.xml", citation(1), hidden.format(citation(2).strip()), citation(3), deleted=(9,))
    assert [document.id for document in documents(path)] == ["1", "3"]


@pytest.mark.parametrize("block", [1, 50, 1 << 20])
def test_appended_answers_are_read_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(pubmed_records, "_PARSE_BLOCK", block)
    path = tmp_path / "all.xml"
    files = [write(tmp_path / f"{n}.xml", citation(2 * n), citation(2 * n + 1, f"T{n}")).read_text() for n in range(3)]
    path.write_text("\n".join(files))
    assert [document.id for document in documents(path)] == ["0", "1", "2", "3", "4", "5"]
    broken = "\n".join([*files[:2], files[2].replace("T2</ArticleTitle>", "T2</Articletitle>")])
    path.write_text(broken)
    line = broken[: broken.index("T2<")].count("\n") + 1
    with pytest.raises(UserError, match=rf"all\.xml: malformed XML at line {line}, after PMID [345] \([^()]*\)$"):
        documents(path)
    path.write_text("\n".join([files[0].replace("</PubmedArticleSet>", ""), files[1]]))
    with pytest.raises(UserError, match=r"all\.xml: malformed XML at line \d+, after PMID [01]"):
        documents(path)


@pytest.mark.parametrize("block", [1, 64, 1 << 20])
def test_what_is_removed_before_parsing_may_be_empty_or_say_that_the_article_is_retracted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(pubmed_records, "_PARSE_BLOCK", block)
    monkeypatch.setattr(pubmed_records, "XML_BYTES", 4000)
    types = "<PublicationTypeList><PublicationType UI='{}'>Type</PublicationType></PublicationTypeList>"
    empty = '<GrantList CompleteYN="Y"/><Pagination /><ELocationID EIdType="pii"/>'
    records = [
        citation(n, f"T{n}.", more=types.format("D016441" if n in (4, 9) else "D016428") + empty * (n == 1))
        for n in range(1, 13)
    ]
    found = documents(write(tmp_path / "a.xml", *records))
    assert [document.id for document in found if document.meta["retracted"] == "true"] == ["4", "9"]
    assert [document.text for document in found] == [f"T{n}." for n in range(1, 13)]


def test_all_characters_are_in_a_text_or_in_the_census(tmp_path: Path) -> None:
    abstract = "<Abstract><AbstractText>Text.</AbstractText><CopyrightInformation>©</CopyrightInformation></Abstract>"
    more = "<VernacularTitle>Titel</VernacularTitle><ArticleDate><Year>2020</Year>\n  <Day>1</Day></ArticleDate>"
    book = "<PubmedBookArticle><BookDocument><PMID Version='1'>7</PMID></BookDocument></PubmedBookArticle>"
    path = write(tmp_path / "a.xml", citation(1, more=more), citation(2, "T.", abstract), citation(1), book)
    left_out = Census()
    (file,) = input_files(source(path, require_abstract=True))
    (document,) = read_file(source(path, require_abstract=True), file, left_out=left_out)
    assert document.text == "T.\nText."
    counts = left_out.counts()
    assert {kind: elements for kind, (elements, _) in counts.items()} == {
        "references and history": 3,
        "authors": 3,
        "journals": 3,
        "index terms and other abstracts": 3,
        "books": 1,
        "citations with a newer version, or deleted": 1,
        "citations without an abstract": 1,
        "licenses": 1,
        "metadata": 2,
    }
    everything = "".join(element_text(etree.parse(path).getroot()).split())
    found = sum(characters for _, characters in counts.values()) + len("".join(document.text.split()))
    # Removed before parsing, `Someone &amp; al.` counts as written; two PMIDs are no text.
    assert found == len(everything) + 3 * len("amp;") - len("12")


def test_a_pmid_that_is_no_number_is_named_by_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", citation(1), citation(2).replace(">2</PMID>", ">two</PMID>"))
    line = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if ">two<" in line)
    with pytest.raises(UserError, match=rf"a\.xml: line {line}: a PMID that is no number"):
        documents(path)


def test_a_truncated_gzip_names_the_file_and_the_last_citation(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml.gz", *(citation(n, f"Title {n} {'x' * n}") for n in range(1, 4000)))
    keep = pubmed_versions.newest_records([pubmed_versions.scan(path)])[0]
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(UserError, match=r"a\.xml\.gz: truncated or corrupt after [\d,]+ citations"):
        pubmed_versions.scan(path)
    with pytest.raises(UserError, match=r"a\.xml\.gz: truncated or corrupt after (PMID \d+|its first)"):
        list(pubmed.read(path, source(path), keep, Census()))


@pytest.mark.parametrize("broken", ["<ArticleTitle>T.</ArticleTitl>", "</Article>", "<PubmedData>", "<b>", "&nbsp;"])
def test_malformed_xml_names_the_line_and_pmid(tmp_path: Path, broken: str) -> None:
    path = write(tmp_path / "a.xml", citation(41), citation(42), citation(43, more=broken), citation(44))
    lines = path.read_text().splitlines()
    first, last = (next(n for n, line in enumerate(lines, 1) if f">{pmid}</PMID>" in line) for pmid in (43, 44))
    with pytest.raises(UserError, match=r"a\.xml: malformed XML at line \d+, after PMID (42|43)") as error:
        documents(path)
    assert first < int(str(error.value).split("line ")[1].split(",")[0]) <= last + 12


@pytest.mark.parametrize("content", ["<PubmedArticleSet></PubmedArticleSet>", "<html><p>Error</p></html>"])
def test_a_file_without_citations_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.xml"
    path.write_text(content)
    with pytest.raises(UserError, match="has no MedlineCitation"):
        documents(path)


def test_real_records_have_the_text_of_the_full_tree(dev_data: Path) -> None:
    """Compared with an independent reading: the file is parsed at once, texts by itertext, nothing removed or freed."""
    # MathML, whose fractions get a slash, is compared in test_scripts.py.
    paths = sorted([*(dev_data / "pubmed_xml_samples").glob("*.xml*"), *(dev_data / "pubmed").glob("example_*.xml.gz")])
    assert paths
    for path in paths:
        content = path.read_bytes()
        tree = etree.fromstring(gzip.decompress(content) if path.suffix == ".gz" else content)
        expected: dict[tuple[str | None, str], str] = {}
        for element in tree.iter("MedlineCitation"):
            words = [str(element.xpath("string(Article/ArticleTitle)"))]
            for part in element.iterfind("Article/Abstract/AbstractText"):
                label = part.get("Label", "UNLABELLED") if part.xpath("normalize-space()") else "UNLABELLED"
                words += ["" if label == "UNLABELLED" else f"{label}:", *map(str, part.itertext())]
            identifier = element.find("PMID")
            assert identifier is not None
            expected[identifier.text, identifier.get("Version", "")] = "".join("".join(words).split())
        deleted = {pmid.text for pmid in tree.iterfind("DeleteCitation/PMID")}
        result = documents(path, clean=[], scripts="plain")
        assert {document.id for document in result} == {pmid for pmid, _ in expected} - deleted
        for document in result:
            newest = max(version for pmid, version in expected if pmid == document.id)
            assert "".join(document.text.split()) == expected[document.id, newest]
