"""Where the records of a large CSV file begin, without parsing it: by its quotes, whose positions are proven.

Inside a quoted field a line break is text. Each quote changes between inside and outside, provided that every opening
quote begins a field and every closing one ends it. That is checked for all quotes of the file, so the parity of the
quotes is the state of the parser, and a file for which it does not hold is not divided.
"""

import csv
import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from ...configs.limits import RECORD_CHARACTERS
from ..documents.csv_records import is_filled

_BLOCK = 1 << 22
_HEAD = 24  # bytes at a record's start by which it is nearly always seen to be no blank one
_QUOTE, _LF, _CR = b'"\n\r'


class Range(NamedTuple):
    """Bytes that are records, and how many of them are not blank."""

    start: int
    stop: int
    records: int


class NotDivisibleError(Exception):
    """The ends of the records of a file cannot be proven."""


def csv_ranges(file: BinaryIO, delimiter: str, encoding: str, size: int) -> Iterator[Range]:
    """Ranges of at least `size` bytes, the last one excepted; the header counts as a record.

    Raises:
        NotDivisibleError: a quote is inside a field that has none around it, or a record is too long.
    """
    if len(delimiter.encode()) > 1:
        raise NotDivisibleError
    start = stop = records = 0
    for block in _records(file, delimiter):
        # A block is cut into ranges at the first record ends that fill them.
        done = 0
        while (wanted := start + size - stop) < len(block.data) - done:
            end = int(np.searchsorted(block.breaks, done + max(wanted, 1) - 1))
            if end == len(block.breaks):
                break
            cut = int(block.breaks[end]) + 1
            records += _count(block, done, cut, delimiter, encoding)
            stop += cut - done
            yield Range(start, stop, records)
            start, records, done = stop, 0, cut
        records += _count(block, done, len(block.data), delimiter, encoding)
        stop += len(block.data) - done
    if stop > start:
        yield Range(start, stop, records)


class _Block(NamedTuple):
    """Complete records: where they end, and those ends that are line feeds, int64 each."""

    data: "npt.NDArray[np.uint8]"
    ends: "npt.NDArray[np.int64]"
    breaks: "npt.NDArray[np.int64]"


def _records(file: BinaryIO, delimiter: str) -> Iterator[_Block]:
    """The file in blocks of complete records; of the last one the end is the end of the file."""
    rest, wanted = b"", _BLOCK
    while True:
        block = file.read(wanted)
        data = np.frombuffer(rest + block, np.uint8)
        if not len(data):
            return
        ends, breaks = _ends(data, at_end=not block)
        if not block:
            _check_quotes(data, delimiter)
            yield _Block(data, ends, breaks)
            return
        if len(breaks):
            cut = int(breaks[-1]) + 1
            _check_quotes(data[:cut], delimiter)
            yield _Block(data[:cut], ends[ends < cut], breaks)
            rest, wanted = data[cut:].tobytes(), _BLOCK
        else:
            rest, wanted = data.tobytes(), len(data)  # twice as many: a record is not searched too often
            if len(rest) > RECORD_CHARACTERS:
                raise NotDivisibleError


def _ends(data: "npt.NDArray[np.uint8]", at_end: bool) -> "tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]":
    """The ends of records outside quotes: all, and the line feeds among them. `data` begins outside quotes."""
    quotes = np.flatnonzero(data == _QUOTE)

    def outside(positions: "npt.NDArray[np.int64]") -> "npt.NDArray[np.int64]":
        return positions[np.searchsorted(quotes, positions) % 2 == 0]

    breaks = outside(np.flatnonzero(data == _LF))
    returns = np.flatnonzero(data == _CR)
    if len(returns):
        following = data[np.minimum(returns + 1, len(data) - 1)]
        returns = outside(returns[(following != _LF)])
    last = [len(data) - 1] if at_end else []
    return np.unique(np.concatenate([breaks, returns, np.array(last, np.int64)])), breaks


def _check_quotes(data: "npt.NDArray[np.uint8]", delimiter: str) -> None:
    """Raise NotDivisibleError unless every opening quote follows a separator, and a separator every closing one."""
    quotes = np.flatnonzero(data == _QUOTE)
    if len(quotes) % 2:
        raise NotDivisibleError
    separates = np.zeros(256, np.bool_)
    separates[[ord(delimiter), _LF, _CR, _QUOTE]] = True  # a quote: the two that stand for one
    opening, closing = quotes[::2], quotes[1::2]
    before, after = data[opening[opening > 0] - 1], data[closing[closing < len(data) - 1] + 1]
    if not (separates[before].all() and separates[after].all()):
        raise NotDivisibleError


def _count(block: _Block, start: int, stop: int, delimiter: str, encoding: str) -> int:
    """The records between two record ends that are not blank."""
    ends = block.ends[np.searchsorted(block.ends, start) : np.searchsorted(block.ends, stop)]
    if not len(ends):
        return 0
    starts = np.concatenate([[start], ends[:-1] + 1])
    solid = np.zeros(256, np.bool_)
    solid[0x21:0x7F] = True
    solid[[ord(delimiter), _QUOTE]] = False
    at = starts[:, None] + np.arange(_HEAD)
    heads = solid[block.data[np.minimum(at, len(block.data) - 1)]] & (at <= ends[:, None])
    filled = heads.any(axis=1)
    return int(filled.sum()) + sum(
        _is_filled(block.data[begin : end + 1].tobytes().decode(encoding, "replace"), delimiter)
        for begin, end in zip(starts[~filled].tolist(), ends[~filled].tolist(), strict=True)
    )


def _is_filled(record: str, delimiter: str) -> bool:
    return any(map(is_filled, csv.reader(io.StringIO(record, newline=""), delimiter=delimiter)))
