"""How a model makes a vector of a text, as the files of sentence-transformers say; read without torch."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from ...configs.errors import UserError
from ...configs.json_text import parse_json
from ...configs.limits import SETTINGS_BYTES, read_file
from ..models.protocol import Pooling

_MODULES = "modules.json"
_POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls"}
_OLD_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""One key per mode, as sentence-transformers wrote before version 6."""


class SentenceLayout(NamedTuple):
    """How the vector of a text is made.

    Attributes:
        pooling: of the hidden states.
        normalize: whether vectors have length 1.
        max_length: the most tokens that the layout admits; None: what the model admits.
        prompt: what precedes every text.
    """

    pooling: Pooling = "mean"
    normalize: bool = False
    max_length: int | None = None
    prompt: str = ""


def read_layout(directory: Path) -> SentenceLayout | None:
    """The layout in a model's directory; None without a modules.json.

    Raises:
        UserError: it has a module or a pooling that is not known here, which would give other vectors.
    """
    if not (directory / _MODULES).is_file():
        return None
    pooling: Pooling = "mean"
    normalize = False
    for module in _read(directory / _MODULES, list):
        kind = str(module.get("type", "")).rpartition(".")[2] if isinstance(module, dict) else ""
        if kind == "Pooling":
            pooling = _pooling(directory / str(module.get("path", "")) / "config.json")
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise UserError(
                f"{directory / _MODULES}: the module {kind or '(without type)'} is not supported; expected "
                "Transformer, Pooling and Normalize: use sentence-transformers for this model"
            )
    transformer, whole = directory / "sentence_bert_config.json", directory / "config_sentence_transformers.json"
    limits = _read(transformer, dict) if transformer.is_file() else {}
    if limits.get("do_lower_case"):
        raise UserError(f"{transformer}: do_lower_case is not supported: use sentence-transformers for this model")
    return SentenceLayout(pooling, normalize, _max_length(directory, limits), _prompt(whole))


def _max_length(directory: Path, limits: dict[str, Any]) -> int | None:
    """The least of the limits: newer versions of sentence-transformers write it only to the tokenizer's files."""
    tokenizer = directory / "tokenizer_config.json"
    config = _read(tokenizer, dict) if tokenizer.is_file() else {}
    lengths = (limits.get("max_seq_length"), config.get("model_max_length"))
    return min((length for length in lengths if isinstance(length, int)), default=None)


def _pooling(path: Path) -> Pooling:
    config = _read(path, dict)
    mode = config.get("pooling_mode") or [name for key, name in _OLD_KEYS.items() if config.get(key)] or "mean"
    modes = [mode] if isinstance(mode, str) else list(mode)
    if len(modes) != 1 or modes[0] not in _POOLINGS or not config.get("include_prompt", True):
        raise UserError(
            f"{path}: pooling by {', '.join(map(str, modes))} is not supported; expected mean or cls, with the prompt "
            "included: use sentence-transformers for this model"
        )
    return _POOLINGS[modes[0]]


def _prompt(path: Path) -> str:
    """The prompt that precedes a text by default."""
    config = _read(path, dict) if path.is_file() else {}
    name = config.get("default_prompt_name")
    return str((config.get("prompts") or {}).get(name, "")) if name else ""


def _read(path: Path, kind: type) -> Any:
    try:
        content = parse_json(read_file(path, SETTINGS_BYTES))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); save the model again") from error
    if not isinstance(content, kind):
        expected = json.dumps(kind())
        raise UserError(f"{path}: expected {expected} with entries, found {type(content).__name__}; save it again")
    return content
