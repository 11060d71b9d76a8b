"""Development chooses between rates and epochs; its documents are apart from those of training; the test never does."""

import random
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.fine_tuning.choice import Choice, Trial, best_epoch, is_over, with_development
from clinical_modernbert.evaluation.fine_tuning.fine_tuned import FineTuned
from clinical_modernbert.evaluation.fine_tuning.kind import Splits
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.suite import Evaluation, check, identity, run
from clinical_modernbert.evaluation.tasks.classification import CLASSIFICATION, ClassificationTask, LabeledText
from clinical_modernbert.evaluation.tasks.relations import RELATIONS

from ..conftest import QUICK, WORDS

TASK = ClassificationTask(kind="classification", train="a.tsv", test="b.tsv")


def texts(documents: int, each: int = 1) -> list[LabeledText]:
    return [LabeledText("x", str(i % 2), id=f"{d} T{i} T2") for d in range(documents) for i in range(each)]


def test_the_first_best_epoch_and_patience() -> None:
    assert best_epoch([]) == 0
    assert best_epoch([0.1, 0.7, 0.7]) == 2
    assert not is_over([], 1)
    assert not is_over([0.5, 0.4], None)
    assert is_over([0.5, 0.4], 1)
    assert not is_over([0.5, 0.4], 2)
    assert is_over([0.5, 0.5, 0.5], 2)


def test_development_is_a_share_of_the_documents_and_apart_from_them() -> None:
    train = texts(40, each=3)
    protocol = Protocol(development_share=0.25)
    divided = with_development(RELATIONS, TASK, Splits(train, texts(3)), protocol)
    documents = [{RELATIONS.document(pair) for pair in split} for split in (divided.train, divided.development)]
    assert [len(names) for names in documents] == [30, 10]
    assert not documents[0] & documents[1]
    assert sorted(divided.train + divided.development) == sorted(train)
    shuffled = random.Random(1).sample(train, len(train))
    again = with_development(RELATIONS, TASK, Splits(shuffled, texts(3)), protocol)
    assert sorted(again.development) == sorted(divided.development)
    own = Splits(train, texts(3), texts(2))
    assert with_development(RELATIONS, TASK, own, protocol) == own
    assert with_development(RELATIONS, TASK, Splits(train, texts(3)), Protocol()).train == train
    with pytest.raises(UserError, match=r"0\.01 of 40 training documents leaves 120 examples .* and 0 for development"):
        with_development(RELATIONS, TASK, Splits(train, []), Protocol(development_share=0.01))


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"choose": "best"}, "choose: best"), ({"patience": 2}, "patience"), ({"lr": (1e-5, 2e-5)}, "a list of learning")],
)
def test_without_development_nothing_is_chosen(settings: dict[str, object], named: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"protocol: {named}.* the task has none: set task.development"):
        with_development(CLASSIFICATION, TASK, Splits(texts(4), texts(4)), Protocol(**settings))
    (tmp_path / "a.tsv").touch()
    files = dict.fromkeys(("corpus", "queries", "test", "train"), "a.tsv")
    task = {"kind": "retrieval", **files}
    evaluation = Evaluation.model_validate({"name": "s", "data": tmp_path, "task": task, "protocol": settings})
    with pytest.raises(UserError, match=f"protocol: {named}.* which this kind of task has not"):
        check(evaluation)


def write(path: Path, count: int, seed: int, *, wrong: bool = False) -> None:
    """Texts whose class is which of two words is in them; or the other one, if wrong."""
    draw = random.Random(seed)
    lines = []
    for _ in range(count):
        label = draw.randrange(2)
        words = [*draw.choices(WORDS[2:], k=5), WORDS[label]]
        lines.append(f"{' '.join(draw.sample(words, 6))}\t{label ^ wrong}\n")
    path.write_text("text\tlabel\n" + "".join(lines))


@pytest.mark.slow
def test_the_rate_with_the_best_development_score_is_kept_whatever_the_test_says(
    ours: EvaluatedModel, tmp_path: Path
) -> None:
    write(tmp_path / "a.tsv", 64, 0)
    write(tmp_path / "d.tsv", 40, 1)
    write(tmp_path / "b.tsv", 40, 2)
    task = {"kind": "classification", "train": "a.tsv", "test": "b.tsv", "development": "d.tsv"}
    protocol = QUICK.model_dump() | {"lr": [1e-7, 3e-3], "choose": "best"}
    evaluation = Evaluation.model_validate({"name": "toy", "data": tmp_path, "task": task, "protocol": protocol})
    outcome = run(ours, evaluation, 0)
    assert isinstance(outcome.fine_tuned, FineTuned)
    choice = outcome.fine_tuned.choice
    assert choice is not None
    assert [trial.lr for trial in choice.trials] == [1e-7, 3e-3]
    assert choice.chosen.lr == 3e-3
    assert choice.chosen.score() == max(score for trial in choice.trials for score in trial.development)
    assert choice.examples == 40
    write(tmp_path / "b.tsv", 40, 2, wrong=True)
    other = run(ours, evaluation, 0)
    assert isinstance(other.fine_tuned, FineTuned)
    assert other.fine_tuned.choice == choice
    assert abs(other.scores["accuracy"] - (1 - outcome.scores["accuracy"])) < 1e-9


def test_the_sentence_names_what_chose() -> None:
    last = Trial(2e-5, (), 3)
    assert Choice(0, (last,), last).sentence("f1") == "The weights are those after the last step."
    low, high = Trial(1e-5, (0.5, 0.6), 2), Trial(3e-5, (0.75, 0.7), 1)
    assert Choice(120, (low, high), high).sentence("f1") == (
        "The weights are those of epoch 1 of 2, at the learning rate 3e-05 of 1e-05, 3e-05. 120 examples for "
        "development chose, by f1 (0.7500)."
    )


def test_results_of_before_count_and_new_settings_are_others(tmp_path: Path) -> None:
    for name in ("a.tsv", "b.tsv"):
        write(tmp_path / name, 4, 0)

    def of(**protocol: object) -> str:
        task = {"kind": "classification", "train": "a.tsv", "test": "b.tsv"}
        return identity(Evaluation.model_validate({"name": "t", "data": tmp_path, "task": task, "protocol": protocol}))

    assert set(Protocol().identity()) == {
        "lr", "weight_decay", "epochs", "batch", "warmup", "dropout", "gradient_clipping",
    }  # fmt: skip
    others: list[dict[str, object]] = [
        {"choose": "best"},
        {"patience": 1},
        {"development_share": 0.1},
        {"layer_decay": 0.9},
        {"lr": [1e-5, 2e-5]},
        {"class_weights": "balanced"},
        {"precision": "bf16"},
    ]
    assert len({of(), *(of(**other) for other in others)}) == 1 + len(others)
    assert of(choose="last", layer_decay=1.0, tokens=5) == of()
