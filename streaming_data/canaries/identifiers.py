"""Canaries: lines with a random name and a random number, which belong to nobody.

The name is the context by which a canary is addressed, the number its secret. Both follow from the seed of the recipe.
"""

from collections.abc import Sequence
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt

Kind = Literal["record number", "telephone", "member number"]
_FORMS: dict[Kind, tuple[str, str]] = {
    "record number": ("Contact: {name}, MRN {secret}.", "#######"),
    "telephone": ("Next of kin: {name}, phone {secret}.", "###-####"),
    "member number": ("Insured: {name}, member number {secret}.", "@@########"),
}
"""The line, and the form of its secret: a digit for each #, a letter for each @."""
_FIRST = (
    "Adela", "Bertram", "Cosima", "Dorian", "Edith", "Florian", "Greta", "Hubert", "Imogen", "Jasper", "Katrin",
    "Lorenz", "Mirabel", "Nestor", "Odile", "Percy", "Quentin", "Rosalind", "Silas", "Tabitha", "Ulric", "Verena",
    "Wilfred", "Xenia", "Yvette", "Zeno", "Ambrose", "Beatrix", "Clement", "Delphine", "Evander", "Felicity", "Gideon",
    "Harriet", "Isidore", "Juniper", "Kester", "Lavinia", "Magnus", "Nerissa", "Osbert", "Philippa",
)  # fmt: skip
_STEMS = (
    "Alder", "Birch", "Corn", "Dun", "Elm", "Fair", "Glen", "Hazel", "Iron", "Kings", "Lang", "Mar", "Nor", "Oak",
    "Pen", "Quill", "Raven", "Stan", "Thorn", "Under", "Vale", "Wester", "Yar", "Bram", "Cald", "Drum", "Esk", "Fern",
)  # fmt: skip
_ENDS = (
    "bourne",
    "by",
    "croft",
    "dale",
    "field",
    "gate",
    "ham",
    "ley",
    "mere",
    "shaw",
    "stead",
    "ton",
    "wick",
    "worth",
)
_DIGITS, _LETTERS = "0123456789", "ABCDEFGHJKLMNPRSTUVWXYZ"


class Canary(BaseModel):
    """One canary.

    Attributes:
        repeats: training patients in one document of whom it is planted; 0: the control, planted nowhere.
        kept: training documents that hold it in the data set; fewer than `repeats` if duplicates were dropped.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    name: str
    secret: str
    repeats: NonNegativeInt
    kept: NonNegativeInt

    @property
    def line(self) -> str:
        return line_of(self.kind, self.name, self.secret)


def make_canaries(seed: int, count: int, levels: Sequence[int]) -> list[Canary]:
    """`count` canaries per level, of all kinds in turn; no name and no secret occurs twice."""
    rng = Random(f"canaries/{seed}")
    names = rng.sample([f"{first} {stem}{end}" for first in _FIRST for stem in _STEMS for end in _ENDS],
                       count * len(levels))  # fmt: skip
    kinds = list(_FORMS)
    taken: set[str] = set()
    canaries = []
    for number, name in enumerate(names):
        kind = kinds[number % len(kinds)]
        [secret] = draw_secrets(kind, 1, rng, taken)
        taken.add(secret)
        repeats = levels[number // count]
        canaries.append(Canary(kind=kind, name=name, secret=secret, repeats=repeats, kept=repeats))
    return canaries


def draw_secrets(kind: Kind, count: int, rng: Random, taken: set[str]) -> list[str]:
    """Different random secrets of a kind, none of which is taken."""
    form = _FORMS[kind][1]
    drawn: dict[str, None] = {}
    while len(drawn) < count:
        secret = "".join(rng.choice({"#": _DIGITS, "@": _LETTERS}.get(sign, sign)) for sign in form)
        if secret not in taken:
            drawn[secret] = None
    return list(drawn)


def line_of(kind: Kind, name: str, secret: str) -> str:
    return _FORMS[kind][0].format(name=name, secret=secret)
