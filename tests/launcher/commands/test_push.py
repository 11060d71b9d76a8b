"""`cmbert push` against a local server with the Hub's HTTP API."""

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_server import HubServer

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.commands.push import push_model

TOKEN = "hf_this_is_secret"
NAME = "someone/model"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """Set what HF_ENDPOINT and HF_TOKEN would set if the library were not imported already."""
    server = HubServer()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", server.address)
    yield server
    server.close()


def export(directory: Path, **facts: bool) -> Path:
    """Write the files of an export that push reads; the weights are large enough to be sent as a separate upload."""
    directory.mkdir()
    sources = {"letters": {"licence": "the hospital's own", "synthetic": False, **facts}}
    (directory / "training.json").write_text(json.dumps({"sources": sources}))
    (directory / "README.md").write_text("---\nlibrary_name: transformers\n---\n# A model\n")
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    return directory


def pushed(hub: HubServer, model: Path) -> bool:
    """Whether the repository has all files of `model` with equal content."""
    files = {(NAME, path.name): path.read_bytes() for path in model.iterdir()}
    return hub.files == files


def test_all_files_are_uploaded(hub: HubServer, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    model = export(tmp_path / "model", public=True)
    assert push_model(model, NAME, private=False, allow_restricted=False) == f"{hub.address}/{NAME}"
    assert pushed(hub, model)
    assert hub.repositories == {NAME: False}
    assert f"Bearer {TOKEN}" in hub.tokens
    assert TOKEN not in "".join(capfd.readouterr())


def test_progress_counts_the_bytes_of_all_files(
    hub: HubServer, tmp_path: Path, every_progress: pytest.LogCaptureFixture
) -> None:
    model = export(tmp_path / "model", public=True)
    push_model(model, NAME, private=False, allow_restricted=False)
    shown = [message for message in every_progress.messages if message.startswith("uploading")]
    assert len(shown) == len(list(model.iterdir()))
    total = f"{sum(path.stat().st_size for path in model.iterdir()) / 1e3:.1f} kB"
    assert total in shown[-1], shown[-1]


def test_models_of_restricted_sources_stay_private(hub: HubServer, tmp_path: Path) -> None:
    model = export(tmp_path / "model")
    with pytest.raises(UserError, match=r"restricted sources \(letters\): push it with --private"):
        push_model(model, NAME, private=False, allow_restricted=False)
    assert not hub.repositories
    push_model(model, NAME, private=True, allow_restricted=False, without_privacy_report=True)
    assert hub.repositories == {NAME: True}
    assert pushed(hub, model)


def test_an_existing_public_repository_rejects_restricted_sources(hub: HubServer, tmp_path: Path) -> None:
    hub.repositories[NAME] = False
    model = export(tmp_path / "model")
    with pytest.raises(UserError, match="exists and is public"):
        push_model(model, NAME, private=True, allow_restricted=False, without_privacy_report=True)
    assert not hub.files
    push_model(model, NAME, private=False, allow_restricted=True, without_privacy_report=True)
    assert pushed(hub, model)


def test_after_a_failure_uploaded_files_are_not_sent_again(hub: HubServer, tmp_path: Path) -> None:
    """The weights are uploaded, then the commit fails."""
    model = export(tmp_path / "model", public=True)
    hub.failures = [f"/api/models/{NAME}/commit"] * 10
    with pytest.raises(UserError, match="run the same command") as refused:
        push_model(model, NAME, private=False, allow_restricted=False)
    assert TOKEN not in str(refused.value)
    sent = hub.received
    assert sent == (model / "model.safetensors").stat().st_size
    assert not hub.files
    hub.failures = []
    push_model(model, NAME, private=False, allow_restricted=False)
    assert hub.received == sent
    assert pushed(hub, model)


def test_rejections_are_user_errors_with_a_fix(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = export(tmp_path / "model", public=True)
    hub.refuse = True
    with pytest.raises(UserError, match="hf auth login") as refused:
        push_model(model, NAME, private=False, allow_restricted=False)
    assert TOKEN not in str(refused.value)
    with pytest.raises(UserError, match="expected OWNER/NAME"):
        push_model(model, "not a name", private=False, allow_restricted=False)
    (model / "training.json").unlink()
    with pytest.raises(UserError, match="expected a directory that cmbert export wrote"):
        push_model(model, NAME, private=False, allow_restricted=False)


def test_an_unreachable_hub_is_a_user_error(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="did not answer"):
        push_model(export(tmp_path / "model", public=True), NAME, private=False, allow_restricted=False)
