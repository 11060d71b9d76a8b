"""A real SLURM cluster on this machine: munged, slurmctld, and one slurmd per node, on loopback.

Each node has its own hostname, processes, mounts and shared memory, so one SIGKILL powers it off and one SIGSTOP
freezes it. The cluster needs root, SLURM, munge and namespaces, and ends with this process.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from clinical_modernbert.launcher.ranks.local import start_child

CPUS = 16
GPUS = 8
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "unshare", "nsenter")
_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
# PID 1 of a node: it mounts, starts slurmd and reaps processes.
_NODE = """
hostname "$1"; mount --make-rprivate /
mount --bind "$2/hosts" /etc/hosts; mount -t tmpfs -o size=2g,mode=1777 tmpfs /dev/shm
slurmd -D -f "$2/slurm.conf" -N "$1" >"$2/$1.out" 2>&1 &
while :; do sleep 3600 & wait $!; done
"""


def missing() -> str | None:
    """Return why no cluster can be started, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "starting a SLURM cluster needs root on Linux"
    if lacking := [name for name in _PROGRAMS if shutil.which(name, path=_PATH) is None]:
        return f"{', '.join(lacking)} not installed: apt-get install slurmctld slurmd slurm-client munge"
    result = subprocess.run(["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "hostname", "x"])
    return "this machine does not allow new namespaces" if result.returncode else None


class SlurmCluster:
    """Eight nodes: three in partition `debug`; two in `low`, preempted by jobs in `high`; three in `lossy`."""

    def __init__(self, prefix: str = f"p{os.getpid()}n") -> None:
        # Names must be unique on this machine, because cgroups are named after a node and its job.
        self.prefix = prefix
        self.names = [f"{prefix}{number}" for number in range(1, 9)]
        # munged requires that all parent directories of its socket are accessible to all users; pytest's are not.
        self.directory = Path(tempfile.mkdtemp(prefix="cmbert-slurm-", dir="/tmp"))
        self.environment = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(self.directory / "slurm.conf")}
        self._daemons = ExitStack()
        self._nodes: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        self.directory.chmod(0o755)
        self._write_configuration()
        socket_ = f"--socket={self.directory}/munge.sock"
        self._daemon("munged", "-F", socket_, f"--key-file={self.directory}/munge.key", *self._munge_files())
        wait_for((self.directory / "munge.sock").exists, 10)
        self._daemon("slurmctld", "-D", "-f", str(self.directory / "slurm.conf"))
        for name in self.names:
            self.power_on(name)
        wait_for(lambda: set(self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split()) == set(self.names), 30)

    def stop(self) -> None:
        self.run("scancel", f"--user={os.getuid()}")
        for name in list(self._nodes):
            self.power_off(name)
        self._daemons.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, *command: str) -> str:
        """Return the output of a SLURM client command; retry if the controller is busy."""
        for _ in range(5):
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
            if not done.returncode:
                break
            time.sleep(0.1)
        return done.stdout

    def power_on(self, name: str) -> None:
        unshare = ["unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--kill-child", "--mount-proc"]
        command = [*unshare, "bash", "-c", _NODE, "init", name, str(self.directory)]
        self._nodes[name] = start_child(command, self.environment)

    def power_off(self, name: str) -> None:
        """Kill all processes of the node at once."""
        node = self._nodes.pop(name)
        node.kill()
        node.wait()

    def daemon_of(self, name: str) -> int:
        """Return the process id of a node's slurmd in this namespace."""
        return next(pid for pid in self.processes(name) if f"-N {name}" in _command(pid))

    def processes(self, name: str) -> list[int]:
        """Return the ids of all processes of a node in this namespace."""
        space = os.readlink(f"/proc/{_children(self._nodes[name].pid)[0]}/ns/pid")
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if _namespace(entry) == space]

    def run_by(self, job: str) -> list[int]:
        """Return the ids of all processes of a job's script on its first node, and of their children."""
        host, variable = self.job_info(job)["BatchHost"], f"SLURM_JOB_ID={job}".encode()
        return [pid for pid in self.processes(host) if variable in _environment(pid)]

    def job_info(self, job: str) -> dict[str, str]:
        """Return the fields of `scontrol show job`."""
        words = self.run("scontrol", "-o", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def hosts(self, nodes: str) -> list[str]:
        """Expand `n[1-2]` to host names."""
        return self.run("scontrol", "show", "hostnames", nodes).split()

    def state(self, job: str) -> str:
        return self.job_info(job)["JobState"]

    def await_state(self, job: str, *states: str, seconds: float = 60) -> dict[str, str]:
        deadline = time.monotonic() + seconds
        while (info := self.job_info(job)).get("JobState") not in states:
            assert time.monotonic() < deadline, f"job {job} is not {states} within {seconds} s: {info}"
            time.sleep(0.3)
        return info

    def _daemon(self, *command: str) -> None:
        output = self._daemons.enter_context((self.directory / f"{command[0]}.out").open("w"))
        process = start_child(command, self.environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        self._daemons.callback(_end, process)

    def _munge_files(self) -> list[str]:
        (self.directory / "munge.key").write_bytes(os.urandom(1024))
        (self.directory / "munge.key").chmod(0o400)
        return [f"--{kind}-file={self.directory}/munged.{kind}" for kind in ("pid", "log", "seed")]

    def _write_configuration(self) -> None:
        directory, host = self.directory, socket.gethostname().split(".")[0]
        ports = _free_ports(1 + len(self.names))
        (directory / "state").mkdir()
        (directory / "hosts").write_text("".join(f"127.0.0.1 {name}\n" for name in ["localhost", host, *self.names]))
        for number in range(GPUS):
            (directory / f"nvidia{number}").symlink_to("/dev/null")
        (directory / "gres.conf").write_text(f"Name=gpu Type=h100 File={directory}/nvidia[0-{GPUS - 1}]\n")
        (directory / "cgroup.conf").write_text(
            "CgroupPlugin=cgroup/v1\n" if _has_freezer() else "CgroupPlugin=autodetect\n"
        )
        nodes = [
            f"NodeName={name} NodeHostname={name} NodeAddr=127.0.0.1 Port={port}"
            for name, port in zip(self.names, ports[1:], strict=True)
        ]
        text = _CONFIGURATION.format(
            directory=directory,
            prefix=self.prefix,
            host=host,
            port=ports[0],
            cpus=CPUS,
            gpus=GPUS,
            nodes="\n".join(nodes),
            # cgroup signals only tasks, as in production; linuxproc would also signal their children and hide errors
            proctrack="cgroup" if _has_freezer() else "linuxproc",
        )
        (directory / "slurm.conf").write_text(text)


_CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.sock,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/%n.spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.%n.log
MailProg=/bin/true
ProctrackType=proctrack/{proctrack}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0
PriorityType=priority/basic
ReturnToService=2
JobRequeue=1
KillWait=3
SlurmdTimeout=10
InactiveLimit=0
CompleteWait=0
UnkillableStepTimeout=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=DEFAULT CPUs={cpus} CoresPerSocket={cpus} RealMemory=64000 Gres=gpu:h100:{gpus} State=UNKNOWN
{nodes}
PartitionName=debug Nodes={prefix}[1-3] Default=YES MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=low Nodes={prefix}[4-5] MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=4
PartitionName=high Nodes={prefix}[4-5] MaxTime=INFINITE State=UP PriorityTier=100 PreemptMode=OFF
PartitionName=lossy Nodes={prefix}[6-8] MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""


def kill_srun(pids: Iterable[int]) -> None:
    """Kill the processes of srun among these, all at once.

    It has two. If the second one outlives the first by a moment, it tells SLURM, which kills the ranks.
    """
    processes = [pid for pid in pids if _name(pid) == "srun"]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in processes:
            with suppress(ProcessLookupError):  # it has ended
                os.kill(pid, number)


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def _end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _has_freezer() -> bool:
    return Path("/sys/fs/cgroup/freezer/tasks").is_file()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def _environment(pid: int) -> list[bytes]:
    with suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return []


def _namespace(process: Path) -> str:
    with suppress(OSError):
        return os.readlink(process / "ns/pid")
    return ""


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
