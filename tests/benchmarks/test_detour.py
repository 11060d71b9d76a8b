"""The detour experiment: all of it at toy size with real runs, killed and continued; and the rules of its protocol."""

import os
import signal
import time
from pathlib import Path

import pytest
from small_data import write_small_data
from toy_detour import toy
from warm_start import is_running, processes, server

from clinical_modernbert.benchmarks import detour
from clinical_modernbert.benchmarks.learning.arms import ARMS, AVERAGED, Design, averaged, next_rate
from clinical_modernbert.benchmarks.learning.budget import Budget
from clinical_modernbert.benchmarks.learning.differences import (
    ALSO,
    COMPARISONS,
    ENTITIES,
    MASKED,
    Scores,
    difference_table,
    differences,
    precise,
)
from clinical_modernbert.benchmarks.proof import find_files
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.runs.launch_log import read_launches
from clinical_modernbert.training.metrics.writer import read_metrics


def run_toy(home: Path) -> None:
    process = server().Process(target=toy, args=(home,))
    process.start()
    process.join(timeout=600)
    assert process.exitcode == 0, (home / "output.txt").read_text()


def kill_toy(home: Path, metrics: Path) -> None:
    """Start it, and kill it when the run with these metrics has taken a step; wait until all its children ended."""
    process = server().Process(target=toy, args=(home,))
    process.start()
    deadline = time.monotonic() + 600
    while not (metrics.is_file() and metrics.read_bytes().count(b"\n") > 1):
        assert process.is_alive(), (home / "output.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    children = processes(process)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline, "a run outlived the experiment"
        time.sleep(0.01)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Data that is prepared already, a page, and entities: `w9` always is one."""
    (tmp_path / "out" / "tokenizer").mkdir(parents=True)
    data = tmp_path / "out" / "data"
    data.mkdir()
    write_small_data(data)
    sentences = [[f"w{5 + (start + step) % 20}" for step in range(12)] for start in range(40)]
    lines = ["".join(f"{word}\t{'B-X' if word == 'w9' else 'O'}\n" for word in words) for words in sentences]
    for name in ("train", "test"):
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines))
    (tmp_path / "page.md").write_text(f"before\n{detour.BEGIN}\n{detour.END}\nafter\n")
    return tmp_path


@pytest.mark.slow
@pytest.mark.ranks
def test_an_experiment_that_is_killed_continues_to_its_page_and_repeats_nothing(home: Path) -> None:
    pairs = home / "out" / "pairs"
    killed = pairs / "decayed" / "runs" / "detour-91-1"
    kill_toy(home, killed / "metrics.csv")
    run_toy(home)
    starts = {
        path.name: sum(line["event"] == "started" for line in read_launches(path))
        for path in (home / "out").rglob("runs/*")
        if "averaged" not in path.name and "sweep" not in path.parts
    }
    assert set(starts) == {"first-17", *(f"{name}-{seed}" for name in ARMS for seed in (1, 2))}
    assert {name for name, count in starts.items() if count > 1} <= {killed.name, "masked-1"}
    assert starts[killed.name] == 2
    rows = read_metrics(killed)
    assert [row["objective"] for row in rows] == ["causal"] * 11 + ["masked"]
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert len(list(pairs.glob("*/evaluation/*"))) == 2 * (len(ARMS) + len(AVERAGED))

    page = (home / "page.md").read_text()
    before, rest = page.split(detour.BEGIN)
    assert (before, rest.split(detour.END)[1]) == ("before\n", "\nafter\n")
    assert f"| {detour.CODE} | make detour -->" in page
    for row in ("| masked | **0.003** | ", "| muon | **0.003** | ", "| before |  | ", "| detour-60 | "):
        assert row in page
    for first, second in (*COMPARISONS, *ALSO):
        assert page.count(f"| {second} against {first} | ") == (1 if "averaged" in second else 2)
    assert "No seeds were added, since 2 are the most." in page or "within ±0.5 points" in page

    run_toy(home)
    assert (home / "page.md").read_text() == page


def test_the_sweep_goes_on_beyond_an_end_that_is_best() -> None:
    assert next_rate({1e-3: 3.0, 2e-3: 2.0, 4e-3: 2.5}, 5) is None
    assert next_rate({1e-3: 1.0, 2e-3: 2.0, 4e-3: 2.5}, 5) == 5e-4
    assert next_rate({1e-3: 3.0, 2e-3: 2.0, 4e-3: 1.5}, 5) == 8e-3
    assert next_rate({1e-3: 3.0, 2e-3: 2.0, 4e-3: 1.5}, 3) is None
    assert next_rate({1e-3: 3.0}, 5) is None


def seeds(*values: float) -> list[Scores]:
    return [{MASKED: {"pubmed top1": value}, ENTITIES: {"f1": value}} for value in values]


def test_claims_hold_together_and_seeds_stop_by_widths_alone(tmp_path: Path) -> None:
    names = [*ARMS, *map(averaged, AVERAGED)]
    base = (0.30, 0.31, 0.32, 0.30)
    scores: dict[str, list[Scores]] = {name: seeds(*base) for name in names}
    scores["constant-averaged"] = [{MASKED: seed[MASKED]} for seed in scores["masked"]]  # not scored on entities
    scores["detour-91"] = seeds(*(value - lost for value, lost in zip(base, (0.030, 0.031, 0.029, 0.030), strict=True)))
    # Its interval leaves out 0 at 95 %, but not where nine claims hold together.
    scores["muon"] = seeds(*(value + won for value, won in zip(base, (0.004, 0.010, 0.007, 0.012), strict=True)))
    rows = differences(scores, "pubmed")
    table = difference_table(rows, 0.005)
    assert any(line.startswith("| detour-91 against masked | masked-words pubmed top1 | -3.00 ± 0.13 | lower | 3 |")
               for line in table)  # fmt: skip
    muon = next(row for row in rows if row.arms[1] == "muon")
    assert muon.paired.differs
    assert muon.claimed is False
    assert sum(row.claimed is not None for row in rows) == 9
    (constant,) = [line for line in table if "averaged against constant" in line]
    assert "| masked-words pubmed top1 | +0.00 ± 0.00 | not tested |" in constant
    assert not precise(rows, 0.005)
    assert precise(rows, 0.006)

    budget = Budget(tmp_path / "made.json", 60, detour.models.REPOSITORY, detour.PAGE)
    budget.made.seconds["pairs"] = 40 * 60
    design = Design()
    assert detour.why_enough(rows, 4, 600, design, budget) is None
    assert "would exceed 60 minutes; not every" in str(detour.why_enough(rows, 4, 601, design, budget))
    assert "within ±0.6 points" in str(detour.why_enough(rows, 4, 1, design._replace(half_width=0.006), budget))
    budget.note("pairs")
    again = Budget(tmp_path / "made.json", 60, detour.models.REPOSITORY, detour.PAGE)
    assert again.used() >= 40


def test_missing_data_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no pubmed/\*\.xml\.gz, .*docs/detour.md lists where to download"):
        find_files(str(tmp_path), detour.FILES, "docs/detour.md")
    names = ["pubmed/a.xml.gz", "pmc_fulltext/nxml/PMC1.nxml", "notes/mtsamples/socd06_test500.csv.gz",
             "eval/BC5CDR-IOB/train.tsv.gz", "eval/BC5CDR-IOB/test.tsv", "notes/aci_bench/clinicalnlp_taskB_test1.csv",
             "notes/aci_bench/train.csv", "notes/aci_bench/train_metadata.csv"]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files = find_files(str(tmp_path), detour.FILES, "docs/detour.md")
    assert [path.name for path in files["dialogues"]] == ["clinicalnlp_taskB_test1.csv", "train.csv"]
