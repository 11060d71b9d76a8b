"""What a rank imports and opens before its first step."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from small_data import SEQ_LENGTH
from small_run import SmallRun

from clinical_modernbert.training.start_up import StartUp, process_seconds

UNUSED = {
    "IPython", "accelerate", "azure", "boto3", "botocore", "datasets", "deepspeed.inference.v2", "google",
    "huggingface_hub", "lxml", "matplotlib", "mlflow", "networkx", "obstore", "onnx", "pandas", "pyarrow", "scipy",
    "sklearn", "streaming.base.dataset", "streaming.base.dataloader", "sympy", "tensorboard", "torch._dynamo",
    "torch._inductor", "torch.distributed.fsdp", "torch.distributed.tensor", "torchvision", "transformers", "wandb",
}  # fmt: skip
"""Modules that training does not use, and that a library would import if nothing prevented it."""
MOST_FILES = 3_600
"""Files that Python opens until the end of a run: 2,900 with torch 2.13 and DeepSpeed 0.19.8, 8,300 before."""
COUNTING = """
import json, os, subprocess, sys
opened, programs = 0, []
def count(event, arguments):
    global opened
    opened += event == "open"
    if event == "subprocess.Popen":
        programs.append(str(arguments[0]))
sys.addaudithook(count)
exit = os._exit
def report(code):
    with open("counted.json", "w") as file:
        modules = [name for name, module in sys.modules.items() if module]
        json.dump({"modules": modules, "opened": opened, "programs": programs}, file)
    exit(code)
os._exit = report
from clinical_modernbert.launcher import train
train.main()
"""
SETTINGS = {
    "ZeRO-3": [],
    "bf16, ZeRO-1, Muon": [
        "engine.zero_stage=1", "engine.precision=bf16", "engine.zero_optimization={}", "optimizer.name=muon",
    ],
}  # fmt: skip


def counted(run: SmallRun, *overrides: str) -> dict:
    """Train as one rank in a new process; return what it imported, opened and started."""
    _, recipe, *options = run.arguments(*overrides)
    settings = [word for word in options if word not in ("--ranks", "1")]
    command = [sys.executable, "-c", COUNTING, "--config", recipe, *settings]
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    run.output.write_bytes(
        subprocess.check_output(command, cwd=run.recipe.parent, env=environment, stderr=subprocess.STDOUT, timeout=300)
    )
    return json.loads((run.recipe.parent / "counted.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("kind", SETTINGS)
def test_a_rank_imports_no_library_that_it_does_not_use(kind: str, new_run: Callable[[], SmallRun]) -> None:
    """Each file is one wait for a shared disk, times all ranks of a cluster that start at once."""
    overrides = [*SETTINGS[kind], f"schedule.total_tokens={2 * 4 * SEQ_LENGTH}", "schedule.decay_tokens=0"]
    run, warm = new_run(), new_run()
    found = counted(run, *overrides)
    imported = {name for name in UNUSED for module in found["modules"] if f"{module}.".startswith(f"{name}.")}
    assert not imported
    assert 1_000 < found["opened"] < MOST_FILES
    assert set(found["programs"]) <= {"git", "numactl"}
    assert re.search(r"ready after [\d.]+ s: imports [\d.]+ s, engine [\d.]+ s, checkpoint", run.output.read_text())
    # A process in which all of it has been imported trains the same.
    warm.train(*overrides)
    assert run.column("loss") == warm.column("loss")


def test_the_parts_of_a_start_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr("clinical_modernbert.training.start_up.process_seconds", lambda: 8.0)
    start_up = StartUp()
    for part, seconds in (("engine", 1.5), ("checkpoint", 0.25)):
        now[0] += seconds
        start_up.completed(part)
    assert start_up.line() == "ready after 9.8 s: imports 8.0 s, engine 1.5 s, checkpoint 0.2 s"


def test_the_age_of_a_process_includes_the_start_of_python() -> None:
    script = (
        "import time; time.sleep(0.5)\n"
        "from clinical_modernbert.training.start_up import process_seconds\nprint(process_seconds())"
    )
    began = time.monotonic()
    age = float(subprocess.check_output([sys.executable, "-c", script], text=True))
    assert 0.49 < age < time.monotonic() - began + 0.02  # the system counts in hundredths
    assert process_seconds() > 0
