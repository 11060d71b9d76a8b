"""The report of a run, or the comparison of several: one self-contained HTML file that needs no network."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from ...configs.errors import UserError
from ...configs.progress import format_duration
from ...storage.files import atomic_write
from . import comparison, sections, tables
from .charts import COLORS
from .rendering import render_template
from .run_data import RunData, read_run_data


def write_report(run_dirs: Sequence[Path], out: Path, evaluations: Sequence[Path] = ()) -> None:
    """Write the page of one run, or of several next to each other, to `out`, atomically.

    Raises:
        UserError: one of `run_dirs` contains no run or is named twice, they are more than the colors of a chart, or one
            of `evaluations` has no results.
    """
    if repeated := [str(path) for path in run_dirs if [one.resolve() for one in run_dirs].count(path.resolve()) > 1]:
        raise UserError(f"{', '.join(repeated)}: the same run; name each run once")
    if len(run_dirs) > COLORS:
        raise UserError(f"{len(run_dirs)} runs: a chart shows at most {COLORS}; name fewer")
    runs = _read_all(run_dirs, evaluations)
    page = render(runs[0]) if len(runs) == 1 else render_comparison(runs)
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, page)


def render(run: RunData) -> str:
    """Return the page of one run."""
    return render_template(
        "page.html",
        title=run.run_dir.resolve().name,
        run=run,
        progress=min(1.0, run.step / run.plan.steps) if run.plan else None,
        in_progress=_describe_progress(run) if run.in_progress else "",
        tiles=sections.tiles(run),
        step_time=str(timedelta(seconds=round(sections.step_seconds(run.rows)))),
        loss_charts=sections.loss_charts(run),
        validation=tables.validation_table(run),
        schedule_charts=sections.schedule_charts(run),
        speed_charts=sections.speed_charts(run),
        mix_charts=sections.mix_chart(run),
        mix=tables.mix_table(run),
        attempts=tables.attempts_table(run),
        skips=tables.skips_table(run),
        checkpoints=tables.checkpoints_table(run),
        scores=tables.score_tables(run.results),
        origin=tables.origin_table(run.newest_manifest) if run.newest_manifest else None,
    )


def render_comparison(runs: Sequence[RunData]) -> str:
    """Return the page of several runs."""
    return render_template("comparison.html", **comparison.variables(runs))


def _read_all(run_dirs: Sequence[Path], evaluations: Sequence[Path]) -> list[RunData]:
    """Read all runs; report all directories that contain none."""
    runs = [_read(path, evaluations) for path in run_dirs]
    if problems := [str(run) for run in runs if isinstance(run, UserError)]:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return [run for run in runs if isinstance(run, RunData)]


def _read(run_dir: Path, evaluations: Sequence[Path]) -> RunData | UserError:
    try:
        return read_run_data(run_dir, list(evaluations))
    except UserError as error:
        return error


def _describe_progress(run: RunData) -> str:
    total = f" of {run.plan.steps:,}" if run.plan else ""
    parts = [f"step {run.step:,}{total}"]
    if run.seconds_left is not None:
        parts.append(f"{format_duration(run.seconds_left)} left at the speed of the last steps")
    if run.seconds_since_update is not None:
        parts.append(f"last update {format_duration(run.seconds_since_update)} before this page was written")
    return ", ".join(parts)
