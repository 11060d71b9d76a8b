"""Masked language modelling as a pure function of (seed, source, epoch, pack).

The same pack in the same epoch is masked alike on any rank, worker or world size, today and after a resume. Of the
tokens that may be masked exactly `round(rate * maskable)` are; specials and padding never. Of those, 80 % become
[MASK], 10 % a random token of the real vocabulary and 10 % stay (Devlin et al. 2019).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .counter_rng import random_bits

MASK_SHARE = 0.8
RANDOM_SHARE = 0.1


@dataclass(frozen=True)
class Vocabulary:
    """What masking must know of a tokenizer.

    Attributes:
        pad_id: the token that fills a pack's last places.
        mask_id: the [MASK] token.
        real_ids: int64, every id that stands for text: may be masked, and may be drawn as a replacement.
        is_real: bool (size,), the same as a table.
    """

    pad_id: int
    mask_id: int
    real_ids: npt.NDArray[np.int64]
    is_real: npt.NDArray[np.bool_]


def vocabulary(size: int, pad_id: int, mask_id: int, unmaskable_ids: list[int]) -> Vocabulary:
    """The vocabulary of `size` ids of which `unmaskable_ids` (specials and unused ones) do not stand for text."""
    is_real = np.ones(size, bool)
    is_real[unmaskable_ids] = False
    return Vocabulary(pad_id, mask_id, np.flatnonzero(is_real), is_real)


@dataclass(frozen=True)
class Masked:
    """A masked pack.

    Attributes:
        tokens: int64 (n,), the input with masked places replaced.
        positions: int64 (m,), the masked places, ascending.
        targets: int64 (m,), the tokens that stood there.
    """

    tokens: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]


def mask(tokens: npt.NDArray[np.integer], rate: float, vocabulary: Vocabulary, *key: int | str) -> Masked:
    """Mask `round(rate * maskable)` of the tokens, chosen uniformly by the key."""
    masked = tokens.astype(np.int64)
    maskable = np.flatnonzero(vocabulary.is_real[masked])
    count = round(rate * len(maskable))
    if count == 0:
        return Masked(masked, np.empty(0, np.int64), np.empty(0, np.int64))
    bits = random_bits(len(maskable) + 2 * count, "mask", *key)
    places, kinds, draws = np.split(bits, [len(maskable), len(maskable) + count])
    positions = np.sort(maskable[np.argpartition(places, count - 1)[:count]])
    targets = masked[positions]
    kind = (kinds >> np.uint64(11)) * 2.0**-53
    drawn = vocabulary.real_ids[draws % np.uint64(len(vocabulary.real_ids))]
    replaced = np.where(kind < MASK_SHARE + RANDOM_SHARE, drawn, targets)
    masked[positions] = np.where(kind < MASK_SHARE, vocabulary.mask_id, replaced)
    return Masked(masked, positions, targets)
