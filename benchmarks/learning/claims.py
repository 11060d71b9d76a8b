"""The claims of the learning proof, and how the scores of several pretraining seeds decide them.

Every seed gives a pair: a model trained from it, and the same weights before the first step. A claim is about the 95 %
interval (Student's t) of the mean difference, over the seeds; it holds if the lower end reaches the margin. One seed
decides nothing: what the first version of this proof claimed of one was refuted by the next.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from clinical_modernbert.evaluation.scores.paired import Paired, compare

CONFIDENCE = 0.95
Scores = Mapping[str, Mapping[str, float]]
"""Task -> score -> value."""


class Claim(NamedTuple):
    """Margins by which the trained model leads its initialization and the bag of subwords; None: only reported."""

    task: str
    score: str
    over_initial: float | None = None
    over_bag: float | None = None


CLAIMS = [
    Claim("masked-words", "pubmed top1", 0.15, 0.10),
    Claim("masked-words", "pubmed word", 0.15, 0.05),
    Claim("masked-words", "icd10cm top1", 0.30, 0.10),
    Claim("masked-words", "icd9 top1", 0.30, 0.05),
    Claim("ncbi-disease", "f1", 0.0, 0.10),
    Claim("codes", "icd9 bare purity"),
    Claim("codes", "icd10 bare purity"),
    *(
        Claim("codes", f"{score}{transform}")
        for score in ("icd9 description purity", "icd10 description purity", "crosswalk description mrr")
        for transform in ("", " centered", " whitened")
    ),
]
"""Written before the runs of the page. What was claimed then of bare codes did not hold (docs/proof.md)."""


def decide(trained: Sequence[Scores], initial: Sequence[Scores], bag: Scores) -> tuple[list[str], bool]:
    """Return the table as Markdown lines, and whether every claim holds. The sequences have one entry per seed."""
    lines = [
        "| task | score | trained | over initialization | over bag of subwords | claimed, at least | held |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    proven = True
    for task, score, *margins in CLAIMS:
        values, before = ([scores[task][score] for scores in seeds] for seeds in (trained, initial))
        leads = [compare(others, values, CONFIDENCE) for others in (before, [bag[task][score]] * len(values))]
        held = all(margin is None or _low(lead) >= margin for lead, margin in zip(leads, margins, strict=True))
        proven &= held
        claimed = ", ".join("none" if margin is None else f"{margin:+.2f}" for margin in margins)
        verdict = "" if margins == [None, None] else "yes" if held else "NO"
        cells = (task, score, f"{fmean(values):.3f}", *map(_cell, leads), claimed, verdict)
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""], proven


def _low(lead: Paired) -> float:
    """The lower end of the interval."""
    assert lead.half_width is not None
    return lead.difference - lead.half_width


def _cell(lead: Paired) -> str:
    return f"{lead.difference:+.3f} ± {lead.half_width:.3f}"
