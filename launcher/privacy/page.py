"""The page about the privacy of a run's checkpoints: one self-contained HTML file, without any text of the data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...evaluation.privacy.card import ACCESS, CAUTION, findings
from ...evaluation.privacy.report import SECTIONS, Estimate, ExposureSection, PrivacyReport
from ...storage.files import atomic_write
from ..report.charts import COLORS, Chart, Line, draw
from ..report.downsample import Point
from ..report.rendering import render_template
from ..report.tables import Table

PAGE = "privacy.html"
_DIRECTORY = Path(__file__).parent


def write_page(run: str, reports: Sequence[PrivacyReport], directory: Path) -> Path:
    """Write the page of all checkpoints and return its path; the newest checkpoint is described in full."""
    page = directory / PAGE
    atomic_write(page, render(run, reports))
    return page


def render(run: str, reports: Sequence[PrivacyReport]) -> str:
    """Return the page."""
    newest = reports[-1]
    return render_template(
        "privacy.html",
        _DIRECTORY,
        title=run,
        newest=newest,
        reports=reports,
        access=ACCESS,
        caution=CAUTION,
        tiles=_tiles(newest),
        findings=[
            {"finding": finding, "table": Table(finding.columns, finding.rows, text=(0,))}
            for finding in findings(newest)
        ],
        charts=_charts(reports),
        not_tried=[name for name in SECTIONS if name not in newest.attacks()],
        history=_history(reports) if len(reports) > 1 else None,
    )


def _tiles(report: PrivacyReport) -> list[tuple[str, str, str]]:
    tiles = [("checkpoint", report.checkpoint, f"step {report.step:,}"), ("data set", report.data_name, report.data)]
    if (exposure := report.exposure) is not None:
        last = exposure.levels[-1]
        tiles.append((f"exposure, {last.repeats} repeats", f"{last.exposure.value:.1f} bits", _of(exposure)))
    if (membership := report.membership) is not None:
        auc = max((one.patients or one.documents).auc.value for one in membership.attacks if one.model == "trained")
        tiles.append(("membership AUC", f"{auc:.2f}", "0.5 is chance"))
    if (extraction := report.extraction) is not None:
        tiles.append(("gaps extracted", f"{extraction.members.extracted:,}", f"of {extraction.members.passages:,}"))
    return tiles


def _of(section: ExposureSection) -> str:
    return f"chance {section.chance:.1f}"


def _charts(reports: Sequence[PrivacyReport]) -> list[dict[str, Any]]:
    """Exposure by repeats, of the last checkpoints and the untrained model; the axis counts levels evenly."""
    shown = [(report, report.exposure) for report in reports if report.exposure is not None][-(COLORS - 1) :]
    if not shown:
        return []
    lines = [
        Line(report.checkpoint, _curve([(level.repeats, level.exposure) for level in section.levels]), color)
        for color, (report, section) in enumerate(shown)
    ]
    section = shown[-1][1]
    control = [(level.repeats, level.untrained) for level in section.levels if level.untrained is not None]
    lines.append(Line("untrained", _curve(control), COLORS - 1))
    chart = Chart(
        "Exposure by repeats",
        lines,
        first=0,
        last=section.levels[-1].repeats,
        unit=" bits",
        axis="repeats",
        from_zero=True,
        note=f"Bands are 95 % intervals over canaries. Chance: {section.chance:.1f} bits; at most "
        f"{section.alternatives + 1:,} secrets in order.",
    )
    return [drawing] if (drawing := draw(chart)) else []


def _curve(levels: Sequence[tuple[int, Estimate]]) -> list[Point]:
    return [Point(repeats, one.value, one.low, one.high) for repeats, one in levels]


def _history(reports: Sequence[PrivacyReport]) -> Table:
    """What was found in each checkpoint."""
    rows = [[report.checkpoint, " ".join(finding.found for finding in findings(report))] for report in reports]
    return Table(["checkpoint", "found"], rows, text=(0, 1))
