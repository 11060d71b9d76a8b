"""An exported ONNX graph computes the same as transformers, or nothing is written."""

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import SmallRun
from transformers import AutoModel, AutoModelForMaskedLM

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training.export import export, onnx

onnxruntime = pytest.importorskip("onnxruntime", reason="an extra: pip install onnx onnxruntime onnxscript")


@pytest.fixture(scope="module")
def exported(finished: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("onnx") / "model"
    export.export_checkpoint(finished.run_dir, out, onnx=True)
    return out


def run(directory: Path, tokens: np.ndarray, mask: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(directory / "onnx/model.onnx")
    return session.run(None, {"input_ids": tokens, "attention_mask": mask})[0]


def tokens_and_mask(*lengths: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    return np.random.default_rng(1).integers(5, 50, mask.shape), mask.astype(np.int64)


@pytest.mark.parametrize("lengths", [(1,), (64,), (5, 33, 64), (1, 2, 3, 4, 50)])
def test_logits_equal_those_of_transformers(exported: Path, lengths: tuple[int, ...]) -> None:
    tokens, mask = tokens_and_mask(*lengths)
    model = AutoModelForMaskedLM.from_pretrained(exported)
    with torch.no_grad():
        logits = model(input_ids=torch.from_numpy(tokens), attention_mask=torch.from_numpy(mask)).logits.numpy()
    np.testing.assert_allclose(run(exported, tokens, mask)[mask == 1], logits[mask == 1], atol=1e-4)


def test_padding_does_not_change_the_output(exported: Path) -> None:
    tokens, mask = tokens_and_mask(20, 48)
    other = np.where(mask == 1, tokens, 7)
    assert np.array_equal(run(exported, tokens, mask)[mask == 1], run(exported, other, mask)[mask == 1])


def test_for_sentence_transformers_the_output_is_hidden_states(finished: SmallRun, tmp_path: Path) -> None:
    export.export_checkpoint(finished.run_dir, tmp_path / "model", sentence_embedding=True, onnx=True)
    tokens, mask = tokens_and_mask(9, 30)
    model = AutoModel.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        hidden = model(input_ids=torch.from_numpy(tokens), attention_mask=torch.from_numpy(mask)).last_hidden_state
    np.testing.assert_allclose(run(tmp_path / "model", tokens, mask)[mask == 1], hidden.numpy()[mask == 1], atol=1e-4)


def test_a_graph_of_a_different_model_is_an_error(exported: Path) -> None:
    """The model differs from the exported one in one tensor."""
    model = AutoModelForMaskedLM.from_pretrained(exported)
    with torch.no_grad():
        model.head.norm.weight.mul_(1.01)
    with pytest.raises(UserError, match="ONNX Runtime computes different outputs"):
        onnx._require_equal_outputs(model, exported / "onnx/model.onnx")


def test_a_failed_onnx_export_leaves_nothing(
    finished: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UserError("refused")

    monkeypatch.setattr(export, "write_onnx", refuse)
    with pytest.raises(UserError, match="refused"):
        export.export_checkpoint(finished.run_dir, tmp_path / "model", onnx=True)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_reported_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "onnxscript":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    installed = metadata.version
    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(UserError, match=r"--onnx: onnxscript is not installed: run `pip install 'onnxscript"):
        export.export_checkpoint(tmp_path / "no-run", tmp_path / "model", onnx=True)
