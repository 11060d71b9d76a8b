"""Read and write Hugging Face's `config.json` of a ModernBERT.

There are two formats: transformers 4 has `global_rope_theta`, `local_rope_theta` and `global_attn_every_n_layers`;
transformers 5 has `rope_parameters` and `layer_types`. Both are read. The first is written, since both releases load
it. An unknown key that could change the model is an error.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..configs.errors import UserError
from ..configs.json_text import parse_json_object
from ..configs.limits import SETTINGS_BYTES, read_file
from .config import ModelConfig

if TYPE_CHECKING:
    import torch

ARCHITECTURE = "ModernBertForMaskedLM"

# Values that every ModernBERT has and that this model implements; a missing key means the same value.
BUILT_IN = {
    "attention_bias": False,
    "mlp_bias": False,
    "norm_bias": False,
    "classifier_bias": False,
    "decoder_bias": True,
    "hidden_activation": "gelu",
    "classifier_activation": "gelu",
    "tie_word_embeddings": True,
}

# Keys that change neither the hidden states nor the logits of masked tokens: fine-tuning heads, other special tokens,
# runtime options, and metadata. Checkpoints have position_embedding_type "absolute", which transformers never reads.
IRRELEVANT = {
    "_attn_implementation_autoset",
    "_name_or_path",
    "architectures",
    "bos_token_id",
    "classifier_dropout",
    "classifier_pooling",
    "deterministic_flash_attn",
    "dtype",
    "eos_token_id",
    "gradient_checkpointing",
    "id2label",
    "label2id",
    "mask_token_id",
    "model_type",
    "position_embedding_type",
    "problem_type",
    "reference_compile",
    "repad_logits_with_grad",
    "sparse_pred_ignore_index",
    "sparse_prediction",
    "torch_dtype",
    "transformers_version",
    "unk_token_id",
}
# Read by functions of their own.
TRANSLATED = {"layer_types", "rope_parameters", "layer_norm_eps"}


def read_config(directory: Path) -> ModelConfig:
    """Read the ModelConfig of a Hugging Face directory.

    Raises UserError that lists every unsupported key of config.json: another architecture, a setting that this model
    does not implement (a bias, another activation, scaled RoPE, an irregular order of layers), and unknown keys.
    """
    path = Path(directory) / "config.json"
    raw = read_json(path)
    problems = _unsupported(raw)
    values = {key: raw[key] for key in ModelConfig.model_fields if key in raw}
    try:
        values |= rope_thetas(raw) | _layer_pattern(raw)
        config = ModelConfig.model_validate(values)
    except ValidationError as error:
        for detail in error.errors():
            key = ".".join(map(str, detail["loc"]))
            problems.append(f"{key}: {detail['msg']}" if key else detail["msg"].removeprefix("Value error, "))
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise UserError(f"{path}: not a supported ModernBERT config\n  " + "\n  ".join(problems))
    return config


def write_config(config: ModelConfig, dtype: "torch.dtype", path: Path) -> None:
    """Write `config.json` for weights of `dtype`, with [CLS] and [SEP] also as begin and end of sequence."""
    values = {
        "architectures": [ARCHITECTURE],
        "model_type": "modernbert",
        "torch_dtype": str(dtype).removeprefix("torch."),
        "bos_token_id": config.cls_token_id,
        "eos_token_id": config.sep_token_id,
        "classifier_pooling": "mean",
    }
    text = json.dumps(values | BUILT_IN | config.model_dump(), indent=2, sort_keys=True)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises UserError with the file, and the line of a syntax error."""
    try:
        return parse_json_object(read_file(path, SETTINGS_BYTES), SETTINGS_BYTES)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a Hugging Face directory") from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from error


def _unsupported(raw: dict[str, Any]) -> list[str]:
    problems = []
    if raw.get("model_type") != "modernbert":
        problems.append(f"model_type: {raw.get('model_type')!r}, expected 'modernbert'")
    if raw.get("architectures", [ARCHITECTURE]) != [ARCHITECTURE]:
        problems.append(f"architectures: {raw['architectures']}, expected ['{ARCHITECTURE}']")
    for key, value in BUILT_IN.items():
        if raw.get(key, value) != value:
            problems.append(f"{key}: {raw[key]!r} is not supported, only {value!r}")
    eps = raw.get("norm_eps", _default("norm_eps"))
    if raw.get("layer_norm_eps", eps) != eps:
        problems.append(f"layer_norm_eps: {raw['layer_norm_eps']!r} differs from norm_eps, {eps!r}, which is used")
    unknown = raw.keys() - ModelConfig.model_fields.keys() - BUILT_IN.keys() - IRRELEVANT - TRANSLATED
    # A disabled option (false, null, 0) does not change the model.
    problems += [f"{key}: unknown key; remove it if it does not change the model" for key in unknown if raw[key]]
    return sorted(problems)


def rope_thetas(raw: dict[str, Any]) -> dict[str, Any]:
    """Both thetas, from either format. Raises ValueError for scaled RoPE and if the two formats disagree."""
    kinds = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}
    parameters = raw.get("rope_parameters") or {}
    if not isinstance(parameters, dict) or parameters.keys() - kinds.keys():
        raise ValueError(f"rope_parameters: expected the keys {list(kinds)}, got {parameters}")
    thetas: dict[str, Any] = {}
    for kind, field in kinds.items():
        rope = parameters.get(kind) or {}
        if not isinstance(rope, dict) or rope.keys() - {"rope_type", "rope_theta"}:
            raise ValueError(f"rope_parameters.{kind}: expected only rope_type and rope_theta, got {rope}")
        if rope.get("rope_type", "default") != "default":
            raise ValueError(
                f"rope_parameters.{kind}.rope_type: {rope['rope_type']!r} is not supported, only 'default'"
            )
        given = [theta for theta in (rope.get("rope_theta"), raw.get(field)) if theta is not None]
        if given[1:] and given[0] != given[1]:
            raise ValueError(f"rope_parameters.{kind}.rope_theta and {field} disagree: {given}")
        thetas[field] = given[0] if given else _default(field)
    if "local_rope_theta" in raw and raw["local_rope_theta"] is None and not parameters:
        # In transformers 4 this null means that local layers use the global theta.
        thetas["local_rope_theta"] = thetas["global_rope_theta"]
    return thetas


def _layer_pattern(raw: dict[str, Any]) -> dict[str, int]:
    """global_attn_every_n_layers as derived from `layer_types`, if that is given."""
    types = raw.get("layer_types")
    if types is None:
        return {}
    layers, stated = raw.get("num_hidden_layers"), raw.get("global_attn_every_n_layers")
    if not isinstance(types, list) or len(types) != layers:
        raise ValueError(f"layer_types: expected a list of num_hidden_layers ({layers}) names, got {types}")
    for every in [stated] if stated else range(1, len(types) + 1):
        if types == ["sliding_attention" if layer % every else "full_attention" for layer in range(len(types))]:
            return {"global_attn_every_n_layers": every}
    raise ValueError(
        "layer_types: expected 'full_attention' at layers 0, n, 2n, ... and 'sliding_attention' elsewhere"
        + (f", with n = {stated} (global_attn_every_n_layers)" if stated else "")
    )


def _default(field: str) -> Any:
    return ModelConfig.model_fields[field].default
