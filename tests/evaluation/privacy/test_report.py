"""The privacy report as a file."""

from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.privacy.report import (
    Estimate,
    ExposureLevel,
    ExposureSection,
    PrivacyReport,
    read_report,
    write_report,
)

ESTIMATE = Estimate(value=1.5, low=1.0, high=2.0)
REPORT = PrivacyReport(
    weights="abc",
    checkpoint="step00000012",
    step=12,
    data="def",
    data_name="packs",
    date="2026-11-28T12:00:00+00:00",
    git_revision=None,
    exposure=ExposureSection(
        alternatives=100,
        screened_alternatives=2000,
        chance=1.4,
        kinds={"record number": 50},
        levels=[ExposureLevel(repeats=0, kept=0, canaries=50, exposure=ESTIMATE, screened=ESTIMATE, first=1)],
        trend=0.1,
        trend_p=0.4,
    ),
)


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_report(REPORT, tmp_path / "new" / "privacy.json")
    assert read_report(tmp_path / "new") == read_report(tmp_path / "new" / "privacy.json") == REPORT
    assert REPORT.attacks() == ["exposure"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such privacy report; `cmbert privacy RUN` writes it"),
        ("{", "not JSON"),
        ('{"version": 2}', "a privacy report of version 2, expected 1"),
        (REPORT.model_dump_json().replace('"step":12', '"step":-1'), "step: Input should be greater than or equal"),
        (REPORT.model_dump_json().replace("2026-11-28T12", "yesterday"), "date: expected a time"),
    ],
)
def test_what_is_no_report_is_an_error(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "privacy.json").write_text(content)
    with pytest.raises(UserError, match=r"privacy\.json: ") as raised:
        read_report(tmp_path)
    assert message in str(raised.value)
