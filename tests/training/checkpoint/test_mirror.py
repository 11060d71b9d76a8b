"""Checkpoints are copied to a real object store, and a run on another disk continues from them."""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest
import xxhash
from rewritten import rewrite
from s3_server import BUCKET, S3Server, environment
from small_run import SmallRun
from written_run import manifest_of

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage import remote
from clinical_modernbert.storage.background import Background
from clinical_modernbert.storage.files import hash_file
from clinical_modernbert.storage.put import LocalFile, put
from clinical_modernbert.training.checkpoint import files as checkpoint_files
from clinical_modernbert.training.checkpoint.manifest import FileEntry, read_manifest, write_manifest
from clinical_modernbert.training.checkpoint.mirror import QUEUE, Mirror
from clinical_modernbert.training.checkpoint.stored import download_newest

URL = f"s3://{BUCKET}/runs/small"
RANK_FILE = "rank00000-of-00001.safetensors"


@pytest.fixture(scope="module")
def two_files(finished: SmallRun, new_run: Callable[[], SmallRun]) -> SmallRun:
    """The finished run as version 1 has written it, with two files per checkpoint."""
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    for path in checkpoint_files.list_checkpoints(run.run_dir / "checkpoints"):
        rewrite(path)
    return run


@pytest.fixture
def store(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    for name, value in environment(s3_server.url).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "2")
    return s3_server


def stored(store: S3Server) -> list[str]:
    pages = store.client().list_objects_v2(Bucket=BUCKET, Prefix="runs/small/").get("Contents", [])
    return sorted(entry["Key"].removeprefix("runs/small/") for entry in pages)


def test_a_run_on_a_new_disk_continues_from_the_store(
    finished: SmallRun, new_run: Callable[[], SmallRun], store: S3Server
) -> None:
    first = new_run()
    first.train(f"checkpoint.upload={URL}", "checkpoint.keep_last=1", "schedule.total_tokens=12288", ranks=2)
    kept = sorted({name.split("/")[0] for name in stored(store)})
    assert [name.split(".")[0] for name in kept] == ["step00000004", "step00000008", "step00000012"]
    assert len({name.split(".")[1] for name in kept}) == 1  # all of one attempt
    assert not list((first.run_dir / "checkpoints" / QUEUE).iterdir())
    for name in stored(store):
        if name.startswith("step00000012"):
            store.client().delete_object(Bucket=BUCKET, Key=f"runs/small/{name}")
    second = new_run()
    output = second.train(f"checkpoint.upload={URL}", ranks=2)
    assert "step00000008: step 8, 32 packs consumed" in output
    assert second.column("loss") == finished.column("loss")[8:]
    both = sorted({name.split("/")[0] for name in stored(store) if name.startswith("step00000012")})
    assert len(both) == 1
    assert both[0] not in kept  # a new disk counts attempts from 1 again, and still nothing in the store is overwritten


def test_a_failed_upload_is_repeated_at_the_next_start(
    finished: SmallRun,
    store: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    messages: pytest.LogCaptureFixture,
) -> None:
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(finished.run_dir / "checkpoints", checkpoints)
    newest = checkpoint_files.list_checkpoints(checkpoints)[0]
    with monkeypatch.context() as unreachable:
        unreachable.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
        mirror = Mirror(checkpoints, URL + "/late")
        mirror.add(newest)
        mirror.close()
    assert messages.messages
    assert all(
        line.startswith("not all checkpoints are uploaded, the next checkpoint or") for line in messages.messages
    )
    checkpoint_files.prune(checkpoints, keep_last=1)
    shutil.rmtree(newest)  # the queue must not depend on it
    (queued,) = (checkpoints / QUEUE).iterdir()
    messages.clear()
    Mirror(checkpoints, URL + "/late").close()
    assert messages.messages == [f"uploaded {URL}/late/{queued.name}"]
    shutil.rmtree(checkpoints)
    downloaded = download_newest(URL + "/late", checkpoints)
    assert downloaded is not None
    assert downloaded.name == "step00000012"
    assert checkpoint_files.find_corruption(downloaded) is None


class ManualBackground:
    """Replaces the background thread: calls wait until `run` is called."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def submit(self, call: Callable[[], None]) -> Future[None]:
        self.calls.append(call)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def run(self) -> None:
        while self.calls:
            self.calls.pop(0)()


class FakeStore:
    """Records the names of uploaded files, and fails while `available` is false."""

    def __init__(self) -> None:
        self.available = False
        self.names: list[str] = []

    def upload(self, file: LocalFile, url: str) -> None:
        if not self.available:
            raise UserError("the store is unavailable")
        self.names.append("/".join(url.split("/")[-2:]))

    def confirm(self, address: str, sizes: Mapping[str, int]) -> None:
        held = [name for name in self.names if name.startswith(address.rpartition("/")[2])]
        assert [name.rpartition("/")[2] for name in held] == list(sizes)  # asked after the files, before the manifest


@pytest.fixture
def fake_store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def background() -> ManualBackground:
    return ManualBackground()


@pytest.fixture
def mirror(tmp_path: Path, fake_store: FakeStore, background: ManualBackground) -> Mirror:
    """A mirror whose store is unavailable at first."""
    return Mirror(tmp_path / "checkpoints", URL, fake_store.upload, cast(Background, background), fake_store.confirm)


def checkpoint(tmp_path: Path, step: int) -> Path:
    path = tmp_path / f"checkpoints/step{step:08d}"
    path.mkdir(parents=True)
    (path / RANK_FILE).write_text(f"weights of {step}")
    entry = FileEntry(bytes=(path / RANK_FILE).stat().st_size, xxh3_128=(hash_file(path / RANK_FILE),))
    write_manifest(path, manifest_of(step).model_copy(update={"files": {RANK_FILE: entry}}))
    return path


def test_each_checkpoint_retries_the_queue_and_the_queue_stays_short(
    mirror: Mirror,
    background: ManualBackground,
    fake_store: FakeStore,
    tmp_path: Path,
    messages: pytest.LogCaptureFixture,
) -> None:
    for step in range(1, 6):
        mirror.add(checkpoint(tmp_path, step))
        background.run()
    assert [name.partition(".")[0] for name in queued(tmp_path)] == ["step00000003", "step00000004", "step00000005"]
    assert [line for line in messages.messages if "newer ones are queued" in line] != []
    fake_store.available = True
    mirror.add(checkpoint(tmp_path, 6))
    background.run()
    assert queued(tmp_path) == []
    assert [re.sub(r"\..*/", "/", name) for name in fake_store.names[:2]] == [
        f"step00000006/{RANK_FILE}",
        "step00000006/manifest.json",
    ]
    assert len(fake_store.names) == 2 * 3  # 6, 5 and 4


def queued(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "checkpoints" / QUEUE).iterdir())


def test_a_damaged_checkpoint_in_the_queue_does_not_keep_others_from_the_store(
    mirror: Mirror,
    background: ManualBackground,
    fake_store: FakeStore,
    tmp_path: Path,
    messages: pytest.LogCaptureFixture,
) -> None:
    for step in (1, 2, 3):
        mirror.add(checkpoint(tmp_path, step))
    first, second, third = sorted((tmp_path / "checkpoints" / QUEUE).iterdir())
    (third / "manifest.json").write_text("{")
    (second / RANK_FILE).unlink()
    fake_store.available = True
    background.run()
    assert queued(tmp_path) == []
    assert fake_store.names == [f"{first.name}/{RANK_FILE}", f"{first.name}/manifest.json"]
    assert [line.partition(":")[0] for line in messages.messages if "not uploaded" in line] == [
        f"{third.name} is not uploaded",
        f"{second.name} is not uploaded",
    ]


def test_a_checkpoint_that_is_added_twice_is_queued_once(
    mirror: Mirror, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    path = checkpoint(tmp_path, 1)
    mirror.add(path)
    mirror.add(path)
    assert (len(queued(tmp_path)), messages.messages) == (1, [])


def test_files_are_copied_where_there_are_no_hard_links_and_a_full_disk_is_a_warning(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refused)
    path = checkpoint(tmp_path, 1)
    mirror.add(path)
    (copy,) = (tmp_path / "checkpoints" / QUEUE).iterdir()
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == {
        file.name: file.read_bytes() for file in path.iterdir()
    }
    monkeypatch.setattr(shutil, "copyfile", refused)
    mirror.add(checkpoint(tmp_path, 2))
    (record,) = messages.records
    assert record.levelname == "WARNING"
    assert record.message == "step00000002 will not be uploaded: [Errno 95] Operation not supported"
    assert queued(tmp_path) == [copy.name]  # and no partial copy


def test_an_older_disk_downloads_the_newer_checkpoint(
    two_files: SmallRun,
    store: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    messages: pytest.LogCaptureFixture,
) -> None:
    """The name in the store is that of an earlier version, and intact files of an interrupted download are kept."""
    newest = two_files.newest_checkpoint()
    for file in newest.iterdir():
        store.client().upload_file(str(file), BUCKET, f"runs/small/old/{newest.name}.00001/{file.name}")
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "step00000008").mkdir(parents=True)
    staging = checkpoints / f".{newest.name}.00001.download"
    staging.mkdir()
    files = sorted(newest.glob("*.safetensors"))
    shutil.copy(files[0], staging)
    (staging / files[1].name).write_bytes(bytes(files[1].stat().st_size))  # only its size is correct
    requested: list[str] = []

    def fetch(url: str, *rest: Any) -> None:
        requested.append(url.rpartition("/")[2])
        remote.download(url, *rest)

    assert download_newest(URL + "/old", checkpoints, fetch) == checkpoints / newest.name
    assert checkpoint_files.find_corruption(checkpoints / newest.name) is None
    assert requested == ["manifest.json", files[1].name]
    assert download_newest(URL + "/old", checkpoints) is None
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
    messages.clear()
    assert download_newest(URL + "/old", checkpoints) is None
    (record,) = messages.records
    assert record.levelname == "WARNING"
    assert record.message.startswith("continuing from step00000012 on this disk; the store may hold a newer one: ")


def damage(store: S3Server, pattern: str) -> None:
    """Change a byte of the one object that matches."""
    (key,) = (f"runs/small/{name}" for name in stored(store) if re.match(pattern, name))
    content = bytearray(store.client().get_object(Bucket=BUCKET, Key=key)["Body"].read())
    content[-1] ^= 1
    store.client().put_object(Bucket=BUCKET, Key=key, Body=bytes(content))


def test_corruption_in_the_store_is_reported(two_files: SmallRun, store: S3Server, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, URL + "/damaged")
    mirror.add(two_files.newest_checkpoint())
    mirror.close()
    damage(store, r"damaged/.*rank00001-of")
    with pytest.raises(UserError, match=r"rank00001-of-00002\.safetensors: its content differs .* remove it there"):
        download_newest(URL + "/damaged", tmp_path / "new")


@pytest.mark.parametrize("how", ["content", "absent", "short", "manifest"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    how: str, two_files: SmallRun, store: S3Server, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    url = f"{URL}/fallback-{how}"
    older, newest = sorted(checkpoint_files.list_checkpoints(two_files.run_dir / "checkpoints"))[-2:]
    for number, path in enumerate((older, newest)):
        mirror = Mirror(tmp_path / str(number), url)
        mirror.add(path)
        mirror.close()
    file = f"fallback-{how}/{newest.name}.*/" + ("manifest" if how == "manifest" else "rank00001-of")
    if how in ("content", "manifest"):
        damage(store, file)
    else:
        (name,) = (name for name in stored(store) if re.match(file, name))
        key = {"Bucket": BUCKET, "Key": f"runs/small/{name}"}
        store.client().delete_object(**key)
        if how == "short":
            store.client().put_object(**key, Body=b"short")
    messages.clear()
    assert download_newest(url, tmp_path / "new") == tmp_path / "new" / older.name
    assert checkpoint_files.find_corruption(tmp_path / "new" / older.name) is None
    assert len([line for line in messages.messages if line.startswith("skipping a damaged checkpoint")]) == 1
    assert download_newest(url, tmp_path / "new") is None  # what is on this disk is kept


def test_a_run_that_is_stored_below_another_is_ignored_with_one_warning(
    finished: SmallRun, store: S3Server, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    older, newest = sorted(checkpoint_files.list_checkpoints(finished.run_dir / "checkpoints"))[-2:]
    for path, url in ((older, f"{URL}/above"), (newest, f"{URL}/above/wide")):
        mirror = Mirror(tmp_path / path.name, url)
        mirror.add(path)
        mirror.close()
    messages.clear()
    assert download_newest(f"{URL}/above", tmp_path / "new") == tmp_path / "new" / older.name
    assert len([line for line in messages.messages if "ignoring 2 objects that no run has written there" in line]) == 1


def test_an_upload_that_the_store_lost_gets_no_manifest(
    two_files: SmallRun, store: S3Server, tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    """The store confirms an upload and then does not hold it."""
    url = f"{URL}/lost"

    def lose(file: LocalFile, address: str) -> None:
        put(file, address)
        if "rank00001" in address:
            store.client().delete_object(Bucket=BUCKET, Key=address.removeprefix(f"s3://{BUCKET}/"))

    mirror = Mirror(tmp_path, url, lose)
    mirror.add(two_files.newest_checkpoint())
    mirror.close()
    assert [name.rpartition("/")[2] for name in stored(store) if name.startswith("lost/")] == [
        "rank00000-of-00002.safetensors"
    ]
    assert any("rank00001-of-00002.safetensors: gave up" in line for line in messages.messages)


@pytest.mark.parametrize("name", ["../../../escaped", "/absolute", "a/../../../../escaped", "conftest.py"])
def test_a_manifest_in_the_store_never_writes_outside_the_checkpoint(
    name: str, finished: SmallRun, store: S3Server, tmp_path: Path
) -> None:
    name = f"{tmp_path}/escaped" if name == "/absolute" else name
    url, source = f"{URL}/hostile-{xxhash.xxh3_64_hexdigest(name.encode())}", tmp_path / "source"
    source.mkdir()
    entry = FileEntry(bytes=4, xxh3_128=(xxhash.xxh3_128_hexdigest(b"evil"),))
    write_manifest(source, read_manifest(finished.newest_checkpoint()).model_copy(update={"files": {name: entry}}))
    store.store(source, f"{url.removeprefix(f's3://{BUCKET}/')}/step00000012.20260101T000000-abcdef")
    written: list[str] = []

    def fetch(address: str, path: Path, check: Callable[[Path], str | None]) -> None:
        """The store has an object for every name."""
        if path.name == "manifest.json":
            remote.download(address, path, check)
        else:
            written.append(str(path))

    with pytest.raises(UserError, match="no checkpoint in it is complete"):
        download_newest(url, tmp_path / "a" / "run" / "checkpoints", fetch)
    assert not written


def test_an_address_that_is_not_an_object_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint\.upload is ftp://x/y: expected s3://"):
        download_newest("ftp://x/y", tmp_path)
