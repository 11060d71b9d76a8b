"""Exact and near-duplicate detection over all documents of a data set; the first of equals is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .minhash import near_duplicate_mask
from .tokenize import TokenizedFile

Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Duplicates:
    """For each file, by its stem: bool (documents,), True where a document is dropped. No document is in both masks."""

    exact: Mapping[Path, Mask]
    near: Mapping[Path, Mask]

    def kept(self, file: TokenizedFile) -> Mask:
        return ~(self.exact[file.stem] | self.near[file.stem])


def find_duplicates(files: Sequence[TokenizedFile]) -> Duplicates:
    """Compare all documents of all files, in order; near duplicates only among files that have band hashes."""
    digests = np.concatenate([file.digests for file in files])
    repeated = np.ones(len(digests), np.bool_)
    repeated[np.unique(digests, return_index=True)[1]] = False
    exact = _by_file(files, repeated)
    near = {file.stem: np.zeros(len(file.digests), np.bool_) for file in files}
    banded = [file for file in files if file.bands]
    if banded:
        # One band of all documents is in memory at a time.
        columns = (
            np.concatenate([np.load(file.bands_path, mmap_mode="r", allow_pickle=False)[:, band] for file in banded])
            for band in range(banded[0].bands)
        )
        masks = _by_file(banded, near_duplicate_mask(columns))
        near |= {stem: mask & ~exact[stem] for stem, mask in masks.items()}
    return Duplicates(exact, near)


def _by_file(files: Sequence[TokenizedFile], mask: Mask) -> dict[Path, Mask]:
    ends = np.cumsum([len(file.digests) for file in files])
    return {file.stem: part for file, part in zip(files, np.split(mask, ends[:-1]), strict=True)}
