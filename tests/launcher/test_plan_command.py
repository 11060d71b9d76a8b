"""`cmbert plan` as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app


def plan(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["plan", *arguments], env={"COLUMNS": "140"}, catch_exceptions=False)
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0
    return result.output


def test_it_prints_memory_time_and_advice() -> None:
    text = plan("base", "--gpu", "h100", "--price", "2.5")
    assert "149,655,232 parameters on 8 H100 of 80 GB" in text
    assert "21,193 steps of 4,718,592 tokens" in text
    assert "Not measured" in text
    assert "cost" in text
    assert "engine.zero_stage=1 should be fastest" in text


def test_programs_are_given_numbers(tmp_path: Path) -> None:
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text("nodes: 2\nranks_per_node: 4\ngpu: a100\nprice_per_gpu_hour: 1.5\n")
    found = json.loads(plan("base", "--cluster", str(cluster), "--json"))
    assert (found["ranks"], found["gpu"]["name"], found["parameters"]) == (8, "A100", 149_655_232)
    assert found["cost"][0] == pytest.approx(found["days"][0] * 24 * 8 * 1.5)
    assert json.loads(plan("base", "--cluster", str(cluster), "--nodes", "1", "--json"))["ranks"] == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["base"], "which GPU?"),
        (["base", "--gpu", "voodoo2"], "voodoo2: not a GPU whose data sheet is known"),
        (["base", "--gpu", "h100", "--nodes", "5"], "must be divisible"),
    ],
)
def test_mistakes_are_told(arguments: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        plan(*arguments)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from clinical_modernbert.launcher.cli import app\n"
        "app(['plan', 'base', '--gpu', 'h100'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, stdout=subprocess.DEVNULL)
