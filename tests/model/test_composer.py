"""Composer checkpoints: the layout of ModernBERT's training code, made here from random weights; every refusal."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from composer_file import ROLES, flex_of, write_composer
from model_fixtures import Packed, RandomModel

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.composer import read_composer
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import assemble
from clinical_modernbert.model.start import open_start


def test_an_imported_file_is_the_model(
    config: ModelConfig, random_model: RandomModel, packed: Packed, tmp_path: Path
) -> None:
    model = random_model(config)
    ids, batch = packed(config, (40, 1, 17))
    rows = torch.arange(len(ids))
    with torch.no_grad():
        expected = model.logits(ids, batch, rows)
    start = open_start(write_composer(tmp_path / "ep0-ba4.pt", model))
    # Dropout, which decides nothing here, is that of the training; positions that of the family.
    assert start.config == config.model_copy(update={"attention_dropout": 0.1, "max_position_embeddings": 8192})
    with torch.no_grad():
        got = assemble(start.config, start.read()).eval().logits(ids, batch, rows)
    torch.testing.assert_close(got, expected, atol=0, rtol=0)
    content = read_composer(start.path)
    assert content.tokenizer["tokenizer_config.json"] == ROLES
    assert start.tokenizer_json() == content.tokenizer["tokenizer.json"]


@pytest.mark.parametrize("base", [-1, None])
def test_a_local_base_of_minus_one_is_the_global_one(
    base: int | None, config: ModelConfig, random_model: RandomModel, tmp_path: Path
) -> None:
    def edit(content: dict[str, Any]) -> None:
        flex_of(content).update(local_attn_rotary_emb_base=base, sliding_window=-1, global_attn_every_n_layers=-1)

    read = open_start(write_composer(tmp_path / "a.pt", random_model(config), edit)).config
    assert read.local_rope_theta == read.global_rope_theta == config.global_rope_theta
    assert all(read.is_global(layer) for layer in range(4))


class Payload:
    """Runs a command when an unsafe loader unpickles it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return (os.system, ("touch executed",))


def test_a_planted_call_is_named_and_not_made(
    config: ModelConfig, random_model: RandomModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_composer(Path("a.pt"), random_model(config), lambda content: content["state"].update(callbacks=Payload()))
    with pytest.raises(UserError, match=r"a\.pt: it holds more than tensors.*system.*nothing was"):
        open_start(Path("a.pt"))
    assert not Path("executed").exists()


def test_files_that_are_no_modernbert_of_composer(
    config: ModelConfig, random_model: RandomModel, tmp_path: Path
) -> None:
    model, path = random_model(config), tmp_path / "a.pt"
    cases: list[tuple[Callable[[dict[str, Any]], object], str]] = [
        (lambda c: c["state"].pop("model"), "no state/model;"),
        (lambda c: c["state"].pop("integrations"), "no state/integrations/huggingface/model/config"),
        (lambda c: flex_of(c).update(mlp_layer="mlp", attn_qkv_bias=True), "(?s)attn_qkv_bias: True.*mlp_layer: 'mlp'"),
        (lambda c: flex_of(c).pop("rotary_emb_base"), "rotary_emb_base: absent"),
        (lambda c: flex_of(c).update(global_attn_every_n_layers=-1), "no layer global attention"),
        (lambda c: flex_of(c).update(rotary_emb_dim=8), "rotary_emb_dim: 8"),
        (lambda c: flex_of(c).update(norm_kwargs={}), "norm_bias"),
    ]
    for edit, message in cases:
        with pytest.raises(UserError, match=message):
            open_start(write_composer(path, model, edit))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"a\.pt: cannot be read as a file of tensors"):
        open_start(path)
    torch.save([1], path)
    with pytest.raises(UserError, match="expected a checkpoint that composer wrote"):
        open_start(path)
    (tmp_path / "sharded").mkdir()
    (tmp_path / "sharded" / "__0_0.distcp").touch()
    with pytest.raises(UserError, match=r"a sharded save .*dcp_to_torch"):
        open_start(tmp_path / "sharded")
    write_composer(path, model, lambda c: c["state"]["model"].pop("model.head.dense.weight"))
    with pytest.raises(UserError, match=r"missing: head\.dense\.weight"):
        open_start(path).read()
