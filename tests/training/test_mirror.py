"""Checkpoints in a real object store: all of them arrive, and a run on another disk continues from them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import BUCKET, S3Server, environment
from small_run import SmallRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training import checkpoint_files
from clinical_modernbert.training.attempts import Attempt
from clinical_modernbert.training.mirror import QUEUE, Mirror, bring_newest

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
    steps = {name.split("/")[0] for name in stored(store)}
    assert steps == {"step00000004.00001", "step00000008.00001", "step00000012.00001"}
    assert not list((first.run_dir / "checkpoints" / QUEUE).iterdir())
    for name in stored(store):
        if name.startswith("step00000012"):
            store.client().delete_object(Bucket=BUCKET, Key=f"runs/small/{name}")
    second = new_run()
    output = second.train(f"checkpoint.upload={URL}", ranks=2)
    assert "step00000008: step 8, 32 packs consumed" in output
    assert second.column("loss") == finished.column("loss")[8:]


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
        mirror.add(newest, Attempt(tmp_path, 7))
        mirror.close()
    assert "warning: step00000012.00007 is not in the object store" in said[0]
    checkpoint_files.prune(checkpoints, keep_last=1)
    shutil.rmtree(newest)  # what waits to be stored is no longer needed by anybody else
    Mirror(checkpoints, URL + "/late", said.append).close()
    assert said[1:] == [f"stored {URL}/late/step00000012.00007"]
    shutil.rmtree(checkpoints)
    brought = bring_newest(URL + "/late", checkpoints)
    assert brought is not None
    assert brought.name == "step00000012"
    assert checkpoint_files.damage(brought) is None


def test_damage_in_the_store_is_told(finished: SmallRun, store: S3Server, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path, URL + "/damaged", print)
    mirror.add(checkpoint_files.candidates(finished.run_dir / "checkpoints")[0], Attempt(tmp_path, 1))
    mirror.close()
    key = "runs/small/damaged/step00000012.00001/rank00001-of-00002.safetensors"
    content = bytearray(store.client().get_object(Bucket=BUCKET, Key=key)["Body"].read())
    content[-1] ^= 1
    store.client().put_object(Bucket=BUCKET, Key=key, Body=bytes(content))
    with pytest.raises(UserError, match=r"rank00001-of-00002\.safetensors: its content differs .* remove it there"):
        bring_newest(URL + "/damaged", tmp_path / "new")


def test_an_address_that_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"checkpoint\.upload is ftp://x/y: expected s3://"):
        bring_newest("ftp://x/y", tmp_path)
