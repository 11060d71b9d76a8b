"""This project's and transformers' implementations agree, and broken models are errors."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.embed import embed
from clinical_modernbert.evaluation.models.model import EvaluatedModel, open_model, padded_model
from clinical_modernbert.evaluation.models.pooling import pool
from clinical_modernbert.evaluation.models.protocol import Pooling

TEXTS = ["acute pain of the heart", "fever", "chronic cough with fever and pain of the left lung " * 4, "heart"]


def sequences(model: EvaluatedModel) -> list[torch.Tensor]:
    return [torch.tensor(ids) for ids in model.tokenizer(TEXTS)["input_ids"]]


@torch.no_grad()
def test_unpadded_and_transformers_give_the_same_hidden_states(ours: EvaluatedModel, our_directory: Path) -> None:
    reference = padded_model(our_directory, "theirs")
    assert ours.unpadded
    assert not reference.unpadded
    packed = ours.encode(ours.encoder, sequences(ours))
    padded = reference.encode(reference.encoder, sequences(ours))
    assert packed.shape == (sum(map(len, sequences(ours))), 32)
    assert (packed - padded).abs().max() < 1e-4 * packed.abs().max()


@torch.no_grad()
def test_both_give_the_same_scores_for_masked_tokens(ours: EvaluatedModel, our_directory: Path) -> None:
    positions = torch.tensor([0, 3, 9, 17])
    reference = padded_model(our_directory, "theirs").open_masked_lm()(sequences(ours), positions)
    scores = ours.open_masked_lm()(sequences(ours), positions)
    assert scores.shape == (4, 576)
    assert (scores - reference).abs().max() < 1e-4 * scores.abs().max()


@pytest.mark.parametrize("which", ["ours", "bert"])
@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_embeddings_do_not_depend_on_order_or_grouping(
    which: str, pooling: Pooling, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(which)
    together = embed(model, TEXTS, pooling, tokens=10_000)
    alone = embed(model, TEXTS[::-1], pooling, tokens=1)[::-1]
    assert abs(together - alone).max() < 1e-5


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[1.0, 0.0], [3.0, 2.0], [5.0, 5.0]])
    assert pool(hidden, [2, 1], "mean").tolist() == [[2.0, 1.0], [5.0, 5.0]]
    assert pool(hidden, [2, 1], "cls").tolist() == [[1.0, 0.0], [5.0, 5.0]]


def test_maximum_lengths(ours: EvaluatedModel, bert: EvaluatedModel) -> None:
    assert (ours.max_length, bert.max_length) == (128, 64)


def test_identity_depends_on_weights_and_tokenizer(ours: EvaluatedModel, our_directory: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(our_directory, tmp_path / "copy")
    assert open_model(str(copy)).identity == ours.identity
    weights = load_file(copy / "model.safetensors")
    weights["head.norm.weight"][0] += 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert open_model(str(copy)).identity != ours.identity


@pytest.mark.parametrize("kind", ["AutoModel", "AutoModelForSequenceClassification"])
def test_an_encoder_without_this_head_runs_unpadded(
    kind: str, ours: EvaluatedModel, our_directory: Path, tmp_path: Path
) -> None:
    import transformers

    bare = shutil.copytree(our_directory, tmp_path / "bare")
    getattr(transformers, kind).from_pretrained(our_directory).save_pretrained(bare)
    model = open_model(str(bare))
    assert model.unpadded
    assert open_model(str(bare)).identity == model.identity
    assert abs(embed(model, TEXTS, "mean", 1000) - embed(ours, TEXTS, "mean", 1000)).max() < 1e-4
    with pytest.raises(UserError, match=r"tensors are missing, such as .*AutoModelForMaskedLM"):
        model.open_masked_lm()


def test_a_missing_tensor_is_an_error_and_never_random(bert_directory: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(bert_directory, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"broken: 1 tensors are missing, such as encoder.layer.1.output.dense.weight"):
        open_model(str(broken))


def test_a_directory_without_a_model_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"no readable config\.json; expected a run, an export"):
        open_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "modernbert"}))
    with pytest.raises(UserError, match="transformers cannot open it"):
        open_model(str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match=r"^no/where: no such directory, and it cannot be fetched"):
        open_model("no/where")


@pytest.mark.parametrize("kind", ["unknown", "bert"])
def test_code_in_a_models_directory_does_not_run(
    kind: str, bert_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """config.json and tokenizer_config.json ask for code of the directory; nobody is asked whether it may run."""

    def asked(prompt: str = "") -> str:
        raise AssertionError(f"a prompt appeared: {prompt}")

    monkeypatch.setattr("builtins.input", asked)
    directory = tmp_path / "model"
    shutil.copytree(bert_directory, directory)
    marker = tmp_path / "ran"
    (directory / "code.py").write_text(f"open({str(marker)!r}, 'w')\nclass Any: pass\n")
    config = json.loads((directory / "config.json").read_text())
    names = {"AutoConfig": "code.Any", "AutoModel": "code.Any", "AutoModelForMaskedLM": "code.Any"}
    config |= {"auto_map": names} | ({"model_type": "unknown_kind"} if kind == "unknown" else {})
    (directory / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((directory / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["code.Any", "code.Any"]}
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    if kind == "unknown":
        with pytest.raises(UserError, match="transformers cannot open it"):
            open_model(str(directory))
    else:
        open_model(str(directory))
    assert not marker.exists()
