"""Extractive question answering: SQuAD's files and scores, spans over windows, and no answer."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.fine_tuning.classifier import predict
from clinical_modernbert.evaluation.fine_tuning.fine_tuned import FineTuned
from clinical_modernbert.evaluation.formats.corpora.squad import read_questions
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.models.tokens import Lengths, encode_contexts
from clinical_modernbert.evaluation.saved_model import open_fine_tuned, save_fine_tuned
from clinical_modernbert.evaluation.scores.answers import exact_match, token_f1
from clinical_modernbert.evaluation.suite import Evaluation, run
from clinical_modernbert.evaluation.tasks.questions import (
    NO_ANSWER,
    QUESTIONS,
    QuestionsTask,
    best_answer,
    decide,
    read_questions_task,
    tune,
)


def task(**fields: object) -> QuestionsTask:
    return QuestionsTask.model_validate({"kind": "questions", "train": "a.json", "test": "a.json", **fields})


def squad(path: Path, *qas: Mapping[str, object], context: str = "Fever  of the lung.") -> None:
    path.write_text(json.dumps({"version": "v2.0", "data": [{"paragraphs": [{"context": context, "qas": list(qas)}]}]}))


def test_every_format_gives_the_same_questions(tmp_path: Path) -> None:
    answer = {"text": "the lung", "answer_start": 10}
    squad(
        tmp_path / "a.json",
        {"id": "7", "question": " Where?", "answers": [answer, answer], "is_impossible": False},
        {"id": "8", "question": "Why?", "answers": [], "plausible_answers": [answer], "is_impossible": True},
    )
    expected = read_questions(tmp_path / "a.json")
    assert [question.answers for question in expected] == [((10, 18),), ()]
    base = {"context": "Fever  of the lung."}
    for number, spelled in enumerate(
        ([[10, 18]], [{"start": 9, "end": 18}], [answer], {"text": ["the lung"], "answer_start": [10]})
    ):
        path = tmp_path / f"{number}.jsonl"
        rows = [{"id": 7, "question": "Where?", **base, "answers": spelled}]
        rows += [{"id": 8, "question": "Why?", **base, "answers": []}]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        assert read_questions(path) == expected, spelled


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([{"text": "secret", "answer_start": 3}], r"paragraph 1, question 1: the text of an answer is not what the"),
        ([{"text": "lung", "answer_start": 18}], r"question 1: an answer at 18 to 22 of a context of 19 characters"),
        ([], r"a\.json: no question has an answer"),
    ],
)
def test_errors_do_not_show_text(answers: list[object], message: str, tmp_path: Path) -> None:
    squad(tmp_path / "a.json", {"id": "secret", "question": "secret?", "answers": answers})
    with pytest.raises(UserError, match=message) as error:
        read_questions_task(task(), tmp_path)
    assert "secret" not in str(error.value)


def test_questions_without_answer_are_expected_or_an_error(tmp_path: Path) -> None:
    some = [{"id": "1", "question": "?", "answers": [{"text": "Fever", "answer_start": 0}]}]
    squad(tmp_path / "a.json", *some, {"id": "2", "question": "?", "answers": []})
    assert len(read_questions_task(task(unanswerable=True), tmp_path).test) == 2
    with pytest.raises(UserError, match=r"a\.json: 1 of 2 questions have no answer; set task\.unanswerable"):
        read_questions_task(task(), tmp_path)
    for content in ("[]", '{"data": [{"paragraphs": [{}]}]}', '{"questions": []}', "secret"):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UserError, match=r"expected SQuAD's `data`"):
            read_questions_task(task(), tmp_path)


def test_matches_computed_by_hand() -> None:
    assert exact_match("The  Lung!", ["heart", "a lung"]) == 1
    assert exact_match("", ["lung"]) == exact_match("lung", []) == 0
    assert exact_match("", []) == exact_match("the", ["An"]) == 1
    assert token_f1("left lung pain", ["the left lung", "pain"]) == pytest.approx(2 * (2 / 3) * 1 / (2 / 3 + 1))
    assert token_f1("pain pain", ["pain"]) == pytest.approx(2 / 3)
    assert (token_f1("", ["lung"]), token_f1("", []), token_f1("lung", [])) == (0, 1, 0)


def test_the_best_span_is_that_of_an_exhaustive_search() -> None:
    random = np.random.default_rng(0)
    context = "ab cd ef gh ij kl"
    places = np.array([(start, start + 2) for start in range(0, 17, 3)])
    for _ in range(50):
        sizes = (7, 5)
        characters = np.full((12, 2), -1)
        characters[2:6], characters[8:11] = places[:4], places[3:]
        logits = random.normal(size=(12, 2)).astype(np.float32)
        found = best_answer(logits, sizes, characters, context, 2)
        candidates = [
            (float(logits[a, 0]) + float(logits[b, 1]), (characters[a, 0], characters[b, 1]))
            for window in (range(2, 6), range(8, 11))
            for a in window
            for b in window
            if a <= b < a + 2
        ]
        best, span = max(candidates)
        assert found.span == span
        assert found.score == pytest.approx(best - min(logits[0].sum(), logits[7].sum()), abs=1e-5)


def test_the_threshold_is_the_best_of_all() -> None:
    random = np.random.default_rng(1)
    records = []
    for _ in range(60):
        answers = [(0, 3)] if random.random() < 0.6 else []
        score = round(float(random.normal() + len(answers)), 1)
        right = float(bool(answers)) * round(float(random.random()), 3)
        records.append({"answers": answers, "prediction": (0, 4), "score": score, "exact_match": 0.0, "f1": right})

    def f1(threshold: float) -> float:
        return sum(decide(task(unanswerable=True), one, {NO_ANSWER: threshold})["f1"] for one in records)

    tuned = tune(task(unanswerable=True), records)
    every = [float(str(record["score"])) for record in records]
    assert f1(tuned[NO_ANSWER]) == pytest.approx(max(f1(value) for value in [*every, max(every) + 1]))
    assert tune(task(), records) == {}
    assert decide(task(), records[0], {}) == records[0]


def test_targets_are_the_tokens_of_the_answer_in_every_window_that_has_it(ours: EvaluatedModel, tmp_path: Path) -> None:
    words = [f"w{number}" for number in range(60)]
    context = " ".join(words)
    start = context.index("w30")
    row = {"question": "fever?", "context": context, "answers": [[start, start + 7]]}
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    files = {"train": "a.jsonl", "test": "a.jsonl"}
    some = task(**files, max_length=64, overlap=20)
    questions = read_questions_task(some, tmp_path).train
    [example] = QUESTIONS.encode(ours, some, questions, ("start", "end"))
    assert example.characters is not None
    tokens = example.characters.split([len(window) for window in example.windows])
    parts = zip(example.windows, example.labels.tolist(), tokens, strict=True)
    found = 0
    for window, (first, last), characters in parts:
        assert len(window) <= 64
        if first:
            found += 1
            assert context[characters[first, 0] : characters[last, 1]].strip() == "w30 w31"
        else:
            inside = characters[characters[:, 0] >= 0]
            assert not (inside[0, 0] <= start and inside[-1, 1] >= start + 7)
    assert found >= 1
    [encoded] = encode_contexts(ours, ["fever?"], [context], Lengths(64, 20))
    assert {int(place) for part in encoded.characters for place in part[:, 0] if place >= 0} >= {start}
    [one] = encode_contexts(ours, ["fever?"], [context], Lengths(64, None))
    assert (len(one.windows), one.cut) == (1, True)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["ours", "bert"])
def test_answers_are_learned_and_transformers_computes_the_same_logits(
    which: str, tmp_path: Path, quick: Protocol, request: pytest.FixtureRequest
) -> None:
    """The answer is the word after `acute`, in contexts longer than a window; a third have no answer."""
    model: EvaluatedModel = request.getfixturevalue(which)
    names = ["aspirin", "fever", "cough", "lung", "heart", "pain"]
    with (tmp_path / "a.jsonl").open("w") as file:
        for number in range(72):
            filler = ["left"] * (number % 7) + ["with"] * 5
            mark = "acute" if number % 3 else "chronic"
            before = " ".join(filler * (6 if number % 6 == 1 else 1))
            context = f"{before} {mark} {names[number % 6]} at left right"
            start = len(before) + len(mark) + 2
            answers = [[start, start + len(names[number % 6])]] if number % 3 else []
            file.write(json.dumps({"question": "acute", "context": context, "answers": answers}) + "\n")
    files = dict.fromkeys(("train", "test", "development"), "a.jsonl")
    some = task(**files, unanswerable=True, max_length=40, overlap=10)
    protocol = quick.model_copy(update={"epochs": 15})
    evaluation = Evaluation(name="toy", data=tmp_path, task=some, protocol=protocol)
    outcome = run(model, evaluation, 0)
    assert isinstance(outcome.fine_tuned, FineTuned)
    assert outcome.scores["f1"] > 0.9
    assert outcome.scores["f1 without answer"] > 0.9
    assert outcome.scores["cut"] == 0
    assert outcome.records[0].keys() == {
        "id", "answers", "prediction", "score", "exact_match", "f1", "tokens", "cut"
    }  # fmt: skip
    save_fine_tuned(outcome, evaluation, "base", 0, "identity", tmp_path / "kept")
    opened = open_fine_tuned(tmp_path / "kept")
    assert opened.tuned == outcome.fine_tuned.tuned
    assert opened.predict(outcome.splits.test, 512) == outcome.records  # type: ignore[union-attr]
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "kept").eval()
    example = QUESTIONS.encode(opened, some, outcome.splits.test[1:2], opened.labels)  # type: ignore[union-attr]
    [logits] = predict(opened.classifier, example, 512)
    with torch.no_grad():
        outputs = [theirs(input_ids=window[None]) for window in example[0].windows]
    expected = torch.cat([torch.stack([one.start_logits[0], one.end_logits[0]], 1) for one in outputs])
    assert len(outputs) > 1
    assert np.abs(logits - expected.numpy()).max() < 1e-4
