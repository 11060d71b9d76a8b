"""The Python environment of a job on the local disks of its nodes."""

import os
import re
import shutil
import subprocess
import sys
import time
import venv
from dataclasses import replace
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster
from slurm_job import SlurmRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.runs.snapshot import NAME, code_directory
from clinical_modernbert.launcher.slurm.environment import StagedEnvironment, describe_environment, pack_environment
from clinical_modernbert.launcher.slurm.job import render_job, submit

SHOW = (
    "import importlib, json, os, sys; sys.path.insert(0, os.path.dirname(sys.argv[1])); import here, there; "
    "print(*filter(None, sys.path[1:]), sys.base_prefix, json.__file__, there.__file__, here.__file__, sep='\\n')"
)
"""Prints from where a Python takes its modules: the program of a job is its argument."""


@pytest.fixture(scope="module")
def small_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment of this Python with one package."""
    directory = tmp_path_factory.mktemp("shared") / ".it's one"
    venv.create(directory, with_pip=False, symlinks=True)
    next(directory.glob("lib/python*/site-packages")).joinpath("there.py").write_text("")
    return directory


def describe(environment: Path, local_disk: Path, archives: Path) -> StagedEnvironment:
    """What a process that runs in `environment` describes."""
    cluster = ClusterConfig.model_validate(
        {"ranks_per_node": 1, "local_disk": local_disk, "slurm": {"stage_environment": archives}}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "prefix", str(environment))
        staged = describe_environment(cluster)
    assert staged is not None
    return staged


@pytest.fixture(scope="module")
def packed(small_venv: Path) -> StagedEnvironment:
    staged = describe(small_venv, small_venv.parent / "local", small_venv.parent / "archives")
    pack_environment(staged)
    return staged


class Node:
    """A node with a local disk of its own, on which `stage.sh` is run."""

    def __init__(self, staged: StagedEnvironment, home: Path, repository: Path) -> None:
        self.code = home / "launch" / "code"
        self.program = self.code / "here.py"
        self.code.mkdir(parents=True)
        self.program.write_text("")
        self.staged = replace(staged, directory=home / "local" / "cmbert-me" / "environments")
        self.script = repository / "launcher/slurm/stage.sh"
        self.shared = staged.roots["environment"] / "bin/python"

    @property
    def environment(self) -> Path:
        return self.staged.directory / self.staged.name

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        settings = "".join(f"export {setting}\n" for setting in self.staged.settings(self.code))
        command = ["bash", "-c", f'{settings}exec bash "$0" "$@"', str(self.script), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def stage(self, *arguments: str) -> str:
        process = self.start(*arguments)
        output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
        return output

    def modules(self) -> list[str]:
        """From where a rank takes its modules."""
        return self.stage("run", str(self.shared), "-c", SHOW, str(self.program)).splitlines()

    def left(self) -> list[str]:
        return sorted(os.listdir(self.staged.directory)) if self.staged.directory.is_dir() else []


@pytest.fixture
def node(packed: StagedEnvironment, tmp_path: Path, repository: Path) -> Node:
    return Node(packed, tmp_path, repository)


@pytest.mark.slow
def test_ranks_take_all_modules_from_the_local_disk(node: Node) -> None:
    first, second = node.start("unpack"), node.start("unpack")
    outputs = [process.communicate(timeout=300)[0] for process in (first, second)]
    assert sorted("unpacked in" in output for output in outputs) == [False, True], outputs
    assert any("on the local disk already" in output for output in outputs)
    local, own = node.modules(), [str(node.environment)]
    if "base" not in node.staged.roots:  # the system's Python
        own.append(sys.base_prefix)
    assert all(path.startswith(tuple(own)) for path in local), local
    assert local[-1].startswith(f"{node.environment}/code-launch/")
    assert node.environment.stat().st_mode & 0o777 == 0o700
    # Nothing of it leads back to the shared disk.
    hidden = node.shared.parents[1].with_name("hidden")
    node.shared.parents[1].rename(hidden)
    try:
        assert node.modules() == local
    finally:
        hidden.rename(node.shared.parents[1])
    # Code of another launch, of the same environment.
    node.code = node.code.parents[1] / "next" / "code"
    shutil.copytree(node.program.parent, node.code)
    node.program = node.code / "here.py"
    assert "already" in node.stage("unpack")
    assert node.modules()[-1].startswith(f"{node.environment}/code-next/")


@pytest.mark.slow
def test_a_node_that_cannot_unpack_uses_the_shared_environment(node: Node, tmp_path: Path) -> None:
    staged, complete = node.staged, node.staged.archive.read_bytes()
    cut = tmp_path / f"cut.tar{staged.archive.suffix}"
    cut.write_bytes(complete[: len(complete) // 2])
    (file := tmp_path / "file").touch()
    (open_to_all := tmp_path / "open").mkdir()
    open_to_all.chmod(0o777)
    cases = {
        "no space for": replace(staged, kilobytes=10**15),
        "cannot be unpacked": replace(staged, archive=cut),
        "cannot be read": replace(staged, archive=tmp_path / "none.tar.zst"),
        "is not a directory of this user": replace(staged, directory=file / "environments"),
        "others can write to": replace(staged, directory=open_to_all / "environments"),
    }
    if staged.files < 10**12:
        cases["in 1000000000000 files"] = replace(staged, files=10**12)
    for problem, node.staged in cases.items():
        if problem.startswith("in ") and not _counts_inodes(tmp_path):
            continue
        output = node.stage("unpack")
        assert "the Python environment stays on the shared disk" in output, (problem, output)
        assert problem in output, (problem, output)
        assert set(node.left()) <= {".lock"}
        assert str(node.shared.parents[1]) in "\n".join(node.modules()), problem


def _counts_inodes(directory: Path) -> bool:
    return os.statvfs(directory).f_files > 0


@pytest.mark.slow
def test_what_nobody_uses_is_removed(node: Node, packed: StagedEnvironment) -> None:
    environments = node.staged.directory
    environments.mkdir(parents=True, mode=0o700)
    environments.parent.chmod(0o700)
    old = time.time() - 30 * 24 * 3600
    for name in ("unused-0123", "used-4567", "recent-89ab", ".partial.1"):
        (environments / name).mkdir()
        os.utime(environments / name, None if name.startswith("recent") else (old, old))
    sleeper = subprocess.Popen(["sleep", "600"], env={"PYTHONPATH": f"{environments}/used-4567/code-1"})
    try:
        assert "unpacked" in node.stage("unpack")
        assert node.left() == [".lock", packed.name, "recent-89ab", "used-4567"]
        # Where space is short, what is not in use makes room, this one too; the reply is the same.
        node.staged = replace(node.staged, name="another-cdef", kilobytes=10**15)
        assert "no space" in node.stage("unpack")
        assert node.left() == [".lock", "used-4567"]
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.slow
def test_the_archive_is_made_once_for_the_same_files(packed: StagedEnvironment, small_venv: Path) -> None:
    before = packed.archive.stat().st_ino
    again = describe(small_venv, small_venv.parent / "local", small_venv.parent / "archives")
    assert again == packed
    pack_environment(again)
    assert packed.archive.stat().st_ino == before
    assert os.listdir(packed.archive.parent) == [packed.archive.name]
    module = next(small_venv.glob("lib/python*/site-packages/there.py"))
    times = module.stat()
    try:
        module.write_text("x = 1\n")
        assert describe(small_venv, Path("/tmp"), packed.archive.parent).name != packed.name
    finally:
        module.write_text("")
        os.utime(module, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_the_python_of_the_system_is_not_packed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "prefix", "/usr")
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    cluster = ClusterConfig.model_validate({"ranks_per_node": 1, "slurm": {"stage_environment": tmp_path}})
    with pytest.raises(UserError, match="belongs to the system"):
        describe_environment(cluster)
    assert describe_environment(ClusterConfig(ranks_per_node=1)) is None


@pytest.mark.slow
def test_ranks_of_a_slurm_job_run_from_the_local_disk_of_each_node(
    slurm_cluster: SlurmCluster, packed: StagedEnvironment, tmp_path: Path, repository: Path
) -> None:
    """Each node of the cluster has a /dev/shm of its own."""
    run = SlurmRun(slurm_cluster, tmp_path / "staged")
    shutil.copytree(repository / "launcher/slurm", code_directory(run.launch) / NAME / "launcher/slurm")
    program = code_directory(run.launch) / "here.py"
    program.write_text(
        "import os, pathlib, sys\n"
        "rank, end = os.environ['SLURM_PROCID'], os.environ['CMBERT_EXIT_FILE']\n"
        "seen = pathlib.Path(sys.argv[1], f'seen{rank}')\n"
        "again = seen.exists()\n"
        "seen.write_text('\\n'.join([os.environ['SLURMD_NODENAME'], sys.prefix, __file__]))\n"
        "if rank == '0':\n    open(end, 'x').write('0' if again else '86')\n"
    )
    cluster = ClusterConfig.model_validate(
        {
            "nodes": 2, "ranks_per_node": 2, "gpus_per_node": 0, "fabric": "tcp",
            "slurm": {"time": "30", "partition": "debug", "preflight": "true"},
        }
    )  # fmt: skip
    staged = replace(packed, directory=Path("/dev/shm/cmbert-test/environments"))
    command = [str(packed.roots["environment"] / "bin/python"), str(program), str(run.run_dir)]
    run.script.write_text(render_job(run.launch, run.run_dir, cluster, command, staged))
    job = submit(run.script, cluster)
    assert run.ended(job)["JobState"] == "COMPLETED", run.log()
    log = run.log()
    nodes = set(slurm_cluster.hosts(run.slurm.job_info(job)["NodeList"]))
    assert len(re.findall(r"was unpacked in \d+ s", log)) == len(nodes) == 2, log
    seen = [(run.run_dir / f"seen{rank}").read_text().splitlines() for rank in range(4)]
    assert {node for node, _, _ in seen} == nodes
    local = staged.directory / staged.name
    assert [(prefix, file) for _, prefix, file in seen] == [
        (str(local / "environment"), str(local / f"code-{run.launch.name}" / "here.py"))
    ] * 4
    assert not local.exists()  # this test's own /dev/shm is not a node's
