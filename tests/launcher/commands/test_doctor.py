"""Each check of `cmbert doctor` with a real cause for what it finds, and the command on two nodes."""

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

from clinical_modernbert.kernels.verify import self_test
from clinical_modernbert.launcher.commands import doctor as doctor_command
from clinical_modernbert.launcher.doctor import ranks as doctor_ranks
from clinical_modernbert.launcher.doctor import software as doctor_software
from clinical_modernbert.launcher.doctor.devices import cuda, gpus, kernels
from clinical_modernbert.launcher.doctor.finding import Finding, compare_software, merge_equal_findings, exit_code
from clinical_modernbert.launcher.doctor.machine import cache_disk, locked_memory, shared_memory, stale_segments
from clinical_modernbert.launcher.doctor.ranks import clocks
from clinical_modernbert.launcher.doctor.software import packages, pairs, check_requirements, versions
from clinical_modernbert.launcher.doctor.store import object_store

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk or name a host")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Of one MiB, in memory."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mounted], capture_output=True).returncode:
        pytest.skip("no disk can be mounted in this container")
    yield mounted
    subprocess.run(["umount", mounted], check=True)


@needs_root
def test_little_shared_memory_fails_a_run(small_disk: Path) -> None:
    finding = shared_memory(small_disk)
    assert (finding.status, finding.found) == ("failed", f"1 MiB free in {small_disk}")
    assert cache_disk(small_disk, "shards").status == "failed"
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    finding = shared_memory(small_disk)
    assert (finding.status, finding.found) == ("failed", f"64 MiB free in {small_disk}"), "a container's default"


@needs_root
def test_a_disk_that_cannot_be_written_is_found(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "cannot be written" in cache_disk(small_disk / "cache", "shards").found


def test_no_shared_memory_fails_a_run(tmp_path: Path) -> None:
    assert shared_memory(tmp_path / "none").status == "failed"


def test_a_disk_of_the_network_is_a_warning(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/home {tmp_path} nfs4 rw 0 0\n")
    assert cache_disk(tmp_path / "a" / "b", "compiled kernels", mounts).status == "warning"
    mounts.write_text(f"server:/ / nfs4 rw 0 0\n/dev/vda {tmp_path} ext4 rw 0 0\n")
    assert cache_disk(tmp_path / "a" / "b", "compiled kernels", mounts).status == "ok"


def test_segments_are_stale_when_nobody_holds_them(tmp_path: Path) -> None:
    (tmp_path / "psm_mapped").write_bytes(b"x" * 4096)
    (tmp_path / "nccl-open").write_bytes(b"x" * 4096)
    (tmp_path / "somebody-elses").write_bytes(b"x" * 4096)
    with (tmp_path / "psm_mapped").open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
    with (tmp_path / "nccl-open").open():
        assert stale_segments(tmp_path).status == "ok"
    assert stale_segments(tmp_path).found == "1 segments, 0.0 MiB, such as nccl-open"
    mapped.close()
    assert stale_segments(tmp_path).found.startswith("2 segments")


def test_what_another_user_left_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nccl-open").write_bytes(b"x")
    assert stale_segments(tmp_path).status == "warning"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert stale_segments(tmp_path).status == "ok"


def limited(limits: str, call: str) -> list[str]:
    """Status and what was found, under `ulimit`."""
    code = f"import clinical_modernbert.launcher.doctor.machine as m; f = m.{call}; print(f.status, f.found, sep='\\n')"
    told = subprocess.run(
        ["bash", "-c", f"ulimit {limits} && exec '{sys.executable}' -c \"{code}\""], capture_output=True
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.decode().splitlines()


def test_few_open_files() -> None:
    assert limited("-n 256", "open_files()") == ["failed", "256"]
    assert limited("-n 1024", "open_files()") == ["warning", "1,024"]


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The adapters and the process that `locked_memory` looks at, with 64 KiB that may be locked."""
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


def test_little_locked_memory_matters_where_there_is_rdma(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> str:
        return locked_memory(locked / "adapters", locked / "process").status

    assert found() == "failed"
    monkeypatch.setenv("NCCL_IB_DISABLE", "1")
    assert found() == "warning"
    monkeypatch.delenv("NCCL_IB_DISABLE")
    (locked / "adapters" / "mlx5_0" / "ports" / "1" / "link_layer").write_text("Ethernet\n")
    assert found() == "warning"
    assert locked_memory(locked / "none", locked / "process").status == "ok"


def test_a_process_with_ipc_lock_may_lock_any_memory(locked: Path) -> None:
    (locked / "process" / "status").write_text("Name:\tpython\nCapEff:\t00000000a80465fb\n")
    assert locked_memory(locked / "adapters", locked / "process").status == "ok"
    # in a user namespace the kernel does not count it
    (locked / "process" / "uid_map").write_text("         0       1000          1\n")
    assert locked_memory(locked / "adapters", locked / "process").status == "failed"


@needs_root
@pytest.mark.parametrize(("capabilities", "status"), [("+ipc_lock", "ok"), ("-ipc_lock", "failed")])
def test_ipc_lock_is_read_of_this_process(locked: Path, capabilities: str, status: str) -> None:
    bounds = re.search(r"CapBnd:\s*(\w+)", Path("/proc/self/status").read_text())
    namespace = Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
    if namespace or bounds is None or not int(bounds[1], 16) >> 14 & 1:
        pytest.skip("this container may not lock memory without limit")
    code = "import sys, pathlib, clinical_modernbert.launcher.doctor.machine as m; "
    code += "print(m.locked_memory(pathlib.Path(sys.argv[1])).status)"
    command = ["setpriv", f"--bounding-set={capabilities}", sys.executable, "-c", code, str(locked / "adapters")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == status


def test_packages_that_are_missing_or_too_old() -> None:
    required = [
        "torch>=2.6",
        "triton>=3.3; platform_system == 'Plan9'",
        "deepspeed>=0.19.8,<0.20",
        "obstore; extra == 'clouds'",
    ]
    assert check_requirements({"torch": "2.13.0+cpu", "deepspeed": "0.19.9"}, required).status == "ok"
    finding = check_requirements({"torch": "2.5.1", "deepspeed": None}, required)
    assert (finding.status, finding.found) == ("failed", "torch 2.5.1 is not >=2.6; deepspeed is missing")


def test_a_package_that_is_only_on_the_path_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_software, "_OWN", "clinical-modernbert-elsewhere")
    finding = packages()
    assert finding.status == "warning"
    assert f"torch {versions()['torch']}" in finding.found
    monkeypatch.setattr(doctor_software, "SHOWN", ("torch", "deepspeed-elsewhere"))
    assert packages().status == "failed"


def test_a_triton_that_torch_was_not_built_with() -> None:
    torchs = ["filelock", 'triton==3.7.1; platform_system == "Linux"']
    assert list(pairs({"torch": "2.13.0", "triton": "3.7.1"}, torchs, {})) == []
    (finding,) = pairs({"torch": "2.13.0", "triton": "3.5.0"}, torchs, {})
    assert (finding.status, finding.found) == ("failed", "triton 3.5.0, torch wants ==3.7.1")
    assert [found.check for found in pairs({}, [], {"TRITON_INTERPRET": "1"})] == ["TRITON_INTERPRET"]


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its program, to be written."""
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
    """The second GPU tells what `second` says, the first is well; any other query is refused, as nvidia-smi does it."""
    cases = {"--query-gpu=name,memory.total,driver_version": [H100, H100]}
    for query, told in second.items():
        cases[query] = [f"00000000:4E:00.0, {HEALTHY[query]}", f"00000000:5F:00.0, {told}"]
    lines = [f"{query}) printf '%s\\n' {shlex.join(rows)};;" for query, rows in cases.items()]
    refusal = """*) echo "Field \\"${1##*,}\\" is not a valid field to query."; exit 2;;"""
    program.write_text("\n".join(["#!/bin/sh", 'case "$1" in', *lines, refusal, "esac\n"]))


def test_gpus_that_are_well(nvidia_smi: Path) -> None:
    two_gpus(nvidia_smi, HEALTHY)
    devices, memory = gpus()
    assert (devices.status, devices.found) == ("ok", "2 x NVIDIA H100 80GB HBM3, 81559 MiB, driver 570.86.15")
    assert memory.found == "no uncorrected errors or rows to be remapped or rows that cannot be remapped"
    two_gpus(nvidia_smi, dict.fromkeys(HEALTHY, "[N/A]"))
    assert [finding.status for finding in gpus()] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("query", "told", "status", "advice"),
    [
        (ERRORS, "3", "failed", "replaced"),
        (RETIRED, "Yes", "failed", "reset"),
        (PENDING, "Yes", "warning", "reset"),
        (PENDING, "1", "warning", "reset"),
        (FAILED, "Yes", "failed", "replaced"),
    ],
)
def test_a_gpu_with_memory_errors(nvidia_smi: Path, query: str, told: str, status: str, advice: str) -> None:
    two_gpus(nvidia_smi, {**HEALTHY, query: told})
    _, memory = gpus()
    assert memory.status == status
    assert f"GPU 00000000:5F:00.0 ({told})" in memory.found
    assert "4E" not in memory.found
    assert advice in memory.advice


@pytest.mark.parametrize("known", [{}, {FAILED: "Yes"}])
def test_a_driver_that_does_not_know_a_field_costs_its_check_alone(nvidia_smi: Path, known: dict[str, str]) -> None:
    two_gpus(nvidia_smi, known)
    assert [finding.status for finding in gpus()] == ["ok", "failed" if known else "ok"]


@pytest.mark.parametrize("code", [255, 0])
def test_a_driver_that_fails_is_told(nvidia_smi: Path, code: int) -> None:
    said = "Unable to determine the device handle for GPU 0000:4E:00.0"
    nvidia_smi.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    (finding,) = gpus()
    assert finding.status == "failed"
    assert "0000:4E" in finding.found


def test_gpus_that_torch_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
def test_ranks_are_as_many_as_gpus_that_may_be_used(monkeypatch: pytest.MonkeyPatch, visible: int, ranks: int) -> None:
    started = []
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: visible)
    monkeypatch.setattr(doctor_command, "run_ranks", lambda command, ranks: started.append(ranks) or 0)
    with pytest.raises(typer.Exit):
        doctor_command.doctor()
    assert started == [ranks]


@pytest.mark.parametrize(("factor", "status"), [(1.0, "ok"), (1.02, "failed")])
def test_a_kernel_that_computes_something_else(factor: float, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ours(x: torch.Tensor, factor: float) -> torch.Tensor:
        return self_test.geglu(x) * factor

    case = ("GeGLU", partial(ours, factor=factor), self_test.reference.geglu, [torch.randn(50, 64)])
    monkeypatch.setattr(self_test, "_cases", lambda device, dtype: iter([case]))
    finding = kernels(torch.device("cpu"))
    assert finding.status == status
    assert ("GeGLU in fp32" in finding.found) == (status == "failed")


def test_clocks() -> None:
    assert [clocks([100.0, 100.0 + skew]).status for skew in (0.01, 10.0, 900.0)] == ["ok", "warning", "failed"]


def test_ranks_that_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_ranks, "JOIN", timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Exception, match="out after") as caught:
        doctor_ranks.join()
    assert "2 ranks do not meet" in doctor_ranks.apart(caught.value).found


def test_an_error_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    found = "[/pytorch/gloo/pair.cc:525] closed [red]"
    doctor_command._print({"node": [Finding("ranks", "failed", found)]}, as_json=False)
    assert found in " ".join(capsys.readouterr().out.split())


def test_of_nccl_the_last_error_is_told() -> None:
    told = "NCCL error in: NCCLUtils.cpp:94\nncclSystemError: call failed\nLast error:\nno socket interface found\n"
    assert doctor_ranks.apart(RuntimeError(told)).found.endswith("RuntimeError: no socket interface found")
    assert doctor_ranks.apart(RuntimeError()).found.endswith("RuntimeError: ")


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


def left_in(server: S3Server) -> list[str]:
    found = server.client().list_objects_v2(Bucket=BUCKET, Prefix="doctor/")
    return [entry["Key"] for entry in found.get("Contents", ())]


def test_a_store_is_used_and_left_as_it_was(store: FaultProxy, s3_server: S3Server) -> None:
    finding = object_store(f"s3://{BUCKET}/doctor")
    assert finding.status == "ok", finding
    assert {method for method, _ in store.requests} == {"PUT", "GET", "DELETE"}
    assert left_in(s3_server) == []


@pytest.mark.parametrize(("kind", "method"), [("403", "PUT"), ("corrupt", "GET")])
def test_a_store_that_refuses_or_lies(store: FaultProxy, s3_server: S3Server, kind: str, method: str) -> None:
    store.fault = Fault(kind, "cmbert-doctor", method=method)
    assert object_store(f"s3://{BUCKET}/doctor").status == "failed"
    assert left_in(s3_server) == []


def test_a_store_of_an_unknown_kind() -> None:
    assert object_store("ftp://server/path").status == "failed"


def test_what_differs_between_nodes_is_named() -> None:
    same = {"torch": "2.13.0", "deepspeed": "0.19.8"}
    assert compare_software({"a": same, "b": same}).status == "ok"
    finding = compare_software({"a": same, "b": same, "c": {"torch": "2.12.0", "deepspeed": "0.19.8"}})
    assert (finding.status, finding.found) == ("failed", "torch 2.13.0 on a, b, 2.12.0 on c")


def test_a_finding_of_all_nodes_is_one_row() -> None:
    fine, slow = Finding("disk", "ok", "much"), Finding("clocks", "failed", "apart", "set them")
    reports = {"a": [fine, slow], "b": [fine]}
    assert list(merge_equal_findings(reports)) == [("a", slow), ("all", fine)]
    assert exit_code(reports) == 1
    assert exit_code({"b": [fine]}) == 0


@dataclass(frozen=True)
class Told:
    """What a rank printed, and its exit code."""

    code: int
    output: str
    errors: str

    def findings(self, node: str) -> dict[str, dict[str, str]]:
        """By check."""
        return {finding["check"]: finding for finding in json.loads(self.output)["nodes"][node]}


def doctor_of_two_nodes(own: Sequence[dict[str, str]], change: str = "", named: bool = False) -> list[Told]:
    """Of two ranks, each the first of a node, with variables of their `own`; `change` is Python that runs first."""
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
    if named:
        command = ["unshare", "--uts", "sh", "-c", 'hostname node$RANK; exec "$@"', "sh", *command]
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
    return [Told(rank.returncode, *said) for rank, said in zip(ranks, ended, strict=True)]


@needs_root
def test_two_nodes_with_different_software(tmp_path: Path) -> None:
    """Two ranks with host names of their own; the second finds another transformers first."""
    if subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode:
        pytest.skip("no process may have a host name of its own in this container")
    metadata = tmp_path / "transformers-4.0.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 4.0.0\n")
    first, second = doctor_of_two_nodes([{}, {"PYTHONPATH": str(tmp_path)}], named=True)
    assert second.output == ""
    assert (first.code, second.code) == (1, 1)
    told = json.loads(first.output)
    assert set(told["nodes"]) == {"node0", "node1"}
    assert told["would_fail"]
    found = first.findings("node0")
    assert found["same software"]["found"] == f"transformers {versions()['transformers']} on node0, 4.0.0 on node1"
    assert found["all-reduce of 2 ranks"]["status"] == "ok"
    assert found["packages"]["status"] == "ok"
    assert first.findings("node1")["packages"]["status"] == "failed"


def test_what_gpus_cannot_exchange_is_told_with_all_else() -> None:
    """NCCL as it fails: it raises on one rank, and the other waits for ever."""
    change = """
def fail(device, megabytes):
    if os.environ["RANK"] == "1":
        raise RuntimeError("NCCL error\\nLast error:\\nno socket interface found")
    time.sleep(3600)
doctor_ranks.EXCHANGE_SECONDS = 1
doctor_ranks._exchange = fail
tell, end = doctor_command._print, os._exit
doctor_command._print = lambda *reports: (time.sleep(1), tell(*reports), print("told", time.time(), file=sys.stderr))
os._exit = lambda code: (print("ended", time.time(), file=sys.stderr, flush=True), end(code))"""
    first, second = doctor_of_two_nodes([{}, {"TRITON_INTERPRET": "1"}], change)
    assert (first.code, second.code, second.output) == (1, 1, "")
    found = first.findings(socket.gethostname())
    exchange = found["all-reduce of 2 ranks"]
    assert exchange["status"] == "failed"
    assert exchange["found"] == "rank 0: no answer within 1 s; rank 1: RuntimeError: no socket interface found"
    assert found["TRITON_INTERPRET"]["status"] == "failed"
    (spoken,), (ended,) = re.findall(r"told (\S+)", first.errors), re.findall(r"ended (\S+)", second.errors)
    assert float(spoken) < float(ended), "a launcher may end rank 0 when another one has failed"


def test_nodes_that_do_not_meet_each_tell_their_own() -> None:
    change = "doctor_ranks.JOIN = timedelta(seconds=1)"
    told = doctor_of_two_nodes([{"MASTER_PORT": "1"}, {"MASTER_PORT": "2", "TRITON_INTERPRET": "1"}], change)
    assert [rank.code for rank in told] == [1, 1]
    first, second = [rank.findings(socket.gethostname()) for rank in told]
    assert "2 ranks do not meet" in first["ranks"]["found"]
    assert second["ranks"]["status"] == second["TRITON_INTERPRET"]["status"] == "failed"


def test_only_the_table_tells_that_this_machine_is_not_fit() -> None:
    command = [sys.executable, "-m", "clinical_modernbert.launcher", "doctor", "--quick", "--ranks", "2"]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert told.returncode == 1
    assert told.stdout.count("A run would fail.") == 1
    assert "exited with" not in told.stderr
