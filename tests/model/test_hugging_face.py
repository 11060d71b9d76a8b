"""Import from and export to Hugging Face directories: equal logits both ways, and every refusal."""

import json
import pickle
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, safe_open, save_file

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import from_pretrained, read_weights, save_pretrained
from clinical_modernbert.model.hugging_face_config import read_config

EMBEDDING = "model.embeddings.tok_embeddings.weight"
LENGTHS = (40, 1, 17)

# The keys of the published ModernBERT config.json (transformers 4), for a small model.
TRANSFORMERS_4 = {
    "architectures": ["ModernBertForMaskedLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "classifier_activation": "gelu",
    "classifier_bias": False,
    "classifier_dropout": 0.0,
    "classifier_pooling": "mean",
    "cls_token_id": 1,
    "decoder_bias": True,
    "deterministic_flash_attn": False,
    "embedding_dropout": 0.0,
    "eos_token_id": 2,
    "global_attn_every_n_layers": 3,
    "global_rope_theta": 160000.0,
    "gradient_checkpointing": False,
    "hidden_activation": "gelu",
    "hidden_size": 32,
    "initializer_cutoff_factor": 2.0,
    "initializer_range": 0.02,
    "intermediate_size": 48,
    "layer_norm_eps": 1e-05,
    "local_attention": 16,
    "local_rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "mlp_bias": False,
    "mlp_dropout": 0.0,
    "model_type": "modernbert",
    "norm_bias": False,
    "norm_eps": 1e-05,
    "num_attention_heads": 2,
    "num_hidden_layers": 4,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "sep_token_id": 2,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "transformers_version": "4.47.0.dev0",
    "vocab_size": 101,
}
TRANSFORMERS_5 = {
    key: value
    for key, value in TRANSFORMERS_4.items()
    if key not in ("global_attn_every_n_layers", "global_rope_theta", "local_rope_theta", "torch_dtype")
} | {
    "dtype": "float32",
    "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {
        "full_attention": {"rope_theta": 160000.0, "rope_type": "default"},
        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"},
    },
}


def write_json(directory, values, name="config.json"):
    directory.mkdir(exist_ok=True)
    (directory / name).write_text(json.dumps(values))
    return directory


@pytest.fixture
def exported(tmp_path, config, lively):
    """A directory that save_pretrained wrote, and its model."""
    model = lively(config)
    save_pretrained(model.state_dict(), config, tmp_path / "exported")
    return tmp_path / "exported", model


def assert_equal_logits(model, theirs, packed, padded):
    ids, batch = packed(model.config, LENGTHS)
    rows, mask = padded(ids, LENGTHS)
    with torch.no_grad():
        ours = model.logits(ids, batch, torch.arange(len(ids)))
        expected = theirs(rows, attention_mask=mask).logits[mask.bool()]
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)


def test_export_loads_in_transformers(exported, packed, padded):
    directory, model = exported
    theirs, report = transformers.AutoModelForMaskedLM.from_pretrained(directory, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(theirs).__name__ == "ModernBertForMaskedLM"
    assert_equal_logits(model, theirs.eval(), packed, padded)


@pytest.mark.parametrize("seed", range(4))
def test_transformers_directory_imports(seed, tmp_path, random_config, lively, reference, packed, padded):
    model = lively(random_config(seed), seed)
    theirs = reference(model)
    theirs.save_pretrained(tmp_path)
    imported = from_pretrained(tmp_path)
    ours, read = model.config.model_dump(), imported.config.model_dump()
    # A model of few layers does not show how its pattern would go on.
    every = [values.pop("global_attn_every_n_layers") for values in (ours, read)]
    layers = range(model.config.num_hidden_layers)
    assert [layer % every[0] == 0 for layer in layers] == [layer % every[1] == 0 for layer in layers]
    assert read == ours
    assert_equal_logits(imported.eval(), theirs, packed, padded)


def test_round_trip_is_exact(exported, tmp_path):
    directory, model = exported
    again = from_pretrained(directory)
    assert again.config == model.config
    assert again.decoder.weight is again.model.embeddings.tok_embeddings.weight
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name)), name
    save_pretrained(again.state_dict(), again.config, tmp_path / "second")
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "second" / file).read_bytes() == (directory / file).read_bytes()


def test_export_holds_the_tied_tensor_once_and_keeps_its_type(tmp_path, config, lively):
    save_pretrained(lively(config).bfloat16().state_dict(), config, tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert "decoder.weight" not in set(file.keys())
        assert file.get_tensor(EMBEDDING).dtype == torch.bfloat16
    assert json.loads((tmp_path / "out" / "config.json").read_text())["torch_dtype"] == "bfloat16"
    assert {value.dtype for value in read_weights(tmp_path / "out", config).values()} == {torch.float32}


def test_every_kind_of_weight_file_reads_the_same(exported, config):
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


@pytest.mark.parametrize("values", [TRANSFORMERS_4, TRANSFORMERS_5])
def test_both_spellings_of_the_config(values, tmp_path, config):
    assert read_config(write_json(tmp_path, values)) == config


@pytest.mark.parametrize("theta", [160_000.0, None])
def test_one_theta_for_all_layers(theta, tmp_path):
    config = read_config(write_json(tmp_path, TRANSFORMERS_4 | {"local_rope_theta": theta}))
    assert config.local_rope_theta == config.global_rope_theta == 160_000.0


def test_unknown_switches_that_are_off_are_harmless(tmp_path, config):
    assert read_config(write_json(tmp_path, TRANSFORMERS_4 | {"causal_mask": False, "rope_scaling": None})) == config


def scaled(kind, **changes):
    parameters = TRANSFORMERS_5["rope_parameters"]
    return {"rope_parameters": parameters | {kind: parameters[kind] | changes}}


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (TRANSFORMERS_4, {"model_type": "bert"}, "model_type: 'bert'"),
        (TRANSFORMERS_4, {"architectures": ["ModernBertModel"]}, r"architectures: \['ModernBertModel'\]"),
        (TRANSFORMERS_4, {"attention_bias": True}, "attention_bias: True"),
        (TRANSFORMERS_4, {"mlp_bias": True}, "mlp_bias"),
        (TRANSFORMERS_4, {"norm_bias": True}, "norm_bias"),
        (TRANSFORMERS_4, {"classifier_bias": True}, "classifier_bias"),
        (TRANSFORMERS_4, {"decoder_bias": False}, "decoder_bias: False"),
        (TRANSFORMERS_4, {"hidden_activation": "silu"}, "hidden_activation: 'silu'"),
        (TRANSFORMERS_4, {"classifier_activation": "relu"}, "classifier_activation"),
        (TRANSFORMERS_4, {"tie_word_embeddings": False}, "tie_word_embeddings"),
        (TRANSFORMERS_4, {"layer_norm_eps": 1e-12}, "layer_norm_eps: 1e-12 differs"),
        (TRANSFORMERS_4, {"rope_scaling": {"type": "yarn"}}, "rope_scaling: unknown key"),
        (TRANSFORMERS_4, {"local_attention": 15}, r"local_attention \(15\) must be even"),
        (TRANSFORMERS_4, {"hidden_size": "wide"}, "hidden_size"),
        (TRANSFORMERS_4, {"pad_token_id": None}, "pad_token_id"),
        (TRANSFORMERS_5, {"global_rope_theta": 1.0}, "rope_theta and global_rope_theta disagree"),
        (TRANSFORMERS_5, scaled("full_attention", rope_type="yarn"), "full_attention.rope_type: 'yarn'"),
        (TRANSFORMERS_5, scaled("sliding_attention", factor=2.0), "rope_parameters.sliding_attention.*factor"),
        (TRANSFORMERS_5, {"rope_parameters": {"rope_theta": 1.0}}, "rope_parameters: expected the keys"),
        (TRANSFORMERS_5, {"layer_types": ["full_attention"]}, r"layer_types: expected a list of num_hidden_layers"),
        (TRANSFORMERS_5, {"layer_types": ["full_attention"] * 2 + ["sliding_attention"] * 2}, "layer_types: expected"),
        (TRANSFORMERS_5, {"global_attn_every_n_layers": 2}, "layer_types: expected .* n = 2"),
    ],
)
def test_unsupported_configs_are_refused(base, change, message, tmp_path):
    with pytest.raises(UserError, match=message) as error:
        read_config(write_json(tmp_path, base | change))
    assert str(tmp_path / "config.json") in str(error.value)


def test_all_problems_of_a_config_are_listed(tmp_path):
    values = TRANSFORMERS_4 | {"mlp_bias": True, "hidden_activation": "silu", "num_attention_heads": 5}
    del values["vocab_size"]
    with pytest.raises(UserError, match=r"(?s)hidden_activation.*mlp_bias.*vocab_size"):
        read_config(write_json(tmp_path, values))


def test_unreadable_configs(tmp_path):
    with pytest.raises(UserError, match=r"config\.json: cannot be read"):
        read_config(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"a": 1,\n "b" 2}')
    with pytest.raises(UserError, match=r"config\.json: not JSON .*line 2"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(UserError, match="expected a JSON object"):
        read_config(tmp_path)


def change_weights(directory, edit):
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
            r"shape of decoder.bias: \[100\], .* asks for \[101\]",
        ),
        (lambda w: w.update({"decoder.bias": torch.zeros(101).long()}), "type of decoder.bias: torch.int64"),
        (lambda w: w["model.final_norm.weight"].fill_(float("nan")), "NaN or infinity in model.final_norm.weight"),
        (lambda w: w.update({"decoder.weight": w[EMBEDDING] + 1}), "decoder.weight differs from"),
    ],
)
def test_weights_that_do_not_fit_are_refused(edit, message, exported):
    directory, model = exported
    change_weights(directory, edit)
    with pytest.raises(UserError, match=message):
        from_pretrained(directory)
    # The same check guards the way out.
    state = model.state_dict()
    state.pop("decoder.weight")
    edit(state)
    with pytest.raises(UserError, match=message.replace("config.json", ".*")):
        save_pretrained(state, model.config, directory.parent / "never")
    assert not (directory.parent / "never").exists()


def test_every_missing_and_unexpected_tensor_is_listed(exported):
    directory, model = exported
    names = [name for name, _ in model.named_parameters()]

    def strip_prefix(weights):
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


def test_unreadable_weights(exported, config):
    directory, _ = exported
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors: cannot be read"):
        read_weights(directory, config)
    file.unlink()
    with pytest.raises(UserError, match="no weights"):
        read_weights(directory, config)


def test_broken_shards(exported, config):
    directory, _ = exported
    shutil.move(directory / "model.safetensors", directory / "a.safetensors")
    names = list(load_file(directory / "a.safetensors"))
    index = "model.safetensors.index.json"
    for weight_map, message in [
        ("a.safetensors", "weight_map must map"),
        (dict.fromkeys(names, "../a.safetensors"), "is not a file beside it"),
        (dict.fromkeys(names, "b.safetensors"), r"b\.safetensors: cannot be read"),
        (dict.fromkeys(names[1:], "a.safetensors"), f"holds other tensors than .*{names[0]}"),
    ]:
        write_json(directory, {"weight_map": weight_map}, index)
        with pytest.raises(UserError, match=message):
            read_weights(directory, config)


class Payload:
    """Runs a command when unpickled by a loader that trusts its input."""

    def __reduce__(self):
        return (open, ("executed", "w"))


def test_a_pickle_is_never_executed(exported, config, monkeypatch):
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


def test_export_does_not_overwrite(exported):
    directory, model = exported
    before = (directory / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match="exists already"):
        save_pretrained(model.state_dict(), ModelConfig(**model.config.model_dump()), directory)
    assert (directory / "model.safetensors").read_bytes() == before
