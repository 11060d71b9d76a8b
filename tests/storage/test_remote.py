"""Downloads from an object store that refuses, fails, corrupts and recovers. test_s3.py uses a real server."""

import errno
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage import remote
from clinical_modernbert.storage.remote import CorruptDataError, download, is_remote, read

URL = "s3://bucket/notes/shard.00000.mds"


def answered(status: int, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


class StatusError(Exception):
    """An error as other clients raise it, with the status in an attribute."""

    def __init__(self, status: int) -> None:
        self.status_code = status


def check(path: Path) -> str | None:
    return None if path.read_bytes() == b"complete" else "this file is corrupt"


class Clock:
    """A clock without waiting: `sleep` only advances `now`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float, /) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A store that gives these answers in order, the last one forever; returns the list of requested URLs."""

    def open_store(*answers: bytes | BaseException) -> list[str]:
        requests: list[str] = []

        def get(url: str, path: Path, on_progress: Callable[[int], None]) -> None:
            requests.append(url)
            answer = answers[min(len(requests), len(answers)) - 1]
            path.write_bytes(answer if isinstance(answer, bytes) else b"comp")
            if isinstance(answer, BaseException):
                raise answer

        monkeypatch.setitem(remote.STORES, "s3", SimpleNamespace(get=get))
        return requests

    return open_store


def test_addresses_of_object_stores_are_urls() -> None:
    assert is_remote("s3://bucket/key")
    assert not is_remote("/data/s3:")


@pytest.mark.parametrize(
    "fault",
    [b"corrupt", answered(503, "SlowDown"), answered(403, "AccessDenied"), EndpointConnectionError(endpoint_url="x")],
)
def test_a_transient_fault_is_retried(store: Callable, clock: Clock, tmp_path: Path, fault: bytes | Exception) -> None:
    requests = store(fault, fault, b"complete")
    download(URL, tmp_path / "shard", check, clock=clock)
    assert requests == [URL] * 3
    assert (tmp_path / "shard").read_bytes() == b"complete"
    assert list(tmp_path.iterdir()) == [tmp_path / "shard"]


@pytest.mark.parametrize(
    ("answer", "refused", "problem"),
    [
        (b"corrupt", True, "this file is corrupt; the store does not hold what was written"),
        (answered(403, "AccessDenied"), True, "AccessDenied"),
        (answered(404, "NoSuchKey"), True, "NoSuchKey"),
        (StatusError(401), True, "StatusError"),
        (NoCredentialsError(), True, "Unable to locate credentials"),
        (ValueError("Unsupported remote path"), True, "Unsupported remote path"),
        (answered(503, "SlowDown"), False, "SlowDown"),
        (answered(429, "TooManyRequests"), False, "TooManyRequests"),
        (StatusError(500), False, "StatusError"),
        (TimeoutError("read timed out"), False, "read timed out"),
        (answered(400, "RequestTimeout"), False, "RequestTimeout"),
        (answered(400, "BadDigest"), True, "BadDigest"),
    ],
)
def test_a_permanent_fault_is_one_error_and_leaves_no_file(
    store: Callable, clock: Clock, tmp_path: Path, answer: bytes | Exception, refused: bool, problem: str
) -> None:
    requests = store(answer)
    (tmp_path / "shard").write_bytes(b"old content")
    with pytest.raises(UserError, match=problem) as caught:
        download(URL, tmp_path / "shard", check, clock=clock)
    assert str(caught.value).startswith(f"{URL}: gave up after {len(requests)} tries in ")
    assert len(requests) == 3 if refused else len(requests) > 10
    assert clock.now < 5 if refused else 250 < clock.now <= 300
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old content"]


def test_patience_is_set_by_an_environment_variable(
    store: Callable, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(answered(503, "SlowDown"))
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "20")
    with pytest.raises(UserError, match="gave up after"):
        download(URL, tmp_path / "shard", check, clock=clock)
    assert 0 < clock.now <= 20
    for value in ("soon", "", "nan", "inf", "-inf", "-1", "1e999"):
        monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", value)
        with pytest.raises(UserError, match=f"CMBERT_DOWNLOAD_PATIENCE is '{value}'; expected a number of seconds"):
            download(URL, tmp_path / "shard", check, clock=clock)


@pytest.mark.parametrize(
    ("megabytes_per_second", "interruptions", "tries"),
    [(1, 3, 4), (1, math.inf, remote.MAX_INTERRUPTIONS), (0.01, math.inf, 1)],
)
def test_the_deadline_is_extended_while_a_large_object_arrives(
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    megabytes_per_second: float,
    interruptions: float,
    tries: int,
) -> None:
    """1 GB in 1,000 s, after tries that were interrupted half-way; and a stream that is too slow."""
    requests = []

    def get(url: str, path: Path, on_progress: Callable[[int], None]) -> None:
        requests.append(url)
        for megabytes in range(1001):
            clock.now += 1 / megabytes_per_second
            on_progress(megabytes * 1_000_000)
            if megabytes == 500 and len(requests) <= interruptions:
                raise ConnectionResetError
        path.write_bytes(b"complete")

    monkeypatch.setitem(remote.STORES, "s3", SimpleNamespace(get=get))
    if math.isinf(interruptions):
        with pytest.raises(UserError, match=rf"gave up after {tries} tries"):
            download(URL, tmp_path / "shard", check, clock=clock)
    else:
        download(URL, tmp_path / "shard", check, clock=clock)
    assert len(requests) == tries


def test_without_retry_one_fault_is_an_error(store: Callable, clock: Clock, tmp_path: Path) -> None:
    requests = store(answered(503, "SlowDown"), b"complete")
    with pytest.raises(UserError, match="gave up after 1 tries"):
        download(URL, tmp_path / "shard", check, retry=False, clock=clock)
    assert (len(requests), clock.now) == (1, 0)


def test_a_full_disk_is_reported_at_once(store: Callable, clock: Clock, tmp_path: Path) -> None:
    requests = store(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(UserError, match=r"No space left on device\); free space or set data\.cache") as caught:
        download(URL, tmp_path / "shard", check, clock=clock)
    assert str(tmp_path) in str(caught.value)
    assert len(requests) == 1


def test_an_interrupted_download_leaves_no_file(store: Callable, clock: Clock, tmp_path: Path) -> None:
    store(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        download(URL, tmp_path / "shard", check, clock=clock)
    assert list(tmp_path.iterdir()) == []


def test_the_partial_file_of_a_killed_process_is_overwritten(store: Callable, clock: Clock, tmp_path: Path) -> None:
    store(answered(503, "SlowDown"), b"complete")
    (tmp_path / "shard.part").write_bytes(b"left by kill -9, longer than the complete file")
    download(URL, tmp_path / "shard", check, clock=clock)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"complete"]


def parse(content: bytes) -> str:
    if content != b"complete":
        raise CorruptDataError("this file is corrupt")
    return "parsed"


def test_small_files_are_read_from_stores_and_directories(store: Callable, clock: Clock, tmp_path: Path) -> None:
    requests = store(b"corrupt", b"complete")
    assert read("s3://bucket/manifest.json", parse, clock) == "parsed"
    assert len(requests) == 2
    path = tmp_path / "manifest.json"
    path.write_bytes(b"complete")
    assert read(str(path), parse) == "parsed"
    path.write_bytes(b"incomplete")
    with pytest.raises(UserError, match=r"manifest\.json: this file is corrupt; restore this file"):
        read(str(path), parse)
    path.unlink()
    with pytest.raises(UserError, match=r"manifest\.json: no such file"):
        read(str(path), parse)


def test_an_address_of_no_store_is_one_error(clock: Clock) -> None:
    with pytest.raises(UserError, match=r"^nowhere://x/index\.json: gave up after 3 tries .*Unsupported remote path"):
        read("nowhere://x/index.json", parse, clock)
