"""Plots of a data set: lengths of segments, and statistics of each source."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...configs.errors import UserError
from .summary import SplitView


def plot(views: Sequence[SplitView], seq_length: int, directory: Path) -> list[Path]:
    """Write lengths.png and sources.png; returns their paths.

    Raises:
        UserError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise UserError("--plots needs matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    directory.mkdir(parents=True, exist_ok=True)
    lengths, sources = directory / "lengths.png", directory / "sources.png"
    return [_plot_lengths(views, seq_length, lengths), _plot_sources(views, sources)]


def _plot_lengths(views: Sequence[SplitView], seq_length: int, path: Path) -> Path:
    from matplotlib import pyplot

    edges = np.geomspace(2, seq_length + 1, 40)
    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    for view in views:
        if view.split == "train":
            weights = view.lengths / view.lengths.sum()
            axes.hist(view.lengths, edges, weights=weights, histtype="step", linewidth=1.6, label=view.source)
    axes.set(xscale="log", xlabel="tokens per segment", ylabel="share of the source's tokens")
    axes.legend()
    return _save(figure, path)


def _plot_sources(views: Sequence[SplitView], path: Path) -> Path:
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, 2, figsize=(11, 7), layout="constrained")
    panels: list[tuple[str, list[float]]] = [
        ("tokens", [view.counts.tokens for view in views]),
        ("fullness of the packs (%)", [100 * view.counts.fullness for view in views]),
        ("tokens per word", [view.fertility or 0 for view in views]),
        ("duplicates dropped (% of the source's documents)", [100 * view.dropped for view in views]),
    ]
    names = [f"{view.source}/{view.split}" for view in views]
    for axes, (title, values) in zip(grid.flat, panels, strict=True):
        bars = axes.barh(names, values, color=["tab:blue" if view.split == "train" else "tab:orange" for view in views])
        axes.bar_label(bars, fmt="{:,.0f}" if title == "tokens" else "{:,.2f}", padding=3, fontsize=8)
        axes.set(title=title, xlim=(0, 1.2 * max([*values, 1e-9])))
        axes.invert_yaxis()
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path
