"""Which pairs of models are tested, what may be claimed, and that the text says what the numbers say."""

import json
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from clinical_modernbert.evaluation.comparison import as_json, claims, compare_models, comparison_table
from clinical_modernbert.evaluation.results import Result
from clinical_modernbert.evaluation.scores.units import Score

RANDOM = np.random.default_rng(0)
UNITS = RANDOM.normal(size=200)


def results(task: str, score: str = "f1", **means: float) -> list[Result]:
    """Two seeds per model, on the same units."""

    def scores(mean: float) -> dict[str, Score]:
        return {score: Score("mean", UNITS + mean + RANDOM.normal(0, 0.3, 200)), "other": Score("mean", UNITS)}

    return [Result(task, model, seed, scores(mean)) for model, mean in means.items() for seed in range(2)]


def test_all_pairs_of_all_tasks_are_compared_and_first_scores_tested() -> None:
    comparisons = compare_models([*results("a", x=0, y=0, z=1), *results("b", x=0, y=0, z=1)])
    tested = [(c.task, c.first, c.second) for c in comparisons if c.p is not None]
    assert tested == [(task, *pair) for task in "ab" for pair in (("x", "y"), ("x", "z"), ("y", "z"))]
    assert {c.score for c in comparisons if c.p is not None} == {"f1"}
    assert {c.score for c in comparisons} == {"f1", "other"}
    assert all(c.p >= c.difference.p for c in comparisons if c.p is not None)


@pytest.mark.parametrize(
    ("score", "better"), [("f1", "new is better than old"), ("pubmed loss", "old is better than new")]
)
def test_a_claim_names_the_better_model(score: str, better: str) -> None:
    [sentence] = claims(compare_models(results("ner", score, old=0, new=0.5)))
    assert sentence.startswith(f"ner: {better} in {score} (0.")
    assert "Holm" not in sentence


def test_nothing_is_claimed_of_chance() -> None:
    sentences = claims(compare_models([*results("ner", old=0, new=0.001), *results("rct", old=0, new=1)]))
    assert sentences[0].startswith("ner: no difference of old and new in f1 can be claimed (p = ")
    assert "rct: new is better than old in f1" in sentences[1]
    assert all("after Holm's correction of 2 tests" in sentence for sentence in sentences)


def test_models_with_other_units_are_left_out() -> None:
    other = Result("ner", "b", 0, {"f1": Score("mean", UNITS[:100])})
    assert compare_models([Result("ner", "a", 0, {"f1": Score("mean", UNITS)}), other]) == []
    assert compare_models(results("ner", only=0)) == []


def test_table_and_json_have_the_same_numbers() -> None:
    comparisons = compare_models(results("[b]ner", old=0, new=0.5))
    console = Console(width=100, record=True)
    console.print(comparison_table(comparisons))
    text = console.export_text()
    content: Any = as_json(comparisons)
    [tested, other] = content["comparisons"]
    assert f"{tested['difference']:+.4f}" in text
    assert f"{tested['low']:+.4f} to {tested['high']:+.4f}" in text
    assert "[b]ner" in text
    assert other["p"] is None
    json.dumps(as_json(comparisons), allow_nan=False)
