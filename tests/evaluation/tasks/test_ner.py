"""Named entities: first subwords, files, scores computed by hand, and learning."""

import logging
import random
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.formats.iob import Sentence, read_iob
from clinical_modernbert.evaluation.formats.words import words_as_text
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.models.tokens import encode_words
from clinical_modernbert.evaluation.tasks.ner import NerTask, read_ner, score_entities

from ..conftest import WORDS, run_task


@pytest.mark.parametrize("which", ["ours", "bert"])
def test_each_word_is_classified_at_its_first_subword(which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    sentences = [["aspirin", "unheardof", ",", "Ménière's", "heart"], ["(", "lung", ")"], ["naïve"]]
    texts, words_of = zip(*map(words_as_text, sentences), strict=True)
    for words, encoded in zip(sentences, encode_words(model, texts, words_of), strict=True):
        assert encoded.words.tolist() == list(range(len(words)))
        [ids] = encoded.windows
        ends = [*encoded.positions.tolist()[1:], len(ids) - 1]
        decoded = [
            model.tokenizer.decode(ids[start:end]).strip()
            for start, end in zip(encoded.positions.tolist(), ends, strict=True)
        ]
        assert decoded == words


def test_words_beyond_the_maximum_length_have_no_token(bert: EvaluatedModel) -> None:
    text, words = words_as_text(["fever"] * 500)
    [encoded] = encode_words(bert, [text], [words])
    [ids] = encoded.windows
    assert encoded.cut
    assert len(ids) == 64
    assert encoded.words.tolist() == list(range(len(encoded.words)))
    assert len(encoded.words) <= 62


def test_complete_entities_are_scored() -> None:
    tags = [["B-D", "I-D", "O", "B-D", "O", "B-C"]]
    predictions = [["B-D", "I-D", "O", "I-D", "O", "B-D"]]
    scores = score_entities(tags, predictions)
    # Two of three predicted entities are correct, of three true ones. Strict mode ignores the one that begins with I-.
    assert scores["precision"] == pytest.approx(2 / 3)
    assert scores["recall"] == pytest.approx(2 / 3)
    assert scores["f1"] == pytest.approx(2 / 3)
    assert scores["strict_f1"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert scores["f1 D"] == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert scores["f1 C"] == 0
    assert score_entities(tags, tags)["strict_f1"] == 1
    half = score_entities([["B-D", "I-D"]], [["B-D", "O"]])
    assert half["f1"] == 0


def test_files_are_converted_to_iob2(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("-DOCSTART-\tO\n\nacute\tI-D\npain\tI-D\nfever\tI-S\n\n\nno\tO\ncough\tB-S")
    assert read_iob(path) == [
        Sentence(["acute", "pain", "fever"], ["B-D", "I-D", "B-S"]),
        Sentence(["no", "cough"], ["O", "B-S"]),
    ]
    path.write_text("EU NNP B-NP B-ORG\nrejects VBZ B-VP O\n")
    assert read_iob(path) == [Sentence(["EU", "rejects"], ["B-ORG", "O"])]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("secret\tO\nsecret\n", r"bad\.tsv: line 2 does not end in a tag: it has one column; expected a token"),
        ("secret\tX-D\n", r"bad\.tsv: line 1 does not end in a tag"),
        ("\n\n", r"bad\.tsv: no sentences"),
        ("secret\tO\n", r"bad\.tsv: no entity in 1 texts; expected annotated ones"),
    ],
)
def test_errors_in_files_do_not_show_their_text(
    content: str, message: str, tmp_path: Path, ours: EvaluatedModel, quick: Protocol
) -> None:
    (tmp_path / "bad.tsv").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        run_task(ours, NerTask(kind="ner", train="bad.tsv", test="bad.tsv"), tmp_path, quick)
    assert "secret" not in str(error.value)


def test_entities_of_two_words_are_learned(ours: EvaluatedModel, tmp_path: Path, quick: Protocol) -> None:
    generator = random.Random(0)
    for name, count in (("train.tsv", 200), ("test.tsv", 60)):
        with (tmp_path / name).open("w") as file:
            for _ in range(count):
                before, after = (generator.choices(WORDS[8:], k=generator.randint(1, 4)) for _ in range(2))
                file.writelines(f"{word}\tO\n" for word in before)
                file.write(f"{generator.choice(['lung', 'heart'])}\tB-Disease\npain\tI-Disease\n")
                file.writelines(f"{word}\tO\n" for word in after)
                file.write("\n")
    task = NerTask(kind="ner", train="train.tsv", test="test.tsv")
    scores = run_task(ours, task, tmp_path, quick).scores
    assert scores["f1"] > 0.95
    assert scores["strict_f1"] > 0.95
    untrained = run_task(ours, task, tmp_path, quick.model_copy(update={"lr": 1e-12, "epochs": 1})).scores
    assert untrained["f1"] < 0.5


def test_types_that_only_the_test_has_are_announced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "train.tsv").write_text("pain\tB-Disease\n")
    (tmp_path / "test.tsv").write_text("pain\tB-Disease\naspirin\tB-Chemical\n")
    with caplog.at_level(logging.WARNING, "clinical_modernbert.evaluation.formats.labels"):
        read_ner(NerTask(kind="ner", train="train.tsv", test="test.tsv"), tmp_path)
    [message] = set(caplog.messages)
    assert "test.tsv: 1 of 2 entities count as missed: their types (Chemical) are not in" in message
