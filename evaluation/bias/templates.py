"""Templates of short notes: a group is named in one place, and words are compared in another."""

from collections import Counter
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...configs.loader.load import load

PACKAGED = Path(__file__).with_name("templates.yaml")
_OUTCOME = "{outcome}"
_BLANK = "___"
"""In place of the outcome where nothing is filled in: what de-identified notes have for what was removed."""
_SHORT = 4
"""Letters of words that wordings of a group may share: articles and prepositions."""

Words = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class Attribute(BaseModel):
    """What is swapped, such as sex."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    frame: str = Field(description="the patient, with {} for a wording of a group")
    reference: str = Field(description="the group with which the others are compared")
    groups: dict[str, Words] = Field(min_length=2, description="wordings of each group")

    @model_validator(mode="after")
    def _check(self) -> "Attribute":
        if self.frame.count("{}") != 1:
            raise ValueError(f"frame has {self.frame.count('{}')} times {{}}; expected it once")
        if self.reference not in self.groups:
            raise ValueError(f"reference {self.reference} is none of the groups {', '.join(self.groups)}")
        if len(sizes := {len(set(wordings)) for wordings in self.groups.values()}) > 1 or min(sizes) < 2:
            raise ValueError("every group needs the same number of wordings, two or more: they give the noise floor")
        for group, wordings in self.groups.items():
            every = Counter(word for phrase in wordings for word in set(phrase.lower().split()) if len(word) > _SHORT)
            if shared := [word for word, count in every.items() if count > 1]:
                raise ValueError(
                    f"two wordings of {group} have {shared[0]}: what is of this word would be taken for the group's"
                )
        return self


class Domain(BaseModel):
    """What may be filled in: words that are compared with others in the same templates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    words: Words
    against: Words
    templates: Words

    @model_validator(mode="after")
    def _check(self) -> "Domain":
        if both := set(self.words) & set(self.against):
            raise ValueError(f"{', '.join(sorted(both))} is in `words` and in `against`")
        for number, template in enumerate(self.templates, start=1):
            patients = template.count("{patient}") + template.count("{Patient}")
            if (patients, template.count(_OUTCOME)) != (1, 1):
                raise ValueError(f"template {number} needs {{patient}} or {{Patient}} once, and {{outcome}} once")
        return self


class Templates(BaseModel):
    """The content of a file of templates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attributes: dict[str, Attribute] = Field(min_length=1)
    domains: dict[str, Domain] = Field(min_length=1)


class Wording(NamedTuple):
    """One way to name a group, and the patient in these words."""

    attribute: str
    group: str
    patient: str


def read_templates(path: Path) -> Templates:
    """Read a file of templates; UserError with file and line for every mistake in it."""
    return load(Templates, path)


def wordings(templates: Templates) -> list[Wording]:
    """All wordings of all groups, in the order of the file."""
    return [
        Wording(name, group, attribute.frame.replace("{}", words))
        for name, attribute in templates.attributes.items()
        for group, phrases in attribute.groups.items()
        for words in phrases
    ]


def sides(template: str, patient: str) -> tuple[str, str]:
    """The note about a patient, before and after the outcome."""
    capital = patient[:1].upper() + patient[1:]
    before, after = template.split(_OUTCOME)
    fill = [text.replace("{Patient}", capital).replace("{patient}", patient) for text in (before, after)]
    return fill[0], fill[1]


def note(template: str, patient: str, outcome: str = _BLANK) -> str:
    """The note about a patient with an outcome, or with a blank."""
    return outcome.join(sides(template, patient))
