"""The results page: what the numbers say, self-contained, escaped, without text, and readable at any width."""

import re
from pathlib import Path

import pytest
from browser import find_browser, visit
from predicted import TASKS, write_evaluation
from report_page import MEASURE, curves, text_of

from clinical_modernbert.evaluation.comparison import claims, compare_models
from clinical_modernbert.evaluation.results import Result
from clinical_modernbert.evaluation.scores.units import Score
from clinical_modernbert.launcher.results.latex import escape
from clinical_modernbert.launcher.results.page import write_results


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    out = tmp_path_factory.mktemp("results") / "evaluation"
    results = write_evaluation(out)
    write_results(results, compare_models(results), out)
    return out, results


@pytest.mark.slow
def test_it_shows_scores_claims_classes_lengths_and_calibration(written: tuple[Path, list[Result]]) -> None:
    out, results = written
    page = (out / "results.html").read_text()
    text = text_of(page)
    comparisons = compare_models(results)
    for sentence in claims(comparisons):
        assert sentence.partition(": ")[2].replace("'", "&#39;") in text
    for task, (score, _, models) in TASKS.items():
        for model in models:
            values = [result.scores[score] for result in results if (result.task, result.model) == (task, model)]
            assert f"{sum(values) / len(values):.4f}" in text
    assert text.count("By class, all 3 seeds together") == 3 * 3
    assert text.count("Confusion, in % of the examples of a class") == 2 * 3
    for title in (
        "Accuracy by quartile of length",
        "Micro F1 by quartile of length",
        "Mean absolute error by",
    ):
        assert title in text
    assert curves(page)["Reliability"].keys() == {"perfect", "ours", "ModernBERT-base", "bag-of-subwords"}
    assert "Examples that are most often wrong, without their text" in text
    assert re.search(r"[\w-]*&#39;s|Student", text)


@pytest.mark.slow
@pytest.mark.servers
@pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_renders_it(written: tuple[Path, list[Result]], tmp_path: Path, width: int) -> None:
    seen, console = visit(written[0] / "results.html", width, MEASURE, tmp_path)
    assert seen["width"] == width
    assert seen["scrolling"] == []
    assert console == []
    assert seen["fetched"] == []
    assert seen["drawn"] >= 6


def test_one_model_without_predictions_and_names_that_are_markup(tmp_path: Path) -> None:
    results = [Result("a&b", "<b>50%_x</b>", seed, {"f1": Score("mean", [0.5])}) for seed in range(2)]
    page, latex = write_results(results, compare_models(results), tmp_path)
    text = page.read_text()
    assert "<b>50%" not in text
    assert "&lt;b&gt;50%_x&lt;/b&gt;" in text
    assert "Calibration" not in text
    assert "Difference" not in text
    assert not re.search(r"(src|href)=[\"']?(https?:|//)", text)
    assert r"<b>50\%\_x</b> & \textbf{0.5000} {\scriptsize $\pm$ 0.0000} \\" in latex.read_text()


@pytest.mark.slow
def test_texts_are_shown_only_if_asked_for_and_only_to_their_owner(tmp_path: Path) -> None:
    results = write_evaluation(tmp_path)
    comparisons = compare_models(results)
    page, _ = write_results(results, comparisons, tmp_path)
    assert "a text" not in text_of(page.read_text())
    names = [f"{prefix}{number}" for prefix in ("text-", "note-", "n", "sentence-") for number in range(300)]
    texts = {task: {name: f"a text <{name}>" + 400 * " word" for name in names} for task in TASKS}
    page, _ = write_results(results, comparisons, tmp_path, texts=texts)
    assert page.stat().st_mode & 0o777 == 0o600
    text = text_of(page.read_text())
    assert re.search(r"a text (&lt;|<)[\w-]+(&gt;|>) word word", text)
    assert "without their text" not in text


def test_the_latex_table_has_a_row_per_model_and_the_best_in_bold(written: tuple[Path, list[Result]]) -> None:
    out, results = written
    lines = (out / "results.tex").read_text().splitlines()
    rows = {line.partition(" & ")[0]: line for line in lines if line.endswith(r" \\") and not line.startswith(" ")}
    assert rows.keys() == {"ours", "ModernBERT-base", "bag-of-subwords"}
    assert all(line.count(" & ") == len(TASKS) for line in rows.values())
    assert sum(line.count(r"\textbf") for line in rows.values()) == len(TASKS)
    assert rows["bag-of-subwords"].endswith(r"-- \\")
    assert [line[2:] for line in lines if line.startswith("% ") and "booktabs" not in line] == claims(
        compare_models(results)
    )
    table = "\n".join(line for line in lines if not line.startswith("%"))
    assert table.count("{") == table.count("}")
    assert escape(r"50%_a\b{~^") == r"50\%\_a\textbackslash{}b\{\textasciitilde{}\textasciicircum{}"
