"""Fetching from an object store that refuses, fails, damages and recovers. A real server is in test_s3.py."""

import errno
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage import remote
from clinical_modernbert.storage.remote import DamagedError, download, is_remote, read

URL = "s3://bucket/notes/shard.00000.mds"


def answered(status: int, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


class StatusError(Exception):
    """What other stores' clients raise: a status in an attribute of its own."""

    def __init__(self, status: int) -> None:
        self.status_code = status


def check(path: Path) -> str | None:
    return None if path.read_bytes() == b"whole" else "this file is damaged"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses pass at once; returned is the time."""
    now = [0.0]
    sleep = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(remote, "time", sleep)
    return now


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> Callable[..., list[str]]:
    """A store that answers in turn with these, the last of them for ever; returns the URLs asked for."""

    def open_store(*answers: bytes | BaseException) -> list[str]:
        asked: list[str] = []

        def fetch(url: str, path: Path, deadline: remote.Deadline) -> None:
            asked.append(url)
            answer = answers[min(len(asked), len(answers)) - 1]
            path.write_bytes(answer if isinstance(answer, bytes) else b"who")
            if isinstance(answer, BaseException):
                raise answer

        monkeypatch.setattr(remote, "_fetch", fetch)
        return asked

    return open_store


def test_addresses_of_stores_are_urls() -> None:
    assert is_remote("s3://bucket/key")
    assert not is_remote("/data/s3:")


@pytest.mark.parametrize(
    "fault",
    [b"damaged", answered(503, "SlowDown"), answered(403, "AccessDenied"), EndpointConnectionError(endpoint_url="x")],
)
def test_a_passing_fault_is_survived(store: Callable, tmp_path: Path, fault: bytes | Exception) -> None:
    asked = store(fault, fault, b"whole")
    download(URL, tmp_path / "shard", check)
    assert asked == [URL] * 3
    assert (tmp_path / "shard").read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [tmp_path / "shard"]


@pytest.mark.parametrize(
    ("answer", "refused", "problem"),
    [
        (b"damaged", True, "this file is damaged; the store holds something else than what was written"),
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
def test_giving_up_is_one_error_that_leaves_nothing(
    store: Callable, clock: list[float], tmp_path: Path, answer: bytes | Exception, refused: bool, problem: str
) -> None:
    asked = store(answer)
    (tmp_path / "shard").write_bytes(b"what was there")
    with pytest.raises(UserError, match=problem) as caught:
        download(URL, tmp_path / "shard", check)
    assert str(caught.value).startswith(f"{URL}: gave up after {len(asked)} tries in ")
    assert len(asked) == 3 if refused else len(asked) > 10
    assert clock[0] < 5 if refused else 250 < clock[0] <= 300
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"what was there"]


def test_patience_is_set_by_the_environment(
    store: Callable, clock: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(answered(503, "SlowDown"))
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "20")
    with pytest.raises(UserError, match="gave up after"):
        download(URL, tmp_path / "shard", check)
    assert 0 < clock[0] <= 20
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "soon")
    with pytest.raises(UserError, match="CMBERT_DOWNLOAD_PATIENCE is 'soon'; expected a number of seconds"):
        download(URL, tmp_path / "shard", check)


@pytest.mark.parametrize(
    ("megabytes_a_second", "breaks", "tries"),
    [(1, 3, 4), (1, math.inf, remote.BREAKS), (0.01, math.inf, 1)],
)
def test_there_is_patience_while_a_large_object_comes(
    clock: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    megabytes_a_second: float,
    breaks: float,
    tries: int,
) -> None:
    """1 GB in 1,000 s, after tries that broke off at half of it; and a stream that is too thin to be waited for."""
    asked = []

    def fetch(url: str, path: Path, deadline: remote.Deadline) -> None:
        asked.append(url)
        for megabytes in range(1001):
            clock[0] += 1 / megabytes_a_second
            deadline(megabytes * 1_000_000)
            if megabytes == 500 and len(asked) <= breaks:
                raise ConnectionResetError
        path.write_bytes(b"whole")

    monkeypatch.setattr(remote, "_fetch", fetch)
    if math.isinf(breaks):
        with pytest.raises(UserError, match=rf"gave up after {tries} tries"):
            download(URL, tmp_path / "shard", check)
    else:
        download(URL, tmp_path / "shard", check)
    assert len(asked) == tries


def test_without_retry_one_fault_is_enough(store: Callable, clock: list[float], tmp_path: Path) -> None:
    asked = store(answered(503, "SlowDown"), b"whole")
    with pytest.raises(UserError, match="gave up after 1 tries"):
        download(URL, tmp_path / "shard", check, retry=False)
    assert (len(asked), clock[0]) == (1, 0)


def test_a_full_disk_is_said_at_once(store: Callable, tmp_path: Path) -> None:
    asked = store(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(UserError, match=r"No space left on device\); free space or set data\.cache") as caught:
        download(URL, tmp_path / "shard", check)
    assert str(tmp_path) in str(caught.value)
    assert len(asked) == 1


def test_an_interrupted_download_leaves_nothing(store: Callable, tmp_path: Path) -> None:
    store(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        download(URL, tmp_path / "shard", check)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_overwritten(store: Callable, tmp_path: Path) -> None:
    store(answered(503, "SlowDown"), b"whole")
    (tmp_path / "shard.part").write_bytes(b"left by kill -9, longer than the whole")
    download(URL, tmp_path / "shard", check)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


def parse(content: bytes) -> str:
    if content != b"whole":
        raise DamagedError("this file is damaged")
    return "parsed"


def test_small_files_are_read_from_either_place(store: Callable, tmp_path: Path) -> None:
    asked = store(b"damaged", b"whole")
    assert read("s3://bucket/manifest.json", parse) == "parsed"
    assert len(asked) == 2
    path = tmp_path / "manifest.json"
    path.write_bytes(b"whole")
    assert read(str(path), parse) == "parsed"
    path.write_bytes(b"hole")
    with pytest.raises(UserError, match=r"manifest\.json: this file is damaged; restore this file"):
        read(str(path), parse)
    path.unlink()
    with pytest.raises(UserError, match=r"manifest\.json: no such file"):
        read(str(path), parse)


def test_an_address_that_no_store_answers_to_is_one_error(clock: list[float]) -> None:
    with pytest.raises(UserError, match=r"^nowhere://x/index\.json: gave up after 3 tries .*Unsupported remote path"):
        read("nowhere://x/index.json", parse)
