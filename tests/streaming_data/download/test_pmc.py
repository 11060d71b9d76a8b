"""PMC's bucket: what is selected, whatever the server does and whenever the command is killed."""

import functools
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pmc_mirror import BUCKET, INVENTORY, Mirror, Published
from s3_server import Fault, FaultProxy, S3Server
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.streaming_data.corpora import readers
from clinical_modernbert.streaming_data.corpora.pmc import PmcSource
from clinical_modernbert.streaming_data.download import pmc, pmc_articles, web
from clinical_modernbert.streaming_data.download.pmc import Result
from clinical_modernbert.streaming_data.download.pmc_articles import Selection
from clinical_modernbert.streaming_data.shards.manifest import read_manifest
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

MOMENT = "2026-11-27T01-00Z"
LATER = "2026-11-28T01-00Z"
ARTICLES = [
    *(Published(number) for number in range(1_001_000, 1_001_030)),
    *(Published(number, version) for number in (2_000_999, 2_001_000) for version in (2, 10, 9)),
    *(Published(number) for number in range(12_345_000, 12_345_020)),
    Published(12_345_100, retracted=True),
    Published(12_345_101, licence="CC BY-NC"),
]
"""In four packages."""
KEPT = 30 + 2 + 20


def published(*articles: Published, moment: str = MOMENT) -> Mirror:
    mirror = Mirror()
    mirror.publish(articles or ARTICLES)
    mirror.take_inventory(moment)
    return mirror


def get(address: object, out: Path, selection: Selection | None = None, limit: int | None = None) -> Result:
    return pmc.fetch(
        str(address),
        out,
        selection or Selection(),
        lambda done, total, counted: None,
        advice="find the new address",
        connections=8,
        limit=limit,
    )


def packages(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("PMC*.tar.gz"))}


def articles_in(out: Path) -> dict[str, bytes]:
    """The XML files in all packages, as any tar program reads them."""
    found = {}
    for path in out.glob("PMC*.tar.gz"):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name != "index.json":
                    found[member.name] = archive.extractfile(member).read()  # type: ignore[union-attr]
    return found


def expected(articles: list[Published]) -> dict[str, bytes]:
    return {f"{article.name}.xml": article.xml for article in articles}


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The packages of ARTICLES, from a mirror in a directory."""
    home = tmp_path_factory.mktemp("pmc")
    get(published().write(home / "mirror"), home / "out")
    return packages(home / "out")


@pytest.fixture(scope="session")
def bucket(s3_server: S3Server) -> str:
    """The address of ARTICLES in a real S3 server."""
    published().store(s3_server.client())
    return f"s3://{BUCKET}"


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "1")
    monkeypatch.setattr(web, "READ_SECONDS", 1.0)


def test_the_newest_versions_under_the_chosen_licences_are_kept(tmp_path: Path) -> None:
    draw = random.Random(3)
    codes = ["CC BY", "CC0", "CC BY-NC", "CC BY-NC-ND", "TDM", None, "a new one"]
    articles = [
        Published(
            number,
            version,
            draw.choice(codes),
            open_access=draw.random() < 0.7,
            manuscript=draw.random() < 0.5,
            retracted=draw.random() < 0.2,
            scanned=draw.random() < 0.2,
            has_xml=draw.random() < 0.9,
        )
        for number in draw.sample(range(1, 30_000), 150)
        for version in draw.sample(range(1, 12), draw.randint(1, 3))
    ]
    mirror = published(*articles).write(tmp_path / "mirror")
    newest = {article.number: article for article in sorted(articles, key=lambda article: article.version)}
    for at, selection in enumerate(
        [
            Selection(),
            Selection(licences=("CC BY-NC", "CC BY-NC-ND")),
            Selection(licences=("any",), retracted=True, scanned=True),
            Selection(licences=("CC0", "TDM"), scanned=True),
            Selection(licences=("a new one",), retracted=True),
        ]
    ):
        selected = [
            article
            for article in newest.values()
            if (article.licence in selection.licences or "any" in selection.licences)
            and (article.open_access or (article.manuscript and "TDM" in selection.licences))
            and (selection.retracted or not article.retracted)
            and (selection.scanned or not article.scanned)
            and article.has_xml
        ]
        result = get(mirror, tmp_path / str(at), selection)
        assert selected
        assert articles_in(tmp_path / str(at)) == expected(selected)
        assert result.kept == len(selected)
        assert result.kept + sum(result.left_out.values()) == len(newest)
        assert not result.failed


def test_all_kinds_of_mirrors_give_the_same_bytes(
    bucket: str,
    s3: FaultProxy,
    s3_server: S3Server,
    reference: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published().store(s3_server.client(), prefix="lab/pmc/")
    mirror = published().write(tmp_path / "mirror")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(mirror))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *arguments: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as plain:
        threading.Thread(target=plain.serve_forever, args=(0.01,), daemon=True).start()
        addresses = [
            bucket,
            f"{s3.url}/{BUCKET}/",
            f"{bucket}/lab/pmc",
            f"http://127.0.0.1:{plain.server_address[1]}",
            mirror,
        ]
        for at, address in enumerate(addresses):
            assert get(address, tmp_path / str(at)).kept == KEPT
            assert packages(tmp_path / str(at)) == reference
        plain.shutdown()


def test_only_the_inventory_is_listed(bucket: str, s3: FaultProxy, tmp_path: Path) -> None:
    get(bucket, tmp_path / "out")
    (listing,) = s3.requested("GET", "list-type")
    assert "inventory-reports" in listing
    assert len(s3.requested("GET", "/metadata/PMC")) == KEPT + 2
    assert len(s3.requested("GET", ".xml")) == KEPT
    s3.requests.clear()
    written = {path: path.stat().st_ino for path in (tmp_path / "out").glob("PMC*")}
    get(bucket, tmp_path / "out")
    assert not s3.requested("GET", "/PMC")
    assert {path: path.stat().st_ino for path in written} == written


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    ("kind", "match"),
    [
        *((kind, ".xml") for kind in ("503", "busy", "reset", "truncate", "corrupt", "etag", "hang", "slow")),
        *((kind, "metadata/PMC") for kind in ("503", "busy", "reset", "truncate", "corrupt", "etag", "hang")),
        *((kind, "-1.csv.gz") for kind in ("503", "truncate", "corrupt")),
        *((kind, match) for kind in ("503", "truncate") for match in ("manifest.json", "list-type")),
    ],
)
def test_transient_faults_change_nothing(
    bucket: str, s3: FaultProxy, reference: dict[str, bytes], tmp_path: Path, kind: str, match: str
) -> None:
    s3.fault = Fault(kind, match, times=2)
    assert get(bucket, tmp_path / "out").kept == KEPT
    assert s3.fault.times == 0
    assert packages(tmp_path / "out") == reference


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize(
    ("kind", "match", "problem"),
    [
        ("corrupt", ".xml", "its XML has another MD5"),
        ("404", ".xml", "the server responded 404"),
        ("403", ".xml", "the server responded 403"),
        ("corrupt", "metadata/", "its metadata have an MD5 other than their ETag"),
        ("etag", "metadata/", "its metadata have an MD5 other than their ETag"),
        ("403", "metadata/", "the server responded 403"),
    ],
)
def test_one_bad_article_is_reported_and_tried_again_by_the_next_command(
    bucket: str, s3: FaultProxy, reference: dict[str, bytes], tmp_path: Path, kind: str, match: str, problem: str
) -> None:
    s3.fault = Fault(kind, f"PMC1001007.1{match}" if match == ".xml" else f"{match}PMC1001007.1")
    result = get(bucket, tmp_path)
    assert result.kept == KEPT - 1
    assert articles_in(tmp_path).keys() == expected([a for a in ARTICLES[:30] if a.number != 1001007]).keys() | {
        name for name in articles_in(tmp_path) if not name.startswith("PMC1001")
    }
    (failure,) = result.failed
    assert failure.startswith("PMC1001007.1: ")
    assert problem in failure
    with pytest.raises(UserError, match=r"1 articles could not be brought \(PMC1001007\.1: .*run the command again"):
        result.require_complete()
    s3.fault = None
    s3.requests.clear()
    assert not get(bucket, tmp_path).failed
    assert {path.rpartition("/")[2] for path in s3.requested("GET", "PMC1")} <= {
        "PMC1001007.1.json",
        "PMC1001007.1.xml",
    }
    assert packages(tmp_path) == reference


@pytest.mark.usefixtures("short_pauses")
@pytest.mark.parametrize("kind", ["503", "reset", "truncate"])
def test_a_server_that_stays_down_ends_the_command_and_finished_packages_remain(
    bucket: str, s3: FaultProxy, reference: dict[str, bytes], tmp_path: Path, kind: str
) -> None:
    s3.fault = Fault(kind, "PMC1001")
    with pytest.raises(UserError, match=r"gave up after \d+ tries .*; run the command again to continue"):
        get(bucket, tmp_path)
    done = packages(tmp_path)
    assert done.items() <= reference.items()
    assert "PMC0001001xxx.tar.gz" not in done
    s3.fault = None
    s3.requests.clear()
    get(bucket, tmp_path)
    assert packages(tmp_path) == reference
    assert not [path for name in done for path in s3.requested("GET", f"PMC{int(name[3:10])}")]


def test_a_bucket_that_refuses_all_articles_ends_the_command(
    bucket: str, s3: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pmc, "_MOST_FAILURES", 10)
    s3.fault = Fault("403", "/metadata/PMC")
    with pytest.raises(UserError, match=r"11 articles in a row could not be brought, the last PMC.*403"):
        get(bucket, tmp_path)


@pytest.mark.slow
def test_a_download_that_is_killed_anywhere_continues(
    bucket: str, s3: FaultProxy, reference: dict[str, bytes], tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "clinical_modernbert.launcher", "data", "fetch", "pmc", "--connections", "4"),
        *("--index", bucket, "--out", str(tmp_path)),
    ]
    for moment in (1, 3, 20, 60, 20, 40):  # requests: of the inventory, of the first package, of the last one
        s3.requests.clear()
        process = subprocess.Popen(command, env={**os.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and len(s3.requests) < moment:
            threading.Event().wait(0.001)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert packages(tmp_path).items() <= reference.items()
    subprocess.run(command, env={**os.environ}, check=True, stdout=subprocess.DEVNULL)
    assert packages(tmp_path) == reference
    assert {path.name for path in tmp_path.iterdir()} == {*reference, "selection.json", ".inventory"}


def test_a_later_inventory_brings_what_changed_and_nothing_else(
    s3: FaultProxy, s3_server: S3Server, tmp_path: Path
) -> None:
    name = "pmc-daily"
    mirror = published()
    mirror.store(s3_server.client(), name)
    get(f"s3://{name}", tmp_path / "out")
    changed = [
        Published(1_001_003, 2),  # a new version
        replace(ARTICLES[5], retracted=True),
        replace(ARTICLES[6], licence="CC BY-NC"),
        Published(12_345_900),  # new articles, in an old and in a new package
        Published(12_400_000),
    ]
    mirror.publish(changed)
    del mirror.objects["metadata/PMC1001010.1.json"]  # withdrawn
    mirror.take_inventory(LATER)
    mirror.store(s3_server.client(), name)
    s3.requests.clear()
    get(f"s3://{name}", tmp_path / "out")
    brought = {path.rpartition("/")[2] for path in s3.requested("GET", "/PMC") + s3.requested("GET", "/metadata/PMC")}
    assert brought == {
        *(f"{article.name}.json" for article in changed),
        *(f"{article.name}.xml" for article in (changed[0], *changed[3:])),
    }
    get(mirror.write(tmp_path / "mirror"), tmp_path / "afresh")
    assert packages(tmp_path / "out") == packages(tmp_path / "afresh")
    assert [path.name for path in (tmp_path / "out/.inventory").iterdir()] == [LATER]


def test_an_inventory_without_its_manifest_is_not_finished(tmp_path: Path) -> None:
    mirror = published()
    mirror.objects[f"{INVENTORY}/{LATER}/manifest.checksum"] = b"0"
    assert get(mirror.write(tmp_path / "mirror"), tmp_path / "out").kept == KEPT


def manifest_with(change: str, value: object) -> bytes:
    manifest = json.loads(published().objects[f"{INVENTORY}/{MOMENT}/manifest.json"])
    if change in manifest:
        manifest[change] = value
    else:
        manifest["files"][0][change] = value
    return json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"<!DOCTYPE html><html>moved</html>", r"is not the manifest of an inventory .*find the new address"),
        (b"{}", r"is not the manifest of an inventory \(fileFormat: Field required\)"),
        (manifest_with("fileFormat", "Parquet"), "an inventory in Parquet"),
        (manifest_with("fileSchema", "Bucket, Key, LastModifiedDate"), "expected CSV of Key and ETag"),
        (manifest_with("fileSchema", "Bucket, Key, ETag"), "row 1 has 4 columns; expected Bucket, Key, ETag"),
        (manifest_with("MD5checksum", "0" * 32), "has another size or MD5"),
        (manifest_with("size", 5), "has another size or MD5"),
        (manifest_with("key", "../../elsewhere"), "is not the manifest of an inventory"),
    ],
)
def test_a_damaged_inventory_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    mirror = published()
    mirror.objects[f"{INVENTORY}/{MOMENT}/manifest.json"] = content
    before = set(mirror.write(tmp_path / "mirror").rglob("*"))
    with pytest.raises(UserError, match=problem):
        get(tmp_path / "mirror", tmp_path / "out")
    assert set((tmp_path / "mirror").rglob("*")) == before
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flat", [False, True])
def test_a_directory_without_an_inventory_is_scanned(tmp_path: Path, flat: bool) -> None:
    mirror = Mirror()
    mirror.publish(ARTICLES)
    if flat:  # the folders of articles alone
        mirror.objects = {key: value for key, value in mirror.objects.items() if not key.startswith("metadata/")}
    get(mirror.write(tmp_path / "mirror"), tmp_path / "out")
    get(published().write(tmp_path / "other"), tmp_path / "reference")
    assert articles_in(tmp_path / "out") == articles_in(tmp_path / "reference")


def test_an_address_without_a_bucket_is_reported_and_leaves_nothing(s3: FaultProxy, tmp_path: Path) -> None:
    for address in (f"{s3.url}/no-such-bucket/", f"{s3.url}/packs/"):
        with pytest.raises(UserError, match=f"^{address}.*find the new address"):
            get(address, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"nowhere: no such directory"):
        get(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_directory_holds_one_selection(tmp_path: Path) -> None:
    mirror = published().write(tmp_path / "mirror")
    get(mirror, tmp_path / "out")
    before = packages(tmp_path / "out")
    with pytest.raises(
        UserError, match=r"holds another selection \(retracted False, not True\); choose another directory"
    ):
        get(mirror, tmp_path / "out", Selection(retracted=True))
    assert packages(tmp_path / "out") == before
    (tmp_path / "out/selection.json").unlink()
    get(mirror, tmp_path / "out", Selection(retracted=True))
    get(mirror, tmp_path / "afresh", Selection(retracted=True))
    assert packages(tmp_path / "out") == packages(tmp_path / "afresh") != before
    (tmp_path / "out/selection.json").write_text("{")
    with pytest.raises(UserError, match=r"selection\.json: not JSON"):
        get(mirror, tmp_path / "out")


def test_two_downloads_do_not_share_a_directory(tmp_path: Path) -> None:
    mirror = published().write(tmp_path / "mirror")
    with pmc._locked(tmp_path / "out"), pytest.raises(UserError, match="another download is running here"):
        get(mirror, tmp_path / "out")
    get(mirror, tmp_path / "out")


@pytest.mark.parametrize("damage", ["cut", "text", "other tar", "byte"])
def test_a_damaged_package_is_named(tmp_path: Path, damage: str) -> None:
    mirror = published()
    get(mirror.write(tmp_path / "mirror"), tmp_path / "out")
    path = tmp_path / "out/PMC0001001xxx.tar.gz"
    content = path.read_bytes()
    if damage == "other tar":
        with tarfile.open(path, "w:gz") as archive:
            archive.add(__file__, "test.py")
    else:
        path.write_bytes(
            {"cut": content[:200], "text": b"what is this", "byte": content[:-3000] + b"\0" + content[-2999:]}[damage]
        )
    mirror.publish([replace(ARTICLES[0], retracted=True)])  # so that its articles are read again
    mirror.take_inventory(LATER)
    mirror.write(tmp_path / "mirror")
    with pytest.raises(UserError, match=rf"^{path}: not a package of `cmbert data fetch pmc`.*remove it"):
        get(tmp_path / "mirror", tmp_path / "out")
    path.unlink()
    assert get(tmp_path / "mirror", tmp_path / "out").kept == KEPT - 1


def test_a_limit_brings_the_newest_articles_and_the_rest_follows(reference: dict[str, bytes], tmp_path: Path) -> None:
    mirror = published().write(tmp_path / "mirror")
    assert get(mirror, tmp_path / "out", limit=21).kept == 21
    assert list(packages(tmp_path / "out")) == ["PMC0002001xxx.tar.gz", "PMC0012345xxx.tar.gz"]
    get(mirror, tmp_path / "out")
    assert packages(tmp_path / "out") == reference


def documents(*paths: object) -> dict[str, str]:
    source = PmcSource(name="pmc", format="pmc", paths=[str(path) for path in paths], licence="of the tests")
    return {document.id: document.text for document in readers.read(source)}


def test_the_reader_reads_packages_and_single_articles(tmp_path: Path) -> None:
    mirror = published().write(tmp_path / "mirror")
    get(mirror, tmp_path / "out", Selection(licences=("any",), retracted=True))
    packed = documents(tmp_path / "out/PMC*.tar.gz")
    single = documents(tmp_path / "mirror/PMC1*/PMC*.xml", tmp_path / "mirror/PMC2*.10/PMC*.xml")
    assert packed == single
    assert len(packed) == KEPT + 2
    assert packed["PMC2001000"].startswith("Article 2001000, version 10\n\nResults\n")


@pytest.mark.slow
def test_from_the_bucket_to_a_data_set(
    bucket: str, s3: FaultProxy, tokenizer: LoadedTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two commands of the documentation, run from another directory."""
    monkeypatch.chdir(tmp_path)
    fetched = CliRunner().invoke(app, ["data", "fetch", "pmc", "--out", "corpora/pmc", "--index", bucket])
    assert fetched.exit_code == 0, fetched.output
    assert f"{KEPT} articles in 4 packages in corpora/pmc" in fetched.output
    assert "left out: 1 licence CC BY-NC" in fetched.output
    assert "left out: 1 retracted" in fetched.output
    recipe = {
        "output": "packs",
        "tokenizer": str(tokenizer.directory),
        "sources": [{"name": "pmc", "format": "pmc", "paths": ["corpora/pmc/PMC*.tar.gz"], "licence": "CC BY"}],
    }
    Path("mine.yaml").write_text(json.dumps(recipe))
    prepared = CliRunner().invoke(app, ["data", "prepare", "mine.yaml"])
    assert prepared.exit_code == 0, prepared.output
    splits = read_manifest("packs").sources["pmc"].splits
    assert sum(split.documents for split in splits.values()) == KEPT


def test_options_of_other_corpora_are_refused(tmp_path: Path) -> None:
    def error(*arguments: str) -> str:
        return str(CliRunner().invoke(app, ["data", "fetch", *arguments, "--out", str(tmp_path / "out")]).exception)

    assert "--licence, --retracted: only for pmc" in error("pubmed", "--licence", "CC BY", "--retracted")
    assert "2 addresses; expected one bucket or mirror" in error("pmc", "--index", "a", "--index", "b")
    assert not (tmp_path / "out").exists()


def test_a_selection_of_nothing_is_an_error(tmp_path: Path) -> None:
    mirror = published().write(tmp_path / "mirror")
    result = CliRunner().invoke(
        app, ["data", "fetch", "pmc", "--out", str(tmp_path / "out"), "--index", str(mirror), "--licence", "CC-BY NX"]
    )
    assert f"left out: {KEPT} licence CC BY" in result.output
    assert "no article was selected" in str(result.exception)


def test_an_article_above_the_bound_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    largest = max(len(article.xml) for article in ARTICLES)
    monkeypatch.setattr(pmc_articles, "XML_BYTES", largest - 1)
    result = get(published().write(tmp_path / "mirror"), tmp_path / "out")
    assert sum(result.left_out.values()) > 2
    assert f"more than {largest - 1:,} bytes" in result.left_out
    assert not result.failed


def test_a_mirror_cannot_name_files_outside_of_it(tmp_path: Path) -> None:
    (tmp_path / "secret.xml").write_text("<article/>")
    mirror = Mirror()
    mirror.publish([Published(5), Published(6)])
    mirror.objects["metadata/PMC5.1.json"] = json.dumps(
        {**Published(5).metadata, "xml_url": "s3://b/../secret.xml"}
    ).encode()
    result = get(mirror.write(tmp_path / "mirror"), tmp_path / "out")
    assert result.kept == 1
    assert "no such file in this mirror" in result.failed[0]
