"""`cmbert plan` through its command line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app


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
    assert "ZeRO-1, which needs 15.51 of 72.00 GB per rank" in text
    assert re.search(r"host memory of a node: \d+\.\d GB", text)


def test_json_output_for_programs(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("nodes: 2\nranks_per_node: 4\ngpu: a100\nprice_per_gpu_hour: 1.5\n")
    result = json.loads(plan("base", "--cluster", str(cluster), "--json"))
    assert (result["ranks"], result["gpu"]["name"], result["parameters"]) == (8, "A100", 149_655_232)
    assert result["cost"][0] == pytest.approx(result["days"][0] * 24 * 8 * 1.5)
    assert json.loads(plan("base", "--cluster", str(cluster), "--nodes", "1", "--json"))["ranks"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("option", [(), ("--roofline",)], ids=["forecast", "roofline"])
def test_torch_is_not_imported(option: tuple[str, ...]) -> None:
    call = f"app({['plan', 'base', '--gpu', 'h100', *option]}, standalone_mode=False)"
    program = f"import sys; from clinical_modernbert.launcher.cli import app; {call}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=True)
    assert done.stdout.splitlines()[-1] == "False"


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
