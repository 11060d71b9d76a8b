"""The page: claims where the intervals allow them, of the scores that were named, and the number of pairs needed."""

import json
from pathlib import Path

import pytest
from compared_recipes import recipe

from clinical_modernbert.launcher.experiment.arms import make_arms
from clinical_modernbert.launcher.experiment.page import Comparison, write_page
from clinical_modernbert.launcher.experiment.record import Record

FIRST = [0.50, 0.60, 0.55, 0.52]
CLEAR = [0.01, 0.012, 0.011, 0.009]
UNCLEAR = [0.01, -0.012, 0.011, -0.009]


def comparison(claims: list[str], seeds: list[int], pairs: int = 4) -> Comparison:
    arms = make_arms(["old", "new"], [recipe(), recipe(optimizer={"lr": 2e-3})], "tokens", None, 1)
    record = Record(
        arms={}, starts={}, data=None, tasks={"t": ""}, equal="tokens", fine_tuning_seeds=1, claims=claims, seeds=seeds
    )
    scored = {
        17 + index: (
            {"t": {"clear": FIRST[index], "unclear": FIRST[index], "same": 0.5, "one|only": 1.0}},
            {"t": {"clear": FIRST[index] + CLEAR[index], "unclear": FIRST[index] + UNCLEAR[index], "same": 0.5}},
        )
        for index in range(pairs)
    }
    return Comparison(arms, record, scored, 0.005)


def test_claims_are_made_where_the_interval_leaves_out_zero(tmp_path: Path) -> None:
    clear, unclear, same = write_page(tmp_path, comparison([], [4]))
    assert clear.startswith("t clear: **new is higher than old**, by 0.0105 (0.0")
    assert unclear.startswith("t unclear: no difference can be claimed, and none beyond [-0.0")
    assert same == "t same: no difference; all pairs are equal."
    page = (tmp_path / "comparison.md").read_text()
    assert "`optimizer.lr` | `0.001` | `0.002`" in page
    assert "the initial weights, the order of the data, the masks" in page
    assert "one|only" not in page  # a score that not all runs have
    numbers = json.loads((tmp_path / "comparison.json").read_text())
    assert numbers["level"] == pytest.approx(1 - 0.05 / 3)
    assert numbers["scores"]["t"]["clear"]["values"]["old"] == FIRST
    assert numbers["seeds"] == [17, 18, 19, 20]


def test_only_named_scores_are_claimed_and_fewer_claims_have_narrower_intervals(tmp_path: Path) -> None:
    assert len(write_page(tmp_path, comparison(["t cl*"], [4]))) == 1
    assert json.loads((tmp_path / "comparison.json").read_text())["level"] == 0.95
    assert write_page(tmp_path, comparison(["nothing"], [4])) == []
    assert "Nothing: no score was named" in (tmp_path / "comparison.md").read_text()


def test_an_unfinished_comparison_claims_nothing(tmp_path: Path) -> None:
    assert all("nothing yet" in sentence for sentence in write_page(tmp_path, comparison([], [4], pairs=1)))
    assert "1 pairs of runs so far, of 4 that were asked for" in (tmp_path / "comparison.md").read_text()
    assert write_page(tmp_path, comparison([], [4], pairs=0)) == []


def test_seeds_that_were_added_are_stated(tmp_path: Path) -> None:
    write_page(tmp_path, comparison([], [4]))
    assert "changed after" not in (tmp_path / "comparison.md").read_text()
    write_page(tmp_path, comparison([], [3, 4]))
    assert "changed after the comparison began (3, 4)" in (tmp_path / "comparison.md").read_text()
