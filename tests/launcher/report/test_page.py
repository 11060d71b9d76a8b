"""`cmbert report`: it shows the data of the run, whichever files exist, and the page is self-contained."""

import json
import math
import re
import signal
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from time import process_time

import pytest
from browser import find_browser, visit
from hypothesis import given
from hypothesis import strategies as st
from report_page import MEASURE, curves, text_of
from small_run import SmallRun
from written_run import SOURCES, loss_of, write_checkpoint, write_run

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.report.charts import Chart, Line, draw, ticks
from clinical_modernbert.launcher.report.downsample import POINTS, Point, downsample
from clinical_modernbert.launcher.report.page import write_report
from clinical_modernbert.launcher.runs.launch_log import record_end


def report(run_dir: Path, *evaluations: Path) -> str:
    out = run_dir.with_name(f"{run_dir.name}.html")
    write_report([run_dir], out, evaluations)
    return out.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = write_run(tmp_path_factory.mktemp("written") / "run", steps=60, planned=100)
    write_checkpoint(run_dir, 40)
    write_checkpoint(run_dir, 60)
    return run_dir


def test_curves_show_the_rows_of_the_run(written: Path) -> None:
    shown = curves(report(written))
    loss = shown["Training loss"]["loss"]
    assert [step for step, _ in loss] == list(range(1, 61))
    assert [value for _, value in loss] == pytest.approx([loss_of(step) for step in range(1, 61)], rel=1e-4)
    validation = shown["Validation loss"]
    assert validation.keys() == SOURCES.keys()
    assert validation["codes"] == [[step, pytest.approx(loss_of(step) + 0.3, rel=1e-4)] for step in (20, 40, 60)]
    assert shown["Cumulative share of tokens"]["notes"][-1] == [60, 0.7]
    assert shown["Cumulative share of tokens"]["notes, planned"][-1] == [60, 0.701]


def test_planned_curves_reach_the_last_step_and_match_the_run(written: Path) -> None:
    shown = curves(report(written))
    for title in ("Learning rate", "Maximum sequence length", "Masking rate"):
        planned: dict[float, float] = {float(step): value for step, value in shown[title]["planned"]}
        run: dict[float, float] = {float(step): value for step, value in shown[title]["run"]}
        assert max(planned) == 100
        assert max(run) == 60
        assert {step: planned[step] for step in run} == pytest.approx(run)


def test_a_run_in_progress_shows_step_and_time_left_and_how_to_update(written: Path, tmp_path: Path) -> None:
    text = text_of(report(written))
    assert "In progress : step 60 of 100, 0:20 left at the speed of the last steps, last update 0:" in text
    assert "This page does not change by itself: to update it, run cmbert report again and reload it." in text
    complete = write_run(tmp_path / "complete", steps=30)
    assert "In progress" not in text_of(report(complete))
    record_end(written, "local", 1)
    assert "In progress" not in text_of(report(written))
    launches = written / "launches.jsonl"
    launches.write_text("".join(launches.read_text().splitlines(keepends=True)[:-1]))


def test_tables_show_attempts_checkpoints_and_origin(written: Path) -> None:
    text = text_of(report(written))
    for expected in (
        "60 of 100, 60.0%",
        "240 k 240,000",
        "1 2026-01-01 10:00:00 local 0 2 node7 killed by signal 9 (exit code 137)",
        "2 2026-01-02 10:00:00 local 30 2 node7",
        f"step00000040 160,000 {loss_of(40):.4f} 2 1 3.0",
        f"notes {loss_of(20) + 0.7:.4f} {loss_of(60) + 0.7:.4f} 60 {loss_of(60) + 0.7:.4f} 25.0 % 12.5 %",
        "notes 168,000 70.00 % 70.10 % public domain",
        "recorded steps took 0:00:30",
        "1131e88",
        "torch 2.13.0",
        "hash of codes",
        "total_tokens: 400000",
    ):
        assert expected in text, expected
    assert "secret" not in text


def test_results_of_the_run_and_of_named_evaluations_are_shown(written: Path, tmp_path: Path) -> None:
    score = {"mean": 0.8125, "deviation": 0.0125, "values": [0.8, 0.825]}
    (tmp_path / "results.json").write_text(json.dumps({"ncbi-disease": {"run": {"f1": score}}}))
    assert "ncbi-disease score run f1 0.8125 ± 0.0125, 2 seeds" in text_of(report(written, tmp_path))
    with pytest.raises(UserError, match=r"no results.json"):
        report(written, tmp_path / "elsewhere")


@pytest.mark.slow
def test_the_page_of_150_000_steps_is_small_and_keeps_spikes(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", steps=2000)
    lines = (run_dir / "metrics.csv").read_text().splitlines()
    spike = lines[1].replace(str(loss_of(1)), "77.5")
    long = [lines[0], *(line.partition(",")[2] for line in lines[1:] * 75)]
    rows = [long[0], *(f"{step},{line}" for step, line in enumerate(long[1:], 1))]
    rows[100_001] = "100001," + spike.partition(",")[2]
    (run_dir / "metrics.csv").write_text("\n".join(rows) + "\n")
    began = process_time()
    page = report(run_dir)
    assert process_time() - began < 30
    assert len(page) < 2_000_000
    points = curves(page)["Training loss"]["loss"]
    assert len(points) <= POINTS
    assert max(max(values) for _, *values in points) == 77.5
    assert 'class="band' in page


@pytest.mark.parametrize(
    "missing", ["metrics.csv", "validation.csv", "mix.csv", "config.yaml", "attempts", "launches.jsonl", "checkpoints"]
)
def test_missing_files_do_not_affect_other_sections(written: Path, tmp_path: Path, missing: str) -> None:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    for path in written.iterdir():
        if path.name != missing:
            (run_dir / path.name).symlink_to(path)
    text = text_of(report(run_dir))
    assert "Training report" in text
    assert "60" in text
    assert "Origin" in text


def test_corrupt_files_are_skipped(written: Path, tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", steps=30)
    (write_checkpoint(run_dir, 20) / "manifest.json").write_text("{")
    with (run_dir / "metrics.csv").open("a") as file:
        file.write("31,124000,2.5")
    (run_dir / "skips.json").write_text('[{"after": 1234, "packs": 56}')
    (run_dir / "config.yaml").write_text("batch: [")
    text = text_of(report(run_dir))
    assert "step00000020 unreadable manifest" in text
    assert "step 30" in text
    assert "The plan is unknown" in text


def test_missing_and_infinite_values_are_skipped_in_curves(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "run", steps=30)
    metrics = run_dir / "metrics.csv"
    lines = metrics.read_text().splitlines()
    lines[5] = lines[5].replace(",0.5,", ",inf,").replace(",0.4,", ",,")
    metrics.write_text("\n".join(lines) + "\n")
    shown = curves(report(run_dir))
    assert 5 not in {step for step, *_ in shown["Gradient norm"]["norm"]}
    assert len(shown["Model FLOPs utilization"]["MFU"]) == 29


def test_a_directory_without_a_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run was started here"):
        report(tmp_path)
    assert not list(tmp_path.glob("*.html"))


def test_a_failed_write_leaves_no_file(written: Path, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        write_report([written], tmp_path)
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}.*"))


class Tags(HTMLParser):
    """Collects all tags, and the targets of their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]


def test_names_are_escaped_and_nothing_external_is_referenced(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    run_dir = write_run(tmp_path / evil.replace("/", "∕"), steps=30)
    write_checkpoint(run_dir, 20, licence=f"{evil}<img src=x>'\"")
    for name in ("mix.csv", "validation.csv"):
        path = run_dir / name
        path.write_text(path.read_text().replace("notes", evil))
    plain, page = Tags(), Tags()
    plain.feed(report(write_run(tmp_path / "plain", steps=30)))
    page.feed(report(run_dir))
    assert page.names.count("script") == plain.names.count("script")
    assert "img" not in page.names
    assert set(page.targets) == {"data:,"}
    assert "url(" not in report(run_dir)
    assert evil in curves(report(run_dir))["Validation loss"]


@given(st.lists(st.floats(-1e6, 1e6) | st.none() | st.just(math.inf), max_size=300), st.integers(1, 50))
def test_downsampled_curves_keep_extremes_and_means(values: list[float | None], max_points: int) -> None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    points = downsample(range(len(values)), values, max_points)
    assert len(points) <= max_points
    assert all(before.x < after.x for before, after in pairwise(points))
    if known:
        assert (min(point.low for point in points), max(point.high for point in points)) == (min(known), max(known))
        assert all(point.low - 1e-6 <= point.mean <= point.high + 1e-6 for point in points)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside_the_range(low: float, room: float) -> None:
    high = low + room
    if high > low + 1e-9 * abs(low):
        result = ticks(low, high)
        assert len(result) <= 12
        assert all(low - 1e-6 * room <= tick <= high + 1e-6 * room for tick in result)


@given(st.floats(1e-3, 1e3), st.floats(1.01, 1e6))
def test_a_logarithmic_axis_has_ticks(low: float, ratio: float) -> None:
    points = [Point(1, low, low, low), Point(2, low * ratio, low * ratio, low * ratio)]
    drawing = draw(Chart("a", [Line("a", points)], 1, 2, log=True))
    assert drawing is not None
    assert len(drawing["y_ticks"]) >= 2
    assert all(-1e-6 <= percent <= 100 + 1e-6 for percent, _ in drawing["y_ticks"])


@pytest.mark.parametrize(("start", "clipped"), [(11.0, True), (2.2, False)])
def test_a_high_initial_loss_is_clipped_with_a_note(start: float, clipped: bool) -> None:
    points = [
        Point(step, value, value, value) for step in range(100) for value in [start if step < 3 else 2 + step % 2]
    ]
    drawing = draw(Chart("loss", [Line("loss", points)], 0, 99, clip_start=True))
    assert drawing is not None
    assert ("from 11, are above the range shown" in drawing["note"]) is clipped
    heights = [float(y) for path in drawing["paths"] for y in re.findall(r" (-?[\d.]+)", path["d"])]
    assert (min(heights) < 0) is clipped


def test_lines_stay_inside_the_chart() -> None:
    points = [Point(step, value, value - 1, value + 1) for step, value in ((1, 5.0), (50, -3.0), (100, 9.0))]
    drawing = draw(Chart("a", [Line("a", points)], 1, 100))
    assert drawing is not None
    numbers = [float(number) for path in drawing["paths"] for number in re.findall(r"-?[\d.]+", path["d"])]
    assert 0 <= min(numbers) < max(numbers) <= 1000


def test_the_report_of_a_real_run_that_was_killed_and_resumed(new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    run.signal_after(6, signal.SIGKILL, "validation.every_steps=4", "validation.packs=1")
    killed = text_of(report(run.run_dir))
    assert f"step {run.rows()[-1]['step']}" in killed
    run.train("validation.every_steps=4", "validation.packs=1")
    page = report(run.run_dir)
    assert "state complete step 12 of 12, 100.0%" in text_of(page)
    assert [value for _, value in curves(page)["Training loss"]["loss"]] == pytest.approx(run.column("loss"), rel=1e-4)
    assert 'class="resume"' in page
    assert not re.search(r"(notes|codes)/train\d+", page), "the page contains a document id"


@pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed")
@pytest.mark.parametrize("width", [390, 760, 1280])
def test_a_browser_renders_the_page(written: Path, tmp_path: Path, width: int) -> None:
    report(written)
    seen, console = visit(written.with_name("run.html"), width, MEASURE, tmp_path)
    assert seen["width"] == width
    assert seen["scrolling"] == []
    assert console == []
    assert seen["fetched"] == []
    assert seen["hover"].splitlines() == ["step 60", f"loss  {loss_of(60):.5g}"]
    assert seen["drawn"] >= 10


@pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed")
def test_the_browser_check_detects_errors(written: Path, tmp_path: Path) -> None:
    """The same measurement on a page that is wider than the window and loads an image."""
    broken = tmp_path / "broken.html"
    wide = "<div style='width:900px'>x</div><img src='https://example.invalid/x.png'>"
    wide += f"<pre style='white-space:pre;overflow-x:auto;width:300px;overflow-wrap:normal'>{'x' * 200}</pre>"
    broken.write_text(report(written).replace("<main>", f"<main>{wide}"))
    profile = tmp_path / "profile"
    profile.mkdir()
    seen, console = visit(broken, 400, MEASURE, profile)
    assert "HTML" in seen["scrolling"]
    assert "PRE" in seen["scrolling"]
    assert any("example.invalid" in line for line in console)
