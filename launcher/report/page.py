"""A run as one HTML file that needs nothing else: no network, no other file."""

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from . import sections
from .charts import label
from .facts import RunData, read_run_data

_HERE = Path(__file__).parent


def write_report(run_dir: Path, out: Path, evaluations: list[Path]) -> None:
    """Read the run in `run_dir` and write its page to `out`, whole or not at all.

    Raises:
        UserError: nothing was run there, or an evaluation named has no results.
    """
    page = render(read_run_data(run_dir, evaluations))
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.part")
    try:
        aside.write_text(page, encoding="utf-8")
        aside.replace(out)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def render(facts: RunData) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters["short"] = sections.short
    templates.filters["label"] = label
    return templates.get_template("page.html").render(_variables(facts))


def _variables(facts: RunData) -> dict[str, Any]:
    return {
        "facts": facts,
        "title": facts.run_dir.resolve().name,
        "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "progress": min(1.0, facts.step / facts.plan.steps) if facts.plan else None,
        "tiles": sections.tiles(facts),
        "step_time": str(timedelta(seconds=round(sections.step_seconds(facts.rows)))),
        "loss_charts": sections.loss_charts(facts),
        "validation_rows": sections.validation_rows(facts),
        "schedule_charts": sections.schedule_charts(facts),
        "speed_charts": sections.speed_charts(facts),
        "mix_charts": sections.mix_chart(facts),
        "mix_rows": sections.mix_rows(facts),
        "style": (_HERE / "style.css").read_text(encoding="utf-8"),
        "script": (_HERE / "hover.js").read_text(encoding="utf-8"),
    }
