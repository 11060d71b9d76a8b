"""Import from and export to Hugging Face directories. Both are strict: anything unknown is an error, not a default.

A directory has `config.json` (see `hugging_face_config`) and the weights (see `weight_files`).
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..configs.errors import UserError
from ..storage.files import stage_directory
from .config import ModelConfig
from .hugging_face_config import read_config, write_config
from .masked_lm import MaskedLM
from .weight_files import read_directory

__all__ = [
    "EMBEDDING",
    "assemble",
    "checked",
    "from_pretrained",
    "parameter_shapes",
    "read_config",
    "read_weights",
    "save_pretrained",
    "write_pretrained",
]

EMBEDDING = "model.embeddings.tok_embeddings.weight"
ENCODER = "model."
"""How the names of the encoder's parameters begin; the others belong to the head and the decoder."""
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DECODER = "decoder.weight"
"""The tied decoder: a checkpoint may contain it, but then it must equal the embedding."""


def from_pretrained(directory: Path) -> MaskedLM:
    """Load the masked language model of a Hugging Face ModernBERT directory, in fp32 on the CPU.

    Raises UserError for a config that `read_config` rejects and for weights that `read_weights` rejects.
    """
    config = read_config(directory)
    return assemble(config, read_weights(directory, config))


def assemble(config: ModelConfig, weights: Mapping[str, Tensor]) -> MaskedLM:
    """Build the model from weights by parameter name, with the tied embedding once."""
    model = MaskedLM(config)
    model.load_state_dict({**weights, DECODER: weights[EMBEDDING]})
    return model


def read_weights(directory: Path, config: ModelConfig) -> dict[str, Tensor]:
    """Load all parameters of MaskedLM(config) by name, in fp32 on the CPU, with the tied embedding once.

    Raises UserError for a file that cannot be read, and one that lists every tensor that is missing, unexpected, of
    another shape, not of floating point or not finite, and a `decoder.weight` that differs from the embedding.
    """
    directory = Path(directory)
    weights = read_directory(directory)
    return {name: value.float() for name, value in checked(weights, config, str(directory)).items()}


def save_pretrained(state_dict: Mapping[str, Tensor], config: ModelConfig, directory: Path) -> None:
    """Write a directory that transformers (4.48 and later) loads with AutoModelForMaskedLM.

    The directory is created atomically: complete or not at all. Raises UserError if it exists and is not empty.
    """
    with stage_directory(directory) as staging:
        write_pretrained(state_dict, config, staging)


def write_pretrained(state_dict: Mapping[str, Tensor], config: ModelConfig, directory: Path) -> None:
    """Write config.json and model.safetensors into an existing directory.

    `state_dict` is checked like an import, so that no invalid checkpoint is written. Tensors keep their type.
    """
    weights = checked(state_dict, config, "the model to save")
    write_config(config, weights[EMBEDDING].dtype, directory / "config.json")
    contiguous = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    save_file(contiguous, directory / "model.safetensors", metadata={"format": "pt"})


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every parameter of MaskedLM(config), the tied one once, without allocating memory for them."""
    with torch.device("meta"):
        model = MaskedLM(config)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def checked(weights: Mapping[str, Tensor], config: ModelConfig, origin: str) -> dict[str, Tensor]:
    """Return `weights` without the tied copy if they are exactly those of `config`, else raise UserError."""
    shapes = parameter_shapes(config)
    tied = weights.get(DECODER)
    parameters = {name: value for name, value in weights.items() if name != DECODER}
    problems = [f"missing: {name}" for name in shapes if name not in parameters]
    problems += [f"unexpected: {name}" for name in parameters if name not in shapes]
    for name, value in parameters.items():
        if name not in shapes:
            continue
        if tuple(value.shape) != shapes[name]:
            problems.append(f"shape of {name}: {list(value.shape)}, config.json expects {list(shapes[name])}")
        elif problem := _unsupported_kind(value):
            problems.append(f"type of {name}: {problem}")
        elif not torch.isfinite(value).all():
            problems.append(f"NaN or infinity in {name}")
    if tied is not None and (problem := _unsupported_kind(tied)):
        problems.append(f"type of {DECODER}: {problem}")
    elif tied is not None and EMBEDDING in parameters and not _equal(tied, parameters[EMBEDDING]):
        problems.append(f"{DECODER} differs from {EMBEDDING}: untied decoders are not supported")
    if problems:
        listing = "".join(f"\n  {problem}" for problem in problems)
        hint = (
            ". A bare encoder or a classifier has no head of this kind: --new-head (new_head in a recipe) takes its "
            "encoder, and makes the head and the bias new"
            if any(name not in weights for name in shapes if not name.startswith(ENCODER))
            else ""
        )
        raise UserError(f"{origin}: the weights do not fit a ModernBERT masked language model{listing}{hint}")
    return parameters


def _unsupported_kind(value: Tensor) -> str | None:
    """Why a tensor cannot be a parameter: it is quantized (fp8 too), sparse, or has no content; None if it can be."""
    if value.dtype not in _DTYPES:
        return f"{value.dtype}, expected floating point of 16 bits or more"
    if value.layout != torch.strided:
        return f"{value.layout}, expected a dense tensor: convert it with to_dense()"
    return "a meta tensor without values: download the weights" if value.is_meta else None


def _equal(tied: Tensor, embedding: Tensor) -> bool:
    return _unsupported_kind(embedding) is not None or torch.equal(tied, embedding)
