"""What the doctor finds in installed software: known sets of versions, and libraries that do not load together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clinical_modernbert.launcher.doctor import software
from clinical_modernbert.launcher.doctor.software import TESTED_VERSIONS, imports

TESTED = {"a": {"torch": "2.1.0", "numpy": "2.0.0"}, "b": {"torch": "2.2.0", "numpy": "2.3.0"}}


def test_a_tested_set_is_recognized_whatever_the_build() -> None:
    finding = software.tested_versions({"torch": "2.2.0+cpu", "numpy": "2.3.0"}, TESTED)
    assert (finding.status, finding.result) == ("ok", "those of b")


def test_other_versions_are_compared_with_the_nearest_set() -> None:
    finding = software.tested_versions({"torch": "2.2.0", "numpy": None}, TESTED)
    assert (finding.status, finding.result) == ("warning", "differ from b: numpy missing (2.3.0)")
    assert "pip install --constraint" in finding.advice


def test_this_environment_is_a_tested_one() -> None:
    finding = software.installed_tested_versions()
    assert finding.status == "ok", finding.result
    assert finding.result.removeprefix("those of ") in json.loads(TESTED_VERSIONS.read_text())


@pytest.mark.slow
def test_what_a_run_imports_is_imported() -> None:
    findings = list(imports())
    assert [finding.status for finding in findings if finding.check == "imports"] == ["ok"]


def test_an_import_that_fails_is_named_with_its_error(every_progress: pytest.LogCaptureFixture) -> None:
    (finding,) = imports(["import json", "import no_such_library"])
    assert [message.split("  ")[0] for message in every_progress.messages] == [
        "importing 1/2 libraries",
        "importing 2/2 libraries",
    ]
    assert finding.status == "failed"
    assert "`import no_such_library`: ModuleNotFoundError: No module named 'no_such_library'" in finding.result


@pytest.mark.slow
def test_a_torchvision_that_does_not_load_is_a_warning_and_hidden_from_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted torchvision that fails as one of another build does; `pip check` would be clean."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    info = tmp_path / "torchvision-0.28.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(tmp_path))
    statement = "from transformers import ModernBertForMaskedLM"
    own = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=False)
    assert own.returncode != 0, "the planted torchvision does no harm, so this test shows nothing"
    found = {finding.check: finding for finding in imports([statement])}
    assert found["imports"].status == "ok"
    assert found["torchvision"].status == "warning"
    assert "torchvision::nms does not exist" in found["torchvision"].result
    assert "pip uninstall torchvision" in found["torchvision"].advice
