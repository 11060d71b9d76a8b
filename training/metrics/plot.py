"""The loss curve of a run as a PNG."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ..checkpoint.attempts import read_attempts
from .writer import read_metrics


def plot_loss(run_dir: Path, out: Path) -> None:
    """Plot loss, accuracy, sequence-length stages and interruptions of a run, and save the figure to `out`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_metrics(run_dir)
    steps = [row["step"] for row in rows]
    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    losses = [row["loss"] for row in rows]
    axes.plot(steps, losses, color="tab:blue", linewidth=0.7, alpha=0.4)
    axes.plot(steps, moving_average(losses), color="tab:blue", linewidth=1.8)
    for first in stage_starts(rows):
        length = rows[first]["max_seqlen"]
        axes.axvline(steps[first], color="0.8", zorder=0)
        axes.annotate(
            f"{length:,} tokens",
            (steps[first], 1),
            xycoords=("data", "axes fraction"),
            xytext=(4, -12),
            textcoords="offset points",
            fontsize=8,
            color="0.4",
        )
    for attempt in read_attempts(run_dir)[1:]:
        axes.axvline(attempt["step"] + 0.5, color="tab:red", linestyle="--", linewidth=1)
        axes.annotate(
            "resumed",
            (attempt["step"] + 0.5, 0),
            xycoords=("data", "axes fraction"),
            xytext=(4, 6),
            textcoords="offset points",
            fontsize=8,
            color="tab:red",
        )
    axes.set(xlabel="step", ylabel="cross-entropy per masked token (nats)", title=str(run_dir))
    accuracy_axes = axes.twinx()
    accuracy_axes.plot(steps, moving_average([row["accuracy"] for row in rows]), color="tab:orange", linewidth=1.2)
    accuracy_axes.set_ylabel("accuracy on masked tokens", color="tab:orange")
    figure.savefig(out, dpi=120)
    pyplot.close(figure)


def stage_starts(rows: list[dict]) -> list[int]:
    """Indices of the first row of each sequence-length stage."""
    lengths = [row["max_seqlen"] for row in rows]
    return [row for row, length in enumerate(lengths) if row == 0 or length != lengths[row - 1]]


def moving_average(values: Sequence[float], window: int = 10) -> list[float]:
    """The mean of each value and up to `window` - 1 values before it."""
    return [fmean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)]
