"""Cleaning fixes encodings, removes publishers' phrases, and changes nothing that an author wrote."""

import time
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import ftfy
import pytest
from ftfy.chardata import CHARMAP_ENCODINGS
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.corpora.pubmed import PubMedSource
from clinical_modernbert.streaming_data.corpora.readers import input_files, read, read_file
from clinical_modernbert.streaming_data.corpora.tables import TableSource
from clinical_modernbert.streaming_data.documents import clean as cleaning
from clinical_modernbert.streaming_data.documents.clean import clean

ALL: Any = ("encoding", "control_characters", "boilerplate")


@pytest.mark.parametrize(
    ("broken", "fixed"),
    [
        ("a 5 Âµm pore in MÃ©niÃ¨re's â€œdiseaseâ€\x9d", "a 5 µm pore in Ménière's “disease”"),
        ("the town of voilÃ  and more", "the town of voilà and more"),
        ("P &lt; 0.05 &amp; rising", "P < 0.05 & rising"),
        ("signi\ufb01cant", "significant"),
        ("the Dutch \u0133s", "the Dutch ijs"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("it\u0092s", "it’s"),
        ("cafe\u0301", "café"),
        ("10 kg\u00ad wei\u200bght\x00 \x1b\ufeff.", "10 kg weight ."),
        ("So it is. This article is protected by copyright. All rights reserved.", "So it is."),
        (
            "So it is. © 2021 The Authors. Published by John Wiley & Sons, Ltd.\nMETHODS: Two.",
            "So it is.\nMETHODS: Two.",
        ),
        ("So it is. Copyright © 1999 Elsevier Inc. All rights reserved. ", "So it is."),
        ("So it is. (PsycInfo Database Record (c) 2021 APA, all rights reserved).", "So it is."),
        ("And then the(ABSTRACT TRUNCATED AT 250 WORDS)", "And then the"),
    ],
)
def test_broken_text_is_fixed(broken: str, fixed: str) -> None:
    changed: Counter[str] = Counter()
    assert clean(broken, ALL, changed) == fixed
    assert changed.total() > 0
    assert clean(fixed, ALL, changed) == fixed
    assert clean(broken, (), Counter()) == broken


@pytest.mark.parametrize(
    "text",
    [
        "Name:  ___              Unit No:   ___\n \nAdmission Date:  ___\n\n\nAllergies: \nPenicillins\n\t- 5 mg",
        "WBC-5.2 RBC-3.9*\n___ 07:15AM BLOOD\n\n=====\n1) A & B <b>\n____________\n",
        "“Curly” quotes, ‘these’ too; ５ ｍｇ; γδ T cells ≥ 5 ± 2 °C – naïve, Ångström, β‑blocker",
        "The copyright of the article is transferred. Truncated proteins (c) 2021 were reserved.",
        "In (a) 2019, (b) 2020 and (c) 2021",
        "We ask who owns © 2020 marks\nand go on. This article is protected by copyright. So they say.",
    ],
)
def test_an_authors_text_is_unchanged(text: str) -> None:
    changed: Counter[str] = Counter()
    assert clean(text.replace("©", "(C)"), ALL, changed) == text.replace("©", "(C)")
    assert clean(text, ("encoding", "control_characters"), changed) == text
    assert not changed


@given(st.text(st.sampled_from("aé ÃÂ©â€\u009d™μ≥&lt;\n\r\ufb01\u0301e_\x00\u00a0K\u0133\u01c6<\x1b[1m"), max_size=24))
def test_skipping_ftfy_for_plain_text_changes_nothing(text: str) -> None:
    assert clean(text, ["encoding"], Counter()) == ftfy.fix_text(text, cleaning._FTFY)


_MORE = "\ufffd\x1a?"
_ACCENTS = "éà×Åβγδμ°²αЖий–’“…™€ˇ\u0301\u00a0\u212b ab"


@settings(max_examples=400)
@given(st.text(_ACCENTS, max_size=12), st.sampled_from(CHARMAP_ENCODINGS), st.text(_ACCENTS + _MORE, max_size=4))
def test_text_that_any_encoding_misread_is_fixed_as_ftfy_fixes_it(text: str, encoding: str, more: str) -> None:
    misread = f"{text.encode().decode(encoding, errors='replace')}{more}"
    for written in (misread, misread.replace("\xa0", " "), f"{more}{text}", unicodedata.normalize("NFD", misread)):
        assert clean(written, ["encoding"], Counter()) == ftfy.fix_text(written, cleaning._FTFY)


@given(
    st.lists(st.sampled_from(["a", "Ã©", "R&D", "&lt;", "p<1", "\r", "e\u0301", "\x1b[1m", "\u0085", ""]), max_size=8)
)
def test_each_line_is_cleaned_as_in_its_text(lines: list[str]) -> None:
    """A sign in one line decides about the lines after it."""
    text = "\n".join(lines)
    assert clean(text, ["encoding"], Counter()) == ftfy.fix_text(text, cleaning._FTFY)


@pytest.mark.slow
def test_text_without_damage_is_cleaned_in_a_hundred_nanoseconds_per_character() -> None:
    """The search for damage must not become the work of a reader; it took 600 once."""
    for line in (
        "treated with 5 mg (P<0.05)",
        "Naïve T cells – μ-treated – at ≥ 5 °C",
        "R&D of naïve cells, AT&T, Q&A",
    ):
        text = f"{line}\n" * 20_000
        seconds = []
        for _ in range(5):
            begin = time.process_time()
            assert clean(text, ALL, Counter()) == text
            seconds.append(time.process_time() - begin)
        assert min(seconds) / len(text) < 100e-9, line


@pytest.mark.parametrize(
    "text",
    [
        "Größenveränderung des Ösophagus: „unauffällig“, Maßnahmen ‚z. B.‘, STRAẞE, 3,5 mmol/l, 10.000 Leukozyten",
        "L’état général s’améliore : « œdème », à l’hôpital, ÉLÉVATION À 38 °C ; 10\u202f000/mm³, où, À L’ÂGE, 1\xa0g",
        "El paciente señala «dolor» ¿cuándo? ¡Sí! Pingüino, AÑOS, ÚLCERA, 1.234,5 mg, nº 3, 2.ª dosis",
        "De patiënt heeft één coëfficiënt; reünie, geïrriteerd, ’s ochtends, 37,5 °C, µg, privé, € 20",
        "ÅÄÖ, ÖVRIGT: ”normalt”, hjärtfrekvens 72/min, Ångström, idé, vårdtillfälle – åter",
        "È perché più città però; «sintomi», l’anamnesi, PIÙ, QUALITÀ, 1.250,75 mg/die, n° 3, À, Ì, Ò",
        "Não há alterações: AVALIAÇÃO, SITUAÇÃO, IRMÃ, ÓRGÃOS, avô, lingüiça, TÓRAX, PULMÃO – À DIREITA",
    ],
)
def test_text_of_other_languages_is_unchanged(text: str) -> None:
    """Quotes, decimal commas, spaces in numbers and letters stay; what a wrong encoding read comes back."""
    for written in (text, text.upper(), text.lower(), text.title()):
        assert clean(written, ALL, Counter()) == written
        assert clean(unicodedata.normalize("NFD", written), ALL, Counter()) == written
    assert clean(text.encode().decode("latin-1"), ALL, Counter()) == text
    if "ẞ" not in text and "\u202f" not in text:
        assert clean(text.encode("cp1252").decode("latin-1"), ALL, Counter()) == text


def test_steps_are_selected_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    texts = ["plain", "P &lt; 1", "a\\u0000b", "c\\u0000d &gt;", "Ours. All rights reserved."]
    path.write_text("".join(f'{{"patient": "1", "text": "{text}"}}\n' for text in texts))
    config = {"name": "own", "format": "table", "licence": "", "paths": [str(path)], "split_by": "patient"}

    def cleaned(**options: Any) -> tuple[list[str], dict[str, int]]:
        source = TableSource.model_validate(config | options)
        changed: Counter[str] = Counter()
        return [document.text for document in read_file(source, input_files(source)[0], changed)], dict(changed)

    assert cleaned() == (
        ["plain", "P < 1", "ab", "cd >", "Ours. All rights reserved."],
        {"encoding": 2, "control_characters": 2},
    )
    assert cleaned(clean=["boilerplate"])[0][4] == "Ours."
    assert cleaned(clean=[]) == (["plain", "P &lt; 1", "a\0b", "c\0d &gt;", "Ours. All rights reserved."], {})


def test_few_real_abstracts_change(dev_data: Path) -> None:
    """Where ftfy is skipped, it would change nothing."""
    paths = [str(dev_data / "pubmed_xml_samples" / "*.xml*"), str(dev_data / "pubmed" / "example_*.xml.gz")]
    source = PubMedSource(name="pubmed", format="pubmed", licence="", paths=paths, clean=[])
    before = [document.text for document in read(source)]
    after = [clean(text, ALL, Counter()) for text in before]
    for text in before:
        assert clean(text, ["encoding"], Counter()) == ftfy.fix_text(text, cleaning._FTFY)
    assert sum(map(len, after)) > 0.999 * sum(map(len, before))
    assert sum(a != b for a, b in zip(before, after, strict=True)) < 0.03 * len(before)
