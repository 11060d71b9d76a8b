"""What an ontology says, as English sentences: several templates per relation, one of them chosen by hash.

Names and notes are the publisher's words, unchanged but for a final period.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias, TypeVar, get_args

from ...documents.document import uniform_hash
from .graph import Node

T = TypeVar("T")


RelationKey: TypeAlias = Literal[
    "parents",
    "ancestors",
    "children",
    "siblings",
    "synonyms",
    "definitions",
    "includes",
    "excludes",
    "code_first",
    "use_additional",
    "code_also",
    "seventh_characters",
    "crosswalks",
    "places",
    "related",
    "actions",
    "xrefs",
]
KEYS: tuple[RelationKey, ...] = get_args(RelationKey)


class Relation(NamedTuple):
    """How a relation is worded.

    Attributes:
        key: its name in a recipe.
        templates: {X} is the subject, {x} inside a sentence; {list} are the other terms or the publisher's words.
        most: items of one sentence.
        separator: of the items; empty for commas and `and`.
    """

    key: RelationKey
    templates: tuple[str, ...]
    most: int = 5
    separator: str = ""


RELATIONS = {
    "kind": Relation(
        "parents",
        (
            "{X} is a kind of {list}.",
            "{X} is classified under {list}.",
            "{X} is a more specific case of {list}.",
            "More general than {x}: {list}.",
        ),
    ),
    "member": Relation(
        "parents",
        (
            "{X} belongs to {list}.",
            "{X} is classified under {list}.",
            "{X} is listed under {list}.",
            "One level above {x}: {list}.",
        ),
    ),
    "ancestors": Relation(
        "ancestors",
        (
            "From the top, the path to {x} is {list}.",
            "{X} is found under {list}.",
            "The hierarchy above {x}, from the top: {list}.",
        ),
        most=99,
        separator=", then ",
    ),
    "children": Relation(
        "children",
        (
            "{X} covers {list}.",
            "One level below {x}: {list}.",
            "More specific than {x}: {list}.",
            "Classified under {x}: {list}.",
        ),
    ),
    "siblings": Relation(
        "siblings",
        (
            "{X} has the same parent as {list}.",
            "Under the same heading as {x}: {list}.",
            "On the same level as {x}: {list}.",
        ),
    ),
    "synonyms": Relation(
        "synonyms",
        ("{X} is also called {list}.", "{X} is also known as {list}.", "Other names of {x}: {list}."),
    ),
    "inclusion_terms": Relation(
        "synonyms",
        ("{X} is also used for {list}.", "{X} also stands for {list}.", "Also coded as {x}: {list}."),
    ),
    "close_terms": Relation("synonyms", ("Terms close to {x}: {list}.", "{X} is close in meaning to {list}.")),
    "definition": Relation(
        "definitions",
        ("{X} is defined as follows: {list}.", "Definition of {x}: {list}.", "{X}: {list}."),
        most=1,
    ),
    "includes": Relation(
        "includes", ("{X} includes {list}.", "Included in {x}: {list}.", "Among the things that {x} includes: {list}.")
    ),
    "excludes1": Relation(
        "excludes",
        (
            "{X} excludes {list}.",
            "{X} does not apply to {list}.",
            "Never coded together with {x}: {list}.",
            "Not coded as {x}: {list}.",
        ),
    ),
    "excludes2": Relation(
        "excludes",
        (
            "{X} does not include {list}, which may be coded in addition.",
            "Not included in {x}, but possible at the same time: {list}.",
            "Not part of {x}, though both may be coded: {list}.",
        ),
    ),
    "code_first": Relation(
        "code_first",
        ("Before {x}, code first {list}.", "{X} is coded after {list}.", "Coded first, before {x}: {list}."),
    ),
    "use_additional": Relation(
        "use_additional",
        (
            "With {x}, use additional {list}.",
            "{X} is used with additional {list}.",
            "Use additional, with {x}: {list}.",
        ),
    ),
    "code_also": Relation(
        "code_also",
        ("With {x}, code also {list}.", "{X} is coded together with {list}.", "Code also, with {x}: {list}."),
    ),
    "seventh_characters": Relation(
        "seventh_characters",
        ("The seventh character of {x} is {list}.", "{X} takes as its seventh character {list}."),
        most=16,
        separator="; ",
    ),
    "same": Relation(
        "crosswalks",
        ("{X} corresponds to {list}.", "The equivalent of {x} is {list}.", "{X} has the same meaning as {list}."),
    ),
    "near": Relation(
        "crosswalks",
        ("{X} corresponds approximately to {list}.", "Close to {x}: {list}.", "{X} is similar to {list}."),
    ),
    "places": Relation("places", ("{X} is also found at {list}.", "Further tree numbers of {x}: {list}.")),
    "related": Relation("related", ("{X} is related to {list}.", "See also, for {x}: {list}.")),
    "actions": Relation(
        "actions", ("{X} has the pharmacological action of {list}.", "Pharmacological action of {x}: {list}.")
    ),
    "xrefs": Relation("xrefs", ("{X} has the codes {list} in other vocabularies.", "Other codes of {x}: {list}.")),
}
_LEADS = ("{name} is {noun} {code}.", "The {noun} {code} is {name}.", "{noun} {code} stands for {name}.")


def lead(node: Node, key: Sequence[str]) -> str:
    """The sentence that introduces a term by its name and code."""
    return _finish(pick(_LEADS, *key, node.code, "lead").format(name=_trim(node.name), noun=node.noun, code=node.code))


class Statement(NamedTuple):
    """What one sentence says about a term: a relation to other terms, or to what the publisher wrote.

    Attributes:
        opening: words before the items.
    """

    relation: str
    opening: str
    items: tuple[str, ...]


def sentence(said: Statement, subject: str, *key: str) -> str:
    """One sentence; the subject is a label, a code, or `It`."""
    relation = RELATIONS[said.relation]
    template = pick(relation.templates, *key, *said.items)
    listed = _listed([_trim(item) for item in said.items], relation.separator)
    listed = f"{said.opening} {listed}" if said.opening else listed
    return _finish(template.format(X=subject, x="it" if subject == "It" else subject, list=listed))


def pick(options: Sequence[T], *key: str) -> T:
    return options[int(uniform_hash(*key) * len(options))]


def shuffled(items: Sequence[T], *key: str) -> list[T]:
    return sorted(items, key=lambda item: uniform_hash(*key, str(item)))


def _listed(items: Sequence[str], separator: str) -> str:
    if separator or len(items) == 1:
        return separator.join(items)
    comma = "; " if any("," in item or ";" in item for item in items) else ", "
    return f"{comma.join(items[:-1])}{';' * (comma == '; ')} and {items[-1]}"


def _trim(text: str) -> str:
    return text.strip().removesuffix(".") if not text.endswith("..") else text.strip()


def _finish(text: str) -> str:
    return text[:1].upper() + text[1:]
