"""Which files of predictions belong to a result, and what a damaged one says, without the text of a label."""

from pathlib import Path

import numpy as np
import pytest
from predicted import one_class, write_seed

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.analysis.predictions import read_runs
from clinical_modernbert.evaluation.scores.units import Score

ROWS = one_class(np.random.default_rng(0), 2.0)


def score(value: float) -> dict[str, Score]:
    return {"accuracy": Score("mean", [value])}


def test_only_the_seeds_of_these_results_are_read(tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    for seed in (1, 0):
        write_seed(tmp_path, "roles", "ours", seed, ROWS, score(seed / 4))
    write_seed(tmp_path, "roles", "theirs", 0, ROWS[:1], score(0.5))
    write_seed(tmp_path, "roles-2", "ours", 0, ROWS[:2], score(0.5))
    old = tmp_path / "seeds/roles-ours-of-an-earlier-protocol-0.json"
    (tmp_path / "seeds/roles-ours-0.json").rename(tmp_path / "kept")
    write_seed(tmp_path, "roles", "ours-of-an-earlier-protocol", 0, ROWS[:3], score(0.9))
    old.write_text(old.read_text().replace("ours-of-an-earlier-protocol", "ours"))
    (tmp_path / "kept").rename(tmp_path / "seeds/roles-ours-0.json")
    runs = read_runs(tmp_path / "seeds", "roles", "ours", {0: score(0), 1: score(0.25), 2: score(0.5)})
    assert [run.seed for run in runs] == [0, 1]
    assert [len(run.examples) for run in runs] == [240, 240]
    assert read_runs(tmp_path / "seeds", "others", "ours", {0: score(0)}) == []
    assert read_runs(tmp_path / "nowhere", "roles", "ours", {0: score(0)}) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [("{", "is not JSON"), ('{"label": "secret"}', "id: Field required"), ('{"id": "a", "spans": [[1]]}', "spans.0"),
     ("\xff", "is not JSON")],
)  # fmt: skip
def test_a_damaged_file_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "seeds").mkdir()
    write_seed(tmp_path, "roles", "ours", 0, ROWS[:2], score(0.5))
    with (tmp_path / "seeds/roles-ours-0.predictions.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=rf"roles-ours-0\.predictions\.jsonl: line 3.*{message}.*remove") as caught:
        read_runs(tmp_path / "seeds", "roles", "ours", {0: score(0.5)})
    assert "secret" not in str(caught.value)
