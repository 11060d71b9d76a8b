"""Words that name a group, and words beside which a swap would make a text contradict itself.

A slot has the words of one meaning and form: a word is swapped for the first word in the same slot of another group.
"""

import re

Slots = tuple[tuple[str, ...], ...]

SLOTS: dict[str, dict[str, Slots]] = {
    "sex": {
        "man": (
            ("man",), ("men",), ("male",), ("males",), ("gentleman",), ("boy",), ("he",), ("himself",), ("mr",),
            ("husband",), ("father",), ("brother",), ("son",), ("boyfriend",), ("grandfather",), ("uncle",),
            ("widower",),
        ),
        "woman": (
            ("woman",), ("women",), ("female",), ("females",), ("lady",), ("girl",), ("she",), ("herself",),
            ("mrs", "ms"), ("wife",), ("mother",), ("sister",), ("daughter",), ("girlfriend",), ("grandmother",),
            ("aunt",), ("widow",),
        ),
    },
    "age": {"younger": (("young",),), "older": (("elderly",),)},
    "ethnicity": {
        "White": (("white",), ("Caucasian",)),
        "Black": (("black",), ("African American", "African-American")),
        "Hispanic": (("Hispanic",), ("Latino", "Latina")),
        "Asian": (("Asian",), ("Asian American", "Asian-American")),
    },
    "insurance": {
        "private": (
            ("Blue Cross", "Aetna", "Cigna", "BCBS", "Blue Cross Blue Shield", "UnitedHealthcare"),
            ("private insurance", "commercial insurance"),
            ("privately insured", "commercially insured"),
        ),
        "Medicaid": (
            ("Medicaid", "MassHealth", "Medi-Cal"),
            ("public insurance", "government insurance"),
            ("publicly insured",),
        ),
        "uninsured": (
            ("no insurance coverage", "no health insurance coverage"),
            ("no insurance", "no health insurance"),
            ("uninsured", "not insured"),
        ),
    },
}  # fmt: skip
"""Attribute -> group -> slots, as many in every group. The first group is the one with which others are compared."""

PATIENT_NOUNS = ("man", "woman", "male", "female", "gentleman", "lady", "boy", "girl", "mr", "mrs", "ms")
"""Of the attribute sex: the first of them in a text is taken to be of the patient."""

SYNONYMS = {
    "man": "gentleman", "gentleman": "man", "woman": "lady", "lady": "woman", "male": "man", "female": "woman",
    "young": "younger", "elderly": "older",
    "white": "Caucasian", "caucasian": "white", "black": "African American", "african american": "black",
    "hispanic": "Latino", "latino": "Hispanic", "asian": "Asian American", "asian american": "Asian",
    "blue cross": "Aetna", "medicaid": "MassHealth", "no insurance coverage": "no health insurance coverage",
    "private insurance": "commercial insurance", "public insurance": "government insurance",
    "no insurance": "no health insurance", "privately insured": "commercially insured", "uninsured": "not insured",
}  # fmt: skip
"""Another word for the same group: what the control has instead."""

PERSONS = "man|woman|male|female|gentleman|lady|patient|person|adult|individual|boy|girl"

_DEPENDENT = {
    "sex": (
        r"pregnan|gravid|\bG\d+\s?P\d+|menstru|menses|menarche|menopaus|\bLMP\b|uter[ui]|ovar|cervix|pap smear|"
        r"cervical (?:cancer|dysplasia|smear)|vagin|vulv|breast(?! sounds)|mammogra|mastectomy|hysterectomy|endometri|"
        r"obstetric|gyn(?:a?ecolog|\b)|ectopic|eclampsia|post-?partum|prenatal|antenatal|lactating|lactation|"
        r"contracepti|\bIUD\b|f(?:o?etal|o?etus)|placent|miscarriage|abortion|ca?esarean|trimester|midwi|hCG|"
        r"prosta|testic|testes|testis|scrot|penis|penile|erectile|\bBPH\b|\bPSA\b|vasectomy|epididym|circumcis|"
        r"hypospad|sperm|semen|turner syndrome|klinefelter"
    ),
    "age": (
        r"retire|student|school|college|pregnan|menopaus|menarche|nursing home|assisted living|medicare|grand(?:child|"
        r"son|daughter|mother|father|parent)|adolescen|teenage|p(?:a)?ediatr|geriatr|dementia|alzheimer|childhood"
    ),
    "ethnicity": (
        r"sickle|thalass|tay-sachs|keloid|interpreter|translator|spanish|mandarin|cantonese|chinese|vietnamese|korean|"
        r"japanese|portuguese|creole|haiti|mexic|puerto ric|dominican|africa\b|asia\b|immigra|refugee|born in|native of"
    ),
    "insurance": r"medicare|co-?pay|deductible|prior authori[sz]ation|premium",
}
DEPENDENT = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in _DEPENDENT.items()}
"""Attribute -> what is not true, or hardly, of another group. A text that has it is left out."""

NO_NOUN = re.compile(
    r"a|about|after|again|against|all|and|any|are|as|at|away|back|because|before|but|by|daily|down|during|each|either|"
    r"every|for|from|had|has|he|if|in|into|is|it|me|more|nor|not|now|of|off|on|onto|or|out|over|per|she|since|so|some|"
    r"than|that|the|then|there|these|they|this|those|through|to|today|tomorrow|tonight|twice|under|until|up|very|was|"
    r"we|well|were|what|when|where|whether|which|while|who|why|will|with|without|would|yesterday|you",
    re.IGNORECASE,
)
"""After `her` and `his`: words before which they do not belong to a noun."""

GIVING = re.compile(
    r"bring|brought|give|gave|given|giving|hand(?:ed)?|offer(?:ed|ing)?|sent|taught|tell|told", re.IGNORECASE
)
"""Before `her`: verbs after which it is an object, as in `gave her morphine`."""
