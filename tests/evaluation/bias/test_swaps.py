"""Swaps return the text when they are made twice, and leave out what would contradict itself."""

import random
from itertools import product

import pytest

from clinical_modernbert.evaluation.bias.swap_task import find_versions
from clinical_modernbert.evaluation.bias.swap_words import SLOTS
from clinical_modernbert.evaluation.bias.swaps import ATTRIBUTES, Versions, versions


def synthetic_note(rng: random.Random) -> str:
    """A note that names a group of each attribute once or more, in wordings that a version keeps."""
    female = rng.random() < 0.5
    noun = rng.choice(["woman", "female", "lady"] if female else ["man", "male", "gentleman"])
    he, his, him, wife = ("She", "her", "her", "husband") if female else ("He", "his", "him", "wife")
    age = rng.choice([*range(18, 43), *range(65, 90)])
    article = "An" if age in (18, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89) else "A"
    origin = rng.choice(["white", "Caucasian", "Black", "African American", "Hispanic", "Latino", "Asian"])
    cover = rng.choice(["Medicaid", "Blue Cross", "no insurance coverage", "private insurance", "public insurance"])
    return (
        f"{article} {age}-year-old {origin} {noun} with {cover} presented with chest pain. {he} lives with {his} "
        f"{wife}. {he} took {his} aspirin, and we gave {him} oxygen. The white count was 9. We saw {him} again; "
        f"the plan is {'hers' if female else 'his'}. MRI: no MR. Follow-up for {his} pain in 2 weeks."
    )


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_a_version_of_a_version_is_the_text(attribute: str) -> None:
    rng = random.Random(0)
    notes = [synthetic_note(rng) for _ in range(60)]
    swapped = [versions(note, attribute) for note in notes]
    kept = [one for one in swapped if isinstance(one, Versions)]
    assert len(kept) == len(notes)
    for note, one in zip(notes, kept, strict=True):
        assert one.texts[one.named][0] == note
        for group, (version, control) in one.texts.items():
            assert (version == note) is (group == one.named)
            assert attribute == "sex" or control != version
            again = versions(version, attribute)
            assert isinstance(again, Versions)
            assert again.named == group
            # Words of one slot, such as the names of insurers, return as the first of them.
            assert again.texts[one.named][0].casefold() == note.casefold()


@pytest.mark.parametrize(
    ("attribute", "text", "group", "expected"),
    [
        ("sex", "He gave his consent.", "woman", None),  # an object or an owner: it does not return
        ("sex", "She is well. We called her and took her history.", "man",
         "He is well. We called him and took his history."),
        ("sex", "Sex: F\nMs. Doe is here", "man", "Sex: M\nMr. Doe is here"),
        ("sex", "72 yo F, bundle of His, MR jet, MS.", "man", "72 yo M, bundle of His, MR jet, MS."),
        ("sex", "His wife says she sleeps; he denies it. This man snores.", "woman",
         "Her husband says he sleeps; she denies it. This woman snores."),
        ("age", "An 84-year-old with a BP of 84.", "younger", "A 37-year-old with a BP of 84."),
        ("age", "a 25 y/o patient", "older", "a 72 y/o patient"),
        ("ethnicity", "A white man, black stools, white count.", "Asian", "An Asian man, black stools, white count."),
        ("ethnicity", "Race: African-American", "White", "Race: Caucasian"),
        ("insurance", "He has MassHealth.", "private", "He has Blue Cross."),
    ],
)  # fmt: skip
def test_rules(attribute: str, text: str, group: str, expected: str | None) -> None:
    found = versions(text, attribute)
    if expected is None:
        assert found == "no return"
    else:
        assert isinstance(found, Versions)
        assert found.texts[group][0] == expected


def test_texts_that_would_contradict_themselves_are_left_out_with_a_count() -> None:
    texts = {
        "sex": ["A 30-year-old woman, G2P1, is pregnant.", "His prostate is enlarged.", "She had a mammogram."],
        "age": ["A 70-year-old retired man.", "An 18-year-old student.", "A 66-year-old with a 20-year-old son."],
        "ethnicity": ["A Black woman with sickle cell disease.", "An Asian man and a white woman collided."],
        "insurance": ["On Medicaid and Medicare."],
    }  # fmt: skip
    for attribute, left_out in texts.items():
        found = find_versions([*left_out, "Nothing is named here."], attribute)
        assert found.versions == []
        assert found.left_out == found.named == [True] * len(left_out) + [False]
    assert versions("Breast sounds: breast sounds normal. She is well.", "sex") != "dependent"


def test_every_group_has_the_same_slots_and_no_word_twice() -> None:
    for attribute, groups in SLOTS.items():
        assert len({len(slots) for slots in groups.values()}) == 1, attribute
        words = [word.lower() for slots in groups.values() for slot in slots for word in slot]
        assert len(set(words)) == len(words), attribute
    assert all(versions("", attribute) is None for attribute, _ in product(ATTRIBUTES, range(1)))
