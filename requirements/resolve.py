"""Check that every extra resolves with pip and with uv, and write the versions that pip finds as constraints.

    python requirements/resolve.py            a table of extra x tool x versions; exit code 1 if one does not resolve
    python requirements/resolve.py --write    first writes constraints-{cpu,cuda}.txt and the doctor's tested versions

Needs the network, pip and uv, and for --write also python3.10 with pip; installs nothing.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parent.parent
TESTED = ROOT / "launcher" / "doctor" / "tested_versions.json"
SHOWN = ("torch", "torchvision", "triton", "transformers", "numpy")
DECISIVE = (
    "torch", "triton", "deepspeed", "transformers", "tokenizers", "safetensors", "mosaicml-streaming", "numpy"
)  # fmt: skip
SEEDS = {"torch": "2.13.0", "torchvision": "0.28.0", "triton": "3.7.1"}
"""They decide the rest: torch, its own torchvision (mosaicml-streaming requires one) and its own triton. A CPU build of
torch requires no triton, and pip would then select one that this torch was not built with."""
OLDEST = "python3.10"
"""Several packages no longer release for it, so that it has versions of its own in the constraints."""
NOT_RESOLVED = {"flash": "built from source against the installed torch", "dev": "for this project's own tests"}
"""Extras that are left out of the constraints, and of pip's part of the table."""
HEADERS = {
    "cpu": """\
# For machines without a GPU: versions that pip resolves together and that the tests pass with.
# Install torch and its torchvision first, from PyTorch's index of CPU builds; pip then keeps them:
#   pip install torch==2.13.0 torchvision==0.28.0 --index-url https://download.pytorch.org/whl/cpu
""",
    "cuda": """\
# For machines with NVIDIA GPUs: the versions of constraints-cpu.txt. The torch of PyPI is a CUDA build, which pins the
# CUDA libraries itself.
""",
}
USE = """\
# Then: pip install --constraint THIS_FILE .
# Written by `python requirements/resolve.py --write`.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the constraints files first")
    options = parser.parse_args()
    extras = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    if options.write:
        write_constraints([extra for extra in extras if extra not in NOT_RESOLVED])
        write_tested_versions()
    print(f"| {'extra':10} | {'tool':4} | {' | '.join(SHOWN)} |\n|{'---|' * (2 + len(SHOWN))}")
    failed = False
    for extra in ["", *extras]:
        for tool, resolve in (("pip", resolve_with_pip), ("uv", resolve_with_uv)):
            if tool == "pip" and extra in NOT_RESOLVED:
                print(f"| {extra:10} | {tool:4} | {NOT_RESOLVED[extra]} {'| ' * len(SHOWN)}|", flush=True)
                continue
            try:
                found = resolve([extra] if extra else [], constraints("cpu"))
                cells = [found.get(name, "-") for name in SHOWN]
            except subprocess.CalledProcessError as error:
                failed = True
                reason = " ".join(error.stderr.split())[-300:].replace("|", "/")
                cells = [f"does not resolve: {reason}", *[""] * (len(SHOWN) - 1)]
            print(f"| {extra or '(none)':10} | {tool:4} | {' | '.join(cells)} |", flush=True)
    return int(failed)


def constraints(platform: str) -> Path:
    return ROOT / "requirements" / f"constraints-{platform}.txt"


def write_constraints(extras: list[str]) -> None:
    """Pin everything that pip would install for these extras, given the seeds."""
    path = constraints("cpu")
    path.write_text("".join(f"{name}=={version}\n" for name, version in SEEDS.items()))
    found = [resolve_with_pip(extras, path, python) for python in (OLDEST, sys.executable)]
    for platform, header in HEADERS.items():
        constraints(platform).write_text(header + USE + format_pins(*found))


def format_pins(oldest: dict[str, str], newer: dict[str, str]) -> str:
    """Lines of a constraints file, from package -> version on the oldest Python and on all others.

    Without CUDA's libraries, which torch pins itself.
    """
    lines = []
    for name in sorted(oldest.keys() | newer.keys()):
        versions = oldest.get(name), newer.get(name)
        if name == "clinical-modernbert" or name.startswith(("cuda-", "nvidia-")):
            continue
        if versions[0] == versions[1]:
            lines.append(f"{name}=={versions[0]}\n")
            continue
        for version, compared in zip(versions, ("<", ">="), strict=True):
            if version is not None:
                lines.append(f"{name}=={version} ; python_version {compared} '3.11'\n")
    return "".join(lines)


def write_tested_versions() -> None:
    """The versions of the packages that decide whether a run works, of every set that the tests pass with."""
    names = ("lock", "constraints-cpu")
    sets = {name: read_pins(ROOT / "requirements" / f"{name}.txt") for name in names}
    shown = {name: {package: pins[package] for package in DECISIVE} for name, pins in sets.items()}
    TESTED.write_text(json.dumps(shown, indent=2) + "\n")


def read_pins(path: Path) -> dict[str, str]:
    """Package -> version of a file of `package==version` lines."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", path.read_text(), flags=re.M))


def resolve_with_pip(extras: list[str], constraint: Path, python: str = sys.executable) -> dict[str, str]:
    """Package -> version of what `pip install .[extras]` would install into an empty environment."""
    command = [python, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    done = subprocess.run([*command, "-c", str(constraint), target], capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    # A CPU build is called 2.13.0+cpu: the constraint is for either.
    return {
        re.sub("[-_.]+", "-", one["metadata"]["name"]).lower(): one["metadata"]["version"].partition("+")[0]
        for one in report["install"]
    }


def resolve_with_uv(extras: list[str], constraint: Path) -> dict[str, str]:
    """The same of uv, which obeys the overrides in pyproject.toml and so needs no torchvision."""
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate", "pyproject.toml"]
    command += [argument for extra in extras for argument in ("--extra", extra)]
    # uv may be installed next to this interpreter, in a virtual environment that is not activated.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", done.stdout, flags=re.M))


if __name__ == "__main__":
    sys.exit(main())
