"""The paper's picture: codes of ICD-9 placed by t-SNE and coloured by chapter, subjects side by side."""

from collections.abc import Sequence
from pathlib import Path

from ..models.embed import embed
from ..models.model import Subject
from ..scores.libraries import require
from ..scores.ranking import Vectors, normalised
from .code_structure import Code, CodesTask, read_systems

_CODES = 2000


def plot_codes(subjects: Sequence[Subject], task: CodesTask, data: Path, tokens: int, out: Path) -> None:
    """Write a PNG: a column a subject, descriptions above and bare codes below."""
    require("matplotlib").use("Agg")
    pyplot = require("matplotlib.pyplot")
    codes = read_systems(task, data).icd9[:_CODES]
    rows = {"descriptions": [code.description for code in codes], "bare codes": [code.code for code in codes]}
    figure, axes = pyplot.subplots(
        2, len(subjects), figsize=(5 * len(subjects) + 2, 9), squeeze=False, layout="constrained"
    )
    for column, subject in enumerate(subjects):
        for row, (kind, texts) in enumerate(rows.items()):
            _scatter(axes[row][column], embed(subject, texts, task.pooling, tokens), codes)
            axes[row][column].set(title=f"{subject.name}: {kind}", xticks=[], yticks=[])
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", markerscale=4, frameon=False)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def _scatter(axes: object, vectors: Vectors, codes: Sequence[Code]) -> None:
    perplexity = min(30, (len(codes) - 1) / 3)
    tsne = require("sklearn.manifold").TSNE(metric="cosine", init="pca", random_state=0, perplexity=perplexity)
    places = tsne.fit_transform(normalised(vectors))
    colours = require("matplotlib.pyplot").get_cmap("tab20")
    for number, chapter in enumerate(sorted({code.chapter for code in codes})):
        chosen = [place for place, code in enumerate(codes) if code.chapter == chapter]
        axes.scatter(*places[chosen].T, s=3, color=colours(number % 20), label=chapter)  # type: ignore[attr-defined]
