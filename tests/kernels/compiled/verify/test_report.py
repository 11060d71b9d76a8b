"""The model's own kernels have no faults on any architecture, and the report detects faults."""

import dataclasses
from pathlib import Path

import pytest

from clinical_modernbert.kernels.attention.tile_sizes import RELATIVES
from clinical_modernbert.kernels.verify import machine_code, report
from clinical_modernbert.kernels.verify.ahead_of_time import TARGETS

# A causal local layer differs from its parts only in masks; `make kernels-report` compiles it too.
MODEL_CASES = [case for case in report.cases(["bf16"], [64]) if not (case.causal and case.local)]
ATTENTION = [case for case in MODEL_CASES if case.name == "attention" and not case.causal]
OTHER_CASES = [  # a sample; all cases: `python -m clinical_modernbert.kernels.verify.report --check`
    ("sm80", report.Case("attention", "fp16", 128, True)),
    ("sm80", report.Case("attention", "fp32", 32, False)),
    ("sm80", report.Case("attention", "bf16", 128, False, causal=True)),
    ("sm90", report.Case("attention", "fp16", 32, False)),
    ("gfx942", report.Case("attention", "fp32", 64, True)),
]
GOOD = machine_code.MachineCode(128, 0, 16384, 2, 64, 2 * 2 * 64 * 64 * 64, 8, 0)


@pytest.mark.parametrize(
    ("architecture", "case"),
    [(name, case) for name in TARGETS for case in (ATTENTION if name in RELATIVES else MODEL_CASES)] + OTHER_CASES,
    ids=lambda x: str(x)[:60],
)
def test_kernels_have_no_faults(architecture: str, case: report.Case) -> None:
    rows = report.measure(architecture, case)
    assert len(rows) == {"attention": 3, "GeGLU": 2, "residual + norm": 2, "StableAdamW": 3}.get(case.name, 1)
    assert not [(row.kernel, fault) for row in rows for fault in report.faults(row)]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"spills": 3}, "spills 3 times"),
        ({"blocks": 0}, "does not fit"),
        ({"blocks": 1}, "has 1 blocks of 4 warps per SM"),
        ({"tensor": 0}, "has no tensor-core instructions"),
        ({"narrow": 5}, "has 5 narrow loads to 8 of 128 bits"),
        ({"shared": 120_000}, "needs 120000 bytes of shared memory, a block has at most 101376"),
    ],
)
def test_faults_are_detected(change: dict[str, int], fault: str) -> None:
    row = report.Row("sm86", MODEL_CASES[0], "attention_forward", "64x64", 4, GOOD, 1.0)
    assert report.faults(row) == []
    bad = dataclasses.replace(row, code=dataclasses.replace(GOOD, **change))
    assert any(reported.startswith(fault) for reported in report.faults(bad))
    assert report.faults(dataclasses.replace(row, work=2.0)) == ["does 2.00 times the work of its tile"]


def test_the_row_of_a_version_replaces_its_own_and_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.VERSIONS_BEGIN} -->\n{report.VERSIONS_END}\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)
    for row in ("| 3.10.0 | 9 |", "| 3.9.0 | 8 |", "| 3.10.0 | 7 |"):
        report._write_summary(row)
    rows = [line for line in page.read_text().splitlines() if line.startswith("| 3")]
    assert rows == ["| 3.9.0 | 8 |", "| 3.10.0 | 7 |"]
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("\nafter\n")
