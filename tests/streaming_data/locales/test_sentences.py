"""Sentences of eight languages end where they end, and not behind their abbreviations."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.locales.locale import LOCALES
from clinical_modernbert.streaming_data.locales.sentences import sentence_ends

SENTENCES = {
    "de_DE": [
        "Der Pat. wurde am 3. März von Dr. Groß bzw. z.B. Prof. A. Müller aufgenommen.",
        "Keine Beschwerden, ca. 3 Std. später „beschwerdefrei.“",
        "Entlassung!",
    ],
    "en_GB": ["Seen by Dr. Smith, i.e. the pt. of Mr. Jones, vs. last year.", "No pain at 5 mg.", "Well?"],
    "fr_FR": [
        "M. Dupont, vu par le Dr. Martin et Mme. Petit, prend p.ex. 3 cp. par jour.",
        "Pas de fièvre à 37.",
        "« Va bien. »",
        "Sortie !",
    ],
    "es_ES": ["El Sr. García y la Dra. López, p.ej. en la pág. 3, toman aprox. 5 mg.", "¿Dolor?", "No."],
    "nl_NL": ["Dhr. de Vries heeft o.a. koorts, bijv. sinds 3 dgn., resp. i.v.m. een infectie.", "Gaat goed."],
    "sv_SE": ["Pat. har t.ex. feber, bl.a. p.g.a. infektion, enl. Dr. Berg ca. 38 grader.", "Mår bra."],
    "it_IT": ["Il Sig. Rossi, ecc. e la Dott.ssa. Bianchi, v. pag. 3, assume 2 cp. al giorno.", "Sta bene."],
    "pt_PT": ["O Sr. Silva e a Dra. Costa, p.ex. na pág. 3, tomam aprox. 5 mg.", "Está bem."],
}


def sentences(text: str, locales: list[str]) -> list[str]:
    ends = [0, *sentence_ends(text + "\n", locales)]
    return [part for start, end in itertools.pairwise(ends) if (part := text[start:end].strip())]


@pytest.mark.parametrize("locale", SENTENCES)
def test_abbreviations_end_no_sentence_in_their_language(locale: str) -> None:
    expected = SENTENCES[locale]
    text = " ".join(expected)
    assert sentences(text, [locale]) == expected
    assert sentences(text, ["en_US", locale]) == expected, "several languages know the abbreviations of each"
    assert len(sentences(text, [])) > len(expected), "without a locale every dot before a space ends a sentence"


def test_an_ordinal_number_ends_a_sentence_where_dots_make_none() -> None:
    assert sentences("Am 3. Tag. Gut.", ["de_AT"]) == ["Am 3. Tag.", "Gut."]
    assert sentences("We saw 3. They left.", ["en_US"]) == ["We saw 3.", "They left."]


@given(st.text('aA.!? \n"”»3äDr', max_size=40), st.sampled_from(LOCALES))
def test_a_locale_removes_ends_but_not_of_lines(text: str, locale: str) -> None:
    known, every = sentence_ends(text, [locale]), sentence_ends(text, [])
    assert known == sorted(set(known))
    assert {end for end in every if text[end - 1] in "\n!?" and text[end:].strip(" ")[:1] != "»"} <= set(known)
    assert all(text[end - 1] in '.!?…\n"”»' for end in known)
