"""Masked language modelling as a pure function of (seed, source, epoch, pack).

The same pack in the same epoch is masked alike on any rank, worker or world size, today and after a resume. Of the
tokens that may be masked exactly `round(rate * maskable)` are; specials and padding never. Groups of tokens (words,
spans, codes) are masked whole, but for the last one, of which as many of its first tokens as the number leaves. Of the
groups, 80 % become [MASK], 10 % random tokens of the real vocabulary and 10 % stay (Devlin et al. 2019).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .counter_rng import random_bits, unit_floats
from .mask_groups import CodeParts

MASK_SHARE = 0.8
RANDOM_SHARE = 0.1
_PLACE_BITS = np.uint64(20)


@dataclass(frozen=True)
class Vocabulary:
    """What masking must know of a tokenizer.

    Attributes:
        pad_id: the token that fills a pack's last places.
        mask_id: the [MASK] token.
        real_ids: int64, every id that stands for text: may be masked, and may be drawn as a replacement.
        is_real: bool (size,), the same as a table.
        codes: what each id may be in a code; None unless the strategy asks for it.
    """

    pad_id: int
    mask_id: int
    real_ids: npt.NDArray[np.int64]
    is_real: npt.NDArray[np.bool_]
    codes: CodeParts | None = None


def vocabulary(
    size: int, pad_id: int, mask_id: int, unmaskable_ids: list[int], codes: CodeParts | None = None
) -> Vocabulary:
    """The vocabulary of `size` ids of which `unmaskable_ids` (specials and unused ones) do not stand for text."""
    is_real = np.ones(size, bool)
    is_real[unmaskable_ids] = False
    return Vocabulary(pad_id, mask_id, np.flatnonzero(is_real), is_real, codes)


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


def mask(
    tokens: npt.NDArray[np.integer],
    rate: float,
    vocabulary: Vocabulary,
    *key: int | str,
    groups: npt.NDArray[np.int64] | None = None,
) -> Masked:
    """Mask `round(rate * maskable)` of the tokens, chosen uniformly by the key.

    Args:
        tokens: of one pack, at most 2^20 of them.
        groups: int64 (n,), rising along the pack: equal numbers are masked together; None: each token alone.
    """
    masked = tokens.astype(np.int64)
    maskable = np.flatnonzero(vocabulary.is_real[masked])
    count = round(rate * len(maskable))
    if count == 0:
        return Masked(masked, np.empty(0, np.int64), np.empty(0, np.int64))
    bits = random_bits(len(maskable) + 2 * count, "mask", *key)
    places, kinds, draws = np.split(bits, [len(maskable), len(maskable) + count])
    if groups is not None:
        groups = groups[maskable]
        # Tokens of a group share its draw and come in order, so that the smallest draws are whole groups.
        places = places[_firsts(groups)] >> _PLACE_BITS << _PLACE_BITS | np.arange(len(maskable), dtype=np.uint64)
    chosen = np.sort(np.argpartition(places, count - 1)[:count])
    positions = maskable[chosen]
    targets = masked[positions]
    kind = unit_floats(kinds if groups is None else kinds[_firsts(groups[chosen])])
    drawn = vocabulary.real_ids[draws % np.uint64(len(vocabulary.real_ids))]
    replaced = np.where(kind < MASK_SHARE + RANDOM_SHARE, drawn, targets)
    masked[positions] = np.where(kind < MASK_SHARE, vocabulary.mask_id, replaced)
    return Masked(masked, positions, targets)


def _firsts(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where the group of each element begins."""
    firsts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    return np.repeat(firsts, np.diff(firsts, append=len(groups)))
