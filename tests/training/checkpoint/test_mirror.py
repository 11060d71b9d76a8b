"""Checkpoints in a real object store: all of them arrive, and a run on another disk continues from them."""

import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from s3_server import BUCKET, S3Server, environment
from small_run import SmallRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage import remote
from clinical_modernbert.streaming_data.prepare.upload import LocalFile
from clinical_modernbert.training.checkpoint import files as checkpoint_files
from clinical_modernbert.training.checkpoint import mirror as mirror_module
from clinical_modernbert.training.checkpoint.mirror import QUEUE, Mirror, bring_newest

URL = f"s3://{BUCKET}/runs/small"


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
    assert len({name.split(".")[1] for name in kept}) == 1  # all of one start
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
    assert both[0] not in kept  # a new disk counts its starts from 1 again: still nothing is stored over another


def test_an_upload_that_failed_is_made_up_for(
    finished: SmallRun, store: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = tmp_path / "checkpoints"
    shutil.copytree(finished.run_dir / "checkpoints", checkpoints)
    newest = checkpoint_files.candidates(checkpoints)[0]
    said: list[str] = []
    with monkeypatch.context() as unreachable:
        unreachable.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
        mirror = Mirror(checkpoints, URL + "/late", said.append)
        mirror.add(newest)
        mirror.close()
    assert all(line.startswith("warning: not all is in the object store, the next checkpoint or") for line in said)
    checkpoint_files.prune(checkpoints, keep_last=1)
    shutil.rmtree(newest)  # what waits to be stored is no longer needed by anybody else
    (waiting,) = (checkpoints / QUEUE).iterdir()
    said.clear()
    Mirror(checkpoints, URL + "/late", said.append).close()
    assert said == [f"stored {URL}/late/{waiting.name}"]
    shutil.rmtree(checkpoints)
    brought = bring_newest(URL + "/late", checkpoints)
    assert brought is not None
    assert brought.name == "step00000012"
    assert checkpoint_files.damage(brought) is None


class Held:
    """In place of the thread: what it is given waits until it is let go."""

    def __init__(self, name: str) -> None:
        self.calls: list[Callable[[], None]] = []

    def submit(self, call: Callable[[], None]) -> Future[None]:
        self.calls.append(call)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def let_go(self) -> None:
        while self.calls:
            self.calls.pop(0)()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[Mirror, Held, list[str], list[str]]:
    """A mirror whose store is at first away: (it, its thread, names stored so far, what it said)."""
    there: list[str] = []
    said: list[str] = []

    def put(file: LocalFile, url: str) -> None:
        if (tmp_path / "away").exists():
            raise UserError("the store is away")
        there.append("/".join(url.split("/")[-2:]))

    monkeypatch.setattr(mirror_module, "put", put)
    monkeypatch.setattr(mirror_module, "Background", Held)
    (tmp_path / "away").touch()
    mirror = Mirror(tmp_path / "checkpoints", URL, said.append)
    return mirror, mirror._background, there, said  # type: ignore[return-value]


def checkpoint(tmp_path: Path, step: int) -> Path:
    path = tmp_path / f"checkpoints/step{step:08d}"
    path.mkdir(parents=True)
    for name in ("manifest.json", "a.safetensors"):
        (path / name).write_text(f"{name} of {step}")
    return path


def test_each_checkpoint_tries_again_what_waits_and_few_wait(
    held: tuple[Mirror, Held, list[str], list[str]], tmp_path: Path
) -> None:
    mirror, thread, there, said = held
    for step in range(1, 6):
        mirror.add(checkpoint(tmp_path, step))
        thread.let_go()
    assert [name.partition(".")[0] for name in waiting(tmp_path)] == ["step00000003", "step00000004", "step00000005"]
    assert [line for line in said if "newer ones wait" in line] != []
    (tmp_path / "away").unlink()
    mirror.add(checkpoint(tmp_path, 6))
    thread.let_go()
    assert waiting(tmp_path) == []
    assert [re.sub(r"\..*/", "/", name) for name in there[:2]] == [
        "step00000006/a.safetensors",
        "step00000006/manifest.json",
    ]
    assert len(there) == 2 * 3  # 6, 5 and 4


def waiting(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "checkpoints" / QUEUE).iterdir())


def test_the_same_checkpoint_twice_waits_once(held: tuple[Mirror, Held, list[str], list[str]], tmp_path: Path) -> None:
    mirror, _, _, said = held
    path = checkpoint(tmp_path, 1)
    mirror.add(path)
    mirror.add(path)
    assert (len(waiting(tmp_path)), said) == (1, [])


def test_a_disk_without_hard_links_holds_copies_and_a_full_one_ends_nothing(
    held: tuple[Mirror, Held, list[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    mirror, _, _, said = held
    monkeypatch.setattr(os, "link", refused)
    path = checkpoint(tmp_path, 1)
    mirror.add(path)
    (copy,) = (tmp_path / "checkpoints" / QUEUE).iterdir()
    assert {file.name: file.read_bytes() for file in copy.iterdir()} == {
        file.name: file.read_bytes() for file in path.iterdir()
    }
    monkeypatch.setattr(shutil, "copyfile", refused)
    mirror.add(checkpoint(tmp_path, 2))
    assert said == ["warning: step00000002 will not be in the object store: [Errno 95] Operation not supported"]
    assert waiting(tmp_path) == [copy.name]  # and nothing half done


def test_a_disk_that_comes_back_takes_what_is_newer_in_the_store(
    finished: SmallRun,
    store: S3Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Under a name of earlier versions, too; and of a bringing that was interrupted, what is whole is kept."""
    newest = checkpoint_files.candidates(finished.run_dir / "checkpoints")[0]
    for file in newest.iterdir():
        store.client().upload_file(str(file), BUCKET, f"runs/small/old/{newest.name}.00001/{file.name}")
    checkpoints = tmp_path / "checkpoints"
    (checkpoints / "step00000008").mkdir(parents=True)
    kept = checkpoints / f".{newest.name}.00001.download"
    kept.mkdir()
    files = sorted(newest.glob("*.safetensors"))
    shutil.copy(files[0], kept)
    (kept / files[1].name).write_bytes(bytes(files[1].stat().st_size))  # of the right size alone
    asked: list[str] = []

    def download(url: str, *rest: Any) -> None:
        asked.append(url.rpartition("/")[2])
        remote.download(url, *rest)

    monkeypatch.setattr(mirror_module, "download", download)
    assert bring_newest(URL + "/old", checkpoints) == checkpoints / newest.name
    assert checkpoint_files.damage(checkpoints / newest.name) is None
    assert asked == ["manifest.json", files[1].name]
    assert bring_newest(URL + "/old", checkpoints) is None
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
    capsys.readouterr()
    assert bring_newest(URL + "/old", checkpoints) is None
    assert capsys.readouterr().out.startswith("warning: step00000012 of this disk is taken, whether there is a newer")


def test_damage_in_the_store_is_told(finished: SmallRun, store: S3Server, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, URL + "/damaged", print)
    mirror.add(checkpoint_files.candidates(finished.run_dir / "checkpoints")[0])
    mirror.close()
    (key,) = (f"runs/small/{name}" for name in stored(store) if re.match(r"damaged/.*rank00001-of", name))
    content = bytearray(store.client().get_object(Bucket=BUCKET, Key=key)["Body"].read())
    content[-1] ^= 1
    store.client().put_object(Bucket=BUCKET, Key=key, Body=bytes(content))
    with pytest.raises(UserError, match=r"rank00001-of-00002\.safetensors: its content differs .* remove it there"):
        bring_newest(URL + "/damaged", tmp_path / "new")


def test_an_address_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint\.upload is ftp://x/y: expected s3://"):
        bring_newest("ftp://x/y", tmp_path)
