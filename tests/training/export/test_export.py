"""An exported run is a Hugging Face model with the same logits, or nothing is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from small_run import SmallRun
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import read_config
from clinical_modernbert.streaming_data.shards.restricted import restricted_sources
from clinical_modernbert.training.checkpoint.files import list_checkpoints
from clinical_modernbert.training.checkpoint.manifest import CheckpointManifest, read_manifest
from clinical_modernbert.training.checkpoint.save_load import consolidate
from clinical_modernbert.training.export import export
from clinical_modernbert.training.export.model_card import model_card


@pytest.fixture(scope="module")
def exported(finished: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "model"
    export.export_checkpoint(finished.run_dir, out)
    return out


def test_transformers_loads_the_exported_model(exported: Path, finished: SmallRun) -> None:
    model = AutoModelForMaskedLM.from_pretrained(exported)
    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert tokenizer.mask_token_id == 3
    weights = consolidate(list_checkpoints(finished.run_dir / "checkpoints")[0])
    for name, value in weights.items():
        assert torch.equal(model.get_parameter(name), value), name


def test_the_card_lists_data_and_recipe(exported: Path, finished: SmallRun) -> None:
    card = (exported / "README.md").read_text()
    assert f"| tokens seen | {finished.column('tokens')[-1]:,} |" in card
    seen = read_manifest(list_checkpoints(finished.run_dir / "checkpoints")[0]).progress
    notes = seen.source_tokens["notes"]
    assert f"| notes | {notes:,} | {notes / seen.tokens:.1%} | made by the tests | synthetic |" in card
    assert "No benchmark was run" in card
    assert "## Limitations and bias" in card


def test_the_card_lists_results_and_restricted_sources(exported: Path) -> None:
    manifest = json.loads((exported / "training.json").read_text())
    assert restricted_sources(manifest["sources"]) == []
    assert "Restricted sources" not in model_card(
        CheckpointManifest.model_validate({**manifest, "files": {}}), read_config(exported), {}
    )
    manifest["sources"]["codes"].update(synthetic=False)
    manifest["sources"]["notes"].update(synthetic=False, public=True)
    assert restricted_sources(manifest["sources"]) == ["codes"]
    score = {"mean": 0.8125, "deviation": 0.0125, "values": [0.8, 0.825]}
    typed = CheckpointManifest.model_validate({**manifest, "files": {}})
    card = model_card(typed, read_config(exported), {"ner": {"run": {"f1": score}}})
    assert "Restricted sources: codes." in card
    assert "| ner | run | f1 | 0.8125 ± 0.0125 (2 seeds) |" in card


def test_sentence_transformers_gives_the_mean_of_hidden_states(finished: SmallRun, tmp_path: Path) -> None:
    export.export_checkpoint(finished.run_dir, tmp_path / "model", sentence_embedding=True)
    for module in json.loads((tmp_path / "model/modules.json").read_text()):
        assert (tmp_path / "model" / module["path"]).is_dir()
    vector = SentenceTransformer(str(tmp_path / "model"), device="cpu").encode("w5 w6 w7")
    hidden = AutoModel.from_pretrained(tmp_path / "model")(
        **AutoTokenizer.from_pretrained(tmp_path / "model")("w5 w6 w7", return_tensors="pt")
    ).last_hidden_state
    assert torch.allclose(torch.from_numpy(vector), hidden[0].mean(0), atol=1e-5)


def test_different_logits_write_nothing(finished: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tensor of the exported weights differs from the checkpoint."""
    write = export.write_pretrained

    def write_changed(weights: dict[str, torch.Tensor], config: ModelConfig, directory: Path) -> None:
        write({**weights, "head.norm.weight": weights["head.norm.weight"] * 1.01}, config, directory)

    monkeypatch.setattr(export, "write_pretrained", write_changed)
    with pytest.raises(UserError, match="transformers computes different logits"):
        export.export_checkpoint(finished.run_dir, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_the_error_for_a_corrupt_checkpoint_suggests_the_older_one(
    finished: SmallRun, new_run: Callable[[], SmallRun], tmp_path: Path
) -> None:
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    newest, older = list_checkpoints(run.run_dir / "checkpoints")[:2]
    next(newest.glob("node00000*")).unlink()
    hint = f"to use an older checkpoint, give its directory, such as {older}"
    with pytest.raises(UserError, match=rf"node00000.* missing: {hint}"):
        export.export_checkpoint(run.run_dir, tmp_path / "model")
    export.export_checkpoint(older, tmp_path / "model")
    with pytest.raises(UserError, match="exists"):
        export.export_checkpoint(older, tmp_path / "model")


def test_a_directory_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        export.export_checkpoint(tmp_path, tmp_path / "model")


def test_the_manifest_of_a_data_set_is_not_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"version": 1, "sources": {}}')
    with pytest.raises(UserError, match=r"manifest\.json: not the manifest of a checkpoint; give a run or [a-z ]*$"):
        export.export_checkpoint(tmp_path, tmp_path / "model")
