"""Every input file is a task of its own, however small, so that small inputs make several tasks."""

import pytest

from clinical_modernbert.streaming_data.division import groups


@pytest.fixture(autouse=True)
def _every_file_alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "default_division" not in request.fixturenames:
        monkeypatch.setattr(groups, "GROUP_BYTES", 0)


@pytest.fixture
def default_division() -> None:
    """For tests that want the bounds of the product."""
