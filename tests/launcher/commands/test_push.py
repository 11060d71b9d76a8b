"""`cmbert push` against a local stand-in for the Hub's HTTP API."""

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
from hub_server import HubServer

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.commands.hub import push_model

TOKEN = "hf_this_is_secret"
NAME = "someone/model"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """What HF_ENDPOINT and HF_TOKEN would set, had the library not been imported before."""
    server = HubServer()
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", server.address)
    yield server
    server.close()


def export(directory: Path, **facts: bool) -> Path:
    """What push looks at of an export; the weights are large enough to be sent apart."""
    directory.mkdir()
    sources = {"letters": {"licence": "the hospital's own", "synthetic": False, **facts}}
    (directory / "training.json").write_text(json.dumps({"sources": sources}))
    (directory / "README.md").write_text("---\nlibrary_name: transformers\n---\n# A model\n")
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(bytes(range(256)) * 400)
    return directory


def pushed(hub: HubServer, model: Path) -> bool:
    """Whether every file is there as it is here."""
    here = {(NAME, path.name): path.read_bytes() for path in model.iterdir()}
    return hub.files == here


def test_all_files_arrive(hub: HubServer, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    model = export(tmp_path / "model", public=True)
    assert push_model(model, NAME, private=False, allow_closed=False) == f"{hub.address}/{NAME}"
    assert pushed(hub, model)
    assert hub.repositories == {NAME: False}
    assert f"Bearer {TOKEN}" in hub.tokens
    assert TOKEN not in "".join(capfd.readouterr())


def test_closed_sources_stay_private(hub: HubServer, tmp_path: Path) -> None:
    model = export(tmp_path / "model")
    with pytest.raises(UserError, match=r"closed sources \(letters\): push it with --private"):
        push_model(model, NAME, private=False, allow_closed=False)
    assert not hub.repositories
    push_model(model, NAME, private=True, allow_closed=False)
    assert hub.repositories == {NAME: True}
    assert pushed(hub, model)


def test_a_public_repository_that_is_there_takes_no_closed_sources(hub: HubServer, tmp_path: Path) -> None:
    hub.repositories[NAME] = False
    model = export(tmp_path / "model")
    with pytest.raises(UserError, match="is there already and public"):
        push_model(model, NAME, private=True, allow_closed=False)
    assert not hub.files
    push_model(model, NAME, private=False, allow_closed=True)
    assert pushed(hub, model)


def test_a_failure_halfway_then_goes_on_without_sending_again(hub: HubServer, tmp_path: Path) -> None:
    """The weights arrived, the commit failed."""
    model = export(tmp_path / "model", public=True)
    hub.failures = [f"/api/models/{NAME}/commit"] * 10
    with pytest.raises(UserError, match="the same command goes on") as refused:
        push_model(model, NAME, private=False, allow_closed=False)
    assert TOKEN not in str(refused.value)
    sent = hub.received
    assert sent == (model / "model.safetensors").stat().st_size
    assert not hub.files
    hub.failures = []
    push_model(model, NAME, private=False, allow_closed=False)
    assert hub.received == sent
    assert pushed(hub, model)


def test_refusals_are_the_users_to_mend(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = export(tmp_path / "model", public=True)
    hub.refuse = True
    with pytest.raises(UserError, match="hf auth login") as refused:
        push_model(model, NAME, private=False, allow_closed=False)
    assert TOKEN not in str(refused.value)
    with pytest.raises(UserError, match="expected OWNER/NAME"):
        push_model(model, "not a name", private=False, allow_closed=False)
    (model / "training.json").unlink()
    with pytest.raises(UserError, match="expected a directory that cmbert export wrote"):
        push_model(model, NAME, private=False, allow_closed=False)


def test_nobody_answers(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="did not answer"):
        push_model(export(tmp_path / "model", public=True), NAME, private=False, allow_closed=False)
