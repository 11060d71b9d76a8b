"""Where a checkpoint came from: enough to make it again."""

import subprocess
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

_PACKAGES = ("clinical-modernbert", "torch", "deepspeed", "triton", "mosaicml-streaming", "tokenizers", "numpy")


@cache
def provenance() -> dict[str, Any]:
    """Versions of the packages that decide numerics, and the git revision of the code where it is a checkout."""
    return {"python": sys.version.split()[0], "packages": _versions(), "git_revision": _git_revision()}


def _versions() -> dict[str, str]:
    installed = {distribution.name: distribution.version for distribution in distributions()}
    return {name: installed[name] for name in _PACKAGES if name in installed}


def _git_revision() -> str | None:
    here = Path(__file__).resolve().parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
