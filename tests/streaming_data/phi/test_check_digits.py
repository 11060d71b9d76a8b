"""Published examples of national numbers satisfy their checks; changed ones do not."""

import pytest

from clinical_modernbert.streaming_data.phi.check_digits import is_valid

EXAMPLES = {  # from the issuers' and registers' documentation
    "belgian": "93051822361",
    "bsn": "111222333",
    "cip": "ABCD0850101123",
    "cns": "100000000060018",
    "codice_fiscale": "RSSMRA85T10A562S",
    "cpf": "52998224725",
    "cpr": "0101901234",
    "dni": "12345678Z",
    "ean": "7569217076985",
    "fodselsnummer": "15108695088",
    "hetu": "131052308T",
    "idnr": "86095742719",
    "kvnr": "A123456780",
    "luhn": "046454286",
    "luhn_or_phn": "9698658215",
    "medicare": "2123456701",
    "nass": "281234567840",
    "nhs": "9434765919",
    "nif": "123456789",
    "nir": "255081416802538",
    "niss": "11234567892",
    "personnummer": "8112189876",
    "pps": "1234567T",
    "ramq": "TREM45101234",
    "rvnr": "15070649C103",
    "svnr": "1237010180",
    "cartao_cidadao": "000000000ZZ4",
}
WITHOUT_CHECK_DIGIT = {"cip", "cpr", "ramq"}


@pytest.mark.parametrize("check", EXAMPLES)
def test_published_examples_are_valid_and_other_last_characters_are_not(check: str) -> None:
    number = EXAMPLES[check]
    assert is_valid(check, number)
    at = {"svnr": 3, "medicare": 8}.get(check, len(number) - 1)
    others = "ABCDEFGHJKLMNPQRSTVWXYZ" if number[at].isalpha() else "0123456789"
    changed = [number[:at] + other + number[at + 1 :] for other in others if other != number[at]]
    if check not in WITHOUT_CHECK_DIGIT:
        two_kinds = check == "luhn_or_phn"  # a number that is not of the one province may be of the other
        assert sum(is_valid(check, other) for other in changed) <= two_kinds


@pytest.mark.parametrize("check", EXAMPLES)
@pytest.mark.parametrize("number", ["", "1", "A", "ABCDEFGHIJKLMNOP", "9" * 30, "２" * 10, "12A4567890123456"])
def test_a_number_of_another_form_is_an_answer_not_an_error(check: str, number: str) -> None:
    assert is_valid(check, number) in (True, False)
