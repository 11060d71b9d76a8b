"""Codes as notes write them: the publishers' files leave the dot out."""


def icd10(code: str) -> str:
    """Dotted after the category: E119 -> E11.9."""
    return _dotted(code, 3)


def icd9(code: str) -> str:
    """A diagnosis: 25000 -> 250.00, E8497 -> E849.7."""
    return _dotted(code, icd9_category(code))


def icd9_category(code: str) -> int:
    """How many characters of a diagnosis stand before the dot."""
    return 4 if code.startswith("E") else 3


def icd9_procedure(code: str) -> str:
    """3961 -> 39.61."""
    return _dotted(code, 2)


def _dotted(code: str, whole: int) -> str:
    return code if len(code) <= whole or "." in code else f"{code[:whole]}.{code[whole:]}"
