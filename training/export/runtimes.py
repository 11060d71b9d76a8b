"""What a runtime computes from the inputs of a reference: a local library, or a server of embeddings."""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...configs.errors import UserError
from ...model.reference import OutputName, Reference

_SECONDS = 120.0
Array = npt.NDArray[np.float64]


class Runtime(NamedTuple):
    """A runtime.

    Attributes:
        package: that has to be installed; None: none.
        compute: the name of the output that it has, and that output for each input.
        server: whether it needs an address.
    """

    package: str | None
    compute: Callable[[Path, Reference, str], tuple[OutputName, list[Array]]]
    server: bool = False


def _with_onnxruntime(directory: Path, reference: Reference, url: str) -> tuple[OutputName, list[Array]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(graph_of(directory))
    (output,) = session.get_outputs()
    return _of_graph(reference, output.name, lambda inputs: session.run(None, inputs)[0])


def _with_openvino(directory: Path, reference: Reference, url: str) -> tuple[OutputName, list[Array]]:
    import openvino

    graph = openvino.Core().read_model(str(graph_of(directory)))
    # Without the hint, OpenVINO computes in bf16 or fp16 where the processor can.
    compiled = openvino.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    name = compiled.output(0).get_any_name()
    return _of_graph(reference, name, lambda inputs: compiled(inputs)[0])


def _with_transformers(directory: Path, reference: Reference, url: str) -> tuple[OutputName, list[Array]]:
    import torch
    import transformers
    from transformers.utils import logging

    logging.disable_progress_bar()
    config = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=False)
    kind = getattr(transformers, config.architectures[0])
    model = kind.from_pretrained(directory, dtype=torch.float32, trust_remote_code=False).eval()
    name: OutputName = "logits" if "logits" in reference.outputs else "mean_embedding"
    model = model if name == "logits" else model.base_model
    with torch.no_grad():
        outputs = [model(input_ids=torch.tensor([one.input_ids]))[0][0].double().numpy() for one in reference.inputs]
    return name, outputs if name == "logits" else [output.mean(0) for output in outputs]


def graph_of(directory: Path) -> Path:
    """The ONNX graph of a model's directory; UserError if there is none."""
    path = directory / "onnx" / "model.onnx"
    if not path.is_file():
        raise UserError(f"{path}: no such file; export the model with --onnx")
    return path


def _of_graph(reference: Reference, name: str, run: Callable[[dict[str, Any]], Any]) -> tuple[OutputName, list[Array]]:
    """The outputs of a graph of hidden states, of a masked language model, or of another head."""
    outputs = []
    for one in reference.inputs:
        ids = np.array([one.input_ids], np.int64)
        outputs.append(np.asarray(run({"input_ids": ids, "attention_mask": np.ones_like(ids)})[0], np.float64))
    if name == "last_hidden_state":
        return "mean_embedding", [output.mean(0) for output in outputs]
    if "token_logits" in reference.outputs:
        return "token_logits", [output[len(output) // 2, reference.tokens] for output in outputs]
    return "logits", outputs


def _from_tei(directory: Path, reference: Reference, url: str) -> tuple[OutputName, list[Array]]:
    def embed(text: str) -> Any:
        return _post(f"{url}/embed", {"inputs": text, "normalize": False, "truncate": False})[0]

    return "mean_embedding", [np.asarray(embed(one.text), np.float64) for one in reference.inputs]


def _from_openai(directory: Path, reference: Reference, url: str) -> tuple[OutputName, list[Array]]:
    model = _request(f"{url}/v1/models")["data"][0]["id"]

    def embed(text: str) -> Any:
        return _post(f"{url}/v1/embeddings", {"model": model, "input": text})["data"][0]["embedding"]

    return "mean_embedding", [np.asarray(embed(one.text), np.float64) for one in reference.inputs]


def _post(url: str, content: dict[str, Any]) -> Any:
    return _request(url, json.dumps(content).encode())


def _request(url: str, content: bytes | None = None) -> Any:
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise UserError(f"{url}: the server refused a reference input (HTTP {error.code}); see its log") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{url}: no answer in JSON ({error}); is the server running?") from error


RUNTIMES = {
    "onnx": Runtime("onnxruntime", _with_onnxruntime),
    "openvino": Runtime("openvino", _with_openvino),
    "transformers": Runtime("transformers", _with_transformers),
    "tei": Runtime(None, _from_tei, server=True),
    "openai": Runtime(None, _from_openai, server=True),
}


def explain(reference: Reference, differences: list[float], tolerance: float) -> Iterator[str]:
    """What differences that grow with the length say."""
    lengths = [len(one.input_ids) for one in reference.inputs]
    wrong = [length for length, difference in zip(lengths, differences, strict=True) if difference > tolerance]
    right = [length for length in lengths if length not in wrong]
    if right and min(wrong) > max(right):
        yield (
            f"inputs of up to {max(right)} tokens agree and those of {min(wrong)} or more do not: the runtime ignores "
            "the local window, takes one RoPE base for all layers, or cuts texts"
        )
    elif not right:
        yield "no input agrees: other weights, another pooling, or another precision (see --tolerance)"
