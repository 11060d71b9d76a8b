"""Which tokens that a text spells are tokens: one rule for preparing data, training, evaluation and inference.

The structural tokens, such as [MASK], written in a document are text. Every other added token is one id, wherever it
is written, as transformers has it: those that users added for their own notes (`additional_special_tokens`) too.
"""

import json
import re
from collections.abc import Collection, Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, pre_tokenizers

ROLES = ("unk", "cls", "sep", "pad", "mask")
_STRUCTURAL = (*ROLES, "bos", "eos")
_USERS_OWN = ("additional_special_tokens", "extra_special_tokens")  # transformers 4, 5


def roles_as_text(backend: Tokenizer, roles: Collection[str]) -> Tokenizer:
    """A copy of a tokenizer for which these tokens, and those that it puts around texts, are text.

    Every other added token is one id.
    """
    return open_backend(json.loads(backend.to_str()), roles)


def open_backend(content: dict[str, Any], roles: Collection[str]) -> Tokenizer:
    """The tokenizer of a tokenizer.json; see `roles_as_text`. `content` is changed."""
    structural = {*roles, *_around_texts(content.get("post_processor") or {})}
    for token in content.get("added_tokens") or []:
        token["special"] = token["content"] in structural
    backend = Tokenizer.from_str(json.dumps(content))
    backend.encode_special_tokens = True  # special tokens, and no others, are text
    _divide_pieces(backend, structural)
    return backend


def _around_texts(processor: dict[str, Any]) -> set[str]:
    """The tokens that a post-processor adds to a text; not every config names them."""
    pairs = [processor[role][0] for role in ("cls", "sep") if role in processor]
    return {*pairs, *processor.get("special_tokens", {})}.union(*map(_around_texts, processor.get("processors", [])))


def _divide_pieces(backend: Tokenizer, names: Collection[str]) -> None:
    """Divide names after their first character, where the model itself takes one for a piece of text.

    Unigram does so, whose vocabulary of pieces includes them, and models that look up a word of the text as one.
    """
    pieces = sorted(name for name in names if len(name) > 1 and _is_piece(backend, name))
    if pieces:
        pattern = "|".join(f"{re.escape(name[0])}(?={re.escape(name[1:])})" for name in pieces)
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        before = backend.pre_tokenizer
        backend.pre_tokenizer = split if before is None else pre_tokenizers.Sequence([before, split])


def _is_piece(backend: Tokenizer, name: str) -> bool:
    number = backend.token_to_id(name)
    written = (name, f"a {name} b", f"a{name}b")
    return any(number in backend.encode(text, add_special_tokens=False).ids for text in written)


def structural_tokens(config: dict[str, Any]) -> set[str]:
    """The tokens that begin, end, separate, pad and mask texts, by tokenizer_config.json."""
    return set(_names(config.get(f"{role}_token") for role in _STRUCTURAL))


def add_users_own(content: dict[str, Any], config: dict[str, Any]) -> None:
    """Add to tokenizer.json's content the special tokens that only tokenizer_config.json names, as transformers does.

    Raises:
        ValueError: one is not in the vocabulary, so that every program would give it another id.
    """
    added = content.setdefault("added_tokens", [])
    present = {token["content"] for token in added}
    vocabulary = content["model"]["vocab"]
    for key in _USERS_OWN:
        values = config.get(key) or []
        for name in _names(values.values() if isinstance(values, dict) else values):
            if name in present:
                continue
            if not isinstance(vocabulary, dict) or name not in vocabulary:
                raise ValueError(
                    f"{key} has {name[:40]!r}, which is not in tokenizer.json; write both files with transformers' "
                    "save_pretrained"
                )
            flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            added.append({"id": vocabulary[name], "content": name, **flags, "special": True})
            present.add(name)


def _names(tokens: Iterable[Any]) -> list[str]:
    """The texts of tokens, which are strings or, as transformers saves flags, objects with `content`."""
    texts = (token.get("content") if isinstance(token, dict) else token for token in tokens)
    return [text for text in texts if isinstance(text, str)]
