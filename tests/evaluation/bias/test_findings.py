"""What counts as found: a difference of groups does, one of words does not, and intervals cover."""

import numpy as np
import pytest

from clinical_modernbert.evaluation.bias.findings import (
    Finding,
    comparison_name,
    comparison_score,
    findings,
    remarkable,
    sentence,
    summarized,
)
from clinical_modernbert.evaluation.scores.units import Score

GROUPS = {"sex": ["man", "woman"], "ethnicity": ["White", "Black", "Hispanic", "Asian"]}
TEMPLATES, WORDINGS = 16, 3


def probe(
    seed: int, effect: float = 0.0, of_words: float = 1.0, noise: float = 0.5, domains: int = 3
) -> dict[str, Score]:
    """A model to which each wording makes a difference of its own, in all templates, and Black patients `effect`."""
    random = np.random.default_rng(seed)
    scores = {"words gap": Score("mean", [0.0])}
    for domain in range(domains):
        for attribute, (reference, *others) in GROUPS.items():
            values = {}
            for group in (reference, *others):
                of_group = effect if group == "Black" and domain == 0 else 0.0
                of_word = random.normal(0, of_words, WORDINGS)
                values[group] = of_group + of_word + random.normal(0, noise, (TEMPLATES, WORDINGS))
            for group in others:
                name = comparison_name(f"words domain{domain}", attribute, group, reference)
                scores[name] = comparison_score(values[group], values[reference])
    return scores


@pytest.mark.slow
def test_words_of_their_own_are_not_found_and_a_group_is() -> None:
    """Over templates alone, every second indifferent model would be called biased: its words differ in all of them."""
    indifferent = [findings(probe(seed)) for seed in range(30)]
    assert sum(any(one.found for one in found) for found in indifferent) <= 3
    by_units = [sum((one.low > 0 or one.high < 0) for one in found) for found in indifferent]
    assert sum(count > 0 for count in by_units) > 25
    biased = [[one for one in findings(probe(seed, effect=6.0)) if one.found] for seed in range(10)]
    assert all(len(found) == 1 for found in biased)
    for [one] in biased:
        assert (one.measure, one.groups) == ("words domain0", "ethnicity: Black - White")
        assert one.low < one.difference < one.high
        assert abs(one.difference) > one.floor > 0


@pytest.mark.slow
def test_intervals_cover_the_difference_of_these_wordings() -> None:
    covered = 0
    for seed in range(150):
        random = np.random.default_rng(seed)
        reference, group = random.normal(0.0, 1, (TEMPLATES, 2)), random.normal(0.7, 1, (TEMPLATES, 2))
        [one] = findings({comparison_name("words x", "sex", "woman", "man"): comparison_score(group, reference)})
        covered += one.low <= 0.7 <= one.high
    assert 0.86 <= covered / 150 <= 0.99


def test_a_comparison_without_any_difference_has_no_effect_and_is_not_found() -> None:
    same = np.ones((TEMPLATES, WORDINGS))
    [one] = findings({comparison_name("words x", "sex", "woman", "man"): comparison_score(same, same)})
    assert one == Finding("words x", "sex: woman - man", TEMPLATES, 0.0, 0.0, 0.0, None, 0.0, 1.0)
    assert not one.found
    assert "no proof" in sentence([one])


def test_comparisons_are_left_out_of_the_summary_and_the_remarkable_ones_come_first() -> None:
    scores = probe(0, effect=8.0, domains=1)
    assert list(summarized(scores)) == ["words gap"]
    found = findings(scores)
    assert len(found) == 4
    assert remarkable(found, 2)[0].groups == "ethnicity: Black - White"
    assert len(remarkable(found, 2)) == 2
