"""Each check of `cmbert doctor` against a real failure, and the command on two nodes."""

import json
import mmap
import os
import re
import resource
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
import typer
from s3_server import BUCKET, Fault, FaultProxy, S3Server, environment
from unshared_nodes import can_mount

from clinical_modernbert.kernels.verify import self_test
from clinical_modernbert.launcher.commands import doctor as doctor_command
from clinical_modernbert.launcher.doctor import ranks as doctor_ranks
from clinical_modernbert.launcher.doctor.devices import cuda, gpus, kernels
from clinical_modernbert.launcher.doctor.finding import Finding, compare_software, exit_code, merge_equal_findings
from clinical_modernbert.launcher.doctor.machine import cache_disk, locked_memory, shared_memory, stale_segments
from clinical_modernbert.launcher.doctor.ranks import clocks
from clinical_modernbert.launcher.doctor.software import (
    REPORTED_PACKAGES,
    check_requirements,
    incompatibilities,
    packages,
    versions,
)
from clinical_modernbert.launcher.doctor.store import object_store

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk or set a host name")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB in memory."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mounted], capture_output=True).returncode:
        pytest.skip("this container cannot mount a disk")
    yield mounted
    subprocess.run(["umount", mounted], check=True)


@needs_root
def test_too_little_shared_memory_fails(small_disk: Path) -> None:
    finding = shared_memory(small_disk)
    assert (finding.status, finding.result) == ("failed", f"1 MiB free in {small_disk}")
    assert cache_disk(small_disk, "shards").status == "failed"
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    finding = shared_memory(small_disk)
    assert (finding.status, finding.result) == ("failed", f"64 MiB free in {small_disk}"), "a container's default"


@needs_root
def test_a_read_only_disk_is_reported(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "cannot be written" in cache_disk(small_disk / "cache", "shards").result


def test_missing_shared_memory_fails(tmp_path: Path) -> None:
    assert shared_memory(tmp_path / "none").status == "failed"


def test_a_network_file_system_is_a_warning(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/home {tmp_path} nfs4 rw 0 0\n")
    assert cache_disk(tmp_path / "a" / "b", "compiled kernels", mounts).status == "warning"
    mounts.write_text(f"server:/ / nfs4 rw 0 0\n/dev/vda {tmp_path} ext4 rw 0 0\n")
    assert cache_disk(tmp_path / "a" / "b", "compiled kernels", mounts).status == "ok"


def test_segments_are_stale_if_no_process_holds_them(tmp_path: Path) -> None:
    (tmp_path / "psm_mapped").write_bytes(b"x" * 4096)
    (tmp_path / "nccl-open").write_bytes(b"x" * 4096)
    (tmp_path / "unrelated").write_bytes(b"x" * 4096)
    with (tmp_path / "psm_mapped").open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    with (tmp_path / "nccl-open").open():
        assert stale_segments(tmp_path).status == "ok"
    assert stale_segments(tmp_path).result == "1 segments, 0.0 MiB, such as nccl-open"
    mapped.close()
    assert stale_segments(tmp_path).result.startswith("2 segments")


def test_segments_of_other_users_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nccl-open").write_bytes(b"x")
    assert stale_segments(tmp_path).status == "warning"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert stale_segments(tmp_path).status == "ok"


def limited(limits: str, call: str) -> list[str]:
    """Return status and result of a check under `ulimit`."""
    code = (
        f"import clinical_modernbert.launcher.doctor.machine as m; f = m.{call}; print(f.status, f.result, sep='\\n')"
    )
    ended = subprocess.run(
        ["bash", "-c", f"ulimit {limits} && exec '{sys.executable}' -c \"{code}\""], capture_output=True
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.decode().splitlines()


def test_a_low_limit_of_open_files_is_reported() -> None:
    assert limited("-n 256", "open_files()") == ["failed", "256"]
    assert limited("-n 1024", "open_files()") == ["warning", "1,024"]


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Directories of adapters and of a process for `locked_memory`, under a limit of 64 KiB of locked memory."""
    monkeypatch.delenv("NCCL_IB_DISABLE", raising=False)
    layer, process = tmp_path / "adapters" / "mlx5_0" / "ports" / "1" / "link_layer", tmp_path / "process"
    layer.parent.mkdir(parents=True)
    layer.write_text("InfiniBand\n")
    process.mkdir()
    (process / "status").write_text("Name:\tpython\nCapEff:\t00000000a80425fb\n")
    (process / "uid_map").write_text("         0          0 4294967295\n")
    limits = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 * 2**10, limits[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_MEMLOCK, limits)


def test_a_low_limit_of_locked_memory_matters_only_with_rdma(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def status() -> str:
        return locked_memory(locked / "adapters", locked / "process").status

    assert status() == "failed"
    monkeypatch.setenv("NCCL_IB_DISABLE", "1")
    assert status() == "warning"
    monkeypatch.delenv("NCCL_IB_DISABLE")
    (locked / "adapters" / "mlx5_0" / "ports" / "1" / "link_layer").write_text("Ethernet\n")
    assert status() == "warning"
    assert locked_memory(locked / "none", locked / "process").status == "ok"


def test_a_process_with_ipc_lock_has_no_limit(locked: Path) -> None:
    (locked / "process" / "status").write_text("Name:\tpython\nCapEff:\t00000000a80465fb\n")
    assert locked_memory(locked / "adapters", locked / "process").status == "ok"
    # The capability has no effect in a user namespace.
    (locked / "process" / "uid_map").write_text("         0       1000          1\n")
    assert locked_memory(locked / "adapters", locked / "process").status == "failed"


@needs_root
@pytest.mark.parametrize(("capabilities", "status"), [("+ipc_lock", "ok"), ("-ipc_lock", "failed")])
def test_ipc_lock_is_read_from_this_process(locked: Path, capabilities: str, status: str) -> None:
    bounds = re.search(r"CapBnd:\s*(\w+)", Path("/proc/self/status").read_text())
    namespace = Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
    if namespace or bounds is None or not int(bounds[1], 16) >> 14 & 1:
        pytest.skip("this container limits locked memory")
    code = "import sys, pathlib, clinical_modernbert.launcher.doctor.machine as m; "
    code += "print(m.locked_memory(pathlib.Path(sys.argv[1])).status)"
    command = ["setpriv", f"--bounding-set={capabilities}", sys.executable, "-c", code, str(locked / "adapters")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == status


def test_missing_and_outdated_packages_fail() -> None:
    required = [
        "torch>=2.6",
        "triton>=3.3; platform_system == 'Plan9'",
        "deepspeed>=0.19.8,<0.20",
        "obstore; extra == 'clouds'",
    ]
    assert check_requirements({"torch": "2.13.0+cpu", "deepspeed": "0.19.9"}, required).status == "ok"
    finding = check_requirements({"torch": "2.5.1", "deepspeed": None}, required)
    assert (finding.status, finding.result) == ("failed", "torch 2.5.1 is not >=2.6; deepspeed is missing")


def test_a_package_that_is_only_on_the_path_is_a_warning() -> None:
    finding = packages("clinical-modernbert-elsewhere", (*REPORTED_PACKAGES[:-1], "clinical-modernbert-elsewhere"))
    assert finding.status == "warning"
    assert f"torch {versions()['torch']}" in finding.result
    assert packages("clinical-modernbert-elsewhere", ("torch", "deepspeed-elsewhere")).status == "failed"


def test_a_triton_version_that_torch_was_not_built_with_fails() -> None:
    torch_requirements = ["filelock", 'triton==3.7.1; platform_system == "Linux"']
    assert list(incompatibilities({"torch": "2.13.0", "triton": "3.7.1"}, torch_requirements, {})) == []
    (finding,) = incompatibilities({"torch": "2.13.0", "triton": "3.5.0"}, torch_requirements, {})
    assert (finding.status, finding.result) == ("failed", "triton 3.5.0, torch requires ==3.7.1")
    assert [finding.check for finding in incompatibilities({}, [], {"TRITON_INTERPRET": "1"})] == ["TRITON_INTERPRET"]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An executable to be written, first on the path."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = tmp_path / "nvidia-smi"
    program.touch(mode=0o755)
    return program


H100 = "NVIDIA H100 80GB HBM3, 81559, 570.86.15"
ERRORS = "--query-gpu=gpu_bus_id,ecc.errors.uncorrected.volatile.total"
RETIRED = "--query-gpu=gpu_bus_id,retired_pages.pending"
PENDING = "--query-remapped-rows=gpu_bus_id,remapped_rows.pending"
FAILED = "--query-remapped-rows=gpu_bus_id,remapped_rows.failure"
HEALTHY = {ERRORS: "0", RETIRED: "[N/A]", PENDING: "No", FAILED: "No"}


def two_gpus(program: Path, second: dict[str, str]) -> None:
    """Answer queries for a healthy GPU and for one with the values `second`; reject other queries like nvidia-smi."""
    cases = {"--query-gpu=name,memory.total,driver_version": [H100, H100]}
    for query, value in second.items():
        cases[query] = [f"00000000:4E:00.0, {HEALTHY[query]}", f"00000000:5F:00.0, {value}"]
    lines = [f"{query}) printf '%s\\n' {shlex.join(rows)};;" for query, rows in cases.items()]
    refusal = """*) echo "Field \\"${1##*,}\\" is not a valid field to query."; exit 2;;"""
    program.write_text("\n".join(["#!/bin/sh", 'case "$1" in', *lines, refusal, "esac\n"]))


def test_healthy_gpus_are_ok(nvidia_smi: Path) -> None:
    two_gpus(nvidia_smi, HEALTHY)
    devices, memory = gpus()
    assert (devices.status, devices.result) == ("ok", "2 x NVIDIA H100 80GB HBM3, 81559 MiB, driver 570.86.15")
    assert memory.result == "no uncorrected errors or rows pending remapping or rows that failed remapping"
    two_gpus(nvidia_smi, dict.fromkeys(HEALTHY, "[N/A]"))
    assert [finding.status for finding in gpus()] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("query", "value", "status", "advice"),
    [
        (ERRORS, "3", "failed", "replaced"),
        (RETIRED, "Yes", "failed", "reset"),
        (PENDING, "Yes", "warning", "reset"),
        (PENDING, "1", "warning", "reset"),
        (FAILED, "Yes", "failed", "replaced"),
    ],
)
def test_a_gpu_with_memory_errors_is_reported(
    nvidia_smi: Path, query: str, value: str, status: str, advice: str
) -> None:
    two_gpus(nvidia_smi, {**HEALTHY, query: value})
    _, memory = gpus()
    assert memory.status == status
    assert f"GPU 00000000:5F:00.0 ({value})" in memory.result
    assert "4E" not in memory.result
    assert advice in memory.advice


@pytest.mark.parametrize("known", [{}, {FAILED: "Yes"}])
def test_a_field_unknown_to_the_driver_skips_only_its_check(nvidia_smi: Path, known: dict[str, str]) -> None:
    two_gpus(nvidia_smi, known)
    assert [finding.status for finding in gpus()] == ["ok", "failed" if known else "ok"]


@pytest.mark.parametrize("code", [255, 0])
def test_a_failing_driver_is_reported(nvidia_smi: Path, code: int) -> None:
    message = "Unable to determine the device handle for GPU 0000:4E:00.0"
    nvidia_smi.write_text(f"#!/bin/sh\necho '{message}'\nexit {code}\n")
    (finding,) = gpus()
    assert finding.status == "failed"
    assert "0000:4E" in finding.result


def test_gpus_that_torch_cannot_use_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cuda(tmp_path).status == "ok"
    assert [finding.status for finding in gpus(tmp_path)] == ["warning"]
    (tmp_path / "kfd").touch()
    assert cuda(tmp_path).status == "failed"
    assert list(gpus(tmp_path)) == []
    (tmp_path / "kfd").unlink()
    (tmp_path / "nvidia0").touch()
    assert cuda(tmp_path).status == "failed"
    assert [finding.status for finding in gpus(tmp_path)] == ["failed"]


@pytest.mark.parametrize(("visible", "ranks"), [(2, 2), (0, 2), (8, 8)])
def test_there_is_one_rank_per_visible_gpu(monkeypatch: pytest.MonkeyPatch, visible: int, ranks: int) -> None:
    started = []

    def run_ranks(command: list[str], ranks: int, **options: object) -> int:
        started.append(ranks)
        return 0

    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(doctor_command, "run_ranks", run_ranks)
    with pytest.raises(typer.Exit):
        doctor_command.doctor()
    assert started == [ranks]


@pytest.mark.parametrize(("factor", "status"), [(1.0, "ok"), (1.02, "failed")])
def test_a_wrong_kernel_fails(factor: float, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ours(x: torch.Tensor, factor: float) -> torch.Tensor:
        return self_test.geglu(x) * factor

    case = ("GeGLU", partial(ours, factor=factor), self_test.reference.geglu, [torch.randn(50, 64)])
    monkeypatch.setattr(self_test, "_cases", lambda device, dtype: iter([case]))
    finding = kernels(torch.device("cpu"))
    assert finding.status == status
    assert ("GeGLU in fp32" in finding.result) == (status == "failed")


def test_clock_skew_is_reported() -> None:
    assert [clocks([100.0, 100.0 + skew]).status for skew in (0.01, 10.0, 900.0)] == ["ok", "warning", "failed"]


def test_ranks_that_cannot_connect_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_ranks, "JOIN_TIMEOUT", timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Exception, match="out after") as caught:
        doctor_ranks.join_process_group()
    assert "2 ranks cannot connect" in doctor_ranks.connection_failure(caught.value).result


def test_brackets_in_an_error_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    message = "[/pytorch/gloo/pair.cc:525] closed [red]"
    doctor_command._print({"node": [Finding("ranks", "failed", message)]}, as_json=False)
    assert message in " ".join(capsys.readouterr().out.split())


def test_the_last_error_of_nccl_is_reported() -> None:
    message = "NCCL error in: NCCLUtils.cpp:94\nncclSystemError: call failed\nLast error:\nno socket interface found\n"
    assert doctor_ranks.connection_failure(RuntimeError(message)).result.endswith(
        "RuntimeError: no socket interface found"
    )
    assert doctor_ranks.connection_failure(RuntimeError()).result.endswith("RuntimeError: ")


@pytest.fixture
def store(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    from threading import Thread

    proxy = FaultProxy(s3_server.port)
    Thread(target=proxy.serve_forever, daemon=True).start()
    for name, value in environment(proxy.url).items():
        monkeypatch.setenv(name, value)
    yield proxy
    proxy.closing.set()
    proxy.shutdown()


def objects_in(server: S3Server) -> list[str]:
    response = server.client().list_objects_v2(Bucket=BUCKET, Prefix="doctor/")
    return [entry["Key"] for entry in response.get("Contents", ())]


def test_a_store_is_checked_and_left_unchanged(store: FaultProxy, s3_server: S3Server) -> None:
    finding = object_store(f"s3://{BUCKET}/doctor")
    assert finding.status == "ok", finding
    assert {method for method, _ in store.requests} == {"PUT", "GET", "DELETE"}
    assert objects_in(s3_server) == []


@pytest.mark.parametrize(("kind", "method"), [("403", "PUT"), ("corrupt", "GET")])
def test_a_store_that_refuses_or_returns_other_bytes_fails(
    store: FaultProxy, s3_server: S3Server, kind: str, method: str
) -> None:
    store.fault = Fault(kind, "cmbert-doctor", method=method)
    assert object_store(f"s3://{BUCKET}/doctor").status == "failed"
    assert objects_in(s3_server) == []


def test_an_unknown_store_fails() -> None:
    assert object_store("ftp://server/path").status == "failed"


def test_software_that_differs_between_nodes_is_reported() -> None:
    same = {"torch": "2.13.0", "deepspeed": "0.19.8"}
    assert compare_software({"a": same, "b": same}).status == "ok"
    finding = compare_software({"a": same, "b": same, "c": {"torch": "2.12.0", "deepspeed": "0.19.8"}})
    assert (finding.status, finding.result) == ("failed", "torch 2.13.0 on a, b, 2.12.0 on c")


def test_equal_findings_of_all_nodes_are_one_row() -> None:
    fine, slow = Finding("disk", "ok", "much"), Finding("clocks", "failed", "apart", "set them")
    reports = {"a": [fine, slow], "b": [fine]}
    assert list(merge_equal_findings(reports)) == [("a", slow), ("all", fine)]
    assert exit_code(reports) == 1
    assert exit_code({"b": [fine]}) == 0


@dataclass(frozen=True)
class RankResult:
    """The output of a rank, and its exit code."""

    code: int
    output: str
    errors: str

    def findings(self, node: str) -> dict[str, dict[str, str]]:
        """Return {check: finding}."""
        return {finding["check"]: finding for finding in json.loads(self.output)["nodes"][node]}


def run_on_two_nodes(
    own: Sequence[dict[str, str]], change: str = "", named: bool = False, options: Sequence[str] = ()
) -> list[RankResult]:
    """Run two ranks, each the first of a node, with additional variables `own`; `change` is Python that runs first.

    `named` nodes have host names. Their DISK, if `own` has one, is mounted on their MOUNTED.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    imports = "import os, sys, time\nfrom datetime import timedelta\n"
    imports += "from clinical_modernbert.launcher import cli\n"
    imports += "from clinical_modernbert.launcher.commands import doctor as doctor_command\n"
    imports += "from clinical_modernbert.launcher.doctor import ranks as doctor_ranks\n"
    command = [sys.executable, "-c", f"{imports}{change}\ncli.main()", "doctor", "--quick", "--json"]
    command += options
    if named:
        node = 'hostname node$RANK; test -z "$DISK" || mount --bind "$DISK" "$MOUNTED"; exec "$@"'
        command = ["unshare", "--uts", "--mount", "sh", "-c", node, "sh", *command]
    ranks = [
        subprocess.Popen(
            command,
            env=shared | {"RANK": str(rank)} | own[rank],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    ended = [rank.communicate(timeout=120) for rank in ranks]
    return [RankResult(rank.returncode, *output) for rank, output in zip(ranks, ended, strict=True)]


needs_namespaces = pytest.mark.skipif(
    not can_mount(), reason="needs the right to give a process its own host name and mounts (root)"
)


@pytest.mark.ranks
@needs_namespaces
def test_two_nodes_with_different_software_fail(tmp_path: Path) -> None:
    """Each rank has its own host name; the second finds another version of transformers first."""
    metadata = tmp_path / "transformers-4.0.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 4.0.0\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    first, second = run_on_two_nodes([{}, {"PYTHONPATH": path}], named=True)
    assert second.output == ""
    assert (first.code, second.code) == (1, 1)
    report = json.loads(first.output)
    assert set(report["nodes"]) == {"node0", "node1"}
    assert report["would_fail"]
    findings = first.findings("node0")
    assert findings["same software"]["result"] == f"transformers {versions()['transformers']} on node0, 4.0.0 on node1"
    assert findings["all-reduce of 2 ranks"]["status"] == "ok"
    assert findings["packages"]["status"] == "ok"
    assert first.findings("node1")["packages"]["status"] == "failed"


@pytest.mark.ranks
@needs_namespaces
@pytest.mark.parametrize("shared", [True, False])
def test_a_directory_that_two_nodes_do_not_share_fails(shared: bool, tmp_path: Path) -> None:
    (runs := tmp_path / "runs").mkdir()
    disks = [tmp_path / "disk0", tmp_path / ("disk0" if shared else "disk1")]
    for disk in disks:
        disk.mkdir(exist_ok=True)
    own = [{"DISK": str(disk), "MOUNTED": str(runs)} for disk in disks]
    first, second = run_on_two_nodes(own, named=True, options=["--run-dir", str(runs)])
    for node in ("node0", "node1"):
        finding = first.findings(node)[f"{runs} on all nodes"]
        if shared:
            assert (finding["status"], finding["result"]) == ("ok", "what rank 0 writes is seen by all 2 ranks")
        else:
            assert finding["status"] == "failed"
            assert finding["result"].endswith("what rank 0 writes is not seen on node1")
    assert (first.code, second.code) == ((0, 0) if shared else (1, 1))
    assert [list(disk.iterdir()) for disk in disks] == [[], []], "the disks are left unchanged"


@pytest.mark.ranks
@needs_namespaces
def test_a_directory_that_a_node_lacks_or_cannot_write_fails(tmp_path: Path) -> None:
    (runs := tmp_path / "runs").mkdir()
    (tmp_path / "disk" / "inner").mkdir(parents=True)
    own = [{"DISK": str(tmp_path / "disk"), "MOUNTED": str(runs)}, {}]
    first, _ = run_on_two_nodes(own, named=True, options=["--run-dir", str(runs / "inner")])
    finding = first.findings("node0")[f"{runs / 'inner'} on all nodes"]
    assert (finding["status"], finding["result"]) == ("failed", "no such directory on node1")
    first, second = run_on_two_nodes([{}, {}], named=True, options=["--run-dir", "/proc"])
    assert "cannot be written" in first.findings("node1")["/proc on all nodes"]["result"]
    assert (first.code, second.code) == (1, 1)


@pytest.mark.ranks
def test_a_failure_of_nccl_is_reported_with_all_other_findings() -> None:
    """When NCCL fails, it raises on one rank, and the other waits forever."""
    change = """
def fail(device, megabytes):
    if os.environ["RANK"] == "1":
        raise RuntimeError("NCCL error\\nLast error:\\nno socket interface found")
    time.sleep(3600)
doctor_ranks.EXCHANGE_SECONDS = 1
doctor_ranks._exchange = fail
show, end = doctor_command._print, os._exit
doctor_command._print = lambda *args: (time.sleep(1), show(*args), print("printed", time.time(), file=sys.stderr))
os._exit = lambda code: (print("ended", time.time(), file=sys.stderr, flush=True), end(code))"""
    first, second = run_on_two_nodes([{}, {"TRITON_INTERPRET": "1"}], change)
    assert (first.code, second.code, second.output) == (1, 1, "")
    findings = first.findings(socket.gethostname())
    exchange = findings["all-reduce of 2 ranks"]
    assert exchange["status"] == "failed"
    assert exchange["result"] == "rank 0: no answer within 1 s; rank 1: RuntimeError: no socket interface found"
    assert findings["TRITON_INTERPRET"]["status"] == "failed"
    (printed,), (ended,) = re.findall(r"printed (\S+)", first.errors), re.findall(r"ended (\S+)", second.errors)
    assert float(printed) < float(ended), "a launcher may kill rank 0 when another rank has failed"


@pytest.mark.ranks
def test_nodes_that_cannot_connect_each_print_their_own_findings() -> None:
    change = "doctor_ranks.JOIN_TIMEOUT = timedelta(seconds=1)"
    results = run_on_two_nodes([{"MASTER_PORT": "1"}, {"MASTER_PORT": "2", "TRITON_INTERPRET": "1"}], change)
    assert [rank.code for rank in results] == [1, 1]
    first, second = [rank.findings(socket.gethostname()) for rank in results]
    assert "2 ranks cannot connect" in first["ranks"]["result"]
    assert second["ranks"]["status"] == second["TRITON_INTERPRET"]["status"] == "failed"


@pytest.mark.ranks
def test_failed_checks_are_reported_only_in_the_table() -> None:
    command = [sys.executable, "-m", "clinical_modernbert.launcher", "doctor", "--quick", "--ranks", "2"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stdout.count("A run would fail.") == 1
    assert "exited with" not in ended.stderr
