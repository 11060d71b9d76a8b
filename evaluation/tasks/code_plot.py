"""The plot of Clinical ModernBERT's paper: t-SNE of ICD-9 codes, colored by chapter, for several models."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..scores.optional_dependencies import require
from ..scores.ranking import Vectors, normalize
from .code_structure import Code, CodesTask, read_systems

if TYPE_CHECKING:
    from ..models.model import EvaluatedModel

_MAX_CODES = 2000


def plot_codes(models: "Sequence[EvaluatedModel]", task: CodesTask, data: Path, tokens: int, out: Path) -> None:
    """Save a PNG with one column per model, descriptions above and bare codes below."""
    from ..models.embed import embed

    require("matplotlib").use("Agg")
    pyplot = require("matplotlib.pyplot")
    codes = read_systems(task, data).icd9[:_MAX_CODES]
    rows = {"descriptions": [code.description for code in codes], "bare codes": [code.code for code in codes]}
    figure, axes = pyplot.subplots(
        2, len(models), figsize=(5 * len(models) + 2, 9), squeeze=False, layout="constrained"
    )
    for column, model in enumerate(models):
        for row, (kind, texts) in enumerate(rows.items()):
            _scatter(axes[row][column], embed(model, texts, task.pooling, tokens), codes)
            axes[row][column].set(title=f"{model.name}: {kind}", xticks=[], yticks=[])
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", markerscale=4, frameon=False)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)


def _scatter(axes: object, vectors: Vectors, codes: Sequence[Code]) -> None:
    perplexity = min(30, (len(codes) - 1) / 3)
    tsne = require("sklearn.manifold").TSNE(metric="cosine", init="pca", random_state=0, perplexity=perplexity)
    points = tsne.fit_transform(normalize(vectors))
    colors = require("matplotlib.pyplot").get_cmap("tab20")
    for number, chapter in enumerate(sorted({code.chapter for code in codes})):
        selected = [index for index, code in enumerate(codes) if code.chapter == chapter]
        axes.scatter(*points[selected].T, s=3, color=colors(number % 20), label=chapter)  # type: ignore[attr-defined]
