"""Uploads to a real S3 server: an incomplete data set can never be read, and nothing is ever overwritten."""

import hashlib
import json
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from s3_server import BUCKET, Fault, FaultProxy, S3Server
from small_data import SEQ_LENGTH, write_small_data
from typer.testing import CliRunner, Result

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.reporting import configure
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.storage import remote
from clinical_modernbert.storage import s3 as s3_module
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import PackDataset, open_dataset
from clinical_modernbert.streaming_data.prepare.upload import upload

NUMBERS = count()


@pytest.fixture
def local(tmp_path: Path) -> Path:
    return write_small_data(tmp_path / "data", packs=20)


@pytest.fixture
def url(s3: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> str:
    """An unused address; there are no pauses between tries."""
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", 0)
    return f"s3://{BUCKET}/upload{next(NUMBERS)}"


def names(local: Path) -> list[str]:
    return sorted(path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file())


def stored(server: S3Server, url: str) -> dict[str, bytes]:
    """The objects at the address, read from the server directly."""
    client, prefix = server.client(), url.removeprefix(f"s3://{BUCKET}/") + "/"
    objects = client.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    return {
        entry["Key"].removeprefix(prefix): client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
        for entry in objects
    }


def opened(url: str, cache: Path) -> PackDataset:
    return open_dataset(DataConfig(path=url, seq_length=SEQ_LENGTH, cache=cache), 0)


def test_an_upload_is_the_data_set_and_its_manifest_comes_last(
    local: Path,
    url: str,
    s3: FaultProxy,
    s3_server: S3Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure()
    upload(local, url + "/")
    assert stored(s3_server, url) == {name: (local / name).read_bytes() for name in names(local)}
    put = [path.removeprefix(f"/{BUCKET}/").split("/", 1)[1] for path in s3.requested("PUT")]
    assert sorted(put) == names(local)
    assert put[-1] == "manifest.json"
    indexes = [name for name in put if name.endswith("/index.json")]
    assert sorted(put[-1 - len(indexes) : -1]) == sorted(indexes)
    before, after = capsys.readouterr().out.splitlines()
    assert before.startswith(f"0 of {len(put)} files are uploaded, ")
    assert after.startswith(f"{url}: {len(put)} files, ")
    assert after.endswith("all confirmed by the store")
    dataset = opened(url, tmp_path / "cache")
    assert [len(reader) for reader in dataset.readers] == [20, 5]
    for address in dataset.order.between(0, 25):
        dataset.read(address)


def test_hashing_and_uploading_show_their_bytes(
    local: Path, url: str, every_progress: pytest.LogCaptureFixture
) -> None:
    upload(local, url)
    size = sum(path.stat().st_size for path in local.rglob("*") if path.is_file())
    for work in ("hashing", "uploading"):
        done = [message for message in every_progress.messages if message.startswith(f"{work} ")]
        assert done[-1].startswith(f"{work} {size / 1e3:.1f}/{size / 1e3:.1f} kB  elapsed 0:0"), done


def test_an_interrupted_upload_cannot_be_read_and_can_be_continued(
    local: Path, url: str, s3: FaultProxy, s3_server: S3Server, tmp_path: Path
) -> None:
    for stop in ("notes/train/shard.00001.mds", "notes/train/index.json", "manifest.json"):
        s3.fault = Fault("403", stop, method="PUT")
        with pytest.raises(UserError, match=f"^{url}/{stop}: gave up after 3 tries .*AccessDenied"):
            upload(local, url)
        s3.fault = None
        assert stop not in stored(s3_server, url)
        with pytest.raises(UserError, match=rf"{url}/manifest\.json: gave up .*NoSuchKey"):
            opened(url, tmp_path / "cache")
    before = stored(s3_server, url)
    s3.requests.clear()
    upload(local, url)
    assert [path.rsplit("/", 1)[1] for path in s3.requested("PUT")] == ["manifest.json"]
    assert {**before, "manifest.json": (local / "manifest.json").read_bytes()} == stored(s3_server, url)
    opened(url, tmp_path / "cache")
    s3.requests.clear()
    upload(local, url)  # a finished upload is confirmed
    assert s3.requested("PUT") == []


def change_a_shard(local: Path) -> None:
    shutil.rmtree(local)
    write_small_data(local, packs=21)


def add_to_the_manifest(local: Path) -> None:
    manifest = json.loads((local / "manifest.json").read_text())
    (local / "manifest.json").write_text(json.dumps(manifest | {"note": "rebuilt"}))


def forget_a_source(local: Path) -> None:
    shutil.rmtree(local / "codes")


@pytest.mark.parametrize("change", [change_a_shard, add_to_the_manifest, forget_a_source])
def test_an_address_with_another_data_set_is_never_changed(
    local: Path, url: str, s3: FaultProxy, s3_server: S3Server, change: Callable[[Path], None]
) -> None:
    upload(local, url)
    before = stored(s3_server, url)
    change(local)
    s3.requests.clear()
    with pytest.raises(UserError, match=rf"^{url}: already holds .* choose a new address for each data set"):
        upload(local, url)
    assert s3.requested("PUT") == []
    assert stored(s3_server, url) == before


def test_an_address_with_another_users_files_is_refused(
    local: Path, url: str, s3: FaultProxy, s3_server: S3Server
) -> None:
    s3_server.client().put_object(Bucket=BUCKET, Key=url.rsplit("/", 1)[1] + "/manifest.json", Body=b"{}")
    with pytest.raises(UserError, match=r"already holds manifest\.json \(1 such files\)"):
        upload(local, url)
    assert s3.requested("PUT") == []


@pytest.mark.parametrize("kind", ["503", "reset", "corrupt"])
def test_a_transient_fault_is_retried(local: Path, url: str, s3: FaultProxy, s3_server: S3Server, kind: str) -> None:
    s3.fault = Fault(kind, "shard.00000.mds", times=2, method="PUT")
    upload(local, url)
    assert s3.fault.times == 0
    assert stored(s3_server, url) == {name: (local / name).read_bytes() for name in names(local)}


def test_corruption_in_transit_is_refused_by_the_store(
    local: Path, url: str, s3: FaultProxy, s3_server: S3Server
) -> None:
    s3.fault = Fault("corrupt", "shard.00000.mds", method="PUT")
    with pytest.raises(UserError, match=r"shard\.00000\.mds: gave up after 3 tries .*(BadDigest|Mismatch)"):
        upload(local, url)
    assert not any("shard.00000" in name for name in stored(s3_server, url))


def test_a_file_that_changes_during_the_upload_is_refused(url: str, s3: FaultProxy, tmp_path: Path) -> None:
    (tmp_path / "shard").write_bytes(b"changed after it was hashed")
    with pytest.raises(ClientError, match="BadDigest"):
        s3_module.put(tmp_path / "shard", f"{url}/shard", "sha256", hashlib.md5(b"as it was").digest())


def test_a_corrupt_data_set_is_not_uploaded(local: Path, url: str, s3: FaultProxy) -> None:
    shard = local / "notes/train/shard.00001.mds"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"shard\.00001\.mds: this shard has .* prepare the data again"):
        upload(local, url)
    (local / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json: no such file"):
        upload(local, url)
    assert s3.requests == []


@pytest.fixture
def bucket(request: pytest.FixtureRequest, s3_server: S3Server) -> str:
    """A bucket that encrypts its objects, one that is publicly readable, or one that is neither."""
    client, name = s3_server.client(), f"{request.param}{next(NUMBERS)}"
    client.create_bucket(Bucket=name)
    if request.param == "encrypted":
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        client.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    if request.param == "public":
        allowed = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"]}
        policy = {"Version": "2012-10-17", "Statement": [{**allowed, "Resource": [f"arn:aws:s3:::{name}/*"]}]}
        client.put_bucket_policy(Bucket=name, Policy=json.dumps(policy))
    return name


@pytest.mark.parametrize(
    ("bucket", "problem"),
    [("encrypted", None), ("public", "publicly readable"), ("plain", "does not report encryption")],
    indirect=["bucket"],
)
def test_text_of_patients_is_uploaded_only_to_a_protected_bucket(
    local: Path, url: str, s3: FaultProxy, bucket: str, problem: str | None
) -> None:
    manifest = json.loads((local / "manifest.json").read_text())
    manifest["sources"]["notes"]["synthetic"] = False
    manifest["sources"]["codes"].update(synthetic=False, public=True)
    (local / "manifest.json").write_text(json.dumps(manifest))
    address = f"s3://{bucket}/data"
    if problem:
        with pytest.raises(UserError, match=rf"^{address}: .*{problem}.* notes may hold text of patients") as caught:
            upload(local, address)
        assert "codes" not in str(caught.value)
        assert s3.requested("PUT") == [f"/{bucket}/data/tokenizer/tokenizer_config.json"]
    upload(local, address, unprotected=problem is not None)
    assert f"/{bucket}/data/manifest.json" in s3.requested("PUT")


@pytest.mark.parametrize("address", ["s3://bucket", "s3:///key", "oci://bucket/key", "/data/out"])
def test_an_address_that_cannot_hold_a_data_set_is_refused(local: Path, address: str) -> None:
    with pytest.raises(UserError, match="expected s3://bucket/path"):
        upload(local, address)


def test_one_command_prepares_uploads_and_continues(url: str, s3: FaultProxy, tmp_path: Path) -> None:
    configure()

    def cmbert(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["data", *arguments])

    assert cmbert("synthesize", "--out", str(tmp_path / "notes"), "--notes", "40").exit_code == 0
    source = {"name": "notes", "format": "mimic_notes", "paths": [str(tmp_path / "notes" / "*.csv")]}
    tokenizer = write_small_data(tmp_path / "small", packs=2) / "tokenizer"
    recipe = {"output": str(tmp_path / "data"), "tokenizer": str(tokenizer), "seq_length": 512, "held_out": 0}
    sources = [source | {"licence": "Apache-2.0", "synthetic": True}]
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe | {"sources": sources}))
    command = ("prepare", str(tmp_path / "recipe.yaml"), "--upload", url)
    s3.fault = Fault("403", "manifest.json", method="PUT")
    assert isinstance(cmbert(*command).exception, UserError)
    s3.fault = None
    written = (tmp_path / "data" / "manifest.json").stat().st_mtime_ns
    result = cmbert(*command)
    assert result.exit_code == 0, result.output
    assert "all confirmed by the store" in result.output
    assert (tmp_path / "data" / "manifest.json").stat().st_mtime_ns == written
    other = cmbert(*command, "--set", "seq_length=1024").exception
    assert isinstance(other, UserError)
    assert "exists already" in str(other)
