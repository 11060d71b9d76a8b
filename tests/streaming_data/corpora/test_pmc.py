"""PMC full text: the text of articles in reading order, from files and tar packages, without references."""

import gzip
import io
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.pmc import PmcSource
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.documents.document import Document

ARTICLE = """<?xml version="1.0"?>
<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) v1.2//EN" "JATS-archivearticle1.dtd">
<article xmlns:mml="http://www.w3.org/1998/Math/MathML" article-type="research-article"><front><journal-meta>
<journal-title>J</journal-title></journal-meta><article-meta><article-id pub-id-type="pmid">77</article-id>
<article-id pub-id-type="pmc">{pmcid}</article-id><title-group><article-title>On <italic>E. coli</italic>{note}
</article-title></title-group><abstract><sec><title>Aim</title><p>Why.</p></sec></abstract>
<abstract abstract-type="toc"><p>Teaser.</p></abstract></article-meta></front>
<body><sec><title>Methods</title>{body}</sec></body>
<back><ack><p>Thanks.</p></ack><ref-list><ref><mixed-citation>Someone 1999</mixed-citation></ref></ref-list>
<app-group><app><title>Appendix</title><p>More.</p></app></app-group></back></article>"""
REFERENCE = '<xref ref-type="bibr" rid="b{0}">{0}</xref>'


def article(body: str, pmcid: str = "PMC5", note: str = "") -> str:
    return ARTICLE.format(pmcid=pmcid, body=body, note=note)


def documents(*paths: Path | str, **options: object) -> list[Document]:
    config = {"name": "pmc", "format": "pmc", "licence": "CC BY", "paths": [str(path) for path in paths]}
    return list(read(PmcSource.model_validate(config | options)))


def body(tmp_path: Path, content: str, **options: object) -> str:
    """The text of a section with the given content."""
    path = tmp_path / "a.nxml"
    path.write_text(article(content), encoding="utf-8")
    (document,) = documents(path, **options)
    return document.text.split("\n\nMethods\n")[1].removesuffix("\n\nAppendix\nMore.")


def test_title_abstract_sections_and_appendix_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.nxml"
    path.write_text(
        article("<p>First.</p><sec><title>Patients</title><p>Second\n  line.</p></sec>", "5", "<fn><p>Note.</p></fn>")
    )
    (document,) = documents(path)
    assert document.text == (
        "On E. coli\nNote.\n\nAbstract\n\nAim\nWhy.\n\nMethods\nFirst.\n\nPatients\nSecond line.\n\nAppendix\nMore."
    )
    assert document.id == "PMC5"
    assert document.meta == {"pmcid": "PMC5", "pmid": "77", "type": "research-article"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("seen [{1}].", "seen."),
        ("seen [{1}-{3}, {7}] once", "seen once"),
        ("seen<sup>{1},{2}</sup>. Then", "seen. Then"),
        ("seen ({4}) in (x) and f()", "seen in (x) and f()"),
        ("seen (reviewed in {4})", "seen (reviewed in)"),
        ("by {Smith, 1999} and (see {Doe 2001})", "by Smith, 1999 and (see Doe 2001)"),
        ("(Smith et al., {1999}; {2001a})", "(Smith et al., 1999; 2001a)"),
        ("(Smith et al. {1998, 1999})", "(Smith et al. 1998, 1999)"),
        ("seen <sup>{1}</sup>Then <sup>{2,3}</sup>.", "seen Then."),
        ("seen<sup>{1}</sup>Then", "seen Then"),
        ('see <xref ref-type="fig" rid="f">Fig. 1</xref>', "see Fig. 1"),
    ],
)
def test_numeric_citations_are_removed_and_author_citations_kept(tmp_path: Path, before: str, after: str) -> None:
    marked = re.sub(r"\{(.*?)\}", lambda match: REFERENCE.format(match[1]), before)
    assert body(tmp_path, f"<p>{marked}</p>") == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "if <inline-formula><mml:math><mml:semantics><mml:mrow><mml:mi>p</mml:mi> <mml:mo>=</mml:mo>"
            "<mml:mn>1</mml:mn></mml:mrow><mml:annotation>TEX</mml:annotation></mml:semantics></mml:math>"
            "</inline-formula> then",
            "if p=1 then",
        ),
        (
            r"is<disp-formula><tex-math>\documentclass{x}\begin{document}$$a^2$$\end{document}</tex-math></disp-formula>.",
            "is a^2 .",
        ),
        (
            "<alternatives><tex-math>q</tex-math><mml:math><mml:mi>x</mml:mi></mml:math><graphic/></alternatives>",
            "x",
        ),
        ("<inline-formula><italic>V</italic><sub>max</sub></inline-formula>", "Vmax"),
    ],
)
def test_formulas_are_mathml_characters_or_tex(tmp_path: Path, before: str, after: str) -> None:
    assert body(tmp_path, f"<p>{before}</p>") == after


def test_captions_are_kept_and_table_cells_removed(tmp_path: Path) -> None:
    table = "<table><tr><td>0.1</td></tr></table>"
    wrap = (
        f"<table-wrap><label>Table 1.</label><caption><title>Ages</title><p>In years.</p></caption>{table}</table-wrap>"
    )
    figure = "<fig><label>Figure 1</label><caption><p>A scan.</p></caption><graphic/></fig>"
    assert body(tmp_path, f"<p>Before {wrap}after.</p>{figure}") == (
        "Before after.\nTable 1. Ages In years.\nFigure 1. A scan."
    )


def test_lists_are_lines(tmp_path: Path) -> None:
    items = "<list><list-item><p>one</p></list-item><list-item><p>two</p></list-item></list>"
    terms = "<def-list><def-item><term>BP</term><def><p>blood pressure</p></def></def-item></def-list>"
    assert body(tmp_path, f"<p>Of:{items}</p>{terms}") == "Of:\n- one\n- two\n- BP: blood pressure"


def test_a_tar_package_is_read_article_by_article(tmp_path: Path) -> None:
    path = tmp_path / "oa_comm_xml.PMC000xxxxxx.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for number in range(1, 200):
            content = article(f"<p>Number {number}. {'word ' * number}</p>", f"PMC{number}").encode()
            entry = tarfile.TarInfo(f"PMC000xxxxxx/PMC{number}.xml")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        archive.addfile(tarfile.TarInfo("PMC000xxxxxx/readme.txt"))
    result = documents(path)
    assert [document.id for document in result] == [f"PMC{number}" for number in range(1, 200)]
    assert "Number 7." in result[6].text
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UserError, match=r"tar\.gz: truncated or corrupt after PMC000xxxxxx/PMC\d+\.xml"):
        documents(path)


def test_bad_articles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nxml.gz"
    for content, message in (
        (article("<p>"), r"a\.nxml\.gz: malformed XML at line 8"),
        ("<html/>", "its root is <html> without an article in it; expected a JATS <article>"),
        (article("").replace("pmc", "doi"), "no PMC id in its front matter"),
    ):
        path.write_bytes(gzip.compress(content.encode()))
        with pytest.raises(UserError, match=message):
            documents(path)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<p>One<list><list-item><p>two</p></list-item></list>three</p>", "One\n- two\nthree"),
        ("<disp-quote>One<p>two</p>three<attrib>four</attrib></disp-quote>", "One\ntwo\nthree\nfour"),
        ("<p>See <fig><label>Fig 1</label><caption><p>A.</p></caption></fig>.</p>", "See.\nFig 1. A."),
        ("<p>One<fn><label>a</label><p>note</p></fn> two</p>", "One two\na note"),
        ("<p>A <unheard-of>block</unheard-of>of text</p>", "A\nblock\nof text"),
        ("<verse-group><verse-line>Roses</verse-line><verse-line>are</verse-line></verse-group>", "Roses\nare"),
        ("<p><name><surname>Doe</surname><given-names>J</given-names></name>said</p>", "Doe J said"),
        ("<sec><label>2.1</label><title>Drugs</title><p>All.</p></sec>", "\n2.1 Drugs\nAll."),
        ("<list><list-item><label>1.</label><p>one</p></list-item></list>", "1. one"),
        ("<p>one<break/>two</p>", "one two"),
        (
            "<table-wrap><table><tr><td>9</td></tr></table><table-wrap-foot><fn><p><sup>a</sup>Mean.</p></fn>"
            "</table-wrap-foot></table-wrap>",
            "a Mean.",
        ),
    ],
)
def test_text_beside_blocks_has_lines_of_its_own(tmp_path: Path, before: str, after: str) -> None:
    assert body(tmp_path, before) == after


def test_scripts_are_a_choice(tmp_path: Path) -> None:
    text = "<p>10<sup>9</sup>/l in H<sub>2</sub>O</p>"
    assert body(tmp_path, text) == "10^9/l in H2O"
    assert body(tmp_path, text, scripts="plain") == "109/l in H2O"


def test_the_only_abstract_is_read_whatever_its_type(tmp_path: Path) -> None:
    path = tmp_path / "a.nxml"
    only = article("<p>Body.</p>").replace("<abstract>", '<abstract abstract-type="structured">')
    path.write_text(only)
    (document,) = documents(path)
    assert "\n\nAbstract\n\nAim\nWhy.\n" in document.text
    summary = '<abstract abstract-type="plain-language-summary"><p>Simply.</p></abstract><abstract abstract-type="toc">'
    path.write_text(only.replace('<abstract abstract-type="toc">', summary))
    assert "\n\nAbstract (plain language summary)\nSimply.\n" in documents(path)[0].text
    assert "Simply" not in documents(path, parts=[])[0].text
    assert "Teaser" not in documents(path)[0].text


def test_back_matter_is_chosen_by_the_recipe(tmp_path: Path) -> None:
    back = """<back><ack><p>Thanks.</p></ack><sec><title>Competing interests</title><p>None.</p></sec><glossary>
    <def-list><def-item><term>BP</term><def><p>pressure</p></def></def-item></def-list></glossary><fn-group><fn>
    <p>Equal work.</p></fn></fn-group>"""
    path = tmp_path / "a.nxml"
    path.write_text(article("<p>Body.</p>").replace("<back><ack><p>Thanks.</p></ack>", back))
    text = documents(path)[0].text
    assert text.endswith("Body.\n\nCompeting interests\nNone.\n\n- BP: pressure\n\nEqual work.\n\nAppendix\nMore.")
    assert documents(path, parts=[])[0].text.endswith("Body.\n\nAppendix\nMore.")
    assert "\n\nThanks." in documents(path, parts=["acknowledgements"])[0].text


def test_appended_answers_are_read_one_after_the_other(tmp_path: Path) -> None:
    one, two = article("<p>One.</p>", "PMC1"), article("<p>Two.</p>", "PMC2")
    path = tmp_path / "all.xml"
    path.write_text(f"{one}\n{two}")
    assert [document.id for document in documents(path)] == ["PMC1", "PMC2"]
    broken = f"{one}\n{two.replace('</title-group>', '')}"
    path.write_text(broken)
    line = broken[: broken.rindex("</article-meta>")].count("\n") + 1
    with pytest.raises(UserError, match=rf"all\.xml: malformed XML at line {line} \("):
        documents(path)


@pytest.mark.parametrize("namespace", ["", "https://jats.nlm.nih.gov/ns/archiving/1.3/"])
@pytest.mark.parametrize(
    "envelope",
    [
        "{}",
        "<pmc-articleset>{}</pmc-articleset>",
        '<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><ListRecords><record><header status="deleted"/></record>'
        "<record><metadata>{}</metadata></record></ListRecords></OAI-PMH>",
    ],
)
def test_articles_in_envelopes_are_those_in_files(tmp_path: Path, envelope: str, namespace: str) -> None:
    formula = "<p>if <inline-formula><mml:math><mml:mi>p</mml:mi></mml:math></inline-formula></p>"
    one, two = (article(formula, pmcid).split("\n", 2)[2] for pmcid in ("PMC1", "PMC2"))
    (tmp_path / "1.nxml").write_text(one)
    (tmp_path / "2.nxml").write_text(two)
    expected = documents(tmp_path / "1.nxml", tmp_path / "2.nxml")
    path = tmp_path / "envelope.xml"
    inside = one if envelope == "{}" else one + two
    path.write_text(envelope.format(inside.replace("<article ", f'<article xmlns="{namespace}" ')))
    assert documents(path) == (expected[:1] if envelope == "{}" else expected)


def test_an_answer_without_articles_names_the_servers_error(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><error code="idDoesNotExist"/></OAI-PMH>')
    with pytest.raises(UserError, match="root is <OAI-PMH> without an article in it, and the server's error is idDoes"):
        documents(path)


def test_real_articles_keep_all_words_in_order(dev_data: Path) -> None:
    """Compared with the words of lxml's string value of each paragraph."""
    paths = sorted((dev_data / "pmc_fulltext" / "nxml").glob("*.nxml"))
    result = documents(*paths)
    assert len(result) == len(paths) > 50
    for path, document in zip(paths, result, strict=True):
        assert "\ue000" not in document.text
        lines = iter(document.text.split("\n"))
        tree: Any = etree.parse(path)  # what xpath returns depends on the expression
        letter = ".//sup[string-length(.) = 1 and number(.) != number(.)]"  # a mark that is parted from the word
        for paragraph in tree.xpath(f"//body//sec/p[not(.//table-wrap|.//fig|.//inline-formula|.//list|{letter})]"):
            expected = re.findall(r"[^\W\d_]{3,}", paragraph.xpath("string()"))
            assert any(re.findall(r"[^\W\d_]{3,}", line) == expected for line in lines) or not expected
    assert sum(len(document.text) for document in result) / len(result) > 20_000
