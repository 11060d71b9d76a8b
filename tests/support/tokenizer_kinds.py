"""Small tokenizers of the kinds that encoders are published with, trained on the texts of a test."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROLES = {f"{role}_token": f"[{role.upper()}]" for role in ("unk", "cls", "sep", "pad", "mask")}
_SPECIAL = list(ROLES.values())


def _train(backend: Tokenizer, trainer: trainers.Trainer, texts: Sequence[str]) -> Tokenizer:
    backend.train_from_iterator(texts, trainer)
    ends = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return backend


def _bpe(backend: Tokenizer, texts: Sequence[str]) -> Tokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return _train(
        backend,
        trainers.BpeTrainer(vocab_size=600, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False),
        texts,
    )


def byte_level(texts: Sequence[str]) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.normalizer, backend.decoder = normalizers.NFC(), decoders.ByteLevel()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _bpe(backend, texts)


def byte_level_with_a_space(texts: Sequence[str]) -> Tokenizer:
    """RoBERTa's kind."""
    backend = Tokenizer(models.BPE())
    backend.decoder, backend.pre_tokenizer = decoders.ByteLevel(), pre_tokenizers.ByteLevel(add_prefix_space=True)
    return _bpe(backend, texts)


def byte_level_without_words(texts: Sequence[str]) -> Tokenizer:
    """Its text is one pre-token."""
    backend = Tokenizer(models.BPE())
    backend.decoder = decoders.ByteLevel()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return _bpe(backend, [text[:400] for text in texts[:100]])


def wordpiece(texts: Sequence[str]) -> Tokenizer:
    """BERT's kind."""
    backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer, backend.decoder = normalizers.BertNormalizer(lowercase=True), decoders.WordPiece()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=_SPECIAL, show_progress=False)
    return _train(backend, trainer, texts)


def unigram(texts: Sequence[str]) -> Tokenizer:
    """XLM-R's kind."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer, backend.decoder = normalizers.NFKC(), decoders.Metaspace()
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=_SPECIAL, unk_token="[UNK]", show_progress=False)
    return _train(backend, trainer, texts)


def unigram_without_words(texts: Sequence[str]) -> Tokenizer:
    backend = unigram(texts)
    backend.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    return backend


def gemma(texts: Sequence[str]) -> Tokenizer:
    """BPE whose spaces are characters of their own, so that its pre-tokenizer finds none to split at."""
    backend = Tokenizer(models.BPE(unk_token="[UNK]", fuse_unk=True))
    backend.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=_SPECIAL, show_progress=False)
    backend = _train(backend, trainer, [text[:400] for text in texts[:100]])
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    return backend


WITH_WORDS = (byte_level, byte_level_with_a_space, wordpiece, unigram)
WITHOUT_WORDS = (byte_level_without_words, unigram_without_words, gemma)


def save(
    kind: Callable[[Sequence[str]], Tokenizer], texts: Sequence[str], directory: Path, own: Sequence[str] = ()
) -> Path:
    """Write the tokenizer as transformers does, with special tokens of a user's own."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=kind(texts), **ROLES)
    if own:
        tokenizer.add_special_tokens({"additional_special_tokens": list(own)})
    tokenizer.save_pretrained(directory)
    assert json.loads((directory / "tokenizer_config.json").read_text())["cls_token"] == "[CLS]"
    return directory


def shifted(source: Path, target: Path, by: int) -> Path:
    """A copy of a tokenizer whose ids are larger, except for those of the roles; the ids between have no token."""
    content = json.loads((source / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary |= {token["content"]: token["id"] for token in content["added_tokens"]}
    moved = {token: number + by * (token not in _SPECIAL) for token, number in vocabulary.items()}
    content["model"]["vocab"] = moved
    for token in content["added_tokens"]:
        token["id"] = moved[token["content"]]
    target.mkdir()
    (target / "tokenizer.json").write_text(json.dumps(content))
    (target / "tokenizer_config.json").write_bytes((source / "tokenizer_config.json").read_bytes())
    return target
