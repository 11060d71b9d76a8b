"""The tokenizer.json of published families, with vocabularies of some hundred tokens, written by hand."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from clinical_modernbert.streaming_data.loader.masking import mask, vocabulary
from clinical_modernbert.streaming_data.prepare.chunking import cut_into_segments
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

WORDS = ["the", "fever", "cough", "patient", "and", "of", "mask", "unused"]
CHARACTERS = [*map(chr, range(33, 127)), "é", "患", "者", "ไ", "ท", "ย"]
TEXT = "The patient of the <table> ward:  fever (38.5), cough\n\nand <mask> [MASK] <unused1> 患者ไทย é <bos>"
Layout = tuple[dict[str, Any], dict[str, Any], dict[str, int], set[str]]


def _bpe(specials: list[str], space: str, **keys: Any) -> dict[str, Any]:
    """A model with the words after a space and without, each made of its characters from left to right."""
    merges = dict.fromkeys(
        (word[:n], word[n]) for word in [*WORDS, *(space + w for w in WORDS)] for n in range(1, len(word))
    )
    tokens = [*specials, space, "\n", *CHARACTERS, *(left + right for left, right in merges)]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    merges_ = [[left, right] for left, right in merges]
    return {"type": "BPE", "dropout": None, "vocab": vocabulary, "merges": merges_, "fuse_unk": True, **keys}


def _added(
    tokens: list[str], special: bool, first: int, normalized: bool = False, **flags: bool
) -> list[dict[str, Any]]:
    plain = {
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": normalized,
        "special": special,
        **flags,
    }
    return [{"id": first + number, "content": token, **plain} for number, token in enumerate(tokens)]


def _template(begin: str, end: str, ids: dict[str, int]) -> dict[str, Any]:
    single = [{"SpecialToken": {"id": begin, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    single.append({"SpecialToken": {"id": end, "type_id": 0}})
    tokens = {t: {"id": t, "ids": [ids[t]], "tokens": [t]} for t in (begin, end)}
    return {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": tokens}


def _file(model: dict[str, Any], added: list[dict[str, Any]], **parts: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    return {"version": "1.0", **empty, "added_tokens": added, "model": model, **parts}


def mmbert() -> Layout:
    """Gemma's vocabulary: reserved tokens, tags and runs of blanks are added; cls is not what begins a text."""
    names = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    others = ["<unused0>", "<unused1>", "\n\n", "▁▁", "▁▁▁", "<table>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    model = _bpe([*names, *others, *bytes_], "▁", unk_token="<unk>", byte_fallback=True)
    content = _file(
        model,
        [*_added(names, True, 0), *_added(others, False, 5)],
        normalizer={"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        pre_tokenizer={"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        post_processor=_template("<bos>", "<eos>", model["vocab"]),
        decoder={"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    )
    roles = {
        "cls_token": "<eos>",
        "sep_token": "<eos>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
        "unk_token": "<unk>",
    }
    ids = {"unk": 3, "cls": 2, "sep": 1, "pad": 0, "mask": 4}
    return content, roles, ids, {*names, "<unused0>", "<unused1>"}


def modernbert() -> Layout:
    """NeoX's vocabulary: names and runs of spaces added; the mask takes the blank before it."""
    names = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    alphabet = [chr(code) for code in [*range(33, 127), *range(161, 173), *range(174, 324)]]
    model = _bpe(["<|padding|>", *alphabet], "Ġ", unk_token=None)
    first = len(model["vocab"])
    tail = [*names[:4], "[unused0]", "[unused1]"]
    added = [
        *_added(["<|padding|>"], True, 0),
        *_added(["   ", "  ", "<|endoftext|>"], False, first, normalized=True),
        *_added(tail, True, first + 3),
        *_added(["[MASK]"], True, first + 9, lstrip=True),
    ]
    ids: dict[str, int] = {token["content"]: token["id"] for token in added}
    content = _file(
        model,
        added,
        normalizer={"type": "NFC"},
        pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        post_processor=_template("[CLS]", "[SEP]", ids),
        decoder={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    )
    roles = {f"{name[1:-1].lower()}_token": name for name in names}
    return (
        content,
        roles,
        {name[1:-1].lower(): ids[name] for name in names},
        {*names, "<|padding|>", "[unused0]", "[unused1]"},
    )


def xlm_roberta() -> Layout:
    """Unigram with Metaspace; roles are those of RoBERTa, `<s>` and `</s>`, and the mask is last."""
    names = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = [*names, "▁", *(f"▁{word}" for word in WORDS), *WORDS, *CHARACTERS, "<mask>"]
    ids = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    scores = [[piece, 0.0 if number < 4 else -2.0 - 1 / len(piece)] for piece, number in ids.items()]
    content = _file(
        {"type": "Unigram", "unk_id": 3, "vocab": scores, "byte_fallback": False},
        [*_added(names, True, 0), *_added(["<mask>"], True, ids["<mask>"], lstrip=True)],
        normalizer={"type": "NFKC"},
        pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        post_processor=_template("<s>", "</s>", ids),
        decoder={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    )
    roles = {"cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    roles["mask_token"] = {"content": "<mask>", "lstrip": True, "__type": "AddedToken"}  # type: ignore[assignment]
    return content, roles, {"unk": 3, "cls": 0, "sep": 2, "pad": 1, "mask": ids["<mask>"]}, {*names, "<mask>"}


def bert() -> Layout:
    """WordPiece, with unused tokens in the vocabulary itself."""
    names = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [*names, *WORDS, *map(str.lower, CHARACTERS), *(f"##{one.lower()}" for one in CHARACTERS)]
    vocab = {token: number for number, token in enumerate(dict.fromkeys(tokens))}
    roles = {f"{name[1:-1].lower()}_token": name for name in (names[0], *names[3:])}
    content = _file(
        {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocab,
        },
        [token for name in (names[0], *names[3:]) for token in _added([name], True, vocab[name])],
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor=_template("[CLS]", "[SEP]", vocab),
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )
    return content, roles, {key.removesuffix("_token"): vocab[name] for key, name in roles.items()}, set(names)


def qwen() -> Layout:
    """Byte-level BPE with another pattern, without unk; the padding is what ends a text."""
    content, _, _, _ = modernbert()
    first = len(content["model"]["vocab"])
    names = ["<|begin|>", "<|end|>", "<|mask|>", "<|reserved_special_token_0|>"]
    pattern = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    content |= {
        "added_tokens": _added(names, True, first),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": _template("<|begin|>", "<|end|>", {name: first + n for n, name in enumerate(names)}),
    }
    roles = {"pad_token": "<|end|>", "mask_token": "<|mask|>"}
    ids = {"cls": first, "sep": first + 1, "pad": first + 1, "mask": first + 2}
    return content, roles, ids, set(names)


LAYOUTS = [mmbert, modernbert, xlm_roberta, bert, qwen]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_a_published_layout_is_read_as_transformers_reads_it(
    layout: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content, roles, ids, unmaskable = layout()
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    loaded, reference = tokenizers.load(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.special_ids == ids
    named = loaded.backend.get_vocab(with_added_tokens=True)
    assert {token for token in named if named[token] in loaded.unmaskable_ids} == unmaskable
    assert set(loaded.unmaskable_ids) == {named[token] for token in unmaskable}  # the vocabulary has no holes
    with caplog.at_level(logging.WARNING):
        tokenizers.warn_of_other_ends(loaded)
    assert not caplog.records

    (encoded,) = tokenizers.encode(loaded, [TEXT])
    (segment,) = cut_into_segments("1", TEXT, encoded, loaded, 10_000)
    # What a text says of structural tokens is text; transformers calls that split_special_tokens.
    plain = re.sub(r"<mask>|\[MASK\]|<bos>|<unused1>", "", TEXT)
    (alone,) = tokenizers.encode(loaded, [plain])
    assert [ids["cls"], *alone.tokens.tolist(), ids["sep"]] == reference(plain)["input_ids"]
    of_roles = {number for role, number in ids.items() if role != "unk"}
    if layout is not xlm_roberta:  # its model itself has a piece <mask>, as docs/data.md says
        assert not set(segment.tokens[1:-1].tolist()) & of_roles

    # Masks touch no special token and draw from tokens that stand for text.
    vocab = vocabulary(loaded.vocab_size, ids["pad"], ids["mask"], list(loaded.unmaskable_ids))
    forbidden = set(loaded.unmaskable_ids) - {ids["mask"]}
    tokens = np.tile(segment.tokens, 200)
    masked = mask(tokens, 0.5, vocab, 1)
    assert not set(masked.targets.tolist()) & set(loaded.unmaskable_ids)
    changed = masked.tokens[masked.positions]
    assert not set(changed.tolist()) & forbidden
    assert len(set(changed.tolist())) > 100
