"""The report of a run: one self-contained HTML file that loads no other file and needs no network."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ...storage.files import atomic_write
from ..runs.status import describe_outcome
from . import sections
from .charts import label
from .run_data import RunData, read_run_data

_DIRECTORY = Path(__file__).parent


def write_report(run_dir: Path, out: Path, evaluations: list[Path]) -> None:
    """Read the run in `run_dir` and write its page to `out`, atomically.

    Raises:
        UserError: `run_dir` contains no run, or one of `evaluations` has no results.
    """
    page = render(read_run_data(run_dir, evaluations))
    out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(out, page)


def render(run: RunData) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(_DIRECTORY),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["short"] = sections.short
    templates.filters["label"] = label
    return templates.get_template("page.html").render(_variables(run))


def _variables(run: RunData) -> dict[str, Any]:
    return {
        "run": run,
        "title": run.run_dir.resolve().name,
        "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "progress": min(1.0, run.step / run.plan.steps) if run.plan else None,
        "tiles": sections.tiles(run),
        "step_time": str(timedelta(seconds=round(sections.step_seconds(run.rows)))),
        "loss_charts": sections.loss_charts(run),
        "validation_rows": sections.validation_rows(run),
        "schedule_charts": sections.schedule_charts(run),
        "speed_charts": sections.speed_charts(run),
        "mix_charts": sections.mix_chart(run),
        "mix_rows": sections.mix_rows(run),
        "describe_outcome": describe_outcome,
        "style": (_DIRECTORY / "style.css").read_text(encoding="utf-8"),
        "script": (_DIRECTORY / "hover.js").read_text(encoding="utf-8"),
    }
