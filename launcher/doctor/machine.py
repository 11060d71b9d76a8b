"""Checks of a node's limits, memory and disks. They need neither torch nor a GPU."""

import os
import re
import resource
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .finding import Finding

MIB = 2**20
_LEFT_BEHIND = re.compile(r"nccl-|torch_|sem\.mp-|psm_|\d{6}_")
"""Segments of NCCL, PyTorch, Python's multiprocessing and MosaicML Streaming."""
_NETWORK_DISKS = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "fuse.", "9p", "wekafs")


def shared_memory(directory: Path = Path("/dev/shm")) -> Finding:
    """Room for the segments through which ranks of a node talk."""
    check = "shared memory"
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return Finding(check, "failed", f"{directory}: {error.strerror}", "Mount a tmpfs there: NCCL needs it.")
    found = f"{free / MIB:,.0f} MiB free in {directory}"
    advice = f"Enlarge {directory} (docker run --shm-size=16g; a memory volume in Kubernetes) or free it."
    # Docker's default has exactly 64.
    if free < 128 * MIB:
        return Finding(check, "failed", found, advice)
    return Finding(check, "warning", found, advice) if free < 1024 * MIB else Finding(check, "ok", found)


def stale_segments(directory: Path = Path("/dev/shm"), processes: Path = Path("/proc")) -> Finding:
    """Segments that a killed run left, which no process holds: of this user, who cannot see what others hold."""
    check = "stale shared memory"
    held = _held_files(processes)
    stale = {}
    for path in _listed(directory):
        if _LEFT_BEHIND.match(path.name) and str(path) not in held:
            with suppress(FileNotFoundError):
                stale[path.name] = path.stat()
    sizes = {name: stat.st_size for name, stat in stale.items() if os.geteuid() in (0, stat.st_uid)}
    if not sizes:
        return Finding(check, "ok", "none")
    found = f"{len(sizes)} segments, {sum(sizes.values()) / MIB:,.1f} MiB, such as {next(iter(sizes))}"
    advice = f"Remove them from {directory} when no run is going on here."
    return Finding(check, "warning", found, advice)


def _listed(directory: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(directory.iterdir())
    return []


def _held_files(processes: Path) -> set[str]:
    """What any process has mapped or open, as far as this user may see."""
    held = set()
    for process in processes.glob("[0-9]*"):
        with suppress(OSError):
            held |= {line.split(maxsplit=5)[-1] for line in (process / "maps").read_text().splitlines() if "/" in line}
        with suppress(OSError):
            held |= set(_links(process / "fd"))
    return held


def _links(directory: Path) -> Iterator[str]:
    for link in directory.iterdir():
        with suppress(OSError):
            yield os.readlink(link)


def open_files() -> Finding:
    """How many files a process may hold open."""
    check, soft = "open files", resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    found = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    advice = "ulimit -n 65536 before the ranks start (LimitNOFILE, /etc/security/limits.conf)."
    if soft != resource.RLIM_INFINITY and soft < 512:
        return Finding(check, "failed", found, advice)
    return Finding(check, "warning", found, advice) if 0 <= soft < 4096 else Finding(check, "ok", found)


def locked_memory(adapters: Path = Path("/sys/class/infiniband"), process: Path = Path("/proc/self")) -> Finding:
    """Whether memory can be pinned for RDMA, where there are adapters for it.

    A run is sure to fail only where NCCL uses InfiniBand: adapters of plain Ethernet are listed too, as those of RoCE.
    """
    check, soft = "locked memory", resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    found = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft / MIB:,.0f} MiB"
    names = [path.name for path in _listed(adapters)]
    if soft == resource.RLIM_INFINITY or not names:
        return Finding(check, "ok", found)
    if _may_lock_all(process):
        return Finding(check, "ok", f"{found}, and any amount by CAP_IPC_LOCK")
    advice = "ulimit -l unlimited (in slurmd's unit: LimitMEMLOCK=infinity; in a container: IPC_LOCK)."
    layers = {_text(path).strip() for path in adapters.glob("*/ports/*/link_layer")}
    if "InfiniBand" in layers and os.environ.get("NCCL_IB_DISABLE") != "1":
        return Finding(check, "failed", f"{found}, and {names[0]} needs more", advice)
    return Finding(check, "warning", f"{found}, and RDMA by {names[0]} would need more", advice)


def _may_lock_all(process: Path) -> bool:
    """Whether it has CAP_IPC_LOCK (bit 14, capabilities(7)), which is worth nothing in a user namespace of its own."""
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)", _text(process / "status"), re.MULTILINE)
    on_host = _text(process / "uid_map").split() == ["0", "0", str(2**32 - 1)]
    return on_host and effective is not None and bool(int(effective[1], 16) >> 14 & 1)


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""


def cache_disk(directory: Path, purpose: str, mounts: Path = Path("/proc/mounts")) -> Finding:
    """Whether caches can be kept in `directory`: writable, with room, on the node's own disk."""
    check = f"disk for {purpose}"
    there = next((path for path in (directory, *directory.parents) if path.is_dir()), Path("/"))
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding(check, "failed", f"{directory} cannot be written", "Name a directory that can.")
    free = shutil.disk_usage(there).free
    kind = _kind_of_disk(there.resolve(), mounts)
    found = f"{free / 2**30:,.0f} GiB free in {directory} ({kind})"
    if free < 2**30:
        return Finding(check, "failed", found, "Free space, or name another disk.")
    if kind.startswith(_NETWORK_DISKS):
        return Finding(check, "warning", found, "Name a directory on the node's own disk: ranks race for shared files.")
    if free < 10 * 2**30:
        return Finding(check, "warning", found, "Free space: shards and compiled kernels need some gigabytes.")
    return Finding(check, "ok", found)


def _kind_of_disk(directory: Path, mounts: Path) -> str:
    points = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    over = [(point, kind) for point, kind in points if directory.is_relative_to(point.replace("\\040", " "))]
    return max(over, key=lambda mount: len(mount[0]), default=("/", "unknown"))[1]
