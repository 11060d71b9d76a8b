"""Counterfactual versions of a text: the same text with another sex, age group, ethnicity or insurance.

A text is left out, with a reason that is counted, rather than changed badly:

- dependent: it has words that are not true of another group, such as those of pregnancy, a prostate, or retirement;
- mixed: it names several groups, and which one is the patient's is not clear;
- no return: swapping the version back does not give the text again, up to wordings of the same group.

The sexes of all people in a text are mirrored together, so that pronouns go on agreeing with wives and sons.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Literal, NamedTuple

from .swap_words import DEPENDENT, GIVING, NO_NOUN, PATIENT_NOUNS, PERSONS, SLOTS, SYNONYMS

Reason = Literal["dependent", "mixed", "no return"]
ATTRIBUTES = tuple(SLOTS)
_YOUNGEST, _OLDEST, _YEARS = 18, 42, 47
"""Ages from 18 to 42 are mirrored to 65 to 89. Those between are of neither group; those above 89 are removed from
de-identified notes."""


class Versions(NamedTuple):
    """A text as it would be of each group, and the same with a synonym for the group: the control.

    Attributes:
        named: the group that the text names; its version is the text itself.
        texts: group -> (version, control).
    """

    named: str
    texts: dict[str, tuple[str, str]]


class _Mention(NamedTuple):
    """Characters [start, end) that name a group, with what stands there in the version of each group."""

    start: int
    end: int
    group: str
    words: dict[str, str]
    synonyms: dict[str, str]
    patient: bool = True


def versions(text: str, attribute: str) -> Versions | Reason | None:
    """The versions of a text; why it has none; or None if it names no group of the attribute."""
    mentions = _find(text, attribute)
    if not mentions:
        return None
    if DEPENDENT[attribute].search(text):
        return "dependent"
    named = _patient(mentions)
    if named is None or (attribute != "sex" and any(one.group != named for one in mentions)):
        return "mixed"
    texts = {
        group: (
            _rewrite(text, mentions, named, group, lambda one: one.words),
            _rewrite(text, mentions, named, group, lambda one: one.synonyms),
        )
        for group in SLOTS[attribute]
    }
    for group, (version, _) in texts.items():
        again = _find(version, attribute)
        back = _rewrite(version, again, group, named, lambda one: one.words)
        if _patient(again) != group or _canonical(back) != _canonical(text):
            return "no return"
    return Versions(named, texts)


def _rewrite(
    text: str, mentions: Sequence[_Mention], named: str, group: str, words: Callable[[_Mention], dict[str, str]]
) -> str:
    """The text with its mentions of `named` as those of `group`; those of another sex become those of `named`."""
    parts, last = [], 0
    for one in mentions:
        target = group if one.group == named else one.group if group == named else named
        parts += [text[last : one.start], words(one)[target]]
        last = one.end
    return "".join([*parts, text[last:]])


def _patient(mentions: Sequence[_Mention]) -> str | None:
    """The group of the patient: of the first noun, else the only one that is named."""
    groups = {one.group for one in mentions}
    first = next((one.group for one in mentions if one.patient), None)
    return first or (groups.pop() if len(groups) == 1 else None)


def _find(text: str, attribute: str) -> list[_Mention]:
    """All mentions, in order."""
    found = chain.from_iterable(finder(text) for finder in _FINDERS[attribute])
    return sorted(found, key=lambda one: one.start)


def _words(attribute: str, accept: Callable[[str, re.Match[str]], bool]) -> Callable[[str], Iterator[_Mention]]:
    """A finder of the words of an attribute's slots, with the article before them."""
    known = {
        word.lower(): (group, number)
        for group, slots in SLOTS[attribute].items()
        for number, slot in enumerate(slots)
        for word in slot
    }
    longest_first = "|".join(re.escape(word) for word in sorted(known, key=len, reverse=True))
    pattern = re.compile(rf"(?:\b(?P<article>an?)(?P<space>\s+))?\b(?P<word>{longest_first})\b", re.IGNORECASE)

    def find(text: str) -> Iterator[_Mention]:
        for match in pattern.finditer(text):
            if accept(text, match):
                word = match["word"]
                group, number = known[word.lower()]
                yield _mention(match, group, {g: slots[number][0] for g, slots in SLOTS[attribute].items()})

    return find


def _mention(
    match: re.Match[str], group: str, words: dict[str, str], synonyms: dict[str, str] | None = None
) -> _Mention:
    """A mention at a match of the groups `article`, `space` and `word`."""
    original = match["word"]
    words = {g: original if g == group else _like(original, word) for g, word in words.items()}
    if synonyms is None:
        synonyms = {g: _like(word, SYNONYMS.get(word.lower(), word)) for g, word in words.items()}
    before = {
        key: {g: _article(match, one) + one for g, one in of.items()}
        for key, of in (("words", words), ("synonyms", synonyms))
    }
    patient = original.lower() in PATIENT_NOUNS or group not in SLOTS["sex"]
    return _Mention(match.start(), match.end(), group, before["words"], before["synonyms"], patient)


def _article(match: re.Match[str], word: str) -> str:
    """The article before a word, as it is if it was wrong before."""
    article = match["article"]
    if not article:
        return ""
    if article.lower() == _right_article(match["word"]):
        article = article[0] + _right_article(word)[1:]
    return str(article) + str(match["space"])


def _right_article(word: str) -> str:
    return "an" if re.match(r"[aeiou]|8|11\b|18\b", word, re.IGNORECASE) else "a"


def _like(original: str, word: str) -> str:
    """A word in capitals as the original is; names keep theirs."""
    if original.isupper() and len(original) > 1:
        return word.upper()
    return word[0].upper() + word[1:] if original[0].isupper() else word


def _names_a_person(text: str, match: re.Match[str]) -> bool:
    """Whether a color or an origin is that of a person: before a noun, or after a heading."""
    return bool(_PERSON.match(text, match.end()) or _HEADING.search(text[max(0, match.start() - 30) : match.start()]))


_PERSON = re.compile(rf"(?:[\s,-]+\d+[- ]years?[- ]old|[\s-]+(?:young|elderly))?[\s-]+(?:{PERSONS})\b", re.IGNORECASE)
_HEADING = re.compile(r"(?:race|ethnicity)\s*:\s*$", re.IGNORECASE)


def _is_sex(text: str, match: re.Match[str]) -> bool:
    """Not an abbreviation: MR is an image and a murmur, MS a disease, HE (if not all is in capitals) of the liver."""
    word = match["word"]
    if word.lower() in ("mr", "mrs", "ms"):
        return bool(word.istitle())
    return not (word == "HE" and not text.isupper())


def _pronouns(text: str) -> Iterator[_Mention]:
    """`her`, `him`, `his` and `hers`, which depend on their neighbors."""
    for match in re.finditer(r"(?<!undle of )\b(her|him|his|hers)\b(?!-)", text, re.IGNORECASE):
        word = match[0].lower()
        following = re.match(r"\s+([A-Za-z]+)", text[match.end() :])
        preceding = re.search(r"([A-Za-z]+)\s+$", text[: match.start()])
        owns = following is not None and not NO_NOUN.fullmatch(following[1])
        if word in ("her", "him") and not (
            word == "her" and owns and not (preceding and GIVING.fullmatch(preceding[1]))
        ):
            pair = {"man": "him", "woman": "her"}
        elif word == "her" or (word == "his" and owns):
            pair = {"man": "his", "woman": "her"}
        else:
            pair = {"man": "his", "woman": "hers"}
        group = "man" if word in ("him", "his") else "woman"
        words = {g: match[0] if g == group else _like(match[0], one) for g, one in pair.items()}
        yield _Mention(match.start(), match.end(), group, words, words, patient=False)


def _letters(text: str) -> Iterator[_Mention]:
    """F and M after `Sex:` or an age."""
    pattern = r"(?P<before>\b(?:sex|gender)\s*:\s*|\d\s?(?:yo|y/o|y\.o\.|year[- ]old)\s+)(?P<letter>[FM])\b"
    for match in re.finditer(pattern, text, re.IGNORECASE):
        if (letter := match["letter"]).isupper():
            words = {"man": "M", "woman": "F"}
            yield _Mention(match.start("letter"), match.end(), "man" if letter == "M" else "woman", words, words)


def _ages(text: str) -> Iterator[_Mention]:
    """Ages in years, with the article before them."""
    unit = r"[- ]years?[- ]olds?\b|\s?y/?o\b|\s?y\.o\."
    pattern = rf"(?:\b(?P<article>an?)(?P<space>\s+))?(?<![\d.])(?P<word>\d\d)(?={unit})"
    for match in re.finditer(pattern, text, re.IGNORECASE):
        age = int(match["word"])
        if _YOUNGEST <= age <= _OLDEST:
            words = {"younger": str(age), "older": str(age + _YEARS)}
        elif _YOUNGEST + _YEARS <= age <= _OLDEST + _YEARS:
            words = {"younger": str(age - _YEARS), "older": str(age)}
        else:
            continue
        # Another age of the same group.
        near = {"younger": _near(int(words["younger"]), _OLDEST), "older": _near(int(words["older"]), _OLDEST + _YEARS)}
        yield _mention(match, "younger" if age <= _OLDEST else "older", words, near)


def _near(age: int, most: int) -> str:
    return str(age + 1 if age < most else age - 1)


def _canonical(text: str) -> str:
    """A text without the differences that a swap and its return may leave: case, articles, words of one slot."""
    return _ARTICLE.sub("a ", _VARIANT.sub(lambda match: _FIRST[match[0].lower()], text)).lower()


_ARTICLE = re.compile(r"\ban?\s", re.IGNORECASE)
_FIRST = {
    word.lower(): slot[0]
    for groups in SLOTS.values()
    for slots in groups.values()
    for slot in slots
    for word in slot[1:]
}
_VARIANT = re.compile(
    rf"\b(?:{'|'.join(re.escape(word) for word in sorted(_FIRST, key=len, reverse=True))})\b", re.IGNORECASE
)
_FINDERS: dict[str, tuple[Callable[[str], Iterator[_Mention]], ...]] = {
    "sex": (_words("sex", _is_sex), _pronouns, _letters),
    "age": (_words("age", _names_a_person), _ages),
    "ethnicity": (_words("ethnicity", _names_a_person),),
    "insurance": (_words("insurance", lambda text, match: True),),
}
