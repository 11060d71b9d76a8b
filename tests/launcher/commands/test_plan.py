"""`cmbert plan` through its command line."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app

DOCS = Path(__file__).parents[3] / "docs/planning.md"


def plan(*arguments: str, columns: int = 140) -> str:
    result = CliRunner().invoke(app, ["plan", *arguments], env={"COLUMNS": str(columns)}, catch_exceptions=False)
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0
    return result.stdout


def test_the_output_has_memory_time_cost_and_advice() -> None:
    text = plan("base", "--gpu", "h100", "--price", "2.5")
    assert "149,655,232 parameters on 8 H100 with 80 GB" in text
    assert "21,193 steps of 4,718,592 tokens" in text
    assert "Not measured" in text
    assert "cost" in text
    assert "ZeRO-1, which needs 16.41 of 72.00 GB per rank" in text
    assert re.search(r"host memory of a node: \d+\.\d GB", text)


def test_json_output_for_programs(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("nodes: 2\nranks_per_node: 4\ngpu: a100\nprice_per_gpu_hour: 1.5\n")
    result = json.loads(plan("base", "--cluster", str(cluster), "--json"))
    assert (result["ranks"], result["gpu"]["name"], result["parameters"]) == (8, "A100", 149_655_232)
    assert result["cost"][0] == pytest.approx(result["days"][0] * 24 * 8 * 1.5)
    assert json.loads(plan("base", "--cluster", str(cluster), "--nodes", "1", "--json"))["ranks"] == 4


@pytest.mark.parametrize(
    "pattern",
    [r"`cmbert plan (.*?)`, one node.*?```\n(.*?)```", r"`cmbert plan ([^`]*? --roofline)`:\n\n```\n(.*?)```"],
    ids=["forecast", "roofline"],
)
def test_the_docs_show_the_real_output(pattern: str) -> None:
    found = re.search(pattern, DOCS.read_text(), re.DOTALL)
    assert found is not None
    command, expected = found.groups()
    printed = plan(*shlex.split(command), columns=90)
    assert [line.rstrip() for line in printed.splitlines()] == expected.splitlines()


def test_the_table_in_the_docs_is_up_to_date() -> None:
    for recipe, gpus in (("base", 8), ("base", 64), ("large", 8), ("large", 64)):
        options = ["--set", "batch.micro_batch_size=3"] if gpus == 64 else []
        run = [recipe, "--gpu", "h100", "--nodes", str(gpus // 8), "--price", "2.5", *options]
        result = json.loads(plan(*run, "--json"))
        zero_1, zero_3 = (
            next(o for o in result["options"] if (o["zero_stage"], o["activation_checkpointing"]) == (stage, False))
            for stage in (1, 3)
        )
        cells = [recipe, f"{gpus} H100", f"{zero_1['peak'] / 1e9:.2f} GB", f"{zero_1['sent'] / 1e9:.2f} GB"]
        hours = [24 * days for days in result["days"]]
        cells += [f"{zero_3['sent'] / 1e9:.2f} GB", f"{hours[0]:.1f} (at least {hours[1]:.1f})"]
        row = " | ".join([*cells, f"{result['cost'][0]:,.0f}"])
        assert f"| {row} |\n" in DOCS.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("recipe", "packs"), [("base", 8), ("large", 4)])
@pytest.mark.parametrize("gpu", ["H100", "H200", "A100", "L40S", "MI300X"])
def test_the_speeds_in_the_docs_are_up_to_date(recipe: str, packs: int, gpu: str) -> None:
    run = [recipe, "--gpu", gpu, "--gpus-per-node", "1", "--set", f"batch.micro_batch_size={packs}", "--json"]
    for phase in json.loads(plan(*run))["phases"]:
        expected, floor = (f"{speed / 1e3:,.0f}k" for speed in phase["tokens_per_second"])
        assert f"| {recipe} | {gpu} | {phase['max_seqlen']:,} | {floor} | {expected} |" in DOCS.read_text()


@pytest.mark.parametrize("columns", [80, 100])
def test_nothing_is_cut_on_a_narrow_terminal(columns: int) -> None:
    text = plan("large", "--gpu", "h100", "--nodes", "8", "--set", "batch.micro_batch_size=3", columns=columns)
    assert "…" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["base"], "--gpu is required: set it, or `gpu` in the cluster's file"),
        (["base", "--gpu", "voodoo2"], "voodoo2: unknown GPU; set --gpu"),
        (["base", "--gpu", "h100", "--nodes", "5"], "must be divisible"),
    ],
)
def test_errors(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(*arguments)


@pytest.mark.parametrize("gpu", ["h200", "a100", "l40s", "mi300x", "b200"])
def test_the_roofline_of_known_gpus(gpu: str) -> None:
    text = plan("large", "--gpu", gpu, "--nodes", "1", "--gpus-per-node", "1", "--roofline")
    assert "attention dK dV, global" in text
    floor, expected = re.findall(r"8,192 +(\S+) ms +(\S+) ms", text)[0]
    assert 0 < float(floor) < float(expected)


def test_a_roofline_without_kernels_is_refused() -> None:
    with pytest.raises(UserError, match="no Triton kernels for gfx90a and heads of 64"):
        plan("base", "--gpu", "mi250x", "--roofline")
