"""Reading from a real S3 server that refuses, hangs, corrupts, slows down and dies: every pack, or one clear error."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from s3_server import BUCKET, Fault, FaultProxy, S3Server
from small_data import SEQ_LENGTH, write_small_data
from small_run import RECIPE, SmallRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage import remote
from clinical_modernbert.storage import s3 as s3_module
from clinical_modernbert.streaming_data.loader.batches import StepData, load, rank_micro_batches
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import PackDataset, copy_tokenizer, open_dataset
from clinical_modernbert.training.objective import digest

URL = f"s3://{BUCKET}/small"
EPOCH = 75
PATIENCE = 3
READ_SECONDS = s3_module.READ_SECONDS
SHARD = "notes/train/shard.00002.mds"


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Path:
    """The small data set, in a local directory and at URL."""
    path = write_small_data(tmp_path_factory.mktemp("data"))
    s3_server.store(path, "small")
    return path


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the pauses between tries, and a read timeout of two seconds."""
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", remote.FIRST_PAUSE_SECONDS / 10)
    monkeypatch.setattr(s3_module, "READ_SECONDS", 2)


def opened(path: object, cache: Path | None = None) -> PackDataset:
    return open_dataset(DataConfig(path=str(path), seq_length=SEQ_LENGTH, cache=cache, shuffle_window=2), 3)


def epoch(start: int = 0) -> list[StepData]:
    return [StepData(number, 5, SEQ_LENGTH, 0.3) for number in range(start, EPOCH, 5)]


def digests(dataset: PackDataset) -> list[int]:
    return [digest(batches) for batches in load(dataset, epoch(), 5)]


def shards_of(path: Path) -> list[str]:
    return sorted(f"/{BUCKET}/small/{file.relative_to(path).as_posix()}" for file in path.glob("*/train/*.mds"))


def test_an_epoch_from_the_store_equals_the_epoch_from_the_disk(local: Path, s3: FaultProxy, tmp_path: Path) -> None:
    dataset = opened(URL + "/", tmp_path)
    assert dataset.identity() == opened(local).identity()
    expected = digests(opened(local))
    assert digests(dataset) == expected
    assert sorted(s3.requested("GET", ".mds")) == shards_of(local)
    assert digests(opened(URL, tmp_path)) == expected
    assert sorted(s3.requested("GET", ".mds")) == shards_of(local)  # the second time from the cache
    copy_tokenizer(URL, tmp_path / "tokenizer")
    assert (tmp_path / "tokenizer/tokenizer.json").read_bytes() == (local / "tokenizer/tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        *((kind, SHARD) for kind in ("403", "404", "503", "hang", "reset", "truncate", "corrupt")),
        *((kind, "notes/train/index.json") for kind in ("503", "truncate")),
        *((kind, "manifest.json") for kind in ("503", "truncate")),
    ],
)
def test_a_transient_fault_is_retried(local: Path, s3: FaultProxy, tmp_path: Path, kind: str, match: str) -> None:
    s3.fault = Fault(kind, match, times=2)
    dataset = opened(URL, tmp_path)
    assert digests(dataset) == digests(opened(local))
    assert s3.fault.times == 0


@pytest.mark.parametrize("kind", ["403", "404", "503", "hang", "reset", "truncate", "corrupt", "slow"])
def test_a_permanent_fault_is_one_error_at_its_step(
    local: Path, s3: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    dataset = opened(URL, tmp_path)
    for reader in dataset.readers:  # so that only the one shard exceeds the deadline, however slow this machine is
        for number, shard in enumerate(reader.shards):
            if not f"{reader.address}/{shard.name}".endswith(SHARD):
                reader.fetch_ahead(number)
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", str(PATIENCE))
    s3.fault = Fault(kind, SHARD)
    first = next(
        number
        for number, address in enumerate(dataset.order.between(0, EPOCH))
        if dataset.sources[address.source] == "notes" and shard_of(dataset, address.pack) == 2
    )
    batches = load(dataset, epoch(), 5)
    for _ in range(first // 5):
        next(batches)
    start = time.monotonic()
    with pytest.raises(UserError, match=f"^{URL}/{SHARD}: gave up after \\d+ tries"):
        next(batches)
    assert time.monotonic() - start < PATIENCE + 30
    cached = dataset.readers[0].fingerprint[:16]
    assert not [*tmp_path.rglob(f"{cached}/shard.00002.mds")]


def shard_of(dataset: PackDataset, pack: int) -> int:
    for number, shard in enumerate(dataset.readers[0].shards):
        if pack < shard.packs:
            return number
        pack -= shard.packs
    raise AssertionError(pack)


def test_an_attempt_is_one_request_with_short_timeouts(s3: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    assert s3_module.CONNECT_SECONDS + READ_SECONDS <= 30
    monkeypatch.setattr(s3_module, "READ_SECONDS", READ_SECONDS)
    with s3_module.connected() as client:
        assert client.meta.config.read_timeout == READ_SECONDS
    s3.fault = Fault("503", "manifest.json")
    with pytest.raises(UserError, match="gave up after 1 tries"):
        remote.download(f"{URL}/manifest.json", Path("unused"), lambda path: None, retry=False)
    assert len(s3.requested("GET", "manifest.json")) == 1


def test_corruption_is_reported_after_three_tries(local: Path, s3: FaultProxy, tmp_path: Path) -> None:
    """With the five minutes of patience that a store which does not answer gets."""
    dataset = opened(URL, tmp_path)
    s3.fault = Fault("corrupt", SHARD)
    with pytest.raises(UserError, match=f"^{URL}/{SHARD}: gave up after 3 tries .*upload the data again"):
        dataset.readers[0].verify()
    # A loaded server may also have failed to answer, which does not count. Patience alone would take dozens.
    assert 3 <= len(s3.requested("GET", SHARD)) < 8


def test_a_store_that_hangs_is_waited_for_no_longer_than_the_patience(
    local: Path, s3: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_module, "READ_SECONDS", READ_SECONDS)
    dataset = opened(URL, tmp_path)
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "2")
    s3.fault = Fault("hang", SHARD)
    start = time.monotonic()
    with pytest.raises(UserError, match="gave up after 1 tries"):
        dataset.readers[0].verify()
    assert time.monotonic() - start < READ_SECONDS - 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "NOBODY"}, "InvalidAccessKeyId"),
        ({"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}, "Unable to locate credentials"),
        (
            {"S3_ENDPOINT_URL": "http://127.0.0.1:9", "CMBERT_DOWNLOAD_PATIENCE": "1"},
            "Could not connect to the endpoint",
        ),
        ({"S3_ENDPOINT_URL": "nonsense"}, "Invalid endpoint"),
    ],
)
def test_wrong_credentials_and_endpoints_are_reported(
    s3: FaultProxy, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str | None], message: str
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    s3_module._client.cache_clear()
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(UserError, match=message) as caught:
        opened(URL)
    assert str(caught.value).startswith(f"{URL}/manifest.json: gave up after ")
    assert "SECRET" not in str(caught.value)


def test_an_empty_address_is_one_error(s3: FaultProxy) -> None:
    for url in (f"s3://{BUCKET}/nothing", "s3://no-such-bucket/small"):
        with pytest.raises(UserError, match=rf"^{url}/manifest\.json: gave up after 3 tries .*NoSuch(Key|Bucket)"):
            opened(url)


def test_the_standard_endpoint_variable_works(
    local: Path, s3: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("S3_ENDPOINT_URL")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
    s3_module._client.cache_clear()
    opened(URL, tmp_path)
    assert s3.requested("GET", "manifest.json")


def read_again(path: Path) -> bytes:
    s3_module.get(f"{URL}/{SHARD}", path, remote.Deadline(30))
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_has_its_own_client(local: Path, s3: FaultProxy, tmp_path: Path) -> None:
    """Forked while the parent holds an open connection, as the workers of a loader would be."""
    expected = read_again(tmp_path / "parent")
    client = id(s3_module._client(os.getpid(), s3.url, s3_module.READ_SECONDS))
    with ProcessPoolExecutor(3, multiprocessing.get_context("fork")) as pool:
        for child_client, content in pool.map(of_a_child, [tmp_path / f"child{number}" for number in range(6)]):
            assert content == expected
            assert child_client != client  # the child inherited the parent's, which still exists
    assert id(s3_module._client(os.getpid(), s3.url, s3_module.READ_SECONDS)) == client


def of_a_child(path: Path) -> tuple[int, bytes]:
    content = read_again(path)
    return id(s3_module._client(os.getpid(), os.environ["S3_ENDPOINT_URL"], s3_module.READ_SECONDS)), content


READ_AS_A_RANK = """
import json, sys
from clinical_modernbert.streaming_data.loader.batches import StepData
from clinical_modernbert.streaming_data.loader.batches import load
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
url, cache, seq_length, rank = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
dataset = open_dataset(DataConfig(path=url, cache=cache, seq_length=seq_length), 3)
print("ready", flush=True)
sys.stdin.readline()
steps = [StepData(start, 2, seq_length, 0.3) for start in range(0, 74, 2)]
for (batch,) in load(dataset, steps, 1, rank, 2):
    print(json.dumps([batch.addresses[0], batch.input_ids.tolist()]))
"""


@pytest.mark.slow
def test_processes_share_a_cache(local: Path, s3: FaultProxy, tmp_path: Path) -> None:
    """Both start at the same moment, so that they request the same shards at once."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", READ_AS_A_RANK, URL, str(tmp_path), str(SEQ_LENGTH), str(rank)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for process in ranks:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    with ThreadPoolExecutor(2) as executor:  # reading the output of one must not block the other
        outputs = list(executor.map(lambda process: process.communicate(b"\n", timeout=120)[0], ranks))
    assert [process.returncode for process in ranks] == [0, 0]
    read = [[json.loads(line) for line in output.splitlines()] for output in outputs]
    merged = [pack for step in zip(*read, strict=True) for pack in step]
    dataset = open_dataset(DataConfig(path=str(local), seq_length=SEQ_LENGTH), 3)
    expected = [
        [list(batch.addresses[0]), batch.input_ids.tolist()]
        for batch in rank_micro_batches(dataset, StepData(0, 74, SEQ_LENGTH, 0.3), 1, 0, 1)
    ]
    assert merged == expected
    assert sorted(s3.requested("GET", ".mds")) == shards_of(local)  # each once for both processes


@pytest.mark.slow
def test_a_killed_server_is_one_error_and_a_restarted_one_costs_only_time(
    local: Path, s3_server: S3Server, s3: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = digests(opened(local))
    impatient, patient = (load(opened(URL, tmp_path / name), epoch(), 5, ahead=0) for name in ("impatient", "patient"))
    assert digest(next(impatient)) == digest(next(patient)) == expected[0]
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", str(PATIENCE))
    s3_server.kill()
    start = time.monotonic()
    with pytest.raises(UserError, match=rf"^{URL}/.*\.mds: gave up after \d+ tries"):
        list(impatient)
    assert time.monotonic() - start < PATIENCE + 30
    monkeypatch.delenv("CMBERT_DOWNLOAD_PATIENCE")
    restart = threading.Timer(1, s3_server.start)
    restart.start()
    assert [digest(step) for step in patient] == expected[1:]
    restart.join()


@pytest.mark.slow
def test_training_from_a_bucket_equals_training_from_a_disk(
    local: Path, s3: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two real ranks, one cache, a store with transient faults."""
    s3.fault = Fault("503", ".mds", times=3)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    run = SmallRun(recipe, local, tmp_path / "run")
    short = ("schedule.total_tokens=3072", "schedule.warmup_tokens=0", "schedule.decay_tokens=1024")
    run.train(f"data.path={URL}", f"data.cache={tmp_path / 'cache'}", *short, ranks=2)
    dataset = open_dataset(DataConfig(path=str(local), seq_length=SEQ_LENGTH), int(seed_of(run)), packs_per_step=4)
    rows = run.rows()
    assert len(rows) == 3
    for number, row in enumerate(rows):
        step = StepData(number * 4, 4, int(row["max_seqlen"]), float(row["mlm_probability"]))
        assert row["data_digest"] == f"{digest(rank_micro_batches(dataset, step, 1, 0, 1)):x}"
    assert s3.fault.times == 0
    assert (run.run_dir / "tokenizer/tokenizer.json").read_bytes() == (local / "tokenizer/tokenizer.json").read_bytes()


def seed_of(run: SmallRun) -> str:
    config = (run.run_dir / "config.yaml").read_text()
    return next(line.split(":")[1].strip() for line in config.splitlines() if line.startswith("seed:"))
