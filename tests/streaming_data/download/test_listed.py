"""Downloads from a server that stalls, disconnects, refuses, ignores ranges and sends wrong checksums."""

import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from scripted_site import Answer, Site, serving
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.streaming_data.download import listed, web
from clinical_modernbert.streaming_data.download.listed import fetch
from clinical_modernbert.streaming_data.download.publishers import PUBLISHERS, Publisher

CONTENTS = {f"pubmed26n000{n}.xml.gz": b"\x1f\x8b" + bytes([n]) * (300_000 + n) for n in (1, 2, 3)}
PATTERN = PUBLISHERS["pubmed"].pattern


class Server(ThreadingHTTPServer):
    """Files, their checksums and a page that lists them. Each request for a file's bytes consumes one of `faults`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults: list[str] = []
        self.requests: Counter[str] = Counter()
        self.bytes_sent = 0
        self.wrong_checksums = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}/baseline/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        self.server.requests[name] += 1
        if not name:
            links = [f'<a href="{kind}">{kind}</a>' for name in CONTENTS for kind in (name, f"{name}.md5")]
            self.answer("".join(['<a href="../">up</a><a href="README.txt">r</a>', *links]).encode())
        elif name.endswith(".md5"):
            content = b"other" if self.server.wrong_checksums else CONTENTS[name.removesuffix(".md5")]
            self.answer(f"MD5({name})= {hashlib.md5(content).hexdigest()}\n".encode())
        elif name in CONTENTS:
            self.send_file(CONTENTS[name], self.server.faults.pop(0) if self.server.faults else "")
        else:
            self.send_error(404)

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, content: bytes, fault: str) -> None:
        if fault.isdigit():
            self.send_error(int(fault))
            return
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match and fault != "no ranges" else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        part = body[: len(body) // 2] if fault in ("disconnect", "stall") else body
        self.server.bytes_sent += len(part)  # before the client can have them, and the test looks
        self.wfile.write(part)
        self.wfile.flush()
        if fault == "stall":
            time.sleep(1.5)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(web, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "1")
    monkeypatch.setattr(web, "READ_SECONDS", 0.5)
    monkeypatch.setattr(listed, "CONNECTIONS", 1)
    with Server() as one:
        threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield one
        one.shutdown()


def get(server: Server, folder: Path, md5: bool = True) -> list[Path]:
    return fetch(published(server.url, md5=md5), folder, lambda done, total, counted: None)


def published(*addresses: str, pattern: str = PATTERN, **attributes: bool | str) -> Publisher:
    return Publisher("of the tests", addresses, pattern=pattern, **attributes)  # type: ignore[arg-type]


def check(folder: Path) -> None:
    """Every file is complete, and there are no other files."""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


def test_every_listed_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    paths = fetch(published(server.url, md5=True), tmp_path, lambda *report: seen.append(report))
    assert [path.name for path in paths] == sorted(CONTENTS)
    check(tmp_path)
    assert seen[-1] == (3, 3, sum(map(len, CONTENTS.values())))
    assert server.requests["README.txt"] == 0
    get(server, tmp_path)
    assert all(server.requests[name] == 1 for name in CONTENTS)


@pytest.mark.parametrize("fault", ["disconnect", "stall", "503", "429", "500", "no ranges"])
def test_transient_faults_are_retried(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults = [fault, "disconnect", fault]
    get(server, tmp_path)
    check(tmp_path)


def test_received_bytes_are_not_sent_again(server: Server, tmp_path: Path) -> None:
    server.faults = ["disconnect"] * 3
    get(server, tmp_path)
    check(tmp_path)
    assert server.bytes_sent == sum(map(len, CONTENTS.values()))


def test_retries_continue_while_bytes_are_received(server: Server, tmp_path: Path) -> None:
    server.faults = ["disconnect"] * 12  # more than the retries without progress
    get(server, tmp_path)
    check(tmp_path)


@pytest.mark.parametrize("size", [100, len(CONTENTS["pubmed26n0001.xml.gz"])])
def test_a_killed_download_is_resumed(server: Server, tmp_path: Path, size: int) -> None:
    (tmp_path / "pubmed26n0001.xml.gz.part").write_bytes(CONTENTS["pubmed26n0001.xml.gz"][:size])
    get(server, tmp_path)
    check(tmp_path)
    assert server.bytes_sent == sum(map(len, CONTENTS.values())) - size


@pytest.mark.parametrize("part", [b"of another version", b"x" * 400_000])
def test_a_part_of_another_file_is_detected(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "pubmed26n0001.xml.gz.part").write_bytes(part)
    get(server, tmp_path)
    check(tmp_path)


def test_a_wrong_checksum_is_an_error(server: Server, tmp_path: Path) -> None:
    server.wrong_checksums = True
    with pytest.raises(UserError, match=r"pubmed26n0001\.xml\.gz: downloaded twice with an MD5 other than"):
        get(server, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_permanently_failing_server_is_an_error(server: Server, tmp_path: Path) -> None:
    server.faults = ["disconnect", *["503"] * 100]
    with pytest.raises(UserError, match=r"pubmed26n0001\.xml\.gz: gave up after \d+ tries \(the server responded 503"):
        get(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pubmed26n0001.xml.gz.part"]
    server.faults = []
    get(server, tmp_path)
    check(tmp_path)


@pytest.mark.parametrize("code", ["403", "404"])
def test_a_refusal_is_not_retried(server: Server, tmp_path: Path, code: str) -> None:
    server.faults = [code] * 100
    with pytest.raises(UserError, match=f"the server responded {code}"):
        get(server, tmp_path)
    assert server.requests["pubmed26n0001.xml.gz"] == 1


def test_without_checksums_the_length_is_verified(server: Server, tmp_path: Path) -> None:
    server.faults = ["disconnect", "stall"]
    get(server, tmp_path, md5=False)
    check(tmp_path)
    assert server.requests["pubmed26n0001.xml.gz.md5"] == 0


def test_an_empty_list_and_an_unreachable_server_are_errors(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lists no file named like nothing"):
        fetch(published(server.url, pattern="nothing"), tmp_path, lambda done, total, counted: None)
    server.server_close()
    server.shutdown()
    with pytest.raises(UserError, match=r"gave up after \d+ tries"):
        get(server, tmp_path)


def test_each_page_gets_a_directory_and_newest_only_downloads_one_file(server: Server, tmp_path: Path) -> None:
    pages = (server.url, server.url.replace("baseline", "updatefiles"))
    report = lambda done, total, counted: None  # noqa: E731
    paths = fetch(published(*pages), tmp_path, report)
    assert {path.parent.name for path in paths} == {"baseline", "updatefiles"}
    assert len(paths) == 6
    (only,) = fetch(published(server.url, newest_only=True), tmp_path / "newest", report)
    assert only.name == "pubmed26n0001.xml.gz"


def test_the_fetch_command(server: Server, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["data", "fetch", "pubmed", "--out", str(tmp_path), "--index", server.url])
    assert result.exit_code == 0, result.output
    assert f"3 files in {tmp_path}" in result.output.replace("\n", "")
    check(tmp_path)
    assert "medline: unknown corpus (corpora: pubmed, " in str(
        CliRunner().invoke(app, ["data", "fetch", "medline", "--out", "x"]).exception
    )


PAGE = b"<!DOCTYPE html>\n<html><title>This page has moved</title></html>"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(web, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "1")
    with serving() as one:
        yield one


def links(*targets: str) -> Answer:
    return Answer("".join(f'<a href="{target}">x</a>' for target in targets).encode())


def fetch_icd(site: Site, folder: Path, checked: str = "2026-11-28") -> list[Path]:
    publisher = replace(PUBLISHERS["icd10cm"], addresses=(f"{site.url}/ICD10CM/",), checked=checked)
    return fetch(publisher, folder, lambda done, total, counted: None)


def test_the_newest_year_is_downloaded(site: Site, tmp_path: Path) -> None:
    site.answers["/ICD10CM/"] = [links("../", "2025/", "2027/", "2026/", "2026-update/", "readme.txt")]
    site.answers["/ICD10CM/2027/"] = [links("icd10cm-addenda-2027.zip", "icd10cm-Table%20and%20Index-2027.zip")]
    site.answers["/ICD10CM/2027/icd10cm-Table%20and%20Index-2027.zip"] = [Answer(b"PK the codes")]
    (path,) = fetch_icd(site, tmp_path)
    assert path == tmp_path / "icd10cm-Table and Index-2027.zip"
    assert path.read_bytes() == b"PK the codes"


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(PAGE), "is an HTML page instead of data"),
        (Answer(b"\n<HTML>sign in"), "is an HTML page instead of data"),
        (Answer(b"not found"), r"is something that is not \.zip instead of data"),
        (Answer(status=404), "the server responded 404"),
        (Answer(status=410), "the server responded 410"),
        (Answer(status=403), "the server responded 403"),
    ],
)
def test_an_address_that_moved_is_reported_as_such(site: Site, tmp_path: Path, answer: Answer, problem: str) -> None:
    site.answers["/ICD10CM/"] = [links("icd10cm-table-index-2027.zip")]
    site.answers["/ICD10CM/icd10cm-table-index-2027.zip"] = [answer]
    advice = (
        r"the publisher may have moved it since \d{4}-\d\d-\d\d, when this address was checked: find the new address, "
        r"such as https://www\.cms\.gov/[^ ]*, and pass it with --index"
    )
    with pytest.raises(UserError, match=f"^{site.url}/ICD10CM/icd10cm-table-index-2027.zip: {problem}.*{advice}"):
        fetch_icd(site, tmp_path)
    assert not list(tmp_path.iterdir())
    site.answers["/ICD10CM/"] = [answer]
    with pytest.raises(UserError, match=f"^{site.url}/ICD10CM/: (lists no file|the server responded).*{advice}"):
        fetch_icd(site, tmp_path)


def test_an_address_of_the_user_is_not_called_checked(site: Site, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"404.*; check the address that was given with --index"):
        fetch_icd(site, tmp_path, checked="")


def test_an_address_may_be_a_file(site: Site, tmp_path: Path) -> None:
    site.answers["/x/latest/hp.obo"] = [Answer(status=302, headers={"Location": "/x/v2026/hp.obo"})]
    site.answers["/x/v2026/hp.obo"] = [Answer(b"format-version: 1.2")]
    publisher = replace(PUBLISHERS["hpo"], addresses=(f"{site.url}/x/latest/hp.obo",))
    (path,) = fetch(publisher, tmp_path, lambda done, total, counted: None)
    assert path.read_bytes() == b"format-version: 1.2"
