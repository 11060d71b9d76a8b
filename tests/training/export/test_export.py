"""An exported run is a Hugging Face model with the same logits, or nothing at all."""

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
from clinical_modernbert.model.hugging_face import read_config
from clinical_modernbert.streaming_data.shards.restricted import restricted_sources
from clinical_modernbert.training.checkpoint.files import candidates, read_manifest
from clinical_modernbert.training.checkpoint.save_load import consolidate
from clinical_modernbert.training.export import export
from clinical_modernbert.training.export.model_card import model_card


@pytest.fixture(scope="module")
def exported(finished: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "model"
    export.export_checkpoint(finished.run_dir, out)
    return out


def test_transformers_loads_it(exported: Path, finished: SmallRun) -> None:
    model = AutoModelForMaskedLM.from_pretrained(exported)
    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert tokenizer.mask_token_id == 3
    weights = consolidate(candidates(finished.run_dir / "checkpoints")[0])
    for name, value in weights.items():
        assert torch.equal(model.get_parameter(name), value), name


def test_the_card_tells_where_it_comes_from(exported: Path, finished: SmallRun) -> None:
    card = (exported / "README.md").read_text()
    assert f"| tokens seen | {finished.column('tokens')[-1]:,} |" in card
    seen = read_manifest(candidates(finished.run_dir / "checkpoints")[0])["progress"]
    notes = seen["source_tokens"]["notes"]
    assert f"| notes | {notes:,} | {notes / seen['tokens']:.1%} | made by the tests | made up |" in card
    assert "No benchmark was run" in card
    assert "## Limitations and bias" in card


def test_the_card_has_the_results_and_says_what_is_closed(exported: Path) -> None:
    manifest = json.loads((exported / "training.json").read_text())
    assert restricted_sources(manifest["sources"]) == []
    assert "Closed here" not in model_card(manifest, read_config(exported), {})
    manifest["sources"]["codes"].update(synthetic=False)
    manifest["sources"]["notes"].update(synthetic=False, public=True)
    assert restricted_sources(manifest["sources"]) == ["codes"]
    score = {"mean": 0.8125, "deviation": 0.0125, "values": [0.8, 0.825]}
    card = model_card(manifest, read_config(exported), {"ner": {"run": {"f1": score}}})
    assert "Closed here: codes." in card
    assert "| ner | run | f1 | 0.8125 ± 0.0125 (2 seeds) |" in card


def test_sentence_transformers_opens_it_and_takes_the_mean(finished: SmallRun, tmp_path: Path) -> None:
    export.export_checkpoint(finished.run_dir, tmp_path / "model", sentence_embedding=True)
    for module in json.loads((tmp_path / "model/modules.json").read_text()):
        assert (tmp_path / "model" / module["path"]).is_dir()
    vector = SentenceTransformer(str(tmp_path / "model"), device="cpu").encode("w5 w6 w7")
    hidden = AutoModel.from_pretrained(tmp_path / "model")(
        **AutoTokenizer.from_pretrained(tmp_path / "model")("w5 w6 w7", return_tensors="pt")
    ).last_hidden_state
    assert torch.allclose(torch.from_numpy(vector), hidden[0].mean(0), atol=1e-5)


def test_other_logits_write_nothing(finished: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers is given weights that differ from the checkpoint's in one tensor."""
    write = export.write_pretrained

    def write_another(weights: dict[str, torch.Tensor], *rest: object) -> None:
        write({**weights, "head.norm.weight": weights["head.norm.weight"] * 1.01}, *rest)

    monkeypatch.setattr(export, "write_pretrained", write_another)
    with pytest.raises(UserError, match="transformers computes other logits"):
        export.export_checkpoint(finished.run_dir, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_checkpoint_is_named_and_the_older_one_suggested(
    finished: SmallRun, new_run: Callable[[], SmallRun], tmp_path: Path
) -> None:
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    newest, older = candidates(run.run_dir / "checkpoints")[:2]
    next(newest.glob("rank00000*")).unlink()
    with pytest.raises(UserError, match=rf"rank00000.* missing: to use an older one, name it, such as {older}"):
        export.export_checkpoint(run.run_dir, tmp_path / "model")
    export.export_checkpoint(older, tmp_path / "model")
    with pytest.raises(UserError, match="exists"):
        export.export_checkpoint(older, tmp_path / "model")


def test_a_directory_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint in"):
        export.export_checkpoint(tmp_path, tmp_path / "model")


def test_a_data_set_is_no_damaged_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"version": 1, "sources": {}}')
    with pytest.raises(UserError, match=r"manifest\.json: not the manifest of a checkpoint; name a run, or a [a-z ]*$"):
        export.export_checkpoint(tmp_path, tmp_path / "model")
