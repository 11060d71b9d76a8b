"""Templates of self-contained HTML pages: style and script are part of the page, and every value is escaped."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_DIRECTORY = Path(__file__).parent


def render_template(template: str, *directories: Path, **variables: Any) -> str:
    """Return the page of a template in this folder, or in one of `directories`, which may use the parts of this one."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader([*directories, _DIRECTORY]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(template).render(
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        style="\n".join(read.read_text(encoding="utf-8") for read in _styles(directories)),
        script=(_DIRECTORY / "hover.js").read_text(encoding="utf-8"),
        **variables,
    )


def _styles(directories: tuple[Path, ...]) -> list[Path]:
    return [path for one in (_DIRECTORY, *directories) for path in sorted(one.glob("*.css"))]
