"""Each check of `cmbert doctor` with a real cause for what it finds, and the command on two nodes."""

import json
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
import torch
from s3_server import BUCKET, Fault, FaultProxy, S3Server, environment

from clinical_modernbert.kernels import self_test
from clinical_modernbert.launcher import doctor_ranks
from clinical_modernbert.launcher.doctor import Finding, differences, grouped, verdict
from clinical_modernbert.launcher.doctor_devices import cuda, gpus, kernels
from clinical_modernbert.launcher.doctor_machine import cache_disk, locked_memory, shared_memory, stale_segments
from clinical_modernbert.launcher.doctor_ranks import clocks
from clinical_modernbert.launcher.doctor_software import pairs, requirements_met, versions
from clinical_modernbert.launcher.doctor_store import object_store

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


def limited(limits: str, call: str) -> list[str]:
    """Status and what was found, under `ulimit`."""
    code = f"import clinical_modernbert.launcher.doctor_machine as m; f = m.{call}; print(f.status, f.found, sep='\\n')"
    told = subprocess.run(
        ["bash", "-c", f"ulimit {limits} && exec '{sys.executable}' -c \"{code}\""], capture_output=True
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.decode().splitlines()


def test_few_open_files() -> None:
    assert limited("-n 256", "open_files()") == ["failed", "256"]
    assert limited("-n 1024", "open_files()") == ["warning", "1,024"]


def test_little_locked_memory_matters_where_there_is_rdma(tmp_path: Path) -> None:
    (tmp_path / "mlx5_0").mkdir()
    adapters = f"__import__('pathlib').Path('{tmp_path}')"
    assert limited("-l 64", f"locked_memory({adapters})")[0] == "failed"
    assert limited("-l 64", "locked_memory()")[0] == locked_memory().status == "ok"


def test_packages_that_are_missing_or_too_old() -> None:
    required = [
        "torch>=2.6",
        "triton>=3.3; platform_system == 'Plan9'",
        "deepspeed>=0.19.8,<0.20",
        "obstore; extra == 'clouds'",
    ]
    assert requirements_met({"torch": "2.13.0+cpu", "deepspeed": "0.19.9"}, required).status == "ok"
    finding = requirements_met({"torch": "2.5.1", "deepspeed": None}, required)
    assert (finding.status, finding.found) == ("failed", "torch 2.5.1 is not >=2.6; deepspeed is missing")


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


def test_a_gpu_with_memory_errors_fails_a_run(nvidia_smi: Path) -> None:
    row = "NVIDIA H100 80GB HBM3, 81559, 570.86.15, "
    nvidia_smi.write_text(f"#!/bin/sh\necho '{row}0, No'\necho '{row}3, Yes'\n")
    devices, memory = gpus()
    assert (devices.status, devices.found) == ("ok", "2 x NVIDIA H100 80GB HBM3, 81559 MiB, driver 570.86.15")
    assert memory.status == "failed"
    assert "GPU 1: 3 uncorrected errors" in memory.found
    nvidia_smi.write_text(f"#!/bin/sh\necho '{row}0, No'\necho '{row}[N/A], [N/A]'\n")
    assert [finding.status for finding in gpus()] == ["ok", "ok"]


def test_a_driver_that_fails_is_told(nvidia_smi: Path) -> None:
    nvidia_smi.write_text("#!/bin/sh\necho 'Unable to determine the device handle for GPU 0000:4E:00.0'\nexit 255\n")
    (finding,) = gpus()
    assert finding.status == "failed"
    assert "0000:4E" in finding.found


def test_gpus_that_torch_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cuda(expected_gpus=8).status == "failed"
    assert cuda(expected_gpus=0).status == "ok"
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "nvidia0").touch()
    assert [finding.status for finding in gpus(tmp_path)] == ["failed"]
    (tmp_path / "nvidia0").unlink()
    assert [finding.status for finding in gpus(tmp_path)] == ["warning"]


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
    finding = doctor_ranks.join()
    assert finding is not None
    assert "2 ranks do not meet" in finding.found


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
    assert differences({"a": same, "b": same}).status == "ok"
    finding = differences({"a": same, "b": same, "c": {"torch": "2.12.0", "deepspeed": "0.19.8"}})
    assert (finding.status, finding.found) == ("failed", "torch 2.13.0 on a, b, 2.12.0 on c")


def test_a_finding_of_all_nodes_is_one_row() -> None:
    fine, slow = Finding("disk", "ok", "much"), Finding("clocks", "failed", "apart", "set them")
    reports = {"a": [fine, slow], "b": [fine]}
    assert list(grouped(reports)) == [("a", slow), ("all", fine)]
    assert verdict(reports) == 1
    assert verdict({"b": [fine]}) == 0


@needs_root
def test_two_nodes_with_different_software(tmp_path: Path) -> None:
    """Two ranks with host names of their own; the second finds another transformers first."""
    if subprocess.run(["unshare", "--uts", "true"], capture_output=True).returncode:
        pytest.skip("no process may have a host name of its own in this container")
    metadata = tmp_path / "transformers-4.0.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 4.0.0\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = f"exec '{sys.executable}' -m clinical_modernbert.launcher doctor --quick --json"
    ranks = [
        subprocess.Popen(
            ["unshare", "--uts", "sh", "-c", f"hostname node{rank}; {command}"],
            env={**shared, "RANK": str(rank), **({"PYTHONPATH": str(tmp_path)} if rank else {})},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=120)[0] for rank in ranks]
    assert outputs[1] == ""
    told = json.loads(outputs[0])
    assert set(told["nodes"]) == {"node0", "node1"}
    assert told["would_fail"]
    assert ranks[0].returncode == 1
    by_check = {finding["check"]: finding for finding in told["nodes"]["node0"]}
    assert by_check["same software"]["found"] == f"transformers {versions()['transformers']} on node0, 4.0.0 on node1"
    assert by_check["all-reduce of 2 ranks"]["status"] == "ok"
    assert by_check["packages"]["status"] == "ok"
    assert {finding["check"]: finding for finding in told["nodes"]["node1"]}["packages"]["status"] == "failed"
