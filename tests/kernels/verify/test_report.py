"""The table of docs/kernels.md was generated from the current sources."""

from pathlib import Path

import pytest


def test_table_matches_the_kernel_sources(repository: Path) -> None:
    pytest.importorskip("triton", reason="Triton has no wheel for this platform")
    from clinical_modernbert.kernels.verify.report import fingerprint

    page = (repository / "docs" / "kernels.md").read_text()
    assert f"sources {fingerprint()}" in page, "run: make kernels-report"
