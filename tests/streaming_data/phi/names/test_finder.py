"""The finder of names: exact positions, the same in any company, no text that stops it, and recall that stays."""

import json
import shutil
import time
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.benchmarks.phi.held_out_names import TEMPLATES, fill
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.phi.names import features, finder, pieces
from clinical_modernbert.streaming_data.phi.names.finder import find_names, load_finder
from clinical_modernbert.streaming_data.phi.names.spans import join
from clinical_modernbert.streaming_data.phi.names.words import WORD
from clinical_modernbert.streaming_data.synthetic.notes import generate

FRAGMENTS = (
    "Anna",
    "Kowalska",
    " ",
    " ",
    ", ",
    "\n",
    "SMITH",
    "Dr. ",
    "seen by ",
    "O’Brien",
    "-",
    "J",
    ".",
    "é",
    "Müller",
    "e\u0301",
)
TEXTS = st.lists(
    st.one_of(st.text(max_size=60), st.lists(st.sampled_from(FRAGMENTS), max_size=20).map("".join)), max_size=5
)
NOTES = [row["text"] for row in islice(generate(8), 40)]
PEOPLE = (
    *(("Jadwiga", "Wojciechowska"), ("Ondřej", "Procházka"), ("Emre", "Yıldırım"), ("Zsófia", "Kovács")),
    *(("Dacian", "Ungureanu"), ("Vedrana", "Horvatinčić"), ("Rasa", "Kazlauskienė"), ("Lakshmi", "Venkataraman")),
    *(("Siobhan", "Gallagher"), ("Marcus", "Whitfield"), ("Heike", "Brandstetter"), ("Thibault", "Delacroix")),
)
"""Invented people; the names of the first eight come from languages whose names no list has."""
FLOORS = {
    "headers in capitals": 0.80,
    "Last, First": 0.85,
    "signatures": 0.80,
    "full name in a sentence": 0.75,
    "German letter": 0.80,
    "French letter": 0.80,
    "Spanish, Dutch, Italian, Swedish": 0.75,
}
"""About ten points below what docs/names.md states for many more names."""


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(TEXTS)
def test_any_text_has_names_at_exact_positions_whatever_is_read_with_it(texts: list[str]) -> None:
    together = find_names(texts)
    assert together == find_names(texts), "deterministic"
    for text, found in zip(texts, together, strict=True):
        assert found == find_names([text])[0], "the same alone"
        ends = 0
        for name in found:
            assert ends <= name.start < name.end <= len(text)
            assert text[name.start].isalpha()
            assert text[name.start : name.end].strip() == text[name.start : name.end]
            assert 0 < name.probability <= 1
            ends = name.end


def test_lone_surrogates_and_controls_are_read() -> None:
    assert find_names(["\ud800Anna \udfffKowalska\x00", "", "\n\n"])[1:] == [[], []]


def test_positions_are_those_of_the_text_in_any_batch_and_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in the middle of a long text, which is read in pieces, and behind characters beyond 16 bits."""
    sentence = "The neighbor, Jadwiga Wojciechowska, found the patient on the floor.\n"
    ((plain,),) = find_names([sentence])
    assert sentence[plain.start : plain.end] == "Jadwiga Wojciechowska"
    monkeypatch.setattr(pieces, "_LONGEST", 4000)
    monkeypatch.setattr(pieces, "_SEARCHED", 200)
    monkeypatch.setattr(finder, "_BATCH", 3000)
    for before in ("no pain.\n" * 2000, "🩺 no pain.\n" * 900, "no pain. " * 1999 + "\n"):
        text = f"{before}{sentence}{'no fever.' * 3000}"
        assert [(one.start - len(before), one.end - len(before)) for one in find_names([text])[0]] == [plain[:2]]


def test_pieces_are_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_LONGEST", 50)
    monkeypatch.setattr(pieces, "_SEARCHED", 20)
    rng = Random(0)
    for _ in range(200):
        texts = ["".join(rng.choices("ab \n", (8, 1, 1, 1), k=rng.randrange(300))) for _ in range(3)]
        cut = list(pieces.pieces_of(texts))
        assert ["".join(piece.text for piece in cut if piece.number == number) for number in range(3)] == texts
        assert all(texts[piece.number].startswith(piece.text, piece.start) for piece in cut)
        assert max(len(piece.text) for piece in cut) <= 50


@pytest.mark.parametrize(
    "name",
    [
        "Robert\nWilliams",
        "Williams,\nRobert",
        "Anna Maria van der Berg",
        "Robert J. Williams",
        "Jose\u0301 Garci\u0301a",
    ],
)
def test_a_name_over_two_lines_or_with_particles_is_one(name: str) -> None:
    text = f"The case was discussed with {name} in the evening."
    (found,) = find_names([text])[0]
    assert (text.index(name), len(name)) == (found.start, found.end - found.start)


def test_names_in_two_sentences_or_lists_of_lines_are_two() -> None:
    for text, count in (
        ("Anna\n\nRobert", 2),
        ("Anna and Robert", 2),
        ("Anna x Robert", 2),
        ("Anna " + "- " * 9 + "Robert", 2),
    ):
        words = [number for number, match in enumerate(WORD.finditer(text)) if match[0] in ("Anna", "Robert")]
        assert len(join(text, dict.fromkeys(words, 0.9))) == count


@pytest.mark.slow
def test_hostile_text_takes_linear_time() -> None:
    """Twice the length takes twice the time, also where joining, words or the vocabulary could take four times."""
    for form in ("Anna Kowalska, ", "A. ", "a'", "e\u0301", "van der ", "\n", "X'"):
        seconds = []
        for size in (60_000, 240_000):
            text = (form * (size // len(form) + 1))[:size]
            times = []
            for _ in range(2):
                start = time.process_time()
                find_names([text])
                times.append(time.process_time() - start)
            seconds.append(min(times))
        assert seconds[1] < 10 * seconds[0] + 0.2, (form, seconds)


def test_the_vocabulary_of_words_that_were_never_met_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_LONGEST", 2000)
    monkeypatch.setattr(finder, "_BATCH", 2000)
    monkeypatch.setattr(features, "_MOST_WORDS", 1000)
    rng = Random(1)
    find_names([" ".join("".join(rng.choices("ABCabcdefgh", k=9)) for _ in range(5000))])
    vocabulary = load_finder().vocabulary
    assert len(vocabulary.known) == len(vocabulary.own) < 1500


def test_recall_on_phrases_and_names_that_were_not_trained_with() -> None:
    """Floors, so that a new finder that is worse is noticed."""
    rng = Random(2)
    least = load_finder().settings.possible
    for style, floor in FLOORS.items():
        planted = [fill(template, [one] * 3, rng) for template in TEMPLATES[style] for one in PEOPLE]
        found = find_names([f"{NOTES[0][:300]}\n{text}" for text, _ in planted])
        hits = [
            any(one.start < 301 + end and one.end > 301 + start and one.probability >= least for one in of_text)
            for (_, names), of_text in zip(planted, found, strict=True)
            for start, end in names
        ]
        assert sum(hits) / len(hits) >= floor, (style, sum(hits) / len(hits))
    texts = []
    for _ in range(10):
        for person in PEOPLE:
            words = rng.choice(NOTES).split(" ")
            at = rng.randrange(len(words) - 1)
            texts.append(" ".join([*words[max(0, at - 50) : at], *person, *words[at : at + 50]]))
    share = sum(bool(of_text) for of_text in find_names(texts)) / len(texts)
    assert share >= 0.92, share


def test_notes_without_names_have_none() -> None:
    words = sum(len(note.split()) for note in NOTES)
    assert sum(map(len, find_names(NOTES))) < words / 1000


def test_small_letters_are_never_names() -> None:
    assert find_names(["spoke with jadwiga wojciechowska about results"]) == [[]]


@pytest.mark.parametrize("damage", ["settings.json", "weights.npz", "lexicon.txt.gz", "shape", "line"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    shutil.copytree(finder.FOLDER, tmp_path / "trained")
    folder = tmp_path / "trained"
    if damage == "shape":
        np.savez_compressed(
            folder / "weights.npz", allow_pickle=False, first=np.zeros(5, np.int8), second=np.zeros(5, np.int8)
        )
    elif damage == "line":
        import gzip

        (folder / "lexicon.txt.gz").write_bytes(gzip.compress(b"word\t12\n"))
    else:
        (folder / damage).write_bytes(b"{}")
    with pytest.raises(UserError, match="install the package again"):
        load_finder(folder)


def test_the_shipped_files_are_small_and_describe_their_origin() -> None:
    assert sum(path.stat().st_size for path in finder.FOLDER.iterdir()) < 700_000
    settings = json.loads((finder.FOLDER / finder.SETTINGS).read_text())
    assert settings["languages"] == ["en"]
    assert {"words", "names", "weights"} <= settings["made_from"].keys()
    assert features.BITS == 20
