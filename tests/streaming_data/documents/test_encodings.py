"""The encoding of an old European file is recognized by its letters."""

import pytest

from clinical_modernbert.streaming_data.documents.encodings import likely_encoding

TEXTS = {
    "de": "Größenveränderung des Ösophagus, Maßnahme für drei Tage, Übelkeit und Müdigkeit",
    "fr": "L'état général s'améliore, à l'hôpital depuis le début, fièvre très élevée",
    "es": "El corazón del señor está acelerado, tensión sistólica según el médico, años",
    "nl": "De patiënt heeft een geïrriteerde huid, coëfficiënt, één keer",
    "sv": "Läkare såg på lördagen, åter på måndag, hjärtat är bättre",
    "it": "È più città però, perché l'attività è già normale",
    "pt": "Não há alterações, coração e pulmões, situação, mãe, avô, três",
}


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("encoding", ["cp1252", "cp850", "mac_roman"])
def test_the_encoding_is_recognized(language: str, encoding: str) -> None:
    assert likely_encoding(TEXTS[language].encode(encoding)) == encoding


@pytest.mark.parametrize("data", [b"", b"plain", bytes(range(128, 256)) * 4])
def test_other_data_has_no_likely_encoding(data: bytes) -> None:
    assert likely_encoding(data) is None
