"""Codes with their dot, as clinical notes write them; the publishers' files omit it."""


def icd10(code: str) -> str:
    """An ICD-10-CM code: E119 -> E11.9."""
    return _dotted(code, 3)


def icd9(code: str) -> str:
    """An ICD-9 diagnosis: 25000 -> 250.00, E8497 -> E849.7."""
    return _dotted(code, icd9_category(code))


def icd9_category(code: str) -> int:
    """The number of characters of an ICD-9 diagnosis before the dot."""
    return 4 if code.startswith("E") else 3


def icd9_procedure(code: str) -> str:
    """An ICD-9 procedure: 3961 -> 39.61."""
    return _dotted(code, 2)


def _dotted(code: str, prefix: int) -> str:
    return code if len(code) <= prefix or "." in code else f"{code[:prefix]}.{code[prefix:]}"
