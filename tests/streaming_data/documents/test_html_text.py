"""HTML to text: the lines and cells of any text that is written as HTML come back, and no markup does."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.documents.html_text import convert_html

CHARACTERS = st.characters(codec="utf-8", categories=("L", "N", "P", "S"))
WORDS = st.lists(st.text(CHARACTERS, min_size=1, max_size=8), min_size=1, max_size=5)
LINES = st.lists(WORDS.map(" ".join), min_size=1, max_size=6)
HIDDEN = (
    "",
    "<script>var x = '<p>GONE</p>';</script>",
    "<style>p { GONE }</style>",
    "<!-- <p>GONE -->",
    "<title>GONE</title>",
    "<!--[if gte mso 9]><xml>GONE</xml><![endif]-->",
    "<o:p></o:p>",
    '<img src="GONE">',
)
# The start and the end of a block, and what is between two of them as text.
BLOCKS = [
    ("<p>", "</p>", "\n\n"),
    ("<P style='x'>", "", "\n\n"),
    ("<div>", "</div>", "\n"),
    ("<div><div>", "</div></div>", "\n"),
    ("", "<br/>", "\n"),
]
FRAGMENTS = [*"<>&;/='\"! -a5\n", "<p", "<br", "</", "<!--", "<5", "&lt;", "<td>", "<pre>", "</table>", "<li>", "<ul>"]
SPACES = st.sampled_from([" ", "\n", "\r\n  ", "\t"])


@st.composite
def inline(draw: st.DrawFn, line: str) -> str:
    """A line of text as HTML: entities, elements around words, any white space between them."""
    words = []
    for word in line.split(" "):
        escaped = "".join(
            draw(st.sampled_from([html.escape(character), f"&#{ord(character)};", f"&#x{ord(character):X};"]))
            for character in word
        )
        tag = draw(st.sampled_from(["", "b", "SPAN", "i", "font", "u"]))
        words.append(f'<{tag} class="a>b">{escaped}</{tag}>' if tag else escaped)
    return draw(SPACES).join(words) + draw(st.sampled_from(HIDDEN))


@given(LINES, st.sampled_from(BLOCKS), st.data())
def test_any_text_comes_back(lines: list[str], block: tuple[str, str, str], data: st.DataObject) -> None:
    start, end, between = block
    body = data.draw(SPACES).join(f"{start}{data.draw(inline(line))}{end}" for line in lines)
    page = f"<!DOCTYPE html><html><head>{data.draw(st.sampled_from(HIDDEN))}</head><body>{body}</body></html>"
    assert convert_html(page) == between.join(lines)


@given(st.lists(LINES, min_size=1, max_size=4), st.booleans(), st.data())
def test_cells_are_separated_by_tabs(rows: list[list[str]], wrapped: bool, data: st.DataObject) -> None:
    def cell(text: str) -> str:
        content = data.draw(inline(text))
        return f"<td>\n<p>{content}</p>\n" if wrapped else f"<td>{content}</td>"

    body = "\n".join("<tr>" + "".join(map(cell, row)) + "</tr>" for row in rows)
    assert convert_html(f"<p>x</p><table>{body}</table>y") == "\n".join(["x", "", *map("\t".join, rows), "", "y"])


@given(st.lists(st.sampled_from(FRAGMENTS)).map("".join))
def test_any_text_is_read(text: str) -> None:
    convert_html(f"<p>{text}")


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>K <3.5 & BP < 120, if a <b then c <NAME></p>", "K <3.5 & BP < 120, if a <b then c <NAME>"),
        ("<h2>PLAN</h2><ol><li>ASA<li><p>rest</p><ul><li>now</ul></ol>end", "PLAN\n\n1. ASA\n2. rest\n\n- now\n\nend"),
        ("<p>10<sup>9</sup>/l, CO<sub>2</sub>, 1<sup>st</sup>, m<sup>2</sup></p>", "10^9/l, CO2, 1st, m2"),
        ("<pre>\n a\n   b\n</pre>c", " a\n   b\n\nc"),
        ("<div style='white-space:pre-wrap'>a  b\n  c</div><div>d\n e</div>", "a  b\n  c\nd e"),
        ("<p>a</p><p>&nbsp;</p><p>b&nbsp;&nbsp;c</p>", "a\n\nb  c"),
        ("<div>a<br><br>b</div>", "a\n\nb"),
        ("<table><tr><td><p>whole</p><p>page</p></td></tr></table>", "whole\n\npage"),
        ("<table><tr><td>a<table><tr><td>1<td>2</table><td>b</table>", "a\n\n1\t2\nb"),
        (
            "<div><input type=checkbox checked>yes <input type='radio'>no <input value='5 mg'></div>",
            "[x]yes [ ]no 5 mg",
        ),
        ("&lt;p&gt;escaped &amp;lt;5&lt;/p&gt;", "escaped <5"),
        ("Seen <b>today</b>.\n  Second  line\n\n___ <br>\nfourth", "Seen today.\n  Second  line\n\n___ \nfourth"),
        ("<p>cut off <b", "cut off <b"),
        ("<html><title>x<body>y<script>z", "y"),
    ],
)
def test_structure(page: str, text: str) -> None:
    assert convert_html(page) == text
