"""Slices by length and lists of mistakes."""

import numpy as np
from predicted import numbers, one_class

from clinical_modernbert.evaluation.analysis.examples import length_slices, mistakes
from clinical_modernbert.evaluation.analysis.predictions import Prediction, Run


def run(seed: int, rows: list[dict]) -> Run:
    return Run(seed, [Prediction.model_validate(row) for row in rows])


def test_quartiles_hold_every_example_once_and_their_accuracy() -> None:
    rows = [one_class(np.random.default_rng(seed), 2.5) for seed in range(2)]
    for others in rows[1:]:
        for row, first in zip(others, rows[0], strict=True):
            row["tokens"] = first["tokens"] + 7  # another tokenizer
    slices = length_slices({"a": [run(0, rows[0])], "b": [run(0, rows[1])]})
    assert sum(one.examples for one in slices) == 240
    assert [one.low for one in slices] == sorted(one.low for one in slices)
    for one in slices:
        for model, own in (("a", rows[0]), ("b", rows[1])):
            inside = [row for row, first in zip(own, rows[0], strict=True) if one.low <= first["tokens"] <= one.high]
            assert len(inside) == one.examples
            assert one.scores[model] == np.mean([row["label"] == row["prediction"] for row in inside])
    assert length_slices({"a": [run(0, [row | {"tokens": 5} for row in rows[0]])]}) == []
    assert length_slices({"a": [run(0, [row | {"tokens": None} for row in rows[0]])]}) == []


def test_the_mistakes_of_most_seeds_come_first() -> None:
    row = {"label": "a", "tokens": 3, "scores": {"a": 0.1, "b": 0.9}}
    seeds = [
        run(seed, [
            {"id": "always", "prediction": "b", **row},
            {"id": "once, sure", "prediction": "b" if seed == 1 else "a", **row},
            {"id": "once", "prediction": "b" if seed == 1 else "a", **row, "scores": {"a": 0.4, "b": 0.6}},
            {"id": "never", "prediction": "a", **row},
        ])
        for seed in range(3)
    ]  # fmt: skip
    found = mistakes(seeds)
    assert [(one.id, one.wanted, one.found, one.wrong, one.seeds) for one in found] == [
        ("always", "a", "b", 3, 3),
        ("once, sure", "a", "b", 1, 3),
        ("once", "a", "b", 1, 3),
    ]
    assert len(mistakes(seeds, most=1)) == 1


def test_spans_are_listed_in_the_order_of_the_text() -> None:
    wanted = [(104, 110, "Drug"), (9, 12, "Reason"), (20, 31, "Drug"), (9, 15, "Drug")]
    row = {"id": "a", "spans": wanted, "predictions": [(30, 31, "Drug"), (4, 5, "Drug")], "tokens": 40}
    (one,) = mistakes([run(0, [row])])
    assert one.wanted == "Reason 9–12, Drug 9–15, Drug 20–31, Drug 104–110"
    assert one.found == "Drug 4–5, Drug 30–31"
    assert one.at == 4


def test_numbers_have_distances() -> None:
    rows = numbers(np.random.default_rng(0), 1.0)
    farthest = max(rows, key=lambda row: abs(row["label"] - row["prediction"]))
    assert mistakes([run(0, rows)])[0].id == farthest["id"]
    slices = length_slices({"a": [run(0, rows)]})
    whole = sum(one.scores["a"] * one.examples for one in slices) / 100
    assert np.isclose(whole, np.mean([abs(row["label"] - row["prediction"]) for row in rows]))
    exact = [row | {"prediction": row["label"]} for row in rows]
    assert mistakes([run(0, exact)]) == []
