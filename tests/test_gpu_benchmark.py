"""benchmarks/gpu.py without a GPU: nothing may be lost to an error of Python when one is there for a few minutes."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

BARE = (
    "torch", "torchgen", "functorch", "triton", "numpy", "numpy.libs", "typing_extensions.py", "sympy", "mpmath",
    "networkx", "jinja2", "markupsafe", "filelock", "fsspec", "setuptools", "_distutils_hack",
)  # fmt: skip
"""torch, triton, numpy, and what torch imports."""


def simulate(script: Path, out: Path, *options: str, environment: dict[str, str]) -> tuple[str, list[dict]]:
    """The Markdown and the rows that the benchmark wrote."""
    command = [sys.executable, "-S", str(script), "--simulate", "--out", str(out), *options]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(command, env=variables, cwd=out.parent, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = [json.loads(line) for line in (out / "simulated.jsonl").read_text().splitlines()]
    return (out / "simulated.md").read_text(), rows


def sections(rows: list[dict]) -> dict[str, list[dict]]:
    return {name: [row for row in rows if row["section"] == name] for name in dict.fromkeys(r["section"] for r in rows)}


@pytest.mark.slow
def test_a_bare_checkout_under_any_name_needs_torch_triton_and_numpy_only(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="Triton has no wheel for this platform")
    packages = Path(sysconfig.get_path("purelib"))
    bare = tmp_path / "packages"
    bare.mkdir()
    for name in BARE:
        if (packages / name).exists():
            (bare / name).symlink_to(packages / name)
    for metadata in packages.glob("t*-*.dist-info"):
        if metadata.name.startswith(("torch-", "triton-")):
            (bare / metadata.name).symlink_to(metadata)
    checkout = tmp_path / "a checkout-of_mine"
    checkout.symlink_to(repository)
    script, out = checkout / "benchmarks/gpu.py", tmp_path / "out"
    text, rows = simulate(script, out, environment={"PYTHONPATH": str(bare)})
    found = sections(rows)
    assert list(found) == ["ceilings", "backend", "checks", "attention", "rows", "optimizer", "step", "resume", "trace"]
    assert {row["verdict"] for row in found["checks"]} == {"ok"}
    assert {row["by"] for row in found["rows"]} == {"ours", "eager"}
    assert not [row for row in rows if "error" in row]
    for name in ("step", "trace"):
        assert found[name] == [{"section": name, "note": "left out: pydantic is not installed"}]
    assert found["resume"][0]["note"].startswith("left out: deepspeed, ")
    assert text.count("\n## ") >= len(found)


@pytest.mark.ranks
def test_steps_resuming_and_the_trace(repository: Path, tmp_path: Path) -> None:
    packages = os.pathsep.join([sysconfig.get_path("purelib"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    options = ("--sections", "step", "resume", "trace")
    _, rows = simulate(
        repository / "benchmarks/gpu.py", tmp_path / "out", *options, environment={"PYTHONPATH": packages}
    )
    found = sections(rows)
    assert not [row for row in rows if "error" in row or "note" in row]
    first: dict[tuple[str, str], set[float]] = {(row["model"], row["documents"]): set() for row in found["step"]}
    for row in found["step"]:
        first[row["model"], row["documents"]].add(round(row["first loss"], 4))
    assert {len(losses) for losses in first.values()} == {1}, "ours and transformers' begin with the same loss"
    assert {row["by"] for row in found["step"]} >= {"ours, ZeRO-1", "ours, ZeRO-3", "transformers, sdpa"}
    assert [(row["zero"], row["losses"], row["exit code of the stop"]) for row in found["resume"]] == [(3, "equal", 85)]
    assert not [
        row["kernel"] for name in found if "trace" in name for row in found[name] if "ZeroStage3" in row["kernel"]
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="would run the benchmark: a GPU is available")
def test_without_a_gpu_it_prints_a_message_and_writes_nothing(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(repository / "benchmarks/gpu.py"), "--out", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no GPU" in done.stdout
    assert not (tmp_path / "results").exists()
