"""Versions of the software that wrote a checkpoint: enough to reproduce it."""

import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

_PACKAGES = ("clinical-modernbert", "torch", "deepspeed", "triton", "mosaicml-streaming", "tokenizers", "numpy")


class Provenance(NamedTuple):
    """Versions of Python and of the packages that decide numerics, and the code's git revision if it is a checkout."""

    python: str
    packages: dict[str, str]
    git_revision: str | None


@cache
def provenance() -> Provenance:
    """The provenance of this process."""
    return Provenance(sys.version.split()[0], _versions(), _git_revision())


def _versions() -> dict[str, str]:
    """The versions of those that are installed; reading what else is installed takes a file each."""
    installed = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            installed[name] = version(name)
    return installed


def _git_revision() -> str | None:
    directory = Path(__file__).resolve().parent
    command = ["git", "-C", str(directory), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
