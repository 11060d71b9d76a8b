"""A pack: tokenized segments of documents, concatenated to one row of at most `seq_length` tokens.

A pack is the unit of everything after preparation: one MDS sample, one row of a micro-batch, one element of the order,
one seed of the masks.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_VOCAB_SIZE = 1 << 24
"""A bound against damaged files: published vocabularies have up to a million tokens."""
TOKEN_TYPES = {2: np.dtype("<u2"), 4: np.dtype("<u4")}
"""How tokens are stored, by their bytes."""
MDS_COLUMNS = {"tokens": "bytes", "lengths": "bytes", "word_starts": "bytes", "doc_ids": "bytes"}


@dataclass(frozen=True)
class Pack:
    """Segments in order; attention never crosses from one to the next.

    Attributes:
        tokens: uint16 or uint32 (n,), see `token_bytes`; each segment with its own [CLS] and [SEP].
        lengths: int32 (segments,), summing to n.
        word_starts: bool (n,), True at the first token of each word. Special tokens are False and belong to no word.
        doc_ids: the document of each segment.
    """

    tokens: npt.NDArray[np.unsignedinteger[Any]]
    lengths: npt.NDArray[np.int32]
    word_starts: npt.NDArray[np.bool_]
    doc_ids: list[str]

    def __post_init__(self) -> None:
        n = len(self.tokens)
        if int(self.lengths.sum()) != n or len(self.word_starts) != n or len(self.doc_ids) != len(self.lengths):
            raise ValueError(
                f"a pack of {n} tokens has lengths summing to {int(self.lengths.sum())}, {len(self.word_starts)} "
                f"word starts, {len(self.lengths)} segments and {len(self.doc_ids)} document ids"
            )


def token_bytes(vocab_size: int) -> int:
    """Bytes in which each token of such a vocabulary is stored: 2 or 4."""
    return 2 if vocab_size <= 1 << 16 else 4


def stored(tokens: npt.NDArray[np.unsignedinteger[Any]]) -> bytes:
    """Tokens of 2 or 4 bytes as they are stored: little-endian."""
    if tokens.dtype.kind != "u" or tokens.dtype.itemsize not in TOKEN_TYPES:
        raise ValueError(f"tokens are uint16 or uint32, got {tokens.dtype}")
    return tokens.astype(TOKEN_TYPES[tokens.dtype.itemsize], copy=False).tobytes()


def to_mds(pack: Pack) -> dict[str, bytes]:
    """The pack as an MDS sample of raw little-endian columns (three times faster to write than MDS's ndarray type)."""
    return {
        "tokens": stored(pack.tokens),
        "lengths": pack.lengths.astype("<i4").tobytes(),
        "word_starts": np.packbits(pack.word_starts).tobytes(),
        "doc_ids": join_ids([encode_id(one) for one in pack.doc_ids]),
    }


def encode_id(document_id: str) -> bytes:
    """A document's id as JSON."""
    return json.dumps(document_id, ensure_ascii=False).encode()


def join_ids(encoded: Sequence[bytes]) -> bytes:
    """The column of ids: a list in JSON."""
    return b"[" + b", ".join(encoded) + b"]"


def from_mds(sample: Mapping[str, Any]) -> Pack:
    """The inverse of `to_mds`. The width of the tokens follows from their number, which `lengths` has."""
    lengths = np.frombuffer(sample["lengths"], "<i4")
    number = int(lengths.sum(dtype=np.int64))
    width = next((width for width in TOKEN_TYPES if len(sample["tokens"]) == width * number), None)
    if width is None:
        raise ValueError(f"{len(sample['tokens'])} bytes for {number} tokens; expected 2 or 4 for each")
    tokens = np.frombuffer(sample["tokens"], TOKEN_TYPES[width])
    if len(sample["word_starts"]) != (len(tokens) + 7) // 8:  # numpy would pad them
        raise ValueError(f"{len(sample['word_starts'])} bytes of word starts for {len(tokens)} tokens")
    word_starts = np.unpackbits(np.frombuffer(sample["word_starts"], np.uint8), count=len(tokens))
    return Pack(
        tokens=tokens,
        lengths=lengths,
        word_starts=word_starts.astype(bool),
        doc_ids=json.loads(sample["doc_ids"]),
    )
