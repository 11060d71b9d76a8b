"""The commands that a command suggests: every command has some, and the command line accepts all of them."""

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from small_run import SmallRun

from clinical_modernbert.configs import reporting
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.launcher import cli
from clinical_modernbert.launcher.commands import demo
from clinical_modernbert.launcher.interface import next_steps
from clinical_modernbert.training.resilience.exit_codes import STOPPED

CLUSTER = """
ranks_per_node: 1
slurm: {time: "1:00:00"}
kubernetes: {image: one, volumes: {runs: /runs}}
rented: {image: one, volumes: {runs: /runs}, accelerator: H100}
"""
RECIPES = {"train", "data prepare", "tokenizer train", "config show", "launch slurm"}
"""Commands whose first argument is a recipe."""

RUN_INDIRECTLY = {
    "train": "by SmallRun.arguments",
    "launch local": "the same function as train",
    "launch slurm": "by its name in a loop",
    "launch k8s": "by its name in a loop",
    "launch hostfile": "by its name in a loop",
    "launch deepspeed-slurm": "by its name in a loop",
    "push": "as suggested by export",
    "status": "in a list",
    "report": "in a list",
    "checkpoint list": "in a list",
    "data prepare": "as suggested by tokenizer train",
    "data inspect": "as suggested by data prepare",
    "check-runtime": "needs a runtime: tests/launcher/evaluation/test_runtime.py",
    "compare-recipes": "by tests/launcher/experiment/test_runs.py",
    "finetune": "by tests/launcher/evaluation/test_predict.py",
    "predict": "by tests/launcher/evaluation/test_predict.py",
    "embed": "by tests/launcher/evaluation/test_embed.py",
    "privacy": "by tests/launcher/privacy/test_command.py",
}
"""Commands whose names are not written next to `cmbert(` below: how they are run there."""

Capture = pytest.CaptureFixture[str]


def leaves(name: str, command: Any) -> Iterator[str]:
    children = getattr(command, "commands", {})
    for child, subcommand in children.items():
        yield from leaves(f"{name} {child}".strip(), subcommand)
    if not children:
        yield name


def parse(command: str) -> tuple[str, list[str]]:
    """The name of a command and its arguments, after the command line has accepted them."""
    words = shlex.split(command)
    assert words.pop(0) == "cmbert"
    target: Any = typer.main.get_command(cli.app)
    name = ""
    while children := getattr(target, "commands", None):
        target, name = children[words[0]], f"{name} {words.pop(0)}".strip()
    target.make_context(name, list(words))  # an error of usage is raised here
    return name, words


def next_commands(err: str) -> list[str]:
    lines = err.splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith("Next: ")), len(lines))
    return [line[6:] for line in lines[first:]]


@pytest.fixture
def cmbert(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> Callable[..., list[str]]:
    """Runs a command, checks what it suggests, and returns that."""

    def run(*arguments: str) -> list[str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["cmbert", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        assert not ended.value.code, err
        assert "Next:" not in out
        commands = next_commands(err)
        assert commands, f"{arguments}: no next command"
        for command in commands:
            name, words = parse(command)
            if name in RECIPES:
                find_recipe(words[0])
        return commands

    return run


def data_recipe(root: Path) -> Path:
    notes = {"name": "notes", "format": "mimic_notes", "paths": [f"{root}/notes/*.csv"], "licence": "Apache-2.0"}
    recipe = {
        "output": str(root / "data"),
        "tokenizer": str(root / "tokenizer"),
        "seq_length": 1024,
        "workers": 1,
        "sources": [{**notes, "synthetic": True}],
    }
    path = root / "my data.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.mark.slow
def test_the_commands_of_data_lead_from_one_to_the_next(
    cmbert: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = str(data_recipe(tmp_path))
    (tokenize,) = cmbert("data", "synthesize", "--out", str(tmp_path / "notes"), "--notes", "60")
    assert tokenize.startswith("cmbert tokenizer train data/demo")
    (prepare,) = cmbert("tokenizer", "train", recipe, "--vocab-size", "600")
    assert prepare == f"cmbert data prepare {shlex.quote(recipe)}"
    assert cmbert("data", "audit", recipe) == [prepare]
    assert cmbert("data", "prepare", recipe, "--share", "0/1") == [prepare]
    inspect, train = cmbert(*shlex.split(prepare)[1:])
    assert train == f"cmbert train tiny --set data.path={tmp_path / 'data'}"
    assert cmbert(*shlex.split(inspect)[1:]) == [train]
    (tmp_path / "test.tsv").write_text("text1\ttext2\tscore\na\tb\t1\nc\td\t2\n")
    task = ["--task", "similarity", "--set", f"data={tmp_path}"]
    (evaluate,) = cmbert("data", "overlap", str(tmp_path / "data"), *task, "--workers", "1")
    assert evaluate == shlex.join(["cmbert", "evaluate", "MODEL", *task])
    monkeypatch.setattr("clinical_modernbert.streaming_data.prepare.upload.upload", lambda *arguments: None)
    assert cmbert("data", "upload", str(tmp_path / "data"), "s3://bucket/a/")[1].endswith("data.path=s3://bucket/a")
    cmbert("tokenizer", "extend", recipe, "--out", str(tmp_path / "extended"), "--tokens", "10")
    monkeypatch.setattr("clinical_modernbert.streaming_data.download.listed.fetch", lambda *arguments: [])
    cmbert("data", "fetch", "pubmed", "--out", str(tmp_path / "pubmed"))


def test_commands_about_a_recipe(cmbert: Callable[..., list[str]], tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    cluster = ["--cluster", str(tmp_path / "cluster.yaml")]
    for recipe in ("tiny", "data/demo", "evaluation/ncbi-disease", str(tmp_path / "cluster.yaml")):
        assert recipe in cmbert("config", "show", recipe)[0]
    assert cmbert("plan", "base", "--gpu", "h100", "--set", "optimizer.lr=1e-4") == [
        "cmbert doctor",
        "cmbert train base --set optimizer.lr=1e-4",
    ]
    assert cmbert("plan", "base", "--gpu", "h100", *cluster)[1].startswith("cmbert launch slurm base --cluster ")
    run_dir = ["--set", "run_dir=/runs/base"]
    for launcher in ("slurm", "k8s"):
        (submit,) = cmbert("launch", launcher, "base", *cluster, *run_dir, "--dry-run")
        assert submit == shlex.join(["cmbert", "launch", launcher, "base", *cluster, *run_dir])
    assert cmbert("launch", "task-file", "base", *cluster, *run_dir, "--tool", "dstack") == [
        shlex.join(["cmbert", "plan", "base", *cluster, *run_dir])
    ]
    cmbert("launch", "slurm-prepare", "data/demo", *cluster, "--shares", "2", "--dry-run")


def test_a_start_leads_to_its_recipes(
    cmbert: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.csv").write_text("subject_id,text\n1,a short note\n")
    Path("config.json").write_text('{"model_type": "modernbert"}')
    Path("tokenizer.json").touch()
    assert cmbert("init", "a start", "--notes", "notes.csv", "--model", ".", "--output", ".") == [
        "cmbert data prepare 'a start/data.yaml'",
        "cmbert train 'a start/train.yaml' --plan",
        "cmbert train 'a start/train.yaml'",
    ]


def test_json_ends_without_a_next_command(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.setattr(sys, "argv", ["cmbert", "plan", "base", "--gpu", "h100", "--json"])
    with pytest.raises(SystemExit):
        cli.main()
    out, err = capfd.readouterr()
    assert json.loads(out)
    assert not err


@pytest.mark.slow
def test_commands_about_a_run(
    cmbert: Callable[..., list[str]], new_run: Callable[[], SmallRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run()
    directory, model = str(run.run_dir), str(tmp_path / "model")
    assert cmbert(*run.arguments(), "--plan") == [shlex.join(["cmbert", *run.arguments()])]
    report, export = cmbert(*run.arguments())
    assert (report, export) == (f"cmbert report {directory}", f"cmbert export {directory} --out models/run")
    for arguments in (["status"], ["report"], ["checkpoint", "list"], ["checkpoint", "verify"]):
        assert export in cmbert(*arguments, directory)
    assert cmbert("launch", "stop", directory) == [f"cmbert status {directory}"]
    assert cmbert("checkpoint", "prune", directory) == [f"cmbert checkpoint list {directory}"]
    (export_checkpoint,) = cmbert(
        "checkpoint", "convert", str(run.newest_checkpoint()), str(tmp_path / "a.safetensors")
    )
    assert export_checkpoint == f"cmbert export {run.newest_checkpoint()} --out models/run"
    evaluate, push = cmbert("export", directory, "--out", model)
    assert evaluate.startswith(f"cmbert evaluate {model} --task ncbi-disease")
    average, imported = str(tmp_path / "average"), str(tmp_path / "imported")
    assert cmbert("checkpoint", "average", directory, "--last", "2", "--out", average) == [
        f"cmbert export {average} --out models/average"
    ]
    assert cmbert("import", model, "--out", imported)[0].startswith("cmbert train continue-base --set initial_weights=")
    scoring = ["--task", "masked-words", "--set", f"data={run.data}", "--out", str(tmp_path / "scores")]
    assert cmbert("evaluate", model, *scoring) == [push]
    assert cmbert("evaluate", directory, *scoring) == [f"{export} --evaluation {tmp_path / 'scores'}"]
    monkeypatch.setattr("clinical_modernbert.launcher.commands.push.push_model", lambda *arguments: "address")
    assert "cmbert evaluate OWNER/NAME" in cmbert(*shlex.split(push)[1:])[0]


@pytest.mark.slow
def test_doctor_and_the_demo(cmbert: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cmbert("doctor", "--quick", "--ranks", "1")
    for step in ("run", "train_and_kill", "fill_mask", "plot_curve", "print_summary"):
        monkeypatch.setattr(demo, step, lambda *arguments, **named: None)
    assert cmbert("demo", "--out", str(tmp_path)) == [
        f"cmbert report {tmp_path / 'run'}",
        f"cmbert evaluate {tmp_path / 'model'} --task masked-words --set data={tmp_path / 'data'}",
    ]


def test_launchers_that_wait_for_the_run(
    cmbert: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clinical_modernbert.launcher.runs.launch_log.run_and_record", lambda *arguments: 0)
    monkeypatch.setattr("clinical_modernbert.launcher.slurm.deepspeed.allocated_hosts", lambda environment: {"a": 1})
    (tmp_path / "hosts").write_text("localhost slots=1\n")
    for launcher in (["hostfile", "tiny", "--hostfile", str(tmp_path / "hosts")], ["deepspeed-slurm", "tiny"]):
        run_dir = tmp_path / launcher[0]
        assert cmbert("launch", *launcher, "--set", f"run_dir={run_dir}")[0] == f"cmbert report {run_dir}"


@pytest.mark.parametrize(
    ("code", "expected"), [(0, "cmbert report"), (STOPPED, "cmbert train tiny"), (1, "cmbert status"), (2, "")]
)
def test_the_end_of_training_decides(
    code: int, expected: str, monkeypatch: pytest.MonkeyPatch, capfd: Capture, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["cmbert", "train", "tiny"])
    next_steps.suggest_after_run(code, tmp_path)
    assert "".join(next_commands(capfd.readouterr().err)[:1]).startswith(expected)
    assert bool(expected) == (code != 2)


def test_every_command_is_run_above() -> None:
    """A new command needs a next command, and a line in a test of this file."""
    source = Path(__file__).read_text(encoding="utf-8").replace('", "', " ")
    missing = [name for name in leaves("", typer.main.get_command(cli.app)) if name not in RUN_INDIRECTLY]
    assert [name for name in missing if f'"{name}' not in source] == []


def test_next_commands_can_be_hidden(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    monkeypatch.setenv(reporting.NEXT, "0")
    monkeypatch.setattr(sys, "argv", ["cmbert", "config", "show", "tiny"])
    with pytest.raises(SystemExit):
        cli.main()
    assert not capfd.readouterr().err
