"""Notices of clouds, from servers that answer as their metadata services do, and a run that heeds one."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from clinical_modernbert.launcher.ranks import interruption

EVENT = {"EventId": "1", "EventType": "Preempt", "ResourceType": "VirtualMachine", "EventStatus": "Scheduled"}


class Metadata(BaseHTTPRequestHandler):
    """All three services: each demands its header, and answers 404 to what does not exist."""

    notice: ClassVar[dict[str, Any]] = {}
    seen: ClassVar[list[str]] = []

    def do_PUT(self) -> None:
        allowed = self.path == "/latest/api/token" and "X-aws-ec2-metadata-token-ttl-seconds" in self.headers
        self.answer(200 if allowed else 400, "the-token")

    def do_GET(self) -> None:
        self.seen.append(self.path)
        path = self.path.partition("?")[0]
        if path.startswith("/latest"):
            allowed = self.headers.get("X-aws-ec2-metadata-token") == "the-token"
        elif path.startswith("/computeMetadata"):
            allowed = self.headers.get("Metadata-Flavor") == "Google"
        else:
            allowed = self.headers.get("Metadata") == "true" and "api-version=" in self.path
        answers = {
            "/computeMetadata/v1/instance/preempted": "FALSE",
            "/computeMetadata/v1/instance/maintenance-event": "NONE",
            "/metadata/scheduledevents": json.dumps({"DocumentIncarnation": 1, "Events": []}),
            "/metadata/instance/compute/name": "vm_1",
            **self.notice,
        }
        if not allowed:
            self.answer(401, "")
        elif path in answers:
            self.answer(200, answers[path])
        else:
            self.answer(404, "")

    def answer(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    Metadata.notice, Metadata.seen = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Metadata) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


NOTICES = [
    ("aws", {"/latest/meta-data/spot/instance-action": '{"action": "terminate", "time": "2026-01-01T00:00:00Z"}'}),
    ("gcp", {"/computeMetadata/v1/instance/preempted": "TRUE"}),
    ("gcp", {"/computeMetadata/v1/instance/maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE"}),
    ("azure", {"/metadata/scheduledevents": json.dumps({"Events": [{**EVENT, "Resources": ["vm_0", "vm_1"]}]})}),
]


@pytest.mark.parametrize(("cloud", "notice"), NOTICES)
def test_a_notice_is_found_and_nothing_else_is_one(
    cloud: str, notice: dict[str, str], service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # is not asked
    find = interruption._NOTICES[cloud]
    assert find(service) is None
    Metadata.notice = {"/metadata/scheduledevents": json.dumps({"Events": [{**EVENT, "Resources": ["vm_0"]}]})}
    assert find(service) is None
    Metadata.notice = notice
    assert find(service)


PROCESS = """
import os, signal, sys, time
from clinical_modernbert.launcher.ranks import interruption
interruption.POLL_SECONDS = 0.05
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(85))
interruption.heed_interruption(os.environ)
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
"""


def process(seconds: float, **environment: str) -> "subprocess.Popen[str]":
    variables = {**os.environ, interruption.CLOUD: "aws", **environment}
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(seconds)], env=variables, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_the_first_rank_of_a_node_is_asked_to_stop(service: str) -> None:
    Metadata.notice = dict(NOTICES[0][1])
    second = process(2, LOCAL_RANK="1", CMBERT_METADATA=service)
    assert second.wait(60) == 0
    assert Metadata.seen == []
    first = process(60, LOCAL_RANK="0", CMBERT_METADATA=service)
    assert first.wait(60) == 85


@pytest.mark.slow
def test_without_a_service_a_run_goes_on(service: str) -> None:
    assert process(2, LOCAL_RANK="0", CMBERT_METADATA="http://127.0.0.1:9").wait(60) == 0
    assert process(0, LOCAL_RANK="0", CMBERT_INTERRUPTION="unknown", CMBERT_METADATA=service).wait(60) == 0
    assert Metadata.seen == []
