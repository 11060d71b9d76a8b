"""The report of the learning proof, for claims that hold and claims that do not."""

from pathlib import Path

import pytest

from clinical_modernbert.benchmarks import proof
from clinical_modernbert.benchmarks.learning.claims import CLAIMS, Scores, decide
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.scores.vectors import TRANSFORMS


def constant(value: float) -> Scores:
    return {claim.task: {other.score: value for other in CLAIMS} for claim in CLAIMS}


@pytest.mark.parametrize(
    ("trained", "initial", "bag", "proven"),
    [
        ([0.90, 0.91, 0.92], [0.2, 0.2, 0.2], 0.5, True),
        ([0.90, 0.91, 0.92], [0.88, 0.88, 0.88], 0.5, False),
        ([0.90, 0.91, 0.92], [0.2, 0.2, 0.2], 0.89, False),
        # The mean leads by more than every margin, but the seeds disagree.
        ([0.95, 0.95, 0.30], [0.2, 0.2, 0.2], 0.2, False),
        # The seeds differ and the pairs agree.
        ([0.95, 0.75, 0.85], [0.55, 0.35, 0.45], 0.1, True),
    ],
)
def test_a_claim_is_of_the_interval_over_both_margins(
    trained: list[float], initial: list[float], bag: float, proven: bool
) -> None:
    lines, verdict = decide(
        [constant(value) for value in trained], [constant(value) for value in initial], constant(bag)
    )
    assert verdict == proven
    assert any("| NO |" in line for line in lines) != proven
    assert any(line.endswith("| none, none |  |") for line in lines)


def test_code_structure_is_reported_for_every_transform() -> None:
    names = {claim.score for claim in CLAIMS if claim.task == "codes" and "description" in claim.score}
    raw = {name for name in names if not name.endswith(("centered", "whitened"))}
    assert names == {name + ("" if transform == "raw" else f" {transform}") for name in raw for transform in TRANSFORMS}


def test_only_the_tables_of_the_page_are_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{proof.BEGIN}\nold\n{proof.END}\nafter\n")
    proof.write_page(page, ["new"])
    assert page.read_text() == f"before\n{proof.BEGIN}\nnew\n{proof.END}\nafter\n"
    assert proof.PAGE.read_text().count(proof.BEGIN) == 1


def test_missing_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set CMBERT_TEST_DATA"):
        proof.find_files(None)
    with pytest.raises(UserError, match=r"no pubmed/\*\.xml\.gz, no .*docs/proof\.md lists where to download"):
        proof.find_files(str(tmp_path))
