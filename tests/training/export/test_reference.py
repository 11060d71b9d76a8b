"""An export's reference finds runtimes that ignore the window or confuse the RoPE bases, and none that are right."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import SmallRun

from clinical_modernbert.model.config import ModelConfig
from clinical_modernbert.model.hugging_face import save_pretrained
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.model.reference import read_reference
from clinical_modernbert.streaming_data.synthetic.notes import generate
from clinical_modernbert.streaming_data.tokenizer import tokenizer
from clinical_modernbert.training.export import export
from clinical_modernbert.training.export.onnx import write_onnx
from clinical_modernbert.training.export.reference import write_reference
from clinical_modernbert.training.export.runtimes import RUNTIMES, explain

TOLERANCE = 1e-3
WINDOW = 128


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ModernBERT with large random weights, so that positions and neighbors matter, and its reference."""
    root: Path = tmp_path_factory.mktemp("reference")
    notes = [note["text"] for note, _ in zip(generate(0), range(40), strict=False)]
    tokenizer.train(notes, 600, root / "tokenizer")
    config = ModelConfig(
        vocab_size=640,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=2,
        local_attention=WINDOW,
        max_position_embeddings=1024,
        pad_token_id=3,
        cls_token_id=1,
        sep_token_id=2,
    )
    generator = torch.Generator().manual_seed(1)
    model = MaskedLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(2 * noise * parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 1 + 0.2 * noise)
    save_pretrained(model.state_dict(), config, root / "model")
    for name in tokenizer.FILES:
        shutil.copyfile(root / "tokenizer" / name, root / "model" / name)
    write_reference(root / "model")
    return root / "model"


def with_config(directory: Path, out: Path, **changes: Any) -> Path:
    """A runtime that reads a config wrongly computes what transformers does with this one."""
    shutil.copytree(directory, out)
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | changes))
    return out


def differences(directory: Path, original: Path, runtime: str = "transformers") -> list[float]:
    reference = read_reference(original)
    return reference.differences(*RUNTIMES[runtime].compute(directory, reference, ""))


def test_it_has_inputs_shorter_and_much_longer_than_the_window(directory: Path) -> None:
    lengths = [len(one.input_ids) for one in read_reference(directory).inputs]
    assert lengths[0] < lengths[1] <= WINDOW // 2 or lengths[0] <= WINDOW // 2
    assert 4 * WINDOW < lengths[-1] <= 1024
    assert max(differences(directory, directory)) < 1e-5


@pytest.mark.parametrize(
    "changes",
    [
        {"local_attention": 8192},
        {"local_attention": 126},
        {"local_rope_theta": 160_000.0},
        {"global_rope_theta": 10_000.0},
        {"local_rope_theta": 160_000.0, "global_rope_theta": 10_000.0},
        {"global_attn_every_n_layers": 1},
    ],
    ids=str,
)
def test_a_wrong_window_or_base_is_found(changes: dict[str, Any], directory: Path, tmp_path: Path) -> None:
    found = differences(with_config(directory, tmp_path / "other", **changes), directory)
    assert found[-1] > TOLERANCE
    reference = read_reference(directory)
    if changes in ({"local_attention": 8192}, {"local_attention": 126}):
        within = [d for one, d in zip(reference.inputs, found, strict=True) if len(one.input_ids) <= WINDOW // 2]
        assert max(within) < 1e-5
        assert "the runtime ignores the local window" in next(explain(reference, found, TOLERANCE))


@pytest.fixture(scope="module")
def graph(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with an ONNX graph."""
    pytest.importorskip("onnxruntime", reason="an extra: pip install onnx onnxruntime onnxscript")
    out = with_config(directory, tmp_path_factory.mktemp("graph") / "model")
    write_onnx(out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_a_graph_computes_what_the_reference_says(runtime: str, graph: Path, directory: Path) -> None:
    pytest.importorskip(RUNTIMES[runtime].package or "", reason="not an extra of this project: pip install openvino")
    assert max(differences(graph, directory, runtime)) < 1e-4


def test_every_export_has_a_reference(finished: SmallRun, tmp_path: Path) -> None:
    export.export_checkpoint(finished.run_dir, tmp_path / "model")
    reference = read_reference(tmp_path / "model")
    assert set(reference.outputs) == {"mean_embedding", "token_logits"}
    assert max(differences(tmp_path / "model", tmp_path / "model")) < 1e-4


def test_what_text_embeddings_inference_requires_is_in_the_config(directory: Path) -> None:
    """The keys without default of its ModernBertConfig (0d124dc, modernbert.rs); transformers 5 writes others."""
    required = """vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads hidden_activation
        max_position_embeddings initializer_range initializer_cutoff_factor norm_eps norm_bias pad_token_id eos_token_id
        bos_token_id cls_token_id sep_token_id global_rope_theta attention_bias attention_dropout
        global_attn_every_n_layers local_attention local_rope_theta classifier_activation"""
    assert set(required.split()) <= set(json.loads((directory / "config.json").read_text()))
