"""Requests to servers that are busy, move, and end their answers early."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from scripted_site import Answer, Site, serving

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.limits import TooLargeError
from clinical_modernbert.streaming_data.download import web as module
from clinical_modernbert.streaming_data.download.web import MissingError, RefusedError, StoppedError, Web

ADVICE = "pass the new address with --index"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "1")
    with serving() as one:
        yield one


def read(site: Site, path: str, limit: int = 1_000) -> bytes:
    return Web(2, ADVICE).read(site.url + path, limit).data


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(site: Site, status: int) -> None:
    site.answers["/a"] = [Answer(status=status), Answer(status=status), Answer(b"here", headers={"ETag": '"12"'})]
    assert Web(2, ADVICE).read(f"{site.url}/a", 10) == (b"here", "12")
    site.answers["/b"] = [Answer(status=status)]
    with pytest.raises(UserError, match=rf"/b: gave up after \d+ tries \(the server responded {status} "):
        read(site, "/b")


def test_no_request_starts_before_the_time_that_the_server_gives(site: Site) -> None:
    for ask in (lambda: "1", lambda: formatdate(time.time() + 2, usegmt=True)):
        site.answers["/a"] = [Answer(status=503, headers={"Retry-After": ask()}), Answer(b"here")]
        site.answers["/b"] = [Answer(b"there")]
        web, start = Web(2, ADVICE), time.monotonic()
        assert web.read(f"{site.url}/a", 10).data == b"here"
        assert time.monotonic() - start > 0.9
    web, start = Web(2, ADVICE), time.monotonic()
    site.answers["/a"] = [Answer(status=429, headers={"Retry-After": "1"}), Answer(b"here")]
    other = threading.Thread(target=web.read, args=(f"{site.url}/a", 10))
    other.start()
    while not site.requests or site.requests[-1] != "/a" or not web._not_before:
        time.sleep(0.01)
    web.read(f"{site.url}/b", 10)  # of another thread
    assert time.monotonic() - start > 0.9
    other.join()


@pytest.mark.parametrize("asked", ["", "soon", "-5", "Thu, 32 Foo", "0", formatdate(0)])
def test_a_pause_that_is_none_is_not_waited_for(site: Site, asked: str) -> None:
    site.answers["/a"] = [Answer(status=503, headers={"Retry-After": asked}), Answer(b"here")]
    start = time.monotonic()
    assert read(site, "/a") == b"here"
    assert time.monotonic() - start < 5


def test_a_stop_ends_a_long_pause(site: Site) -> None:
    site.answers["/a"] = [Answer(status=503, headers={"Retry-After": "3600"})]
    web = Web(2, ADVICE)
    threading.Timer(0.3, web.stop).start()
    with pytest.raises(StoppedError):
        web.read(f"{site.url}/a", 10)


@pytest.mark.parametrize(("status", "kind"), [(404, MissingError), (410, MissingError), (403, RefusedError)])
def test_a_refusal_is_final_and_says_what_to_do(site: Site, status: int, kind: type[UserError]) -> None:
    site.answers["/a"] = [Answer(status=status)]
    with pytest.raises(kind, match=rf"/a: the server responded {status} .*; pass the new address with --index"):
        read(site, "/a")
    assert site.requests == ["/a"]


def test_a_permanent_move_is_followed_and_reported_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a", "b"):
        site.answers[f"/old/{name}"] = [Answer(status=301, headers={"Location": f"/new/{name}"})]
        site.answers[f"/new/{name}"] = [Answer(name.encode())]
    web = Web(2, ADVICE)
    with caplog.at_level(logging.WARNING):
        assert [web.read(f"{site.url}/old/{name}", 10).data for name in ("a", "b")] == [b"a", b"b"]
    (message,) = caplog.messages
    assert message == f"{site.url}/old/a: moved permanently to {site.url}/new/a, which is used; {ADVICE}"


@pytest.mark.parametrize(("status", "target"), [(302, "/new"), (303, "/new"), (307, "/new"), (301, "/old/")])
def test_other_redirects_are_followed_in_silence(
    site: Site, caplog: pytest.LogCaptureFixture, status: int, target: str
) -> None:
    site.answers["/old"] = [Answer(status=status, headers={"Location": target})]
    site.answers[target] = [Answer(b"here")]
    with caplog.at_level(logging.WARNING):
        assert read(site, "/old") == b"here"
    assert not caplog.messages


def test_redirects_without_end_are_an_error(site: Site) -> None:
    site.answers["/a"] = [Answer(status=302, headers={"Location": "/a"})]
    with pytest.raises(UserError, match="redirected more than 5 times"):
        read(site, "/a")


@pytest.mark.parametrize("address", ["mirrors/pubmed", "file:///etc/passwd", "ftp://ftp.ncbi.nlm.nih.gov/", ""])
def test_other_addresses_are_refused_at_once(address: str) -> None:
    with pytest.raises(UserError, match=rf"^{address}: expected an address that begins with https:// or http://"):
        Web(2, ADVICE).read(address, 10)


def test_content_above_the_limit_is_refused(site: Site) -> None:
    site.answers["/a"] = [Answer(b"x" * 11)]
    assert len(read(site, "/a", 11)) == 11
    with pytest.raises(TooLargeError, match="/a: larger than"):
        read(site, "/a", 10)


def test_connections_are_kept(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: Counter[object] = Counter()

    def accept(request: object, client: object) -> bool:
        accepted[client] += 1
        return True

    site.answers["/a"] = [Answer(b"here")]
    monkeypatch.setattr(site, "verify_request", accept)
    web = Web(2, ADVICE)
    for _ in range(20):
        web.read(f"{site.url}/a", 10)
    assert accepted.total() == 1


def test_a_proxy_is_used_except_for_hosts_without_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", site.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site.answers["http://publisher.example/a"] = [Answer(b"through the proxy")]
    site.answers["/a"] = [Answer(b"direct")]
    assert Web(2, ADVICE).read("http://publisher.example/a", 100).data == b"through the proxy"
    assert read(site, "/a") == b"direct"
