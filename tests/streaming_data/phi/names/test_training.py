"""Synthetic text to train on: names are where the labels are, and IOB files are read as tasks read them."""

from pathlib import Path
from random import Random

import numpy as np
import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.phi.names.features import NONE, Vocabulary, first_features
from clinical_modernbert.streaming_data.phi.names.finder import Finder, find_names, load_finder, write_finder
from clinical_modernbert.streaming_data.phi.names.lexicon import Usage, read_lexicon, write_lexicon
from clinical_modernbert.streaming_data.phi.names.training.documents import Labelled, Synthesizer
from clinical_modernbert.streaming_data.phi.names.training.people import LOCALES, UNSEEN, Pool, faker_pool, listed, part
from clinical_modernbert.streaming_data.phi.names.training.train import count_words, examples_of, make_lexicon, train
from clinical_modernbert.streaming_data.phi.names.training.write_iob import iob, write

POOL = Pool(("Zebulon", "Quirina", "Xaveria", "Yorick"), ("Zandvoort", "Quixley", "Xanthopoulos", "Yarborough"))
LINES = ("The knee was examined and found to be stable.", "No acute process in the chest.", "Labs were drawn")


def test_labels_are_where_the_names_are_and_nowhere_else() -> None:
    synthesizer = Synthesizer([POOL], LINES, Random(0))
    documents = [*synthesizer.documents(300), *(synthesizer.inserted(LINES[0], 0.5) for _ in range(100))]
    syllables = ("zeb", "quir", "xav", "yor", "zand", "quix", "xanth", "yarb")
    for text, names in documents:
        assert names == sorted(names)
        outside = text
        for start, end in reversed(names):
            outside = outside[:start] + outside[end:]
        assert not any(syllable in outside.lower() for syllable in syllables), text
    assert sum(len(names) for _, names in documents) > 400


def test_examples_label_the_candidates_inside_names() -> None:
    vocabulary = Vocabulary({})
    documents = [Labelled("Seen by Anna Maria Berg, MD", [(8, 23)]), Labelled("No Pain", []), Labelled("Li", [(0, 2)])]
    examples = examples_of(documents, vocabulary)
    assert examples.labels.tolist() == [False, True, True, True, False, False, False, True]
    assert examples.halves.tolist() == [0] * 5 + [1, 1, 0]
    features = first_features(examples.words, vocabulary)
    assert features.shape[0] == 8
    assert (features != NONE).sum(axis=1).min() > 20


@pytest.mark.slow
def test_a_finder_of_small_text_finds_names_of_its_kind_and_is_read_as_it_was_written(tmp_path: Path) -> None:
    """All steps of the training but the reading of packages: what is written finds what it was trained to find."""
    pytest.importorskip("sklearn", reason="the extra `evaluation` is not installed")
    counts = count_words([*LINES] * 30)
    lexicon = make_lexicon(counts, [POOL], {0, 1})
    documents = list(Synthesizer([POOL], LINES, Random(1)).documents(1500))
    first, second, settings = train(documents, lexicon)
    finder = Finder(Vocabulary(lexicon), first, second, settings)
    write_finder(tmp_path, lexicon, first, second, settings)
    texts = [document.text for document in Synthesizer([POOL], LINES, Random(2)).documents(200)]
    found = find_names(texts, finder)
    assert found == find_names(texts, load_finder(tmp_path))
    assert sum(map(bool, found)) > 100
    assert find_names([*LINES], finder) == [[], [], []]


def test_the_lexicon_is_read_as_it_was_written(tmp_path: Path) -> None:
    lexicon = {"knee": Usage(lower=4), "smith": Usage(0, 3, 1, 2, 0), "é": Usage(cue=1)}
    for name in ("a", "b"):
        write_lexicon(tmp_path / name, lexicon)
    assert read_lexicon(tmp_path / "a") == lexicon
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_every_locale_has_names_of_its_own_and_the_unseen_ones_are_not_in_the_list() -> None:
    pytest.importorskip("faker", reason="the extra `dev` is not installed")
    assert not set(LOCALES) & set(UNSEEN)
    for locale in (*LOCALES, *UNSEEN):
        assert all(faker_pool(locale)), locale
    with pytest.raises(UserError, match="names of en_ZZ: not found"):
        faker_pool("en_ZZ")
    first, _ = listed([POOL], {part("Zebulon")})
    assert "zebulon" in first
    assert not listed([POOL], set())[0]


def test_iob_files_are_read_as_a_task_reads_them(tmp_path: Path) -> None:
    from clinical_modernbert.evaluation.formats.iob import read_iob

    document = Labelled("Seen by Anna\nBerg. Li left", [(8, 17), (19, 21)])
    tags = [line.split("\t")[1].strip() if "\t" in line else "" for line in iob(document)]
    assert tags == ["O", "O", "B-NAME", "", "B-NAME", "O", "B-NAME", "O", ""]
    write(tmp_path, [POOL], LINES, 100)
    for name in ("train.tsv", "devel.tsv", "test.tsv"):
        assert read_iob(tmp_path / name)


def test_halves_of_the_names_differ() -> None:
    names = [f"Name{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]
    shares = np.bincount([part(name) for name in names], minlength=4) / 400
    assert shares.min() > 0.15
