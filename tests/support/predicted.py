"""The directory of an evaluation with predictions, as `cmbert evaluate` writes it; all of it made up."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clinical_modernbert.evaluation.results import Result
from clinical_modernbert.evaluation.scores.units import Score

SECTIONS = ["Background", "Intervention", "Outcome", "Other", "Population", "Study design"]
CHAPTERS = [f"{letter}{number:02}" for letter in "ABCEGIJKN" for number in (0, 50)]
TYPES = ["Disease", "Chemical"]
Row = dict[str, Any]


def one_class(draw: np.random.Generator, skill: float, classes: Sequence[str] = SECTIONS) -> list[Row]:
    """A classifier that is too sure of itself and confuses neighbors; long texts are harder."""
    rows = []
    for number in range(240):
        label, tokens = int(draw.random() ** 1.6 * len(classes)), int(draw.lognormal(4, 0.8)) + 5
        logits = draw.normal(0, 1, len(classes))
        logits[label] += skill - tokens / 150
        logits[(label + 1) % len(classes)] += 1.0
        scores = np.exp(1.6 * logits) / np.exp(1.6 * logits).sum()
        rows.append({
            "id": f"text-{number}", "label": classes[label], "prediction": classes[int(scores.argmax())],
            "scores": dict(zip(classes, scores.round(6).tolist(), strict=True)), "tokens": tokens,
        })  # fmt: skip
    return rows


def several_classes(draw: np.random.Generator, skill: float) -> list[Row]:
    rows = []
    for number in range(150):
        wanted = draw.random(len(CHAPTERS)) < np.linspace(0.4, 0.02, len(CHAPTERS))
        scores = 1 / (1 + np.exp(-draw.normal(0, 1.2, len(CHAPTERS)) - skill * (wanted - 0.5) * 2))
        named = dict(zip(CHAPTERS, scores.round(6).tolist(), strict=True))
        rows.append({
            "id": f"note-{number}", "labels": [name for name, there in zip(CHAPTERS, wanted, strict=True) if there],
            "predictions": [name for name, score in named.items() if score > 0.5], "scores": named,
            "tokens": int(draw.lognormal(6, 0.5)),
        })  # fmt: skip
    return rows


def spans(draw: np.random.Generator, skill: float) -> list[Row]:
    rows = []
    for number in range(120):
        wanted, found = [], []
        for start in range(0, int(draw.integers(1, 40)), 8):
            kind = TYPES[int(draw.random() < 0.3)]
            wanted.append([start, start + 2, kind])
            luck = draw.random()
            if luck < skill:
                found.append([start, start + 2, kind])
            elif luck < skill + 0.05:
                found.append([start, start + 2, TYPES[kind == TYPES[0]]])
            elif luck < skill + 0.1:
                found.append([start + 1, start + 2, kind])
        words = 40 + len(wanted)
        rows.append({"id": f"s{number}", "spans": wanted, "predictions": found, "words": words, "tokens": 2 * words})
    return rows


def numbers(draw: np.random.Generator, skill: float) -> list[Row]:
    values = draw.normal(5, 2, 100)
    return [
        {"id": f"n{number}", "label": float(value), "prediction": float(value + draw.normal(0, 1 / skill)),
         "tokens": int(draw.integers(5, 80))}
        for number, value in enumerate(values)
    ]  # fmt: skip


TASKS: dict[str, tuple[str, Callable[[np.random.Generator, float], list[Row]], dict[str, float]]] = {
    "sentence-roles": ("accuracy", one_class, {"ours": 3.4, "ModernBERT-base": 2.6, "bag-of-subwords": 2.0}),
    "icd-chapters": ("f1", several_classes, {"ours": 1.5, "ModernBERT-base": 1.4, "bag-of-subwords": 0.9}),
    "ncbi-disease": ("f1", spans, {"ours": 0.86, "ModernBERT-base": 0.82, "bag-of-subwords": 0.6}),
    "severity": ("spearman", numbers, {"ours": 1.6, "ModernBERT-base": 1.5}),
}


def write_evaluation(out: Path, seeds: int = 3) -> list[Result]:
    """Write the seeds of all tasks, and return their results."""
    (out / "seeds").mkdir(parents=True)
    results = []
    for task, (score, make, models) in TASKS.items():
        for model, skill in models.items():
            for seed in range(seeds):
                draw = np.random.default_rng([seed, int(100 * skill)])
                rows = make(draw, skill)
                right = np.array([float(row.get("label", row.get("labels", row.get("spans"))) ==
                                        row.get("prediction", row.get("predictions"))) for row in rows])  # fmt: skip
                if task == "severity":
                    right = np.array([1 - abs(row["label"] - row["prediction"]) / 10 for row in rows])
                scores = {score: Score("mean", right), "second": Score("mean", right * 0.9)}
                write_seed(out, task, model, seed, rows, scores)
                results.append(Result(task, model, seed, scores))
    return results


def write_seed(out: Path, task: str, model: str, seed: int, rows: Sequence[Row], scores: dict[str, Score]) -> None:
    path = out / "seeds" / f"{task}-{model}-{seed}.json"
    path.write_text(json.dumps({"task": task, "subject": model, "seed": seed, "scores": scores}))
    path.with_suffix(".predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
