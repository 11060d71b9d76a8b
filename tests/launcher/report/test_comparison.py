"""The page of several runs: every curve in the color of its run, differing keys, and no horizontal scrolling."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from browser import find_browser, visit
from report_page import MEASURE, curves, text_of
from written_run import loss_of, write_checkpoint, write_run

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher import cli
from clinical_modernbert.launcher.report.charts import COLORS
from clinical_modernbert.launcher.report.comparison import differing_keys
from clinical_modernbert.launcher.report.page import write_report

FILES = ["metrics.csv", "validation.csv", "mix.csv", "config.yaml", "attempts", "launches.jsonl", "checkpoints"]


def page_of(*run_dirs: Path, evaluations: tuple[Path, ...] = ()) -> str:
    out = run_dirs[0].parent / "comparison.html"
    write_report(run_dirs, out, evaluations)
    return out.read_text(encoding="utf-8")


def set_keys(run_dir: Path, **replaced: str) -> None:
    text = (run_dir / "config.yaml").read_text()
    for old, new in replaced.items():
        text = text.replace({"lr": "2e-3", "batch": "global_batch_size: 4"}[old], new)
    (run_dir / "config.yaml").write_text(text)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """A run in progress, and a longer one with another learning rate."""
    one, two = write_run(tmp_path / "one", 60, planned=100), write_run(tmp_path / "two", 90, planned=90)
    set_keys(two, lr="1e-3")
    write_checkpoint(one, 40)
    return one, two


def test_each_metric_has_one_curve_per_run_in_its_color(runs: tuple[Path, Path]) -> None:
    page = page_of(*runs)
    shown = curves(page)
    expected = {"Training loss", "Masked-token accuracy", "Gradient norm", "Learning rate", "Tokens per second"}
    assert expected | {"Validation loss, mean over sources", "Validation loss of notes"} <= shown.keys()
    assert all(list(lines) == ["one", "two"] for lines in shown.values())
    for name, steps in (("one", 60), ("two", 90)):
        loss = shown["Training loss"][name]
        assert [step for step, _ in loss] == list(range(1, steps + 1))
        assert [value for _, value in loss] == pytest.approx([loss_of(step) for step in range(1, steps + 1)], rel=1e-4)
    for figure in re.findall(r"<figure.*?</figure>", page, re.DOTALL):
        assert set(re.findall(r'class="line c(\d)"', figure)) == {"0", "1"}


def test_tables_show_differences_and_final_numbers(runs: tuple[Path, Path]) -> None:
    text = text_of(page_of(*runs))
    mean = sum(map(loss_of, range(11, 61))) / 50
    for expected in (
        "one running step 60 of 100, 0:20 left",
        "two complete step 90 of 90",
        "key one two",
        "optimizer.lr 0.002 0.001",
        "schedule.total_tokens 400000 360000",
        f"one 60 240 k {mean:.4f} {mean:.4f} {1 / loss_of(60):.1%}".replace("%", " %"),
        "loss at step 60",
        f"{loss_of(60) + 0.5:.4f} step 60",
        "one 8,000 40.0 % 0:30 1.50 2 0 step 40",
        "runs in progress change",
    ):
        assert expected in text, expected
    assert "seed" not in text
    assert "run_dir" not in text
    assert "secret" not in text


def test_runs_with_other_batches_are_compared_by_tokens(runs: tuple[Path, Path]) -> None:
    one, two = runs
    lines = (two / "metrics.csv").read_text().splitlines()
    doubled = [re.sub(r"^(\d+),(\d+)", lambda match: f"{match[1]},{2 * int(match[2])}", line) for line in lines]
    (two / "metrics.csv").write_text("\n".join(doubled) + "\n")
    page = page_of(one, two)
    shown = curves(page)
    assert shown["Training loss"]["one"][-1] == [240_000, pytest.approx(loss_of(60), rel=1e-4)]
    assert shown["Training loss"]["two"][29] == [240_000, pytest.approx(loss_of(30), rel=1e-4)]
    assert shown["Validation loss of notes"]["two"][0] == [160_000, pytest.approx(loss_of(20) + 0.7, rel=1e-4)]
    assert '"axis": "tokens"' in page
    assert "loss at 240 k tokens" in text_of(page)


@pytest.mark.parametrize("missing", FILES)
def test_missing_files_of_a_run_do_not_stop_the_page(runs: tuple[Path, Path], missing: str) -> None:
    one, two = runs
    path = one / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(one, two)
    assert curves(page)["Training loss"]["two"][-1][0] == 90
    assert ("The config.yaml of one is missing" in text_of(page)) == (missing == "config.yaml")


def test_only_one_file_of_a_run_is_enough(runs: tuple[Path, Path]) -> None:
    one, two = runs
    for name in FILES[:-1]:
        path = one / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "two complete" in text_of(page_of(one, two))


def test_results_of_evaluations_are_next_to_each_other(runs: tuple[Path, Path]) -> None:
    def scores(run_dir: Path, **means: float) -> None:
        models = {name: {"f1": {"mean": mean, "deviation": None, "values": [mean]}} for name, mean in means.items()}
        (run_dir / "evaluation").mkdir()
        (run_dir / "evaluation" / "results.json").write_text(json.dumps({"ner": models}))

    scores(runs[0], base=0.7, run=0.75)
    scores(runs[1], base=0.7, run=0.8)
    assert "ner score base run run of two f1 0.7000 0.7500 0.8000" in text_of(page_of(*runs))


def test_runs_of_the_same_name_are_named_by_their_paths(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / parent / "run", 30) for parent in "ab"]
    assert list(curves(page_of(*paths))["Training loss"]) == [str(path) for path in paths]


def test_wrong_runs_are_reported_together_and_nothing_is_written(
    runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "page.html"
    for names, messages in (
        (["one", "twoo", "missing"], ["twoo: no run was started here; did you mean two?", "missing: no run was"]),
        (["one", "./one"], ["the same run; name each run once"]),
        (["one"] * (COLORS + 1), ["the same run"]),
    ):
        with pytest.raises(UserError) as error:
            write_report([Path(name) for name in names], out)
        assert all(message in str(error.value) for message in messages)
    many = [write_run(tmp_path / f"run{number}", 2) for number in range(COLORS + 1)]
    with pytest.raises(UserError, match=f"at most {COLORS}"):
        write_report(many, out)
    monkeypatch.setattr(sys, "argv", ["cmbert", "report", "one", "two"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert (ended.value.code, "name the file with --out" in capsys.readouterr().err) == (2, True)
    assert not list(tmp_path.glob("**/*.html"))


def test_differing_keys_are_those_with_another_value_or_absent() -> None:
    configs = [{"a": "1", "b": "2", "run_dir": "x"}, {"a": "1", "b": "3", "c": "4", "run_dir": "y"}]
    assert differing_keys(configs) == {"b": ["2", "3"], "c": [None, "4"]}
    assert differing_keys(configs[:1]) == {}


@pytest.mark.servers
@pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed")
@pytest.mark.parametrize("width", [390, 760, 1280])
def test_a_browser_shows_many_runs_without_horizontal_scrolling(tmp_path: Path, width: int) -> None:
    long = "a-run-with-a-name-that-is-longer-than-any-column-of-a-table-may-be"
    paths = [write_run(tmp_path / f"{long}-{number}", 60, planned=100) for number in range(COLORS)]
    for number, path in enumerate(paths):
        set_keys(path, lr=f"{number + 1}e-4")
        (path / "evaluation").mkdir()
        score = {"mean": number / 10, "deviation": 0.0125, "values": [0.1, 0.2]}
        (path / "evaluation" / "results.json").write_text(json.dumps({"ner": {path.name: {"f1": score}}}))
    page_of(*paths)
    seen, console = visit(tmp_path / "comparison.html", width, MEASURE, tmp_path)
    assert seen["scrolling"] == []
    assert console == seen["fetched"] == []
    assert seen["hover"].splitlines()[0] == "step 60"
    assert len(seen["hover"].splitlines()) == 1 + COLORS
    assert seen["drawn"] >= 10 * COLORS


@pytest.mark.servers
@pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed")
def test_the_page_follows_the_dark_scheme(runs: tuple[Path, Path], tmp_path: Path) -> None:
    page_of(*runs)
    backgrounds = {}
    for dark in (False, True):
        directory = tmp_path / str(dark)
        directory.mkdir()
        seen, _ = visit(tmp_path / "comparison.html", 1280, MEASURE, directory, dark=dark)
        backgrounds[dark] = sum(map(int, re.findall(r"\d+", seen["background"])[:3]))
    assert backgrounds[True] < 3 * 64 < 3 * 192 < backgrounds[False]
