"""`cmbert` as a process that records what it did: the modules it imported, its connections, its children, its CPU time.

    python -S recorded_command.py REPORT ARGUMENTS...

With -S only the directories of PYTHONPATH have packages, so a test decides which ones are installed.
"""

import atexit
import importlib.metadata
import json
import os
import sys
import sysconfig
import time
from collections.abc import Collection
from pathlib import Path

_NETWORK = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname"}
_CHILDREN = {"subprocess.Popen", "os.fork", "os.posix_spawn", "os.exec"}


def link_packages(directory: Path, repository: Path, absent: Collection[str]) -> str:
    """Fill a directory with links to everything installed here but `absent`, and return a PYTHONPATH for it."""
    hidden = {"__pycache__"}
    for name in absent:
        try:
            files = importlib.metadata.distribution(name).files or []
        except importlib.metadata.PackageNotFoundError:
            continue
        hidden |= {file.parts[0] for file in files if file.parts[0] != ".."}
    (directory / "installed").mkdir(parents=True)
    (directory / "checkout").mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name not in hidden:
            (directory / "installed" / entry.name).symlink_to(entry)
    (directory / "checkout/clinical_modernbert").symlink_to(repository)
    return os.pathsep.join([str(directory / "checkout"), str(directory / "installed")])


def main() -> None:
    report = Path(sys.argv[1])
    sys.argv = ["cmbert", *sys.argv[2:]]
    del sys.path[0]
    events: list[str] = []

    def listen(event: str, arguments: tuple[object, ...]) -> None:
        if event in _NETWORK | _CHILDREN:
            events.append(f"{event} {arguments[:2]}")

    def write() -> None:
        content = {"modules": sorted(sys.modules), "events": list(events), "cpu_seconds": time.process_time()}
        report.write_text(json.dumps(content))

    atexit.register(write)
    sys.addaudithook(listen)

    from clinical_modernbert.launcher.cli import main as cmbert

    cmbert()


if __name__ == "__main__":
    main()
