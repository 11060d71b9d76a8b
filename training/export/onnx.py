"""Export of a model as an ONNX graph, for programs without torch, after a check against transformers."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from .numerics_check import require_close

DIRECTORY = "onnx"
"""Subdirectory of the model's directory, where the Hub's libraries expect a graph."""

_TRACED_SHAPE = (2, 40)
_CHECKED_SHAPES = ((1, 1), (2, 40), (3, 97), (1, 700))
"""(sequences, length): the traced shape, others, and one longer than every local window."""


def write_onnx(directory: Path, hidden_states: bool = False) -> None:
    """Add `onnx/model.onnx` to an exported model's directory.

    Its inputs are `input_ids` and `attention_mask`, int64 (batch, length) with any batch size and length. Its output is
    `logits`, fp32 (batch, length, vocab_size), or with `hidden_states` it is `last_hidden_state`, fp32 (batch, length,
    hidden_size).

    Raises:
        UserError: ONNX Runtime computes different outputs than transformers.
    """
    from transformers import AutoModelForMaskedLM

    masked_lm = AutoModelForMaskedLM.from_pretrained(directory, dtype=torch.float32, trust_remote_code=False).eval()
    model = masked_lm.base_model if hidden_states else masked_lm
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.config.max_position_embeddings)}
    path = directory / DIRECTORY / "model.onnx"
    path.parent.mkdir()
    with _silence_exporter():
        torch.onnx.export(
            _TensorOutput(model),
            tuple(_random_inputs(model, *_TRACED_SHAPE).values()),
            path,
            dynamo=True,
            input_names=["input_ids", "attention_mask"],
            output_names=["last_hidden_state" if hidden_states else "logits"],
            dynamic_shapes=(axes, axes),
        )
    _remove_traces(path)
    _require_equal_outputs(model, path)


def _remove_traces(path: Path) -> None:
    """Remove the exporter's stack traces, which name directories of this machine, from the graph's file."""
    import onnx

    graph = onnx.load(path, load_external_data=False)
    _clear(graph)
    path.write_bytes(graph.SerializeToString())


def _clear(message: Any) -> None:
    """Remove metadata and comments from a message of protobuf and from those in it."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type:
            for part in value if hasattr(value, "__len__") else [value]:
                _clear(part)


class _TensorOutput(torch.nn.Module):
    """A model of transformers whose output is its first tensor, so that no output class is traced."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.model(input_ids=input_ids, attention_mask=attention_mask)[0]
        return output


@contextlib.contextmanager
def _silence_exporter() -> Iterator[None]:
    """Suppress the exporter's output on stdout, in logs and in warnings, which concerns only its internals."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _random_inputs(model: Any, sequences: int, length: int) -> dict[str, torch.Tensor]:
    """Random tokens; every sequence except the first ends in padding."""
    generator = torch.Generator().manual_seed(length)
    tokens = torch.randint(model.config.vocab_size, (sequences, length), generator=generator)
    mask = torch.ones_like(tokens)
    mask[1:, length * 3 // 4 :] = 0
    return {"input_ids": tokens, "attention_mask": mask}


def _require_equal_outputs(model: Any, path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    for sequences, length in _CHECKED_SHAPES:
        inputs = _random_inputs(model, sequences, min(length, model.config.max_position_embeddings))
        real = inputs["attention_mask"].bool()
        with torch.no_grad():
            expected = model(**inputs)[0][real]
        actual = torch.from_numpy(session.run(None, {name: value.numpy() for name, value in inputs.items()})[0])[real]
        problem = "ONNX Runtime computes different outputs from the graph than transformers from the model"
        require_close(actual, expected, problem, "transformers, onnxscript and onnxruntime")
