"""The loss curve of a run as a picture."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from ..checkpoint.attempts import read_attempts
from .writer import read_metrics


def plot_loss(run_dir: Path, out: Path) -> None:
    """Draw loss, sequence-length stages and interruptions of a run into a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = read_metrics(run_dir)
    steps = [row["step"] for row in rows]
    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    losses = [row["loss"] for row in rows]
    axes.plot(steps, losses, color="tab:blue", linewidth=0.7, alpha=0.4)
    axes.plot(steps, smoothed(losses), color="tab:blue", linewidth=1.8)
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
    axes.set(xlabel="step", ylabel="loss a masked token (nats)", title=str(run_dir))
    right = axes.twinx()
    right.plot(steps, smoothed([row["accuracy"] for row in rows]), color="tab:orange", linewidth=1.2)
    right.set_ylabel("masked tokens predicted", color="tab:orange")
    figure.savefig(out, dpi=120)
    pyplot.close(figure)


def stage_starts(rows: list[dict]) -> list[int]:
    """Index of the first row of each sequence-length stage."""
    lengths = [row["max_seqlen"] for row in rows]
    return [at for at, length in enumerate(lengths) if at == 0 or length != lengths[at - 1]]


def smoothed(values: Sequence[float], window: int = 10) -> list[float]:
    """The mean of each value and those before it, up to `window` of them."""
    return [fmean(values[max(0, at + 1 - window) : at + 1]) for at in range(len(values))]
