"""Identifiers of eleven languages are found in text of any language, without false alarms and in linear time."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.locales.locale import LOCALES
from clinical_modernbert.streaming_data.phi.patterns import PhiAudit, find_identifiers, require_deidentified
from clinical_modernbert.streaming_data.shards.manifest import AuditCounts, SourceInfo
from clinical_modernbert.streaming_data.synthetic.notes import generate

ALWAYS = {
    "date": "3-Mar-19 | 03MAR2019 | 19.03.1999 | 2019/03/19 | 20190319 | 25/12/99 | 3. März 2019 | 3 de marzo de 2019 "
    "| 1er janvier 2020 | le 3 févr. 2019 | 3 maart 2019 | 9-okt-19 | 3 gennaio 2019 | 12 de março de 2020 "
    "| MAR 3 2019 | 10\xa0juill.\xa02007 | 2019-3-9 | 3. marts 2019 | 3. maaliskuuta 2019 | 15/01//1991 | 03-06/2022 "
    "| March 2019 | mars 2019 | marzo de 2011 | agosto del año 2011 | maaliskuussa 2019 | nov. 1999 | 03/2019 "
    "| 3 March | March 3rd | 3. März | 3 de marzo | 1er mars | 12 Nov | Mar 3 | 3. marts | ED 03/23 | seit 3/19 "
    "| dx 5/18 | (03/23) | vom 19.3. | am 12.03. | 6.10. bis 9.10. | 01.03.-05.03. | 06/07.11.2024",
    "name": "MR. SMITH | DR. JONES | Herr Müller | Frau Dr. med. Groß | Mme Dupont | Sra. García | dhr. de Vries "
    "| mevrouw van den Berg | Sig.ra Rossi | Dott. Bianchi | Dona Maria Silva | Överläkare Åkesson | HERR MÜLLER "
    "| MME DUPONT | Docteur O’Brien | sig. D’Angelo | Overlæge Hansen | fru Jensen | rouva Virtanen "
    "| Herr Kollege Maier",
    "phone": "Tel: 030 1234567 | Tél. : 01 23 45 67 89 | +49 30 1234567 | +44 (0)7700 900123",
    "postcode": "SW1A 1AA | K1A 0B6 | 1234 AB Utrecht | D-80331 München | DK-2100 København",
    "record_number": "Hospital No 1234567 | Hospital No: A12345 | Pat.-Nr. 123456 | NHC: 12345 | N° de dossier : 4711 "
    "| Patiëntnummer: 12345 | N.º de utente: 123456789 | MRN 12345 | Fallzahl: 103354008 "
    "| NºCol: 28 28 57410 | Journalnr.: 12345",
    "national_number": "A123456780 | 12345678Z | RSSMRA85T10A562S | 811218-9876 | 2 55 08 14 168 025 38 "
    "| 010190-1234 | 151086 95088 | 131052-308T",
    "age_over_89": "aged 93 | 93 ans | 93-jährige | edad: 101 | 93 jaar | 95-årig | 92enne | 97 anos "
    "| 93-vuotias | 92 år gammel",
    "address": "12, rue de la Paix | Via Roma 12 | Calle Mayor 5 | Hauptstraße 12a | Storgatan 5 | Karl Johans gate 22 "
    "| Mannerheimintie 5 | Nørregade 12 | P.O. Box 123 | Postfach 1234 | Calle de la fuente 96 | Avda. de Elvas s/n "
    "| 12 rue de la gare",
}
IDENTIFIERS = [(kind, identifier) for kind, listed in ALWAYS.items() for identifier in listed.split(" | ")]
FIELDS = (
    *("Nom : DUPONT", "Apellidos: García López", "nachname: müller", "PATIENT: SMITH, JOHN", "Name: MÜLLER, HANS"),
    *("Name\tSmith, John", "Prénom: jean", "Patient: Anna Schmidt", "patiënt: de vries, jan", "SURNAME: O'NEILL"),
    *("Efternamn: Åkesson", "Cognome e nome: Rossi Mario", "Nome do utente: Silva", "Signed by: Jane van Dyk"),
    *("SMITH, JOHN (M)", "Smith, John DOB 03/04/1950"),
)
LOCAL = {
    "de_DE": "030 1234567 | 80331 München | 3.3.19 | bis 23/12 | am 12.03",
    "de_AT": "1010 Wien",
    "en_AU": "NSW 2000",
    "en_GB": "020 7946 0123",
    "en_US": "on 3/4 | from 3/14",
    "en_IE": "D36AVXH",
    "es_ES": "912 345 678 | 28001 Madrid | D. Palmer",
    "fr_FR": "01 23 45 67 89 | 01\u202f23\u202f45\u202f67\u202f89 | M. Dupont",
    "it_IT": "338 1234567 | 00184 Roma",
    "nl_NL": "9453RO | 111222333",
    "da_DK": "32 12 34 56 | 2100 København | mar. 2019",
    "en_CA": "046454286",
    "fi_FI": "09 123 456 | 00100 Helsinki",
    "nb_NO": "22 12 34 56 | 0152 Oslo | des. 2019",
    "pt_BR": "(11) 91234-5678",
    "pt_PT": "217 123 425 | 1100-148 Lisboa",
    "sv_SE": "08-465 004 12 | 113 30 Stockholm | 11330 Ängelholm",
}
CLEAN = {
    "en_GB": "Seen in clinic on ___ by Dr ___. BP 120/80, HR 72-84, eGFR 90 (>60). MR ANGIOGRAPHY and MS PATIENTS, "
    "HLA-DR and NMR. T2N1M0, G2P1A0, C57BL/6 and C57BL 6J, Oct 4, Sept 9 and "
    "Dec 1 genes, vision 6/12, power 5/5, nodes (7/15), 3 out of 4, from 0.05. Dear colleague, "
    "take 1 hr before meals. Drug name: Aspirin. Mother: Breast Cancer. Age 45-90 years, "
    "B12 5MG, T2 N1 M0.",
    "de_DE": "Pat. mit z.n. Herzinfarkt, RR 120/80 mmHg, Temp. 37,5 °C, 10.000 Leukozyten, ca. 3-4 Std., Größe 175 "
    "cm, Sehr geehrte Frau Kollegin, sehr geehrter Herr Kollege, Befund, Zustand nach Sturz, "
    "Herr ___ wurde am ___ aufgenommen. Patient: wach. Dosis 1-0-1, Grad 2.3, Faktor 1.5.3, 90 mg.",
    "fr_FR": "M. ___ est âgé de 65 ans ; TA à 12/8, SpO2 95 %, M. tuberculosis, 10 000/mm3 de leucocytes, T° 38,5 "
    "°C, 3 cp par jour pendant 90 jours, nom du médicament : doliprane, prise de 500 mg x 3, via une voie "
    "centrale 3.",
    "es_ES": "Paciente de 65 años, D. ___ acude por dolor. TA 120/80, FC 72, Tª 37,5, 1.234,5 mg, 3 de 10 casos, "
    ""
    "vitamina D. No refiere, 50U/kg/d de Factor VIII, "
    "dosis de 500 mg cada 8 h. Médico: ___. Calle sin datos. Sr. ___ refiere mejoría tras 90 días.",
    "nl_NL": "Patiënt: stabiel. Dhr. ___, 65 jaar, RR 120/80, temp 37,5, 3 dd 500 mg, ca. 90 mg, 1 mw. Gezien op "
    "___. Contact: telefonisch. Patiënt komt bij de arts: geen klachten, 1234 ml in 24 uur.",
    "sv_SE": "Pat kom in den ___ med feber 38,5. BT 120/80, puls 72, 65 år. Läkare: ___. Tabl 500 mg 1x3 i 90 "
    "dagar, t.ex. vid 3-4 tillfällen. Herr ___ mår bättre. Plan 2 följs.",
    "da_DK": "Pt. indlægges d. ___ med feber 38,5. BT 120/80, puls 72, 65 år. Læge: ___. Tbl. 500 mg x 3 i 90 dage, "
    "hr. ___ har det bedre, ca. 3-4 gange, 1,5 mg, 12 kg.",
    "nb_NO": "Pas. innlagt ___ med feber 38,5. BT 120/80, puls 72, 65 år. Lege: ___. Tabl. 500 mg x 3 i 90 dager, "
    "fru ___ er bedre, ca. 3-4 ganger, 1,5 mg, Investigate 5.",
    "fi_FI": "Potilas tuli ___ kuumeen vuoksi 38,5. RR 120/80, pulssi 72, 65 v. Lääkäri: ___. Tabl. 500 mg x 3 90 "
    "päivää, rouva ___ voi paremmin, n. 3-4 kertaa, 1,5 mg.",
    "it_IT": "Il Sig. ___ di anni 65, PA 120/80, FC 72, TC 37,5, 1.250,75 mg/die per 90 giorni, via orale 3 volte. "
    "Medico: ___. Cartella in ordine. Paziente: vigile. Dott. ___ riferisce miglioramento, via endovenosa "
    "2.",
    "pt_PT": "Sr. ___, 65 anos, TA 120/80, FC 72, 37,5 °C, 3,5 mg de 8/8 h durante 90 dias. Utente: estável. "
    "Processo em curso. Médico: ___. D. ___ melhorou; 3 de 10 doentes, rua sem dados.",
}


def planted(identifier: str, separator: str) -> tuple[str, int, int]:
    note = next(generate(5))["text"]
    before = f"{note[:400].rsplit(' ', 1)[0].rstrip()}{separator}"
    return f"{before}{identifier}{separator}{note[400:800]}", len(before), len(before) + len(identifier)


@pytest.mark.parametrize(("kind", "identifier"), IDENTIFIERS)
def test_forms_of_all_languages_are_found_without_a_locale(kind: str, identifier: str) -> None:
    text, start, end = planted(identifier, " ; ")
    found = [each for each in find_identifiers(text) if each.start < end and each.end > start]
    assert kind in {each.kind for each in found}, text[start:end]
    assert kind == "postcode" or max(each.end for each in found) >= end - 1, (
        "found to its end, a house number's letter apart"
    )


@pytest.mark.parametrize("date", ["30.12.1987der", "17.10.2029/AB", "geb.12.3.1950,wohnhaft"])
def test_a_date_is_found_where_a_space_is_missing(date: str) -> None:
    assert "date" in {each.kind for each in find_identifiers(f"Seen {date} again")}


@pytest.mark.parametrize("field", FIELDS)
def test_names_in_fields_are_found_in_any_case_and_order(field: str) -> None:
    text, start, end = planted(field, "\n")
    assert any(each.kind == "name" and each.start < end and each.end > start for each in find_identifiers(text))


@pytest.mark.parametrize(
    ("locale", "identifier"), [(locale, each) for locale, listed in LOCAL.items() for each in listed.split(" | ")]
)
def test_doubtful_forms_are_found_with_the_locale_only(locale: str, identifier: str) -> None:
    text, start, end = planted(identifier, " ; ")

    def is_found(locales: list[str]) -> bool:
        return any(each.start < end and each.end > start for each in find_identifiers(text, locales))

    assert is_found([locale])
    assert not is_found([])


@pytest.mark.parametrize("locale", CLEAN)
def test_clean_text_has_no_false_alarm_with_any_locale(locale: str) -> None:
    assert find_identifiers(CLEAN[locale]) == []
    assert find_identifiers(CLEAN[locale], [locale]) == []


def test_synthetic_notes_have_no_false_alarm_with_any_locale() -> None:
    for row in itertools.islice(generate(0), 100):
        assert find_identifiers(row["text"], LOCALES) == []


PIECES = st.lists(
    st.sampled_from(
        [identifier for _, identifier in IDENTIFIERS] + [*FIELDS, " ", "\n", "İ", "ß", "Dr.", "MRN", ": ", "12", "x"]
    ),
    max_size=12,
).map("".join)


@settings(max_examples=200, deadline=None)
@given(PIECES, st.sampled_from(LOCALES))
def test_a_locale_adds_findings_and_removes_none(text: str, locale: str) -> None:
    covered = [range(found.start, found.end) for found in find_identifiers(text, [locale])]
    for found in find_identifiers(text):
        assert 0 <= found.start < found.end <= len(text)
        assert any(each.start <= found.start and found.end <= each.stop for each in covered)


HOSTILE = [
    *("A", "a", "1", " ", ".", "-", "'", "A ", "Aa ", "1 ", "1.", "1-", "0 ", "(", "+", "Dr. ", "Dr", "Name: ", "Tel "),
    *("A, ", "Aa-", "rue de la ", "Via A", "12 rue ", "a, ", "von der ", "aged 9", "19", "2019 ", "1 mars ", "MRN "),
    *("A1", "AB12", "AAAA 1 ", "\n", "straße 1", "x: ", "ab@", "(1", "1(", "Mr. De La ", "jan", "jan 1 ", "1jan", "é"),
    *("Herr ", "A. ", "@", "a@", "a.", "www.", "\t", ": ", "N° "),
]


@pytest.mark.slow
@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_text_takes_linear_time(unit: str) -> None:
    """Four times the text takes about four times the time, not sixteen; the least of several runs is robust to load."""

    def seconds(length: int) -> float:
        text = (unit * length)[:length] + "!"
        runs = []
        for _ in range(2):
            start = time.process_time()
            find_identifiers(text, LOCALES)
            runs.append(time.process_time() - start)
        return min(runs)

    find_identifiers("compile the patterns", LOCALES)
    assert seconds(20_000) < 9 * seconds(5_000) + 0.05


@pytest.mark.slow
def test_a_long_word_before_an_at_sign_takes_linear_time() -> None:
    start = time.process_time()
    find_identifiers("a" * 200_000 + "@")
    assert time.process_time() - start < 5, "a quadratic search takes minutes"


@pytest.mark.parametrize(
    "header",
    [
        "Nachname: Müller\nVorname: Hans\ngeb. 12.03.1950\nPat.-Nr.: 123456\n",
        "Patient: Tremblay, Marie\nRAMQ TREM 5051 1234\nMontréal QC H2X 1Y4\n",
        "PATIENT: SMITH, JOHN\nHOSPITAL NO: A12345\nDR. JONES\n",
    ],
)
def test_notes_with_headers_are_not_uploaded(header: str) -> None:
    audit = PhiAudit()
    for row in itertools.islice(generate(2), 500):
        audit.add(header + row["text"])
    assert audit.flagged == audit.documents
    info = SourceInfo(audit=AuditCounts(**audit.describe()), splits={})
    with pytest.raises(UserError, match="500 of 500 documents contain possible patient identifiers"):
        require_deidentified({"letters": info})
