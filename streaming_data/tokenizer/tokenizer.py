"""Tokenizer directories in Hugging Face's format: loading, encoding with word starts, and training."""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import (
    AddedToken,
    Encoding,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from ...configs.errors import UserError
from ...configs.json_text import parse_json_object
from ...configs.limits import SETTINGS_BYTES, TOKENIZER_BYTES, read_file
from ...configs.names import shorten
from ...storage.files import require_writable, stage_directory
from ..shards.pack import MAX_VOCAB_SIZE, TOKEN_TYPES, token_bytes
from . import fast, long_texts, words
from .memory import return_freed
from .special_tokens import ROLES, add_users_own, open_backend, structural_tokens

FILES = ("tokenizer.json", "tokenizer_config.json")
_ROLES_FILE = "special_tokens_map.json"
_OLDER_FILES = ("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model")
_CONVERT = "from which transformers makes both: AutoTokenizer.from_pretrained('{0}').save_pretrained('{0}')"
MIN_VOCAB_SIZE = 512
VOCAB_MULTIPLE = 64
_MOST_SHOWN = 200
logger = logging.getLogger(__name__)
_UNUSED = re.compile(r"[\[<]\|?(unused|reserved|dummy)\w*?[_ -]?\d+\|?[\]>]", re.IGNORECASE)


@dataclass(frozen=True)
class LoadedTokenizer:
    """A tokenizer and its properties that the rest of the system needs.

    Attributes:
        vocab_size: the largest id plus one.
        special_ids: the ids of the roles cls, sep, pad, mask and, if there is one, unk. cls begins and sep ends a text.
        unmaskable_ids: ids that random replacement must not sample: special and unused tokens, and ids without a token.
        sha256: of tokenizer.json.
        word_source: where its words come from, see `words.py`.
    """

    directory: Path
    backend: Tokenizer
    vocab_size: int
    special_ids: dict[str, int]
    unmaskable_ids: tuple[int, ...]
    sha256: str
    word_source: words.WordSource = "gpt2"

    @property
    def token_type(self) -> "np.dtype[np.unsignedinteger[Any]]":
        """Of its tokens: uint16, or uint32 if it has more than 65,536."""
        return TOKEN_TYPES[token_bytes(self.vocab_size)]

    @cached_property
    def fast(self) -> fast.FastEncoder | None:
        """What encodes most texts; None for kinds of tokenizers that only the library knows."""
        return fast.create(self.backend) if self.word_source == "gpt2" else None

    def decode(self, tokens: npt.NDArray[np.unsignedinteger[Any]]) -> str:
        """The text of the tokens, without special tokens."""
        return str(self.backend.decode(tokens.tolist(), skip_special_tokens=True))


@dataclass(frozen=True)
class EncodedText:
    """A text as tokens, without [CLS] and [SEP].

    Attributes:
        tokens: uint16 or uint32 (n,), see `LoadedTokenizer.token_type`.
        word_starts: bool (n,), True at the first token of each word: letters with the space before them, digits, a run
            of punctuation, a run of spaces. See `words.py`.
        character_starts: computes the character offset of each token in the text, int64 (n,).
    """

    tokens: npt.NDArray[np.unsignedinteger[Any]]
    word_starts: npt.NDArray[np.bool_]
    character_starts: Callable[[], npt.NDArray[np.int64]]


def load(directory: Path) -> LoadedTokenizer:
    """Load tokenizer.json and tokenizer_config.json; any fault in them is a UserError."""
    for name in FILES:
        if not (directory / name).is_file():
            older = [file for file in _OLDER_FILES if (directory / file).is_file()]
            advice = f"; it has {' and '.join(older)}, {_CONVERT.format(directory)}" if older else ""
            raise UserError(
                f"{directory / name}: no such file; a tokenizer is a directory with {' and '.join(FILES)}, from "
                f"Hugging Face or from `cmbert tokenizer train`{advice}"
            )
    try:
        content = read_file(directory / FILES[0], TOKENIZER_BYTES)
        parsed = parse_json_object(content, TOKENIZER_BYTES)
        config = _read_config(directory)
        add_users_own(parsed, config)
        special = {token["id"] for token in parsed["added_tokens"] if token["special"]}
        backend = open_backend(parsed, structural_tokens(config))
        word_source = words.word_source(backend)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the Rust library raises plain Exception, and for a panic a BaseException
        reason = str(error) if len(str(error)) <= _MOST_SHOWN else f"{str(error)[:_MOST_SHOWN]}..."
        raise UserError(f"{directory}: not a Hugging Face tokenizer ({reason})") from error
    backend.no_truncation()
    backend.no_padding()
    vocabulary = backend.get_vocab(with_added_tokens=True)
    size = max(vocabulary.values(), default=-1) + 1
    if size == 0:
        raise UserError(f"{directory}: a tokenizer without a vocabulary")
    if size > MAX_VOCAB_SIZE:
        raise UserError(f"{directory}: its largest id is {size - 1:,}; ids must be below {MAX_VOCAB_SIZE:,}")
    special_ids = _special_ids(directory, config, vocabulary, backend)
    del parsed
    return_freed()
    return LoadedTokenizer(
        directory=directory,
        backend=backend,
        vocab_size=size,
        special_ids=special_ids,
        unmaskable_ids=_unmaskable_ids(special | set(special_ids.values()), vocabulary, size),
        sha256=hashlib.sha256(content).hexdigest(),
        word_source=word_source,
    )


def warn_of_other_ends(tokenizer: LoadedTokenizer) -> None:
    """Warn if the tokenizer puts other tokens around a text than packs have: [CLS] before and [SEP] after it."""
    bare, full = (tokenizer.backend.encode("a", add_special_tokens=special).ids for special in (False, True))
    expected = [tokenizer.special_ids["cls"], *bare, tokenizer.special_ids["sep"]]
    if full != expected:
        logger.warning(
            "%s: it encodes a text as %s, but packs have %s, by the roles in %s: inference differs from training",
            tokenizer.directory,
            *(" ".join(str(tokenizer.backend.id_to_token(number)) for number in ids) for ids in (full, expected)),
            FILES[1],
        )


def _read_config(directory: Path) -> dict[str, Any]:
    """tokenizer_config.json, with the roles that only special_tokens_map.json has, as transformers saved them once."""
    config = _read_settings(directory / FILES[1])
    older = directory / _ROLES_FILE
    roles = _read_settings(older) if older.is_file() else {}
    missing = [name for role in ROLES if config.get(name := f"{role}_token") is None and name in roles]
    return config | {name: roles[name] for name in missing}


def _read_settings(path: Path) -> dict[str, Any]:
    """Raises ValueError, which names the file, for one that is too large, or no JSON object."""
    try:
        return parse_json_object(read_file(path, SETTINGS_BYTES), SETTINGS_BYTES)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def copy_files(source: Path, target: Path) -> None:
    """Copy the two files of a tokenizer into an existing directory; the copy's config has all roles."""
    shutil.copyfile(source / FILES[0], target / FILES[0])
    shutil.copyfile(source / FILES[1], target / FILES[1])
    if (config := _read_config(source)) != json.loads((source / FILES[1]).read_bytes()):
        write_files(target, (source / FILES[0]).read_text(encoding="utf-8"), config)


def _special_ids(
    directory: Path, config: dict[str, Any], vocabulary: dict[str, int], backend: Tokenizer
) -> dict[str, int]:
    ids = _ends(backend)
    for role in ROLES:
        token = config.get(f"{role}_token")
        token = token.get("content") if isinstance(token, dict) else token
        if role in ids or (role == "unk" and token is None):
            continue
        if not isinstance(token, str) or token not in vocabulary:
            raise UserError(
                f"{directory / FILES[1]}: {role}_token is {shorten(token)}; expected a token of the vocabulary"
            )
        ids[role] = vocabulary[token]
    if same := [role for role in ids if role != "mask" and ids[role] == ids["mask"]]:
        raise UserError(
            f"{directory / FILES[1]}: {same[0]}_token and mask_token are the same; the mask needs a token of its own"
        )
    return {role: ids[role] for role in ROLES if role in ids}


def _ends(backend: Tokenizer) -> dict[str, int]:
    """The tokens that the tokenizer itself puts before and after a text, as cls and sep, if it is one each.

    They are what a model meets at inference, whatever the roles in its config: mmBERT's has `<eos>` as cls, and its
    texts begin with `<bos>`.
    """
    bare, full = (backend.encode("a", add_special_tokens=special).ids for special in (False, True))
    return {"cls": full[0], "sep": full[-1]} if full[1:-1] == bare and len(full) == len(bare) + 2 else {}


def _unmaskable_ids(special: set[int], vocabulary: dict[str, int], size: int) -> tuple[int, ...]:
    unused = {number for token, number in vocabulary.items() if _UNUSED.fullmatch(token)}
    holes = set(range(size)) - set(vocabulary.values())
    return tuple(sorted(special | unused | holes))


def encode(tokenizer: LoadedTokenizer, texts: Sequence[str]) -> list[EncodedText]:
    """Encode texts of any length, without truncation.

    Raises:
        UserError: fastokens gave tokens that are not those of a text.
    """
    encoder = tokenizer.fast
    try:
        encoded = encoder.encode(texts) if encoder else [None] * len(texts)
    except fast.WrongTokensError as error:
        raise _distrust(tokenizer, str(error)) from error
    remaining = iter(encode_by_library(tokenizer, [text for text, one in zip(texts, encoded, strict=True) if not one]))
    return [
        EncodedText(
            one.ids.astype(tokenizer.token_type), one.word_starts, partial(encoder.character_starts, text, one.ids)
        )
        if encoder and one
        else next(remaining)
        for text, one in zip(texts, encoded, strict=True)
    ]


def encode_by_library(tokenizer: LoadedTokenizer, texts: Sequence[str]) -> list[EncodedText]:
    """What `encode` returns, by `tokenizers` alone."""
    short = [text for text in texts if len(text) <= 2 * long_texts.PIECE]
    encodings = iter(tokenizer.backend.encode_batch(short, add_special_tokens=False))
    return [
        _encoded(tokenizer, text, next(encodings))
        if len(text) <= 2 * long_texts.PIECE
        else _encode_long(tokenizer, text)
        for text in texts
    ]


def require_equal(tokenizer: LoadedTokenizer, texts: Sequence[str], encoded: Sequence[EncodedText]) -> None:
    """Require that texts have the tokens, words and positions that `tokenizers` gives them.

    Raises:
        UserError: fastokens gave others.
    """
    if tokenizer.fast is None:
        return
    for text, one, other in zip(texts, encoded, encode_by_library(tokenizer, texts), strict=True):
        if not (
            np.array_equal(one.tokens, other.tokens)
            and np.array_equal(one.word_starts, other.word_starts)
            and np.array_equal(one.character_starts(), other.character_starts())
        ):
            raise _distrust(tokenizer, f"a document of {len(text):,} characters has other tokens than tokenizers gives")


def _distrust(tokenizer: LoadedTokenizer, reason: str) -> UserError:
    version = fast.version()
    name = f"fastokens {version}" if version else "the table of known words"
    advice = "Remove it (pip uninstall fastokens) and run the same command again" if version else "Report this fault"
    return UserError(
        f"{tokenizer.directory}: {name} cannot be trusted with this tokenizer: {reason}; nothing was published. "
        f"{advice}"
    )


def _encoded(tokenizer: LoadedTokenizer, text: str, encoding: Encoding) -> EncodedText:
    tokens = np.array(encoding.ids, tokenizer.token_type)
    if tokenizer.word_source == "text":
        spans = long_texts.spans(encoding)
        return EncodedText(tokens, words.word_starts(text, spans), lambda: spans[:, 0])
    word_starts = words.pretoken_starts(encoding)
    if tokenizer.word_source == "pretokens" and not text.isascii():
        word_starts |= words.starts_alone(text, _character_starts(encoding))
    return EncodedText(tokens, word_starts, partial(_character_starts, encoding))


def _encode_long(tokenizer: LoadedTokenizer, text: str) -> EncodedText:
    parts = []
    for piece in long_texts.pieces(tokenizer.backend, text, tokenizer.word_source):
        part, starts = text[piece.start : piece.end], piece.spans[:, 0]
        # A piece begins with a word.
        found = words.word_starts(part, piece.spans) if tokenizer.word_source == "text" else piece.pretoken_starts
        if tokenizer.word_source == "pretokens":
            found = found | words.starts_alone(part, starts)
        parts.append((np.array(piece.ids, tokenizer.token_type), found, starts + piece.start))
    tokens, word_starts, character_starts = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return EncodedText(tokens, word_starts, lambda: character_starts)


def _character_starts(encoding: Encoding) -> npt.NDArray[np.int64]:
    return np.array([start for start, _ in encoding.offsets], np.int64)


def train(texts: Iterable[str], vocab_size: int, directory: Path, max_length: int = 8192) -> int:
    """Train a byte-level BPE tokenizer with ModernBERT's special tokens, and write it in Hugging Face's format.

    The same texts give the same files. The vocabulary is padded to a multiple of 64 with [unused0], [unused1], ...

    Returns:
        The size of the vocabulary; less than `vocab_size` if the texts yield no more tokens.
    """
    check_vocab_size(vocab_size)
    require_new(directory)
    require_writable(directory)
    names = [f"[{role.upper()}]" for role in ROLES]
    specials = [AddedToken(name, lstrip=name == "[MASK]", normalized=False, special=True) for name in names]
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=specials,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    padding = -backend.get_vocab_size() % VOCAB_MULTIPLE
    backend.add_tokens([AddedToken(f"[unused{number}]", normalized=True, special=False) for number in range(padding)])
    ends = [(name, backend.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **{f"{role}_token": f"[{role.upper()}]" for role in ROLES},
    }
    with stage_directory(directory) as staging:
        write_files(staging, backend.to_str(pretty=True), config)
        load(staging)  # a tokenizer that does not load is not published
    return int(backend.get_vocab_size())


def check_vocab_size(vocab_size: int) -> None:
    """Raise UserError unless a tokenizer of this size can be trained."""
    if not MIN_VOCAB_SIZE <= vocab_size <= MAX_VOCAB_SIZE:
        raise UserError(f"a vocabulary of {vocab_size:,}; expected {MIN_VOCAB_SIZE} to {MAX_VOCAB_SIZE:,} tokens")


def require_new(directory: Path) -> None:
    """Raise UserError if the directory exists."""
    if directory.exists():
        raise UserError(f"{directory}: exists already, and a tokenizer is never overwritten; choose a new directory")


def write_files(directory: Path, content: str, config: dict[str, Any]) -> None:
    """Write the two files of a tokenizer into an existing directory."""
    (directory / FILES[0]).write_text(content, encoding="utf-8")
    (directory / FILES[1]).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
