"""`cmbert import`: what it proves, what it refuses, and what it records."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from composer_file import write_composer
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import from_pretrained
from clinical_modernbert.model.initialize import initial_value
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.model.origin import read_import_record
from clinical_modernbert.model.start import NEW_HEAD, open_start
from clinical_modernbert.training.export import convert as converting

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "local_attention": 8,
    "pad_token_id": 0,
    "cls_token_id": 1,
    "sep_token_id": 1,
}


def random_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: (value + 0.2 * torch.randn_like(value)).detach() for name, value in model.named_parameters()}


def write_model(directory: Path, kind: str, **settings: Any) -> Path:
    """A directory as transformers saves a model of this class, with random weights."""
    config = transformers.ModernBertConfig(**SIZES, bos_token_id=1, eos_token_id=1, **settings)
    model = getattr(transformers, kind)(config)
    model.load_state_dict(random_weights(model), strict=False)
    model.save_pretrained(directory)
    return directory


def run_import(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["import", *arguments])
    if result.exception:
        raise result.exception
    return result.output


@pytest.mark.slow
def test_what_is_imported_is_proven_and_recorded(tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", "ModernBertForMaskedLM", classifier_activation="silu")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"loss_function": "fa"}))
    weights = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    halves = [dict(list(weights.items())[part::2]) for part in (0, 1)]
    for number, half in enumerate(halves):  # shards of pickles, in half precision
        torch.save({name: value.bfloat16() for name, value in half.items()}, source / f"pytorch_model-{number}.bin")
    names = {name: f"pytorch_model-{number}.bin" for number, half in enumerate(halves) for name in half}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    (source / "tokenizer.json").write_text("{}")
    printed = run_import(str(source), "--out", str(tmp_path / "out"))
    for line in (
        "note: loss_function: ",
        "warning: classifier_activation: 'silu'",
        "proven: transformers ",
        "imported ",
    ):
        assert line in printed
    assert printed.count("proven: ") == 3
    assert "not proven" not in printed
    imported = from_pretrained(tmp_path / "out")
    assert imported.config.classifier_activation == "silu"
    for name, value in weights.items():
        assert torch.equal(imported.get_parameter(name), value.bfloat16().float()), name
    assert (tmp_path / "out" / "tokenizer.json").read_text() == "{}"
    record = read_import_record(tmp_path / "out")
    assert record is not None
    assert (record.kind, record.address, record.new_parameters) == ("hugging face", str(source), ())
    assert len(record.proven) == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ModernBertModel", "ModernBertForSequenceClassification"])
def test_an_encoder_gets_a_new_head_only_on_request(kind: str, tmp_path: Path) -> None:
    source = write_model(tmp_path / "source", kind)
    with pytest.raises(UserError, match="has no head for masked tokens; --new-head takes its encoder"):
        run_import(str(source), "--out", str(tmp_path / "never"))
    printed = run_import(str(source), "--out", str(tmp_path / "out"), "--new-head", "--seed", "5")
    assert "the same hidden states from the source" in printed
    assert f"new, from seed 5: {', '.join(NEW_HEAD)}" in printed
    imported = from_pretrained(tmp_path / "out")
    for name in NEW_HEAD:
        value = imported.get_parameter(name)
        assert torch.equal(value, initial_value(name, value.shape, imported.config, 5)), name
    # A run that starts from the directory knows that its head is new, and where the encoder was.
    origin = open_start(tmp_path / "out").origin()
    assert (origin.new_parameters, origin.new_from_seed, origin.address) == (NEW_HEAD, 5, str(source))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source"]


@pytest.mark.slow
def test_a_composer_file_becomes_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MaskedLM(ModelConfig(**{**SIZES, "sep_token_id": 2}))
    model.load_state_dict(random_weights(model), strict=False)
    file = write_composer(tmp_path / "ep0.pt", model)
    printed = run_import(str(file), "--out", str(tmp_path / "out"))
    assert "not proven: the source was not compared: transformers does not read composer's files" in printed
    files = {"config.json", "import.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == files
    imported = from_pretrained(tmp_path / "out")
    for name, value in model.named_parameters():
        assert torch.equal(imported.get_parameter(name), value), name
    # Without transformers everything but the proof is done, and it says so.
    monkeypatch.setitem(sys.modules, "transformers", None)
    printed = run_import(str(file), "--out", str(tmp_path / "unproven"))
    assert "not proven: nothing was compared: transformers is not installed" in printed
    assert "\nproven: " not in printed
    assert (tmp_path / "unproven" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_difference_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_model(tmp_path / "source", "ModernBertForMaskedLM")
    start = open_start(source)
    for change in (
        {"local_attention": 6},
        {"global_rope_theta": 1e4},
        {"norm_eps": 1e-2},
        {"classifier_activation": "relu"},
    ):
        other = start._replace(parsed=start.parsed._replace(config=start.config.model_copy(update=change)))
        with pytest.raises(UserError, match=r"source: transformers computes other outputs"):
            converting.convert(other, tmp_path / "out")
    # A key that transformers misreads is warned of, and only what was written is compared.
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"sliding_window": 8}))
    record = converting.convert(open_start(source), tmp_path / "kept")
    assert [len(record.warnings), len(record.proven), len(record.not_proven)] == [1, 2, 1]
    weights = load_file(source / "model.safetensors")
    save_file(weights | {"head.norm.bias": torch.ones(16)}, source / "model.safetensors")
    with pytest.raises(UserError, match=r"unexpected: head\.norm\.bias"):
        converting.convert(open_start(source), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "source"]


def test_starts_that_are_not_converted(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "notes.csv").touch()
    for source, message in (
        ("run", "a run; give one of its checkpoints"),
        ("notes.csv", "expected a directory, or a composer checkpoint"),
        ("nothing", r"config\.json: cannot be read"),
    ):
        with pytest.raises(UserError, match=message):
            run_import(str(tmp_path / source), "--out", out)
