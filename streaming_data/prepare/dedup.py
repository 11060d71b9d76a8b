"""Which documents say again what one before them said: the same text, or nearly the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .minhash import near_an_earlier
from .tokenize import TokenisedFile

Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Duplicates:
    """For each file, by its stem: bool (documents,), True at what is dropped; a document is in one of the two only."""

    exact: Mapping[Path, Mask]
    near: Mapping[Path, Mask]

    def kept(self, file: TokenisedFile) -> Mask:
        return ~(self.exact[file.stem] | self.near[file.stem])


def find_duplicates(files: Sequence[TokenisedFile]) -> Duplicates:
    """Compares all documents of all files, in order; for near duplicates those of the files that have bands."""
    digests = np.concatenate([file.digests for file in files])
    repeated = np.ones(len(digests), np.bool_)
    repeated[np.unique(digests, return_index=True)[1]] = False
    exact = _by_file(files, repeated)
    near = {file.stem: np.zeros(len(file.digests), np.bool_) for file in files}
    banded = [file for file in files if file.bands]
    if banded:
        # One band of all documents is in memory at a time.
        columns = (
            np.concatenate([np.load(file.bands_path, mmap_mode="r")[:, band] for file in banded])
            for band in range(banded[0].bands)
        )
        found = _by_file(banded, near_an_earlier(columns))
        near |= {stem: mask & ~exact[stem] for stem, mask in found.items()}
    return Duplicates(exact, near)


def _by_file(files: Sequence[TokenisedFile], mask: Mask) -> dict[Path, Mask]:
    ends = np.cumsum([len(file.digests) for file in files])
    return {file.stem: part for file, part in zip(files, np.split(mask, ends[:-1]), strict=True)}
