"""The tokens of `tokenizers`, many times faster: ids by the package fastokens, words and positions by numpy.

fastokens gives ids alone; without it they are put together from the ids of words (`known_words.py`). Which characters a
token has follows from its bytes, and where words begin from the text (`pretokens.py`). This holds for byte-level BPE
with GPT-2's pattern, such as ModernBERT's tokenizer and those of `cmbert tokenizer train`. Any other tokenizer, and a
text that needs more than this (another normalization, an added token), is left to `tokenizers`.
"""

import json
import logging
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from .known_words import KnownWords
from .long_texts import PIECE
from .memory import resident_bytes, return_freed
from .pretokens import CharacterClasses, code_points, pretoken_starts
from .words import pretoken_starts as starts_by_library

PACKAGE = "fastokens"
_MOST_CHARACTERS = 1 << 19  # in memory at once, at about 50 bytes each
_MOST_GROWTH = 1 << 25  # bytes that fastokens may add by remembering words
_SAFE_CUT = re.compile(r"(?<=[!-~])(?=[ \n])")
logger = logging.getLogger(__name__)

_PROBES = (
    *(
        "",
        " ",
        "  ",
        "   ",
        "\n",
        " \n ",
        "a",
        " a",
        "a ",
        "a\n\n",
        "\t\tb",
        "\r\n\r\n",
        "\u00a0x\u3000y",
        "a\x85b\x1cc",
    ),
    *("don't 's 't x's''s 'll'llx I'VE i've 're' they'd'm", "a" * 300, "1" * 300, "!" * 300, "_" * 77),
    *(
        "BP 120/80, E11.9; 5.5mg\n\nName:  ___   Unit No:   ___",
        "caf\u00e9 \u03b2-blocker \u00b5g \u00bd \u2163 \u0663",
    ),
    *("\x00\x01", "\u4e2d\u6587" * 50, "\U0001f9d1\u200d\u2695\ufe0f \u200b\ufeff"),
    *(" " * n + end for n in range(20, 52) for end in ("", "x", "\n")),
)


class FastEncoded(NamedTuple):
    """A text's ids, uint32 (n,), and which begin a word, bool (n,)."""

    ids: npt.NDArray[np.uint32]
    word_starts: npt.NDArray[np.bool_]


class NotSupportedError(Exception):
    """Why a tokenizer is left to `tokenizers`."""


class WrongTokensError(Exception):
    """The tokens have another number of bytes than the text."""


def version() -> str | None:
    """Of fastokens; None if it is not installed."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return None


def create(backend: Tokenizer) -> "FastEncoder | None":
    """The encoder of a tokenizer; None for another kind, or if it gives other tokens than the library.

    Args:
        backend: whose special tokens are text (`encode_special_tokens`).
    """
    with_package = _checked(backend, with_package=True) if version() else None
    return with_package or _checked(backend, with_package=False)


def _checked(backend: Tokenizer, with_package: bool) -> "FastEncoder | None":
    try:
        encoder = FastEncoder(backend, with_package)
        encoder.check(_PROBES)
    except Exception as error:  # of any kind: the Rust library raises plain Exception
        logger.info("tokenizing without %s: %s", PACKAGE if with_package else "known words", str(error)[:200])
        return None
    return encoder


class FastEncoder:
    """Encodes what it can; see `encode`."""

    def __init__(self, backend: Tokenizer, with_package: bool) -> None:
        content = json.loads(backend.to_str())
        added = [token for token in content["added_tokens"] if not token["special"]]
        _require_supported(content, added)
        runs = [token for token in added if _is_blank(token)]
        named = [token for token in added if not _is_blank(token)]
        simple = [token for token in named if not _has_flags(token) and " " not in token["content"]]
        self._backend = backend
        self._normalized = content["normalizer"] is not None
        self._longest_run = max((len(token["content"]) for token in runs), default=0)
        self._added = {token["content"]: np.array([token["id"]], np.uint32) for token in simple}
        # The library searches the tokens that are not normalized first.
        self._splits = [_Names([t["content"] for t in simple if t["normalized"] == late]) for late in (False, True)]
        self._left_out = _Names([token["content"] for token in named if token not in simple])
        self._classes = CharacterClasses()
        self._widths = _byte_widths(content["model"]["vocab"], added)
        del content, added, runs, named, simple
        self._ids: Any = None
        self._characters = 0  # since the memory was looked at
        self._words = None if with_package else KnownWords(backend)
        if with_package:
            self._open()

    def _open(self) -> None:
        """Open fastokens again, without the words that it remembers: their number is bounded only far above 100 MB."""
        self._ids = None
        self._ids = _open_fastokens(self._backend)
        return_freed()
        self._resident = resident_bytes()

    def encode(self, texts: Sequence[str]) -> list[FastEncoded | None]:
        """Each text's tokens; None where only the library knows them.

        Raises:
            WrongTokensError: the ids that fastokens gave are not of this text.
        """
        parts = [self._parts(text) for text in texts]
        encoded = (
            one
            for batch in _batches(part for of_text in parts for part in of_text if part not in self._added)
            for one in self._encode(batch)
        )
        return [_joined([self._one(part) or next(encoded) for part in of_text]) for of_text in parts]

    def check(self, texts: Sequence[str]) -> None:
        """Raise WrongTokensError unless the library gives the same tokens and words."""
        for text, fast in zip(texts, self.encode(texts), strict=True):
            expected = self._backend.encode(text, add_special_tokens=False)
            if fast and (
                fast.ids.tolist() != expected.ids or fast.word_starts.tolist() != starts_by_library(expected).tolist()
            ):
                raise WrongTokensError("it gives other tokens than tokenizers")

    def _one(self, part: str) -> FastEncoded | None:
        """The tokens of a part that is an added token."""
        number = self._added.get(part)
        return None if number is None else FastEncoded(number, np.ones(1, np.bool_))

    def _parts(self, text: str) -> list[str]:
        """The text divided at added tokens, which are parts too, and into pieces; none if only the library knows it."""
        if self._left_out.occur_in(text) or not self._is_normalized(text):
            return []
        parts = [text]
        for names in self._splits:
            parts = [part for whole in parts for part in ([whole] if whole in self._added else names.split(whole))]
        pieces = [[part] if part in self._added else list(_pieces(part)) for part in parts]
        return [piece for of_part in pieces for piece in of_part] if all(pieces) else []

    def _is_normalized(self, text: str) -> bool:
        if text.isascii():
            return True
        if self._normalized and not unicodedata.is_normalized("NFC", text):
            return False
        return all(self._is_known(part) for part in _chunks(text))

    def _is_known(self, text: str) -> bool:
        codes, _ = code_points([text])
        self._classes.of(codes)
        return bool(self._classes.known[codes].all())

    def character_starts(self, text: str, ids: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """The character of the text in which each of its ids begins: int64 (n,)."""
        widths = self._widths[ids]
        first_bytes = np.cumsum(widths) - widths
        if text.isascii():
            return first_bytes
        starts = np.empty(len(ids), np.int64)
        token = character = byte = 0
        for part in _chunks(text):
            after = byte + np.cumsum(_utf8_sizes(code_points([part])[0][:-1]), dtype=np.int64)
            last = int(np.searchsorted(first_bytes, after[-1]))
            starts[token:last] = character + np.searchsorted(after, first_bytes[token:last], side="right")
            token, character, byte = last, character + len(part), int(after[-1])
        return starts

    def _encode(self, texts: list[str]) -> list[FastEncoded]:
        codes, ends = code_points(texts)
        starts = pretoken_starts(codes, self._classes.of(codes), ends, self._longest_run)
        if self._words:
            ids, last = self._words.encode(texts, starts, ends)
        else:
            ids, last = self._encode_by_package(texts)
        sizes = _utf8_sizes(codes)
        after = np.cumsum(sizes, dtype=np.int64)  # each character, in bytes; a NUL follows each text
        word_at = np.zeros(after[-1], np.bool_)
        word_at[(after - sizes)[starts]] = True
        widths = self._widths[ids]
        before = np.cumsum(widths) - widths + np.repeat(np.arange(len(texts)), np.diff(last))
        bytes_of_tokens = np.diff(np.concatenate(([0], np.cumsum(widths)))[last])
        if not np.array_equal(bytes_of_tokens, np.diff(after[ends], prepend=0) - 1):
            raise WrongTokensError("the tokens have another number of bytes than the text")
        words = word_at[before]
        return [FastEncoded(ids[start:end], words[start:end]) for start, end in pairwise(last.tolist())]

    def _encode_by_package(self, texts: list[str]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """The ids of all texts, and how many of them precede each text and the end."""
        self._characters += sum(map(len, texts))
        if self._characters > _MOST_CHARACTERS:
            self._characters = 0
            if resident_bytes() > self._resident + _MOST_GROWTH:
                self._open()
        flat, bounds = self._ids.encode_batch_flat(texts, add_special_tokens=False)
        return np.frombuffer(flat, "<u4"), np.frombuffer(bounds, "<u8").astype(np.int64)


class _Names:
    """Names to find in texts, by one search per common beginning: an alternation alone is many times slower."""

    def __init__(self, names: Sequence[str]) -> None:
        by_character: dict[str, list[str]] = {}
        for name in names:
            by_character.setdefault(name[0], []).append(name)
        self._beginnings = [_common_beginning(group) for group in by_character.values()]
        self._pattern = re.compile(f"({'|'.join(map(re.escape, sorted(names, key=len, reverse=True)))})")

    def occur_in(self, text: str) -> bool:
        return any(beginning in text for beginning in self._beginnings) and self._pattern.search(text) is not None

    def split(self, text: str) -> list[str]:
        """The text in parts, names being parts of their own; the leftmost first, and of these the longest."""
        return [part for part in self._pattern.split(text) if part] if self.occur_in(text) else [text]


def _common_beginning(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    return first[: next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


def _chunks(text: str) -> Iterator[str]:
    return (text[start : start + PIECE] for start in range(0, len(text), PIECE))


def _utf8_sizes(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    """Bytes of each code point in UTF-8: uint8, of the same shape."""
    return 1 + (codes >= 0x80).view(np.uint8) + (codes >= 0x800).view(np.uint8) + (codes >= 0x10000).view(np.uint8)


def _require_supported(content: dict[str, Any], added: Iterable[dict[str, Any]]) -> None:
    """Raise NotSupportedError unless it is byte-level BPE with GPT-2's pattern and nothing else."""
    model, normalizer, pattern = content["model"], content["normalizer"], content["pre_tokenizer"] or {}
    if (
        model["type"] != "BPE"
        or pattern.get("type") != "ByteLevel"
        or pattern.get("add_prefix_space")
        or not pattern.get("use_regex", True)
        or (normalizer is not None and normalizer != {"type": "NFC"})
        or model.get("dropout")
        or model.get("continuing_subword_prefix")
        or model.get("end_of_word_suffix")
    ):
        raise NotSupportedError("not byte-level BPE with GPT-2's pattern")
    blank = sorted(len(token["content"]) for token in added if _is_blank(token))
    if blank and blank != list(range(2, blank[-1] + 1)):
        raise NotSupportedError("added tokens of spaces with gaps")
    for token in added:
        name = token["content"]
        if not name or unicodedata.normalize("NFC", name) != name or (_is_blank(token) and _has_flags(token)):
            raise NotSupportedError("an added token that is normalized")


def _is_blank(token: dict[str, Any]) -> bool:
    return not token["content"].strip(" ")


def _has_flags(token: dict[str, Any]) -> bool:
    return bool(token["single_word"] or token["lstrip"] or token["rstrip"])


def _for_pieces(backend: Tokenizer) -> dict[str, Any]:
    """The tokenizer.json for texts that are normalized and contain no added token but runs of spaces."""
    content: dict[str, Any] = json.loads(backend.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if not token["special"] and _is_blank(token)]
    content |= dict.fromkeys(("normalizer", "post_processor", "truncation", "padding"))
    return content


def _open_fastokens(backend: Tokenizer) -> Any:
    import fastokens

    text = json.dumps(_for_pieces(backend))
    return_freed()
    return fastokens.Tokenizer.from_json_str(text)


def _byte_widths(vocabulary: dict[str, int], added: Iterable[dict[str, Any]]) -> npt.NDArray[np.int64]:
    """Bytes of each id, int64 (ids,): a byte-level vocabulary has one character per byte."""
    names = {number: len(token) for token, number in vocabulary.items()}
    names |= {token["id"]: len(token["content"].encode()) for token in added}
    widths = np.zeros(max(names) + 1, np.int64)
    widths[list(names)] = list(names.values())
    return widths


def _pieces(text: str) -> Iterator[str]:
    """A text of any length in pieces of bounded length, cut before a blank, where a new word begins whatever precedes.

    None at all if a piece would be too long: `long_texts.py` knows other places to cut.
    """
    if len(text) <= 2 * PIECE:
        yield text
        return
    cuts = [0]
    while len(text) - cuts[-1] > 2 * PIECE:
        match = _SAFE_CUT.search(text, cuts[-1] + PIECE, cuts[-1] + 2 * PIECE)
        if match is None:
            return
        cuts.append(match.start())
    yield from (text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True))


def _batches(pieces: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for piece in pieces:
        if batch and characters + len(piece) > _MOST_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(piece)
        characters += len(piece)
    if batch:
        yield batch


def _joined(pieces: Sequence[FastEncoded]) -> FastEncoded | None:
    if len(pieces) < 2:
        return pieces[0] if pieces else None
    return FastEncoded(*(np.concatenate(arrays) for arrays in zip(*pieces, strict=True)))
