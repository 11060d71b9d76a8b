"""`cmbert finetune` and `cmbert predict`: from annotated files to annotated files."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import SmallRun

from clinical_modernbert.launcher import cli

NOTE = "Fever since\r\nMonday. No chest pain, naïve to aspirin.\r\n"
TASK = """
name: toy
data: {data}
task: {{kind: {kind}, train: {train}, test: {test}}}
protocol: {{lr: 1e-3, epochs: 2, batch: 4}}
"""


@pytest.fixture
def cmbert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str]]:
    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["cmbert", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_info:
            cli.main()
        captured = capsys.readouterr()
        return int(exit_info.value.code or 0), captured.out + captured.err

    return run


@pytest.fixture
def run_directory(new_run: Callable[[], SmallRun]) -> Path:
    run = new_run()
    run.train()
    return run.run_dir


def brat(directory: Path, count: int) -> Path:
    directory.mkdir()
    for number in range(count):
        (directory / f"{number}.txt").write_bytes(NOTE.encode())
        (directory / f"{number}.ann").write_text("T1\tSign 0 5\tFever\nT2\tSign 24 34\tchest pain\n")
    return directory


@pytest.mark.slow
def test_entities_come_back_in_the_format_they_came_in(
    run_directory: Path, tmp_path: Path, cmbert: Callable[..., tuple[int, str]]
) -> None:
    brat(tmp_path / "train", 6)
    brat(tmp_path / "test", 3)
    (tmp_path / "task.yaml").write_text(TASK.format(data=tmp_path, kind="ner", train="train", test="test"))
    code, out = cmbert("finetune", run_directory, "--task", tmp_path / "task.yaml", "--out", tmp_path / "models")
    assert code == 0, out
    model = tmp_path / "models/toy-0"
    assert f"model    {model}" in out
    assert f"cmbert predict {model} NOTES --out FILE" in out
    for number in (1, 2):
        code, out = cmbert(
            "predict", model, tmp_path / "test", "--out", tmp_path / f"predicted{number}", "--workers", number
        )
        assert code == 0, out
        assert "3 texts, " in out
        assert "cmbert evaluate run OTHER --task toy" in out
    for name in ("0", "1", "2"):
        assert (tmp_path / f"predicted1/{name}.txt").read_bytes() == NOTE.encode()
        first, second = ((tmp_path / f"predicted{number}/{name}.ann").read_bytes() for number in (1, 2))
        assert first == second
    expected = [json.loads(line) for line in (model / "predictions.jsonl").read_text().splitlines()]
    cmbert("predict", model, tmp_path / "test", "--out", tmp_path / "predicted.jsonl", "--workers", 1)
    lines = [json.loads(line) for line in (tmp_path / "predicted.jsonl").read_text().splitlines()]
    assert [line["predictions"] for line in lines] == [record["predictions"] for record in expected]
    assert "spans" not in lines[0]


@pytest.mark.slow
def test_classes_of_a_table(run_directory: Path, tmp_path: Path, cmbert: Callable[..., tuple[int, str]]) -> None:
    rows = [f"{number},fever of the lung,yes\n{number}b,no pain,no\n" for number in range(8)]
    (tmp_path / "a.csv").write_text("nr,text,label\n" + "".join(rows))
    (tmp_path / "task.yaml").write_text(TASK.format(data=tmp_path, kind="classification", train="a.csv", test="a.csv"))
    code, out = cmbert("finetune", run_directory, "--task", tmp_path / "task.yaml", "--out", tmp_path / "models")
    assert code == 0, out
    out_file = tmp_path / "predicted.parquet"
    code, out = cmbert("predict", tmp_path / "models/toy-0", tmp_path / "a.csv", "--id", "nr", "--out", out_file)
    assert code == 0, out
    table = pytest.importorskip("pyarrow.parquet").read_table(out_file).to_pylist()
    assert [row["id"] for row in table][:3] == ["0", "0b", "1"]
    assert {row["prediction"] for row in table} <= {"yes", "no"}
    assert all(abs(sum(row["scores"].values()) - 1) < 1e-4 for row in table)
    code, out = cmbert("predict", tmp_path / "models/toy-0", tmp_path / "a.csv", "--out", tmp_path / "x.ann")
    assert code == 2
    assert "x.ann: its name ends in none of .jsonl, .parquet" in out
    code, out = cmbert("predict", tmp_path / "models", tmp_path / "a.csv", "--out", tmp_path / "x.jsonl")
    assert code == 2
    assert "no fine_tuning.json; expected a directory that `cmbert finetune` wrote" in out
