"""Checks of a node's limits, memory and disks, without torch or a GPU."""

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
    """Check the free shared memory, through which the ranks of a node communicate."""
    check = "shared memory"
    try:
        free = shutil.disk_usage(directory).free
    except OSError as error:
        return Finding(check, "failed", f"{directory}: {error.strerror}", "Mount a tmpfs there: NCCL needs it.")
    result = f"{free / MIB:,.0f} MiB free in {directory}"
    advice = f"Enlarge {directory} (docker run --shm-size=16g; a memory volume in Kubernetes) or free some."
    # Docker's default is exactly 64 MiB.
    if free < 128 * MIB:
        return Finding(check, "failed", result, advice)
    return Finding(check, "warning", result, advice) if free < 1024 * MIB else Finding(check, "ok", result)


def stale_segments(directory: Path = Path("/dev/shm"), processes: Path = Path("/proc")) -> Finding:
    """Find segments left by killed runs: only this user's, unless root, because others' processes are not visible."""
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
    result = f"{len(sizes)} segments, {sum(sizes.values()) / MIB:,.1f} MiB, such as {next(iter(sizes))}"
    advice = f"Remove them from {directory} when no run is active on this node."
    return Finding(check, "warning", result, advice)


def _listed(directory: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(directory.iterdir())
    return []


def _held_files(processes: Path) -> set[str]:
    """Return the files that processes have mapped or open, as far as this user can see."""
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
    """Check the limit of open files per process."""
    check, soft = "open files", resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    result = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    advice = "ulimit -n 65536 before the ranks start (LimitNOFILE, /etc/security/limits.conf)."
    if soft != resource.RLIM_INFINITY and soft < 512:
        return Finding(check, "failed", result, advice)
    return Finding(check, "warning", result, advice) if 0 <= soft < 4096 else Finding(check, "ok", result)


def locked_memory(adapters: Path = Path("/sys/class/infiniband"), process: Path = Path("/proc/self")) -> Finding:
    """Check that memory can be pinned for RDMA, if the node has RDMA adapters.

    The check fails only if NCCL uses InfiniBand: the kernel also lists RoCE and plain Ethernet adapters there.
    """
    check, soft = "locked memory", resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    result = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft / MIB:,.0f} MiB"
    names = [path.name for path in _listed(adapters)]
    if soft == resource.RLIM_INFINITY or not names:
        return Finding(check, "ok", result)
    if _has_ipc_lock(process):
        return Finding(check, "ok", f"{result}, unlimited through CAP_IPC_LOCK")
    advice = "ulimit -l unlimited (in slurmd's unit: LimitMEMLOCK=infinity; in a container: IPC_LOCK)."
    layers = {_text(path).strip() for path in adapters.glob("*/ports/*/link_layer")}
    if "InfiniBand" in layers and os.environ.get("NCCL_IB_DISABLE") != "1":
        return Finding(check, "failed", f"{result}, but {names[0]} needs more", advice)
    return Finding(check, "warning", f"{result}, but RDMA through {names[0]} needs more", advice)


def _has_ipc_lock(process: Path) -> bool:
    """Whether a process has CAP_IPC_LOCK (bit 14, capabilities(7)), which has no effect in a user namespace."""
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)", _text(process / "status"), re.MULTILINE)
    on_host = _text(process / "uid_map").split() == ["0", "0", str(2**32 - 1)]
    return on_host and effective is not None and bool(int(effective[1], 16) >> 14 & 1)


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text()
    return ""


def cache_disk(directory: Path, purpose: str, mounts: Path = Path("/proc/mounts")) -> Finding:
    """Check that `directory` suits caches: writable, with free space, on a local disk of the node."""
    check = f"disk for {purpose}"
    existing = next((path for path in (directory, *directory.parents) if path.is_dir()), Path("/"))
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(check, "failed", f"{directory} cannot be written", "Choose a writable directory.")
    free = shutil.disk_usage(existing).free
    kind = _file_system(existing.resolve(), mounts)
    result = f"{free / 2**30:,.0f} GiB free in {directory} ({kind})"
    if free < 2**30:
        return Finding(check, "failed", result, "Free space, or choose another disk.")
    if kind.startswith(_NETWORK_DISKS):
        return Finding(
            check,
            "warning",
            result,
            "Choose a local disk of the node: ranks of several nodes race for shared files.",
        )
    if free < 10 * 2**30:
        return Finding(check, "warning", result, "Free space: shards and compiled kernels need several gigabytes.")
    return Finding(check, "ok", result)


def _file_system(directory: Path, mounts: Path) -> str:
    points = [line.split()[1:3] for line in mounts.read_text().splitlines()]
    over = [(point, kind) for point, kind in points if directory.is_relative_to(point.replace("\\040", " "))]
    return max(over, key=lambda mount: len(mount[0]), default=("/", "unknown"))[1]
