"""Superscripts, subscripts and formulas as plain text: no digit is fused with another, no word with a mark."""

import pytest
from lxml import etree

from clinical_modernbert.streaming_data.corpora.articles.scripts import (
    ScriptStyle,
    mark_scripts,
    math_text,
    write_scripts,
)
from clinical_modernbert.streaming_data.documents.census import element_text


def written(content: str, style: ScriptStyle = "marked") -> str:
    element = etree.fromstring(f"<p>{content}</p>")
    mark_scripts(element)
    return write_scripts(element_text(element), style)


@pytest.mark.parametrize(
    ("content", "marked"),
    [
        ("10<sup>9</sup>/l", "10^9/l"),
        ("10<sup>-3</sup> M, 10<sup>−3</sup>", "10^-3 M, 10^−3"),
        ("kg/m<sup>2</sup>", "kg/m^2"),
        ("(a+b)<sup>2</sup>", "(a+b)^2"),
        ("10<sup>n</sup>", "10^n"),
        ("10<sup><i>9</i></sup>", "10^9"),
        ("from 10<sup>0</sup> to 10<sup>3</sup>", "from 10^0 to 10^3"),
        ("P2<sub>1</sub>", "P2_1"),
        ("SO<sub>4</sub><sup>2-</sup>, Ca<sup>2+</sup>, CD4<sup>+</sup>", "SO42-, Ca2+, CD4+"),
        ("CO<sub>2</sub>, VO<sub>2max</sub>, log<sub>10</sub>", "CO2, VO2max, log10"),
        ("<sup>99m</sup>Tc, <sup>14</sup>C and [<sup>18</sup>F]", "99mTc, 14C and [18F]"),
        ("1<sup>st</sup>, 30<sup>+6</sup> weeks", "1st, 30+6 weeks"),
        ("2<sup>1</sup>/<sub>2</sub>", "2 1/2"),
        ("<sup>1</sup>⁄<sub>2</sub> dose", "1/2 dose"),
        ("<sup>a</sup>Dose, <sup>3</sup>The effect", "a Dose, 3 The effect"),
        ("the models<sup>a</sup> of", "the models^a of"),
    ],
)
def test_scripts_keep_their_meaning(content: str, marked: str) -> None:
    assert written(content) == marked


@pytest.mark.parametrize(
    ("content", "marked"),
    [
        ("<msup><mn>10</mn><mn>9</mn></msup>", "10^9"),
        ("<msup><mi>x</mi><mrow><mi>n</mi><mo>+</mo><mn>1</mn></mrow></msup>", "x^(n+1)"),
        ("<msub><mi>x</mi><mn>1</mn></msub><mo>=</mo><msub><mn>2</mn><mn>10</mn></msub>", "x1=2_10"),
        ("<mfrac><mn>1</mn><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow></mfrac>", "1/(a+b)"),
        ("<msqrt><mi>a</mi><mi>b</mi></msqrt><mroot><mi>x</mi><mn>3</mn></mroot>", "√abx^(1/3)"),
        ("<mfenced><mi>a</mi><mi>b</mi></mfenced>", "(a,b)"),
        ("<msup><mi>x</mi><mo>′</mo></msup>", "x′"),
        ("<msubsup><mi>χ</mi><mn>1</mn><mn>2</mn></msubsup>", "χ1^2"),
        ("<semantics><mi>p</mi><annotation>TEX</annotation></semantics>", "p"),
        ("<unheard-of>x <mi>y</mi> z</unheard-of>", "xyz"),
    ],
)
def test_formulas_on_one_line(content: str, marked: str) -> None:
    math = etree.fromstring(f'<math xmlns="http://www.w3.org/1998/Math/MathML">{content}</math>')
    assert math_text(math, "marked") == marked


def test_the_plain_style_has_only_the_characters() -> None:
    assert written("10<sup>9</sup>/l, P2<sub>1</sub>, 2<sup>1</sup>/<sub>2</sub>", "plain") == "109/l, P21, 21/2"
