"""An exported model as an ONNX graph, for programs without torch; proven equal before it appears."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ...configs.errors import UserError
from .numerics_check import require_equal

DIRECTORY = "onnx"
"""Below the model's, where the Hub's libraries look for a graph."""

_LIBRARIES = ("onnx", "onnxscript", "onnxruntime", "transformers.exporters.exporter_onnx")
_TRACED = (2, 40)
_CHECKED = ((1, 1), (2, 40), (3, 97), (1, 700))
"""Sequences and their length: that of tracing, others, and one beyond every local window."""


def require_onnx() -> None:
    """Raise UserError unless what writes and runs a graph is installed."""
    try:
        for name in _LIBRARIES:
            import_module(name)
    except ImportError as error:
        raise UserError(f"--onnx: {error}; pip install 'clinical-modernbert[onnx]'") from error


def write_onnx(directory: Path, hidden_states: bool = False) -> None:
    """Add `onnx/model.onnx` to an exported model's directory.

    Its inputs are `input_ids` and `attention_mask`, int64 of (batch, length), both of any size. Its output, fp32, is
    `logits` of (batch, length, vocab_size), or with `hidden_states` the `last_hidden_state` of (batch, length,
    hidden_size).

    Raises UserError if ONNX Runtime computes anything else from it than transformers does from the model.
    """
    from transformers import AutoModelForMaskedLM
    from transformers.exporters.exporter_onnx import OnnxConfig, OnnxExporter

    masked_lm = AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32).eval()
    model = masked_lm.base_model if hidden_states else masked_lm
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.config.max_position_embeddings)}
    shapes = {"input_ids": axes, "attention_mask": axes}
    with _silence():
        graph = OnnxExporter().export(model, _padded(model, *_TRACED), OnnxConfig(dynamic_shapes=shapes))
        graph.save_pretrained(directory / DIRECTORY)
    _require_equal(model, directory / DIRECTORY / "model.onnx")


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporters tell what they do on stdout, in logs and in warnings of their own insides."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _padded(model: Any, sequences: int, length: int) -> dict[str, torch.Tensor]:
    """Random tokens; every sequence but the first ends in padding."""
    draw = torch.Generator().manual_seed(length)
    tokens = torch.randint(model.config.vocab_size, (sequences, length), generator=draw)
    mask = torch.ones_like(tokens)
    mask[1:, length * 3 // 4 :] = 0
    return {"input_ids": tokens, "attention_mask": mask}


def _require_equal(model: Any, path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    for sequences, length in _CHECKED:
        inputs = _padded(model, sequences, min(length, model.config.max_position_embeddings))
        real = inputs["attention_mask"].bool()
        with torch.no_grad():
            theirs = model(**inputs)[0][real]
        ours = torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])[real]
        complaint = "ONNX Runtime computes something else from the graph than transformers from the model"
        require_equal(ours, theirs, complaint, "transformers, onnxscript and onnxruntime")
