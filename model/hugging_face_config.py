"""Read and write Hugging Face's `config.json` of a ModernBERT.

There are two formats: transformers 4 has `global_rope_theta`, `local_rope_theta` and `global_attn_every_n_layers`;
transformers 5 has `rope_parameters` and `layer_types`. Both are read. The first is written, since both releases load
it. A key that changes what transformers computes and that this model does not have is an error. Any other unknown key
is noted. Keys with which transformers does not compute what was trained are warned of. docs/import.md has them all.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from ..configs.errors import UserError
from ..configs.json_text import parse_json_object
from ..configs.limits import SETTINGS_BYTES, read_file
from .config import ModelConfig
from .token_ids import TOKEN_IDS, ids_of_directory

if TYPE_CHECKING:
    import torch

ARCHITECTURE = "ModernBertForMaskedLM"

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""A file of weights or the index of its shards, in the order of preference."""

# Values that every ModernBERT has and that this model implements; a missing key means the same value.
BUILT_IN = {
    "attention_bias": False,
    "mlp_bias": False,
    "norm_bias": False,
    "classifier_bias": False,
    "decoder_bias": True,
    "hidden_activation": "gelu",
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
# Read by functions of their own; `layer_norm_eps` is a leftover that nothing reads.
TRANSLATED = {"head_dim", "layer_norm_eps", "layer_types", "local_rope_theta", "rope_parameters", "sliding_window"}
# Settings that transformers or a checkpoint's own code acts on, and that this model does not have.
ACTING = {
    "add_cross_attention": "there is no cross-attention",
    "causal_mask": "this encoder attends in both directions",
    "is_causal": "this encoder attends in both directions",
    "is_decoder": "this encoder attends in both directions",
    "partial_rotary_factor": "RoPE rotates all features",
    "pruned_heads": "no head is pruned",
    "quantization_config": "quantized weights cannot be trained; use the checkpoint that was quantized",
    "rope_scaling": "scaled RoPE is not supported",
}


class ParsedConfig(NamedTuple):
    """A config.json as it was understood.

    Attributes:
        has_head: whether it names a masked language model, so that the weights have its head.
        notes: keys that change nothing, and are ignored.
        warnings: keys with which transformers may compute something else than what was trained.
        misread: whether transformers computes something else from this config than this model.
    """

    config: ModelConfig
    has_head: bool = True
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    misread: bool = False


def read_config(directory: Path) -> ModelConfig:
    """The ModelConfig of a Hugging Face directory; see `parse_directory`."""
    return parse_directory(directory).config


def parse_directory(directory: Path) -> ParsedConfig:
    """Read the config.json of a Hugging Face directory, and the token ids that only its tokenizer has.

    Raises UserError as `parse_config` does.
    """
    path = Path(directory) / "config.json"
    raw = read_json(path)
    complete = all(isinstance(raw.get(key), int) for key in TOKEN_IDS)
    return parse_config(raw, str(path), {} if complete else ids_of_directory(Path(directory)))


def parse_config(raw: dict[str, Any], origin: str, tokenizer_ids: Mapping[str, int]) -> ParsedConfig:
    """Read the content of a config.json.

    Args:
        origin: where it is from, for errors.
        tokenizer_ids: `pad_token_id`, `cls_token_id` and `sep_token_id` as far as the tokenizer names them.
    Raises:
        UserError: lists every unsupported key: another model, a setting that this model does not implement (a bias,
            another activation, scaled RoPE, causal attention, an irregular order of layers).
    """
    problems = _unsupported(raw)
    values = {key: raw[key] for key in ModelConfig.model_fields if key in raw} | _token_ids(raw, tokenizer_ids)
    try:
        values |= rope_thetas(raw) | _layer_pattern(raw)
        config = ModelConfig.model_validate(values)
    except ValidationError as error:
        for detail in error.errors():
            key = ".".join(map(str, detail["loc"]))
            if key in TOKEN_IDS and not isinstance(raw.get(key), int):
                detail["msg"] = f"{raw.get(key)!r}, and no tokenizer here names that token: copy its files there"
            problems.append(f"{key}: {detail['msg']}" if key else detail["msg"].removeprefix("Value error, "))
    except ValueError as error:
        problems.append(str(error))
    if problems:
        raise UserError(f"{origin}: not a supported ModernBERT config\n  " + "\n  ".join(problems))
    has_head = raw.get("architectures") in (None, [], [ARCHITECTURE])
    misread = _misread(raw, config)
    return ParsedConfig(config, has_head, tuple(_notes(raw)), (*misread, *_doubts(raw)), bool(misread))


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
    for key, value in BUILT_IN.items():
        if raw.get(key, value) != value:
            problems.append(f"{key}: {raw[key]!r} is not supported, only {value!r}")
    for key, reason in ACTING.items():
        # A disabled option (false, null, 0) does not change the model.
        if raw.get(key) and not _is_default(key, raw[key]):
            problems.append(f"{key}: {json.dumps(raw[key])[:80]} is not supported: {reason}")
    head_dim, width, heads = (raw.get(key) for key in ("head_dim", "hidden_size", "num_attention_heads"))
    if head_dim and isinstance(width, int) and isinstance(heads, int) and head_dim * heads != width:
        problems.append(f"head_dim: {head_dim!r} is not supported, only hidden_size / num_attention_heads")
    return sorted(problems)


def _is_default(key: str, value: Any) -> bool:
    if key == "rope_scaling":
        return isinstance(value, dict) and {value.get("type", "default"), value.get("rope_type", "default")} == {
            "default"
        }
    return key == "partial_rotary_factor" and value == 1


def _token_ids(raw: dict[str, Any], tokenizer_ids: Mapping[str, int]) -> dict[str, Any]:
    """The ids that config.json leaves out or has as null: by its other names for them, then by the tokenizer."""
    found = {}
    for key, other in TOKEN_IDS.items():
        candidates = (raw.get(key), raw.get(other), tokenizer_ids.get(key))
        if (known := next((one for one in candidates if isinstance(one, int)), None)) is not None:
            found[key] = known
    return found


def _notes(raw: dict[str, Any]) -> list[str]:
    known = ModelConfig.model_fields.keys() | BUILT_IN.keys() | IRRELEVANT | TRANSLATED | ACTING.keys()
    return [f"{key}: not a setting of ModernBERT, ignored" for key in sorted(raw.keys() - known) if raw[key]]


def _doubts(raw: dict[str, Any]) -> list[str]:
    """Keys that transformers follows, though they may not be what was trained."""
    activation = raw.get("classifier_activation", "gelu")
    if activation == "gelu":
        return []
    return [
        f"classifier_activation: {activation!r} is the activation of the masked-language-model head, in transformers "
        "and here. Converters wrote that of the classifier into this key: if the head was trained with 'gelu', set it "
        "to that"
    ]


def _misread(raw: dict[str, Any], config: ModelConfig) -> list[str]:
    """Keys with which transformers computes something else than this model."""
    warnings = []
    window = raw.get("sliding_window")
    if window and window != config.window:
        warnings.append(
            f"sliding_window: {window}: transformers 5 takes it for half a window, and attends to {2 * window} tokens "
            f"instead of local_attention ({config.local_attention}), which is used here"
        )
    theta = next((one for one in _local_thetas(raw) if _means_global(one)), "")
    if theta != "":
        warnings.append(
            f"local_rope_theta: {theta}: it means that of global layers, {config.global_rope_theta:g}, which is used "
            "here; transformers computes NaN or fails"
        )
    return warnings


def _local_thetas(raw: dict[str, Any]) -> list[Any]:
    """The bases of local layers that config.json has, in either format, null included."""
    rope = (raw.get("rope_parameters") or {}).get("sliding_attention") or {}
    legacy = [raw["local_rope_theta"]] if "local_rope_theta" in raw and not rope.get("rope_theta") else []
    return [*([rope["rope_theta"]] if "rope_theta" in rope else []), *legacy]


def _means_global(theta: Any) -> bool:
    """Whether a base of local layers is that of global ones: null, or -1 as ModernBERT's training code has it."""
    return theta is None or theta == -1


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
        if field == "local_rope_theta":
            local = _local_thetas(raw)
            if local and all(map(_means_global, local)):
                thetas[field] = thetas["global_rope_theta"]
                continue
        given = [theta for theta in (rope.get("rope_theta"), raw.get(field)) if theta is not None]
        if given[1:] and given[0] != given[1]:
            raise ValueError(f"rope_parameters.{kind}.rope_theta and {field} disagree: {given}")
        thetas[field] = given[0] if given else _default(field)
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
