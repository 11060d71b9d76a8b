"""Check and time everything that this project runs on a GPU, in a few minutes, from a bare checkout.

    python benchmarks/gpu.py [--minutes 9] [--sections ceilings checks ...] [--out DIRECTORY] [--simulate]

The kernel sections need torch, triton and numpy only; the others also what training needs, else they say what is
missing. Each row is written as it comes, as Markdown and as JSON lines, to DIRECTORY/<device>.{md,jsonl} (default:
docs/benchmarks), and the failure of a section does not end the others. Exit code: 1 if a check failed, else 0.

`--simulate` runs every section on CPU tensors of small shapes: it shows that nothing is lost to an error of Python
before the minutes of a real GPU are spent. Its times mean nothing.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECTIONS = {"ceilings": 1.0, "checks": 1.0, "attention": 0.4, "rows": 0.5, "step": 0.6, "resume": 1.0, "trace": 1.0}
"""Each section, in order, and the share of the remaining time after which it begins no further row."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9.0, help="sections that have not begun by then are left out")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks")
    parser.add_argument("--simulate", action="store_true", help="on CPU tensors, to test this program")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as directory:
        make_importable(Path(directory))
        return run(options.sections, 60 * options.minutes, options.out, options.simulate)


def make_importable(directory: Path) -> None:
    """Let this process and its children import the checkout as `clinical_modernbert`, whatever it is called.

    Its directories (`kernels`, ...) must not be importable by their own names. A `.venv` inside it remains.
    """
    (directory / "clinical_modernbert").symlink_to(ROOT)
    own = (ROOT, Path(__file__).resolve().parent)
    sys.path[:] = [str(directory), *(path for path in sys.path if path and Path(path).resolve() not in own)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(directory), *filter(None, [os.environ.get("PYTHONPATH")])])
    os.environ["PYTHONSAFEPATH"] = "1"


def run(sections: list[str], seconds: float, out: Path, simulate: bool) -> int:
    """Run the sections, and return the exit code."""
    import torch

    from clinical_modernbert.benchmarks.device.bench import Bench

    if not simulate and not torch.cuda.is_available():
        print("no GPU: nothing was checked or timed. Run this on a machine with a CUDA or ROCm device, or --simulate.")
        return 0
    bench, end = Bench.open(out, simulate), time.monotonic() + seconds
    for name in sections:
        remaining = end - time.monotonic()
        if remaining < 0:
            bench.note(name, "left out: no time left")
            continue
        bench.deadline = time.monotonic() + SECTIONS[name] * remaining
        try:
            import_module(f"clinical_modernbert.benchmarks.device.{name}").run(bench)
        except ImportError as error:
            bench.note(name, f"left out: {error.name or error} is not installed")
        except Exception as error:
            bench.fail(name, f"{type(error).__name__}: {error}")
            traceback.print_exc()
    print(f"written to {bench.path}.md and .jsonl")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
