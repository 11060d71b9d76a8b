"""Import from and export to Hugging Face directories: equal logits in both directions, and every error."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from model_fixtures import Packed, Padded, RandomConfig, RandomModel, Reference
from safetensors.torch import load_file, safe_open, save_file
from torch import Tensor

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import from_pretrained, read_weights, save_pretrained
from clinical_modernbert.model.masked_lm import MaskedLM

Exported = tuple[Path, MaskedLM]
Weights = dict[str, Tensor]
EMBEDDING = "model.embeddings.tok_embeddings.weight"
LENGTHS = (40, 1, 17)


def write_json(directory: Path, values: dict[str, Any], name: str = "config.json") -> Path:
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(json.dumps(values))
    return directory


@pytest.fixture
def exported(tmp_path: Path, config: ModelConfig, random_model: RandomModel) -> Exported:
    """A directory that save_pretrained wrote, and its model."""
    model = random_model(config)
    save_pretrained(model.state_dict(), config, tmp_path / "exported")
    return tmp_path / "exported", model


def assert_equal_logits(model: MaskedLM, theirs: transformers.PreTrainedModel, packed: Packed, padded: Padded) -> None:
    ids, batch = packed(model.config, LENGTHS)
    rows, mask = padded(ids, LENGTHS)
    with torch.no_grad():
        ours = model.logits(ids, batch, torch.arange(len(ids)))
        expected = theirs(rows, attention_mask=mask).logits[mask.bool()]
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_export_loads_in_transformers(exported: Exported, packed: Packed, padded: Padded) -> None:
    directory, model = exported
    theirs, report = transformers.AutoModelForMaskedLM.from_pretrained(directory, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(theirs).__name__ == "ModernBertForMaskedLM"
    assert_equal_logits(model, theirs.eval(), packed, padded)


@pytest.mark.parametrize("seed", range(4))
def test_transformers_directory_imports(
    seed: int,
    tmp_path: Path,
    random_config: RandomConfig,
    random_model: RandomModel,
    reference: Reference,
    packed: Packed,
    padded: Padded,
) -> None:
    model = random_model(random_config(seed), seed)
    theirs = reference(model)
    theirs.save_pretrained(tmp_path)
    imported = from_pretrained(tmp_path)
    ours, read = model.config.model_dump(), imported.config.model_dump()
    # With few layers, several values of global_attn_every_n_layers give the same layers.
    every = [values.pop("global_attn_every_n_layers") for values in (ours, read)]
    layers = range(model.config.num_hidden_layers)
    assert [layer % every[0] == 0 for layer in layers] == [layer % every[1] == 0 for layer in layers]
    assert read == ours
    assert_equal_logits(imported.eval(), theirs, packed, padded)


def test_round_trip_is_exact(exported: Exported, tmp_path: Path) -> None:
    directory, model = exported
    again = from_pretrained(directory)
    assert again.config == model.config
    assert again.decoder.weight is again.model.embeddings.tok_embeddings.weight
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name)), name
    save_pretrained(again.state_dict(), again.config, tmp_path / "second")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "second" / file).read_bytes() == (directory / file).read_bytes()


def test_export_has_the_tied_tensor_once_and_keeps_its_type(
    tmp_path: Path, config: ModelConfig, random_model: RandomModel
) -> None:
    save_pretrained(random_model(config).bfloat16().state_dict(), config, tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "decoder.weight" not in set(file.keys())
        assert file.get_tensor(EMBEDDING).dtype == torch.bfloat16
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert {value.dtype for value in read_weights(tmp_path / "out", config).values()} == {torch.float32}


def test_all_weight_file_formats_load_equal_weights(exported: Exported, config: ModelConfig) -> None:
    directory, _ = exported
    expected = read_weights(directory, config)
    single = directory / "model.safetensors"
    names = sorted(expected)
    halves = {"a.safetensors": names[:20], "b.safetensors": names[20:]}
    for file, part in halves.items():
        save_file({name: expected[name] for name in part}, directory / file)
    write_json(
        directory,
        {"weight_map": {name: file for file, part in halves.items() for name in part}},
        "model.safetensors.index.json",
    )
    single.unlink()
    sharded = read_weights(directory, config)
    (directory / "model.safetensors.index.json").unlink()
    torch.save(expected | {"decoder.weight": expected[EMBEDDING]}, directory / "pytorch_model.bin")
    pickled = read_weights(directory, config)
    assert sharded.keys() == pickled.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(sharded[name], value)
        assert torch.equal(pickled[name], value)


def change_weights(directory: Path, edit: Callable[[Weights], object]) -> None:
    weights = load_file(directory / "model.safetensors")
    edit(weights)
    save_file(weights, directory / "model.safetensors")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda w: w.pop("head.dense.weight"), "missing: head.dense.weight"),
        (lambda w: w.update({"model.layers.0.attn_norm.weight": torch.ones(32)}), "unexpected: model.layers.0.attn_n"),
        (
            lambda w: w.update({"decoder.bias": torch.zeros(100)}),
            r"shape of decoder.bias: \[100\], .* expects \[101\]",
        ),
        (lambda w: w.update({"decoder.bias": torch.zeros(101).long()}), "type of decoder.bias: torch.int64"),
        (lambda w: w["model.final_norm.weight"].fill_(float("nan")), "NaN or infinity in model.final_norm.weight"),
        (lambda w: w.update({"decoder.weight": w[EMBEDDING] + 1}), "decoder.weight differs from"),
    ],
)
def test_mismatched_weights_are_rejected(edit: Callable[[Weights], object], message: str, exported: Exported) -> None:
    directory, model = exported
    change_weights(directory, edit)
    with pytest.raises(UserError, match=message):
        from_pretrained(directory)
    # An export is checked in the same way.
    state = model.state_dict()
    state.pop("decoder.weight")
    edit(state)
    with pytest.raises(UserError, match=message.replace("config.json", ".*")):
        save_pretrained(state, model.config, directory.parent / "never")
    assert not (directory.parent / "never").exists()


def test_every_missing_and_unexpected_tensor_is_listed(exported: Exported) -> None:
    directory, model = exported
    names = [name for name, _ in model.named_parameters()]

    def strip_prefix(weights: Weights) -> None:
        for name in list(weights):
            weights[name.removeprefix("model.")] = weights.pop(name)

    change_weights(directory, strip_prefix)
    with pytest.raises(UserError) as error:
        from_pretrained(directory)
    encoder = [name for name in names if name.startswith("model.")]
    assert len(encoder) > 20
    for name in encoder:
        assert f"missing: {name}" in str(error.value)
        assert f"unexpected: {name.removeprefix('model.')}" in str(error.value)


def test_unreadable_weights(exported: Exported, config: ModelConfig) -> None:
    directory, _ = exported
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read"):
        read_weights(directory, config)
    file.unlink()
    with pytest.raises(UserError, match="no weights"):
        read_weights(directory, config)


def test_broken_shards(exported: Exported, config: ModelConfig) -> None:
    directory, _ = exported
    shutil.move(directory / "model.safetensors", directory / "a.safetensors")
    names = list(load_file(directory / "a.safetensors"))
    index = "model.safetensors.index.json"
    for weight_map, message in [
        ("a.safetensors", "weight_map must map"),
        (dict.fromkeys(names, "../a.safetensors"), "expected a file in the same directory"),
        (dict.fromkeys(names, "b.safetensors"), r"b\.safetensors: cannot be read"),
        (dict.fromkeys(names[1:], "a.safetensors"), f"its tensors differ from those in .*{names[0]}"),
    ]:
        write_json(directory, {"weight_map": weight_map}, index)
        with pytest.raises(UserError, match=message):
            read_weights(directory, config)


class Payload:
    """Runs a command when an unsafe loader unpickles it."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return (open, ("executed", "w"))


def test_a_pickle_is_never_executed(exported: Exported, config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    directory, _ = exported
    monkeypatch.chdir(directory)
    (directory / "model.safetensors").unlink()
    torch.save({"head.dense.weight": Payload()}, directory / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin: cannot be read"):
        read_weights(directory, config)
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(UserError, match=r"pytorch_model\.bin: cannot be read"):
        read_weights(directory, config)
    assert not (directory / "executed").exists()
    torch.save([torch.ones(1)], directory / "pytorch_model.bin")
    with pytest.raises(UserError, match="expected a state dict"):
        read_weights(directory, config)


def test_export_does_not_overwrite(exported: Exported) -> None:
    directory, model = exported
    before = (directory / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        save_pretrained(model.state_dict(), ModelConfig(**model.config.model_dump()), directory)
    assert (directory / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda value: value.to(torch.float8_e4m3fn), "torch.float8_e4m3fn, expected floating point of 16 bits"),
        (lambda value: value.to_sparse(), "torch.sparse_coo, expected a dense tensor"),
        (lambda value: value.to("meta"), "a meta tensor without values"),
    ],
)
@pytest.mark.parametrize("name", [EMBEDDING, "model.final_norm.weight", "decoder.weight"])
def test_tensors_of_another_kind_are_refused(
    exported: Exported, config: ModelConfig, name: str, change: Callable[[Tensor], Tensor], problem: str
) -> None:
    directory, _ = exported
    weights = load_file(directory / "model.safetensors")
    weights["decoder.weight"] = weights[EMBEDDING].clone()
    torch.save({**weights, name: change(weights[name])}, directory / "pytorch_model.bin")
    (directory / "model.safetensors").unlink()
    with pytest.raises(UserError, match=f"type of {name}: {problem}"):
        read_weights(directory, config)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 100_000, "null", "[]", '"modernbert"'])
def test_a_config_that_is_no_object_is_one_error(exported: Exported, content: str) -> None:
    directory, _ = exported
    (directory / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"config\.json: "):
        from_pretrained(directory)
