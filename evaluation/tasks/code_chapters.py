"""The chapters of ICD-9-CM and ICD-10-CM, each with the first category that belongs to it."""

from bisect import bisect_right

_ICD10 = (
    "A00 Infections|C00 Neoplasms|D50 Blood|E00 Endocrine|F01 Mental|G00 Nervous system|H00 Eye|H60 Ear|"
    "I00 Circulatory|J00 Respiratory|K00 Digestive|L00 Skin|M00 Musculoskeletal|N00 Genitourinary|O00 Pregnancy|"
    "P00 Perinatal|Q00 Congenital|R00 Symptoms|S00 Injury|U00 Special|V00 External causes|Z00 Factors"
)
_ICD9 = (
    "001 Infections|140 Neoplasms|240 Endocrine|280 Blood|290 Mental|320 Nervous system|390 Circulatory|"
    "460 Respiratory|520 Digestive|580 Genitourinary|630 Pregnancy|680 Skin|710 Musculoskeletal|740 Congenital|"
    "760 Perinatal|780 Symptoms|800 Injury|E00 External causes|V01 Factors"
)


def icd10_chapter(code: str) -> str:
    """The chapter of an ICD-10 code, one of 22: `E11.9` is Endocrine."""
    return _chapter(code[:3], _ICD10)


def icd9_chapter(code: str) -> str:
    """The chapter of an ICD-9 code, one of 19: `250.00` is Endocrine; eye and ear belong to the nervous system."""
    return _chapter(code[:3], _ICD9)


def _chapter(category: str, table: str) -> str:
    entries = [entry.split(" ", 1) for entry in table.split("|")]
    return entries[max(0, bisect_right([first for first, _ in entries], category) - 1)][1]
