"""Requests to publishers' servers: kept connections, pauses as long as a server asks for, and what an address answered.

Proxies and certificates are found as by every other tool: HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE.
"""

import http.client
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError

from ... import __version__
from ...configs.errors import UserError
from ...configs.limits import TooLargeError
from ...storage.patience import patience_seconds

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 60.0
_LONGEST_ASKED_SECONDS = 600.0
_LEAST_TRIES = 3
_BLOCK = 1 << 18
_MISSING = (404, 410)
_PERMANENT_REDIRECTS = (301, 308)
_REDIRECTS = (*_PERMANENT_REDIRECTS, 302, 303, 307)
_MOST_REDIRECTS = 5
_SCHEMES = ("https://", "http://")
_WORTH_ANOTHER_TRY = (408, 425, 429)
_HTML = (b"<!doctype html", b"<html")

Result = TypeVar("Result")


class RefusedError(UserError):
    """The server does not give what is at this address; another try is no use."""


class MissingError(RefusedError):
    """The server has nothing at this address."""


class WrongContentError(Exception):
    """What arrived is not what the server has; another try may help."""


class StoppedError(Exception):
    """The work was given up elsewhere."""


class Content(NamedTuple):
    """The bytes at an address, and the ETag that came with them, without quotes."""

    data: bytes
    etag: str


class _BusyError(Exception):
    """The server asks for patience."""


class Web:
    """Requests by many threads, over at most as many connections.

    Args:
        advice: what the user can do if an address is not what it was, for messages.
    """

    def __init__(self, connections: int, advice: str) -> None:
        self.advice = advice
        self._connections = connections
        self._patience = patience_seconds()
        self._pools: dict[str | None, urllib3.PoolManager] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._not_before = 0.0  # when the next request may start
        self._moved_hosts: set[str] = set()

    def stop(self) -> None:
        """End all waits, and let no further request start."""
        self._stopped.set()

    def read(self, url: str, limit: int) -> Content:
        """The content of at most `limit` bytes, after as many tries as are worth it.

        Raises:
            RefusedError: the server refuses; MissingError if it has nothing there.
            TooLargeError: the content is larger.
            UserError: it does not answer in time.
        """
        return self.retry(url, lambda: self._read(url, limit))

    def _read(self, url: str, limit: int) -> Content:
        with self.open(url, {}) as response:
            blocks = []
            for block in self.blocks(response):
                blocks.append(block)
                if (limit := limit - len(block)) < 0:
                    raise TooLargeError(f"{url}: larger than anything that is expected there; {self.advice}")
            return Content(b"".join(blocks), response.headers.get("ETag", "").strip().removeprefix("W/").strip('"'))

    @contextmanager
    def open(self, url: str, headers: dict[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer to one request, which is a success or 416; for use inside `retry`."""
        response = self._request(url, headers)
        try:
            self._require_success(url, response)
            yield response
        finally:
            response.close()  # a connection whose answer was read to its end is kept nevertheless

    def resume(self, url: str, part: Path, count: Callable[[int], None]) -> None:
        """Append the bytes that a file lacks; those that arrived before an error are kept. For use inside `retry`."""
        size = part.stat().st_size if part.is_file() else 0
        with self.open(url, {"Range": f"bytes={size}-"} if size else {}) as response:
            if response.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                if response.headers.get("Content-Range") == f"bytes */{size}":
                    return  # the file was complete
                part.unlink()
                raise WrongContentError("the file has become shorter on the server")
            with part.open("ab" if response.status == http.client.PARTIAL_CONTENT else "wb") as file:
                for block in self.blocks(response):
                    file.write(block)
                    count(len(block))

    def blocks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        """The bytes of an answer as they were sent; an answer that ends early is an error that is worth a try."""
        while block := response.read(_BLOCK, decode_content=False):
            if self._stopped.is_set():
                raise StoppedError
            yield block

    def retry(self, url: str, attempt: Callable[[], Result], progress: Callable[[], int] = lambda: 0) -> Result:
        """The result of the attempt, repeated with growing pauses until it succeeds.

        Raises:
            UserError: every attempt failed for as long as the patience lasts (five minutes, or what
                CMBERT_DOWNLOAD_PATIENCE says), in which `progress` did not grow.
        """
        tries, reached, since = 0, progress(), time.monotonic()
        while True:
            self._await_permission()
            try:
                return attempt()
            except (HTTPError, OSError, _BusyError, WrongContentError) as error:
                problem = str(error) or type(error).__name__
            if progress() > reached:
                tries, reached, since = 0, progress(), time.monotonic()
            tries += 1
            pause = min(_LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (tries - 1)) * random.uniform(0.5, 1.5)
            if tries >= _LEAST_TRIES and time.monotonic() + pause - since > self._patience:
                raise UserError(f"{url}: gave up after {tries} tries ({problem}); run the command again to continue")
            if self._stopped.wait(pause):
                raise StoppedError

    def _await_permission(self) -> None:
        """Wait until the pause that the server asked for is over."""
        while (pause := self._not_before - time.monotonic()) > 0 and not self._stopped.wait(pause):
            pass
        if self._stopped.is_set():
            raise StoppedError

    def _request(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer at the end of all redirects. A permanent one is reported, once per server."""
        if not url.startswith(_SCHEMES):
            raise UserError(f"{url}: expected an address that begins with https:// or http://; {self.advice}")
        agent = {"User-Agent": f"clinical-modernbert/{__version__}"}
        address = url
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._pool(address).request(
                "GET", address, headers=agent | headers, preload_content=False, redirect=False, retries=False
            )
            target = urljoin(address, response.headers.get("Location", ""))
            if response.status not in _REDIRECTS or not target.startswith(_SCHEMES):
                return response
            response.close()
            if response.status in _PERMANENT_REDIRECTS:
                self._report_move(address, target)
            address = target
        raise UserError(f"{url}: redirected more than {_MOST_REDIRECTS} times, at last to {address}; {self.advice}")

    def _report_move(self, address: str, target: str) -> None:
        old, new = urlsplit(address), urlsplit(target)
        same = old.hostname == new.hostname and old.path.rstrip("/") == new.path.rstrip("/")
        with self._lock:
            known = (old.hostname or "") in self._moved_hosts
            self._moved_hosts.add(old.hostname or "")
        if not same and not known:
            logger.warning(f"{address}: moved permanently to {target}, which is used; {self.advice}")

    def _require_success(self, url: str, response: urllib3.BaseHTTPResponse) -> None:
        status = response.status
        if 200 <= status < 300 or status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return
        problem = f"the server responded {status} {response.reason or ''}".rstrip()
        if status in _MISSING:
            raise MissingError(f"{url}: {problem}; {self.advice}")
        if status < 500 and status not in _WORTH_ANOTHER_TRY:
            raise RefusedError(f"{url}: {problem}; {self.advice}")
        if seconds := _seconds(response.headers.get("Retry-After", "")):
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + seconds)
        raise _BusyError(problem)

    def _pool(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        proxy = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
        with self._lock:
            if proxy not in self._pools:
                self._pools[proxy] = _new_pool(proxy, self._connections)
            return self._pools[proxy]


def _new_pool(proxy: str | None, connections: int) -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    if proxy is None:
        return urllib3.PoolManager(maxsize=connections, timeout=timeout)
    login = urllib3.util.parse_url(proxy).auth
    headers = urllib3.make_headers(proxy_basic_auth=unquote(login)) if login else None
    return urllib3.ProxyManager(proxy, proxy_headers=headers, maxsize=connections, timeout=timeout)


def _seconds(retry_after: str) -> float:
    """The pause that a server asks for: a number of seconds, or the time at which it ends. 0 without one."""
    seconds = 0.0
    with suppress(ValueError, TypeError):
        seconds = float(retry_after) if retry_after.isdecimal() else _until(retry_after)
    return min(max(seconds, 0.0), _LONGEST_ASKED_SECONDS)


def _until(moment: str) -> float:
    return parsedate_to_datetime(moment).timestamp() - time.time()


def is_page(start: bytes) -> bool:
    """Whether these first bytes are those of an HTML page: of a proxy, a login, or an address that has moved."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML)
