"""The ids of the tokens that pad, begin and end a text, from a tokenizer's files, for a config.json without them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs.errors import UserError
from ..configs.json_text import parse_json_object
from ..configs.limits import SETTINGS_BYTES, TOKENIZER_BYTES, read_file

TOKEN_IDS = {"pad_token_id": "pad_token_id", "cls_token_id": "bos_token_id", "sep_token_id": "eos_token_id"}
"""The ids that a ModelConfig has, and the name by which config.json may have them instead."""

FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def ids_of_directory(directory: Path) -> dict[str, int]:
    """The ids of TOKEN_IDS that the tokenizer in a directory names, as far as there is one."""
    limits = {FILES[0]: TOKENIZER_BYTES}
    found = {name: directory / name for name in FILES if (directory / name).is_file()}
    try:
        return ids_of(
            {name: parse_json_object(read_file(path, size), size) for name, path in found.items()
             for size in [limits.get(name, SETTINGS_BYTES)]}
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise UserError(f"{directory}: its tokenizer cannot be read ({error}); copy its files again") from error


def ids_of(files: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The ids of TOKEN_IDS in a tokenizer's files.

    Args:
        files: contents by the names in FILES; any may be absent. A role is text, or an object with `content`.
    """
    tokenizer, config, older = (files.get(name, {}) for name in FILES)
    ids = _vocabulary(tokenizer, config)
    found: dict[str, int] = {}
    for key, other in TOKEN_IDS.items():
        for role in (key.removesuffix("_id"), other.removesuffix("_id")):
            token = config.get(role) or older.get(role)
            text = token.get("content") if isinstance(token, Mapping) else token
            if isinstance(text, str) and text in ids:
                found.setdefault(key, ids[text])
    return found


def _vocabulary(tokenizer: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, int]:
    model = tokenizer.get("model")
    vocabulary = model.get("vocab") if isinstance(model, Mapping) else None
    if isinstance(vocabulary, list):  # Unigram: pieces with their scores, in the order of their ids
        ids = {str(piece[0]): number for number, piece in enumerate(vocabulary) if isinstance(piece, list) and piece}
    else:
        ids = dict(vocabulary) if isinstance(vocabulary, Mapping) else {}
    decoder = config.get("added_tokens_decoder")
    if isinstance(decoder, Mapping):
        ids |= {
            token["content"]: int(number)
            for number, token in decoder.items()
            if str(number).isdecimal() and isinstance(token, Mapping) and isinstance(token.get("content"), str)
        }
    added = tokenizer.get("added_tokens")
    for token in added if isinstance(added, list) else []:
        if isinstance(token, Mapping) and isinstance(token.get("content"), str) and isinstance(token.get("id"), int):
            ids[token["content"]] = token["id"]
    return ids
