"""Masks: exact counts, 80/10/10, uniform sampling (by chi-square), and dependence only on the key."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.loader.masking import Masked, Vocabulary, mask, vocabulary

SIZE, PAD, MASK = 100, 0, 4
SPECIALS = [0, 1, 2, 3, 4]
UNUSED = [50, 51, 98, 99]
VOCABULARY = vocabulary(SIZE, PAD, MASK, SPECIALS + UNUSED)


def masked_many(tokens: npt.NDArray[np.uint16], rate: float, count: int) -> list[Masked]:
    return [mask(tokens, rate, VOCABULARY, "test", number) for number in range(count)]


def chi_square(observed: npt.NDArray[np.int64]) -> float:
    """In standard deviations above the mean for uniform samples."""
    expected, freedom = observed.mean(), len(observed) - 1
    return float((((observed - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))


@given(st.lists(st.integers(0, SIZE - 1), max_size=300), st.sampled_from([0.15, 0.3, 1.0]), st.integers(0, 10**6))
@settings(max_examples=150, deadline=None)
def test_exactly_the_rate_is_masked_and_never_a_special_token(tokens: list[int], rate: float, seed: int) -> None:
    before = np.array(tokens, np.uint16)
    masked = mask(before, rate, VOCABULARY, seed)
    maskable = ~np.isin(before, SPECIALS + UNUSED)
    assert len(masked.positions) == len(masked.targets) == round(rate * maskable.sum())
    assert (np.diff(masked.positions) > 0).all()
    assert maskable[masked.positions].all()
    np.testing.assert_array_equal(masked.targets, before[masked.positions])
    restored = masked.tokens.copy()
    restored[masked.positions] = masked.targets
    np.testing.assert_array_equal(restored, before)
    assert set(masked.tokens[masked.positions].tolist()).isdisjoint({*SPECIALS, *UNUSED} - {MASK})
    assert (masked.tokens.dtype, masked.positions.dtype, masked.targets.dtype) == (np.int64,) * 3


@pytest.mark.parametrize("tokens", [[], [PAD] * 20, [1, 2, 50, 99], [7]])
def test_packs_with_too_few_maskable_tokens(tokens: list[int]) -> None:
    masked = mask(np.array(tokens, np.uint16), 0.3, VOCABULARY, 0)
    assert masked.tokens.tolist() == tokens
    assert len(masked.positions) == len(masked.targets) == 0


@pytest.mark.parametrize("rate", [0.15, 0.3])
def test_80_percent_become_mask_tokens_10_are_replaced_and_10_kept(rate: float) -> None:
    tokens = np.full(1000, 7, np.uint16)
    shown = np.concatenate([masked.tokens[masked.positions] for masked in masked_many(tokens, rate, 100)])
    real = SIZE - len(SPECIALS + UNUSED)
    for count, share in (
        ((shown == MASK).sum(), 0.8),
        ((shown == 7).sum(), 0.1 + 0.1 / real),  # a replacement may be the token itself
        (((shown != MASK) & (shown != 7)).sum(), 0.1 - 0.1 / real),
    ):
        assert abs(count - share * len(shown)) < 5 * np.sqrt(len(shown) * share * (1 - share))


def test_replacements_are_uniform_over_the_real_vocabulary() -> None:
    tokens = np.full(2000, 7, np.uint16)
    shown = np.concatenate([masked.tokens[masked.positions] for masked in masked_many(tokens, 0.3, 200)])
    replacements = np.bincount(shown[(shown != MASK) & (shown != 7)], minlength=SIZE)
    others = np.setdiff1d(np.arange(SIZE), [*SPECIALS, *UNUSED, 7])
    assert replacements.sum() == replacements[others].sum()
    assert abs(chi_square(replacements[others])) < 5


def test_masked_positions_are_uniform_over_the_maskable_tokens() -> None:
    tokens = np.array([1, *[7] * 50, 2, 1, *[8] * 48, 2], np.uint16)
    counts = np.bincount(
        np.concatenate([masked.positions for masked in masked_many(tokens, 0.15, 4000)]), minlength=len(tokens)
    )
    assert counts[tokens < 5].sum() == 0
    assert abs(chi_square(counts[tokens >= 5])) < 5


def test_a_mask_depends_only_on_its_key_and_its_pack() -> None:
    tokens = np.random.default_rng(0).integers(5, 50, 500).astype(np.uint16)

    def positions(*key: int) -> tuple[int, ...]:
        return tuple(mask(tokens, 0.3, VOCABULARY, *key).positions.tolist())

    first = positions(1, 0, 0, 5)
    np.random.seed(99)  # global state and other calls have no effect
    mask(tokens[:50], 0.3, VOCABULARY, 3)
    assert positions(1, 0, 0, 5) == first
    others = [positions(2, 0, 0, 5), positions(1, 1, 0, 5), positions(1, 0, 1, 5), positions(1, 0, 0, 6)]
    assert len({first, *others}) == 5
    for other in others:  # independent: 30 % of 30 % in common
        assert abs(len(set(first) & set(other)) - 45) < 25


def test_a_vocabulary_lists_its_real_ids() -> None:
    assert isinstance(VOCABULARY, Vocabulary)
    assert VOCABULARY.real_ids.tolist() == [i for i in range(SIZE) if i not in SPECIALS + UNUSED]
    np.testing.assert_array_equal(np.flatnonzero(VOCABULARY.is_real), VOCABULARY.real_ids)
