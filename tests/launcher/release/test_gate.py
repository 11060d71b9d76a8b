"""A model of restricted text is exported and pushed with a privacy report of its very weights, or by choice without."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_run import SmallRun
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.privacy.card import card_section
from clinical_modernbert.evaluation.privacy.report import FILE, PrivacyReport, read_report, write_report
from clinical_modernbert.evaluation.privacy.scorer import hash_weights
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.launcher.commands import push as pushing
from clinical_modernbert.launcher.release.gate import WITHOUT
from clinical_modernbert.model.hugging_face import assemble, from_pretrained
from clinical_modernbert.training.checkpoint.files import list_checkpoints
from clinical_modernbert.training.checkpoint.manifest import SourceTerms, read_manifest, write_manifest
from clinical_modernbert.training.checkpoint.save_load import consolidate
from clinical_modernbert.training.export import export as exporting

PHYSIONET = "PhysioNet Credentialed Health Data License 1.5.0"
EXPOSURE = {
    "alternatives": 10,
    "screened_alternatives": 10,
    "chance": 1.4,
    "kinds": {"number": 1},
    "levels": [
        {
            "repeats": 0,
            "kept": 0,
            "canaries": 1,
            "exposure": {"value": 1, "low": 0, "high": 2},
            "screened": {"value": 1, "low": 0, "high": 2},
            "first": 0,
        }
    ],
    "trend": 0.0,
    "trend_p": 1.0,
}


pytestmark = [pytest.mark.slow, pytest.mark.ranks]


@pytest.fixture(scope="module")
def finished(new_run: Callable[[], SmallRun]) -> SmallRun:
    run = new_run()
    run.train("checkpoint.every_steps=4", ranks=1)
    return run


@pytest.fixture(scope="module")
def restricted(finished: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose checkpoints know of a restricted source."""
    run = tmp_path_factory.mktemp("restricted") / "run"
    shutil.copytree(finished.run_dir, run)
    for checkpoint in list_checkpoints(run / "checkpoints"):
        manifest = read_manifest(checkpoint)
        sources = {**manifest.sources, "notes": SourceTerms(licence=PHYSIONET, public=False, synthetic=False)}
        write_manifest(checkpoint, manifest.model_copy(update={"sources": sources}))
    return run


@pytest.fixture
def run(restricted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(restricted, tmp_path / "run"))


def report_of(run: Path, checkpoint: Path, **changes: Any) -> PrivacyReport:
    manifest = read_manifest(checkpoint)
    values = {
        "weights": hash_weights(assemble(manifest.model, consolidate(checkpoint))),
        "checkpoint": checkpoint.name,
        "step": manifest.step,
        "data": manifest.data_manifest,
        "data_name": "packs",
        "date": "2026-11-28T12:00:00+00:00",
        "git_revision": None,
        "exposure": EXPOSURE,
    }
    return PrivacyReport.model_validate(values | changes)


def export(run: Path, out: Path, *options: str) -> str:
    """Run the command, and return what it refused."""
    result = CliRunner().invoke(app, ["export", str(run), "--out", str(out), *options])
    if result.exception is None:
        return ""
    assert isinstance(result.exception, UserError), result.exception
    assert not out.exists()
    return str(result.exception)


def test_export_is_refused_before_weights_are_read_unless_the_report_is_of_this_checkpoint(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest, older = list_checkpoints(run / "checkpoints")[:2]
    out = tmp_path / "model"

    def unread(*values: Any) -> Any:
        raise AssertionError("weights are read")

    with monkeypatch.context() as patched:
        patched.setattr(exporting, "consolidate", unread)
        refused = export(run, out)
        assert f"restricted sources (notes), and {run} has no {FILE}" in refused
        assert f"`cmbert privacy {run}` makes a report, or export it with {WITHOUT}" in refused
        write_report(report_of(run, older), run / FILE)
        assert f"is about step {read_manifest(older).step}, not {read_manifest(newest).step}" in export(run, out)
        write_report(report_of(run, newest, data="0" * 16), run / FILE)
        assert "is about a model of other data" in export(run, out)
        write_report(report_of(run, newest, exposure=None), run / FILE)
        assert "has no attack in it" in export(run, out)
        assert "no such privacy report" in export(run, out, "--privacy-report", str(tmp_path / "absent"))
        assert "give one of them" in export(run, out, "--privacy-report", str(run / FILE), WITHOUT)
    write_report(report_of(run, newest, weights="0" * 32), run / FILE)
    assert f"about other weights ({'0' * 32}) than those of this model" in export(run, out)

    write_report(report := report_of(run, newest), run / FILE)
    assert export(run, out) == ""
    assert read_report(out) == report
    assert hash_weights(from_pretrained(out)) == report.weights, "an export has the hash of its checkpoint"
    card = (out / "README.md").read_text()
    assert card_section(report) in card
    assert f"- notes: {PHYSIONET}. PhysioNet's credentialed data use agreement" in card
    assert out.stat().st_mode & 0o077 == 0

    assert export(run, tmp_path / "other", "--privacy-report", str(run / FILE)) == ""
    assert export(older, tmp_path / "without", WITHOUT) == ""
    assert "exported without a privacy report" in (tmp_path / "without/README.md").read_text()
    assert not (tmp_path / "without" / FILE).exists()
    push_refuses_other_weights(out, tmp_path / "without", monkeypatch)


def push_refuses_other_weights(model: Path, without: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same exports at the gate of push, up to the Hub, which is not reached."""

    class ReachedError(Exception):
        pass

    def reach(*values: Any, **named: Any) -> None:
        raise ReachedError

    monkeypatch.setenv("HF_TOKEN", "hf_token")
    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", reach)

    def push(directory: Path, **options: bool) -> None:
        pushing.push_model(directory, "someone/model", private=True, allow_restricted=False, **options)

    with pytest.raises(ReachedError):
        push(model)
    with pytest.raises(UserError, match=rf"restricted sources \(notes\), and has no {FILE}: .*{WITHOUT}"):
        push(without)
    with pytest.raises(ReachedError):
        push(without, without_privacy_report=True)
    report = read_report(model)
    write_report(report.model_copy(update={"step": report.step + 1}), model / FILE)
    with pytest.raises(UserError, match="is about step"):
        push(model)
    write_report(report, model / FILE)
    shutil.copyfile(without / "model.safetensors", model / "model.safetensors")
    with pytest.raises(UserError, match="about other weights"):
        push(model)


def test_a_model_of_synthetic_text_needs_no_report(finished: SmallRun, tmp_path: Path) -> None:
    assert export(finished.run_dir, tmp_path / "model") == ""
    assert "privacy report" not in (tmp_path / "model/README.md").read_text()
    assert json.loads((tmp_path / "model/training.json").read_text())["step"]
