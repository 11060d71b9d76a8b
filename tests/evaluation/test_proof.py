"""The report of the learning proof, for claims that hold and claims that do not."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError


@pytest.fixture(scope="module")
def proof(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("proof", repository / "benchmarks/proof.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scores(proof: ModuleType, trained: float, initial: float) -> dict[str, Any]:
    def constant(value: float) -> dict[str, Any]:
        return {claim.task: {other.score: {"values": [value] * 3} for other in proof.CLAIMS} for claim in proof.CLAIMS}

    return {"trained": constant(trained), "initial": constant(initial)}


def bag(proof: ModuleType, value: float) -> dict[str, dict[str, float]]:
    return {claim.task: {other.score: value for other in proof.CLAIMS} for claim in proof.CLAIMS}


@pytest.mark.parametrize(
    ("trained", "initial", "baseline", "proven"),
    [(0.9, 0.2, 0.5, True), (0.9, 0.88, 0.5, False), (0.9, 0.2, 0.89, False), (0.2, 0.9, 0.5, False)],
)
def test_a_claim_requires_both_margins(
    trained: float, initial: float, baseline: float, proven: bool, proof: ModuleType
) -> None:
    lines, verdict = proof.report(scores(proof, trained, initial), bag(proof, baseline))
    assert verdict == proven
    assert any("| NO |" in line for line in lines) != proven
    assert any(line.endswith("| none |  |") for line in lines)
    assert f"{trained:.3f} ± 0.000 | {initial:.3f} ± 0.000 | {baseline:.3f}" in lines[2]


def test_only_the_table_of_the_page_is_replaced(proof: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{proof.BEGIN}\nold\n{proof.END}\nafter\n")
    proof.write_page(page, ["new"])
    assert page.read_text() == f"before\n{proof.BEGIN}\nnew\n{proof.END}\nafter\n"
    assert proof.PAGE.read_text().count(proof.BEGIN) == 1


def test_missing_data_is_an_error(proof: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set CMBERT_TEST_DATA"):
        proof.find_files(None)
    with pytest.raises(UserError, match=r"no pubmed/\*\.xml\.gz, no .*docs/proof\.md lists where to download"):
        proof.find_files(str(tmp_path))
