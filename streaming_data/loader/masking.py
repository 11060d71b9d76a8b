"""Masked language modelling as a pure function of (seed, source, epoch, pack).

The same pack in the same epoch gets the same mask on any rank, worker or world size, and after a resume. Exactly
`round(rate * maskable)` of the maskable tokens are masked; special tokens and padding never are. Groups of tokens
(words, spans, codes) are masked together; only the last selected group may be masked in part, from its first token on,
to reach the exact number. Of the groups, 80 % become [MASK], 10 % random tokens of the real vocabulary, and 10 % stay
unchanged (Devlin et al. 2019).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .counter_rng import random_bits, unit_floats
from .mask_groups import CodeParts

MASK_SHARE = 0.8
RANDOM_SHARE = 0.1
_POSITION_BITS = np.uint64(20)


@dataclass(frozen=True)
class Vocabulary:
    """What masking needs to know of a tokenizer.

    Attributes:
        pad_id: the token that fills up a pack.
        mask_id: the [MASK] token.
        real_ids: int64, every id that stands for text: it may be masked, and may be sampled as a replacement.
        is_real: bool (size,), the same as a table.
        codes: the role of each id in medical codes; None unless the strategy needs it.
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
        tokens: int64 (n,), the input with the masked positions replaced.
        positions: int64 (m,), the masked positions, ascending.
        targets: int64 (m,), the original tokens at these positions.
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
        groups: int64 (n,), ascending; tokens with equal numbers are masked together. None: each token alone.
    """
    masked = tokens.astype(np.int64)
    maskable = np.flatnonzero(vocabulary.is_real[masked])
    count = round(rate * len(maskable))
    if count == 0:
        return Masked(masked, np.empty(0, np.int64), np.empty(0, np.int64))
    bits = random_bits(len(maskable) + 2 * count, "mask", *key)
    ranks, kinds, draws = np.split(bits, [len(maskable), len(maskable) + count])
    if groups is not None:
        groups = groups[maskable]
        # All tokens of a group get the group's random rank; the position in the low bits orders them within the group,
        # so the `count` smallest ranks are complete groups, except for the last.
        ranks = ranks[_firsts(groups)] >> _POSITION_BITS << _POSITION_BITS | np.arange(len(maskable), dtype=np.uint64)
    chosen = np.sort(np.argpartition(ranks, count - 1)[:count])
    positions = maskable[chosen]
    targets = masked[positions]
    kind = unit_floats(kinds if groups is None else kinds[_firsts(groups[chosen])])
    sampled = vocabulary.real_ids[draws % np.uint64(len(vocabulary.real_ids))]
    replaced = np.where(kind < MASK_SHARE + RANDOM_SHARE, sampled, targets)
    masked[positions] = np.where(kind < MASK_SHARE, vocabulary.mask_id, replaced)
    return Masked(masked, positions, targets)


def _firsts(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The index at which the group of each element begins."""
    firsts = np.flatnonzero(np.diff(groups, prepend=groups[0] - 1))
    return np.repeat(firsts, np.diff(firsts, append=len(groups)))
